//! A result's details of a transfer beyond the contract's fixed fields.

use jiff::Timestamp;

use super::json::push_string;
use crate::digest::FileHash;
use crate::text::rfc3339;

/// The maximum size of a result's details in bytes; larger ones are omitted.
pub(super) const MAX_DETAILS_BYTES: usize = 2048;

/// Each is absent from the message if it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferDetails {
    /// Which file was transferred.
    pub file: Option<Box<MovedFile>>,
    /// The FTP connection's name.
    pub connection: String,
    /// Hashes of the whole file, computed during the transfer.
    pub hashes: Vec<FileHash>,
    /// What the file was compared by: `size`, or the name of a hash.
    pub verified_by: Option<&'static str>,
    /// When the source was last changed, if that was asked.
    pub source_mtime: Option<Timestamp>,
    /// How many bytes of earlier tries were not transferred again.
    pub resumed_from: Option<u64>,
    /// What happened to a download's source, if the task asked for more than keeping it.
    pub after: Option<SourceFate>,
    /// Commands beyond RFC 959 that the transfer used.
    pub features: Vec<&'static str>,
}

/// A file's source and destination: `CONNECTION:PATH`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovedFile {
    pub source: String,
    pub destination: String,
}

/// What happened to a download's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFate {
    Deleted,
    Moved,
    /// It was changed after it was fetched, and so is another file.
    Kept,
}

impl SourceFate {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            SourceFate::Deleted => "deleted",
            SourceFate::Moved => "moved",
            SourceFate::Kept => "kept",
        }
    }
}

impl TransferDetails {
    /// The file's paths as members of an object, each after a comma. Not limited by [`MAX_DETAILS_BYTES`]: paths are
    /// long.
    pub(super) fn file_members(&self) -> String {
        let mut out = String::new();
        let Some(MovedFile { source, destination }) = self.file.as_deref() else { return out };
        for (name, value) in [("source", source), ("destination", destination)] {
            push_name(&mut out, name);
            push_string(&mut out, value);
        }
        out
    }

    /// The other details, as members of an object, each after a comma.
    pub(super) fn members(&self, bytes: u64) -> String {
        let mut out = format!(r#","size":{bytes}"#);
        let mut text = |name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                push_name(&mut out, name);
                push_string(&mut out, value);
            }
        };
        text("connection", Some(&self.connection));
        text("verified_by", self.verified_by);
        text("source_mtime", self.source_mtime.map(rfc3339).as_deref());
        text("after", self.after.map(SourceFate::as_str));
        if let Some(from) = self.resumed_from {
            push_name(&mut out, "resumed_from");
            out.push_str(&from.to_string());
        }
        if !self.hashes.is_empty() {
            let pairs =
                self.hashes.iter().map(|hash| format!(r#""{}":"{}""#, hash.algorithm.name(), hash.value));
            push_name(&mut out, "hash");
            push_all(&mut out, ['{', '}'], pairs);
        }
        if !self.features.is_empty() {
            let names = self.features.iter().map(|name| format!(r#""{name}""#));
            push_name(&mut out, "features");
            push_all(&mut out, ['[', ']'], names);
        }
        out
    }
}

fn push_all(out: &mut String, [begin, end]: [char; 2], parts: impl Iterator<Item = String>) {
    out.push(begin);
    out.push_str(&parts.collect::<Vec<_>>().join(","));
    out.push(end);
}

fn push_name(out: &mut String, name: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}
