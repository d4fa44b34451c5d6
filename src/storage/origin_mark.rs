//! The extended attribute of a published file: the record that it was created for, and its redo record.

use std::fmt;
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::record::Record;

/// The extended attribute's name.
const NAME: &str = "user.ftp-pooler.origin";
/// The maximum size of a value: a topic's name has at most 249 bytes, and a redo record [`MAX_REDO_RECORD`].
const VALUE_MAX: usize = 1024;

/// The maximum size of a redo record; a longer one is not stored.
const MAX_REDO_RECORD: usize = 512;

/// Distinguishes a file that was created for one record from any other.
///
/// The record's time is part of it: if a topic is recreated, its offsets repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginMark(Arc<str>);

impl OriginMark {
    #[must_use]
    pub fn of(record: &Record) -> OriginMark {
        let (origin, time) = record.first();
        let time = time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        OriginMark(format!("1 {}/{}/{} {time}", origin.topic, origin.partition, origin.offset).into())
    }

    /// Marks a file that has its complete content of `size` bytes; `redo_record` is stored with it.
    pub(super) fn put(&self, file: &OwnedFd, size: u64, redo_record: &str) -> Result<(), Errno> {
        let mut value = self.value(size);
        if !redo_record.is_empty() && redo_record.len() <= MAX_REDO_RECORD {
            value.push(' ');
            value.push_str(redo_record);
        }
        retry_on_intr(|| rustix::fs::fsetxattr(file, NAME, value.as_bytes(), XattrFlags::empty()))
    }

    /// The size and redo record of the regular file at `name` if it carries this mark, and still has the size that it
    /// was published with. A file that cannot be read is not recognised.
    pub(super) fn on(&self, dir: &OwnedFd, name: &str) -> Option<MarkedFile> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = retry_on_intr(|| rustix::fs::openat(dir, name, flags, Mode::empty())).ok()?;
        let size = u64::try_from(rustix::fs::fstat(&file).ok()?.st_size).ok()?;
        let mut value = [0; VALUE_MAX];
        let length = rustix::fs::fgetxattr(&file, NAME, value.as_mut_slice()).ok()?;
        let redo_record = value.get(..length)?.strip_prefix(self.value(size).as_bytes())?;
        let redo_record = match redo_record {
            [] => String::new(),
            [b' ', redo_record @ ..] => String::from_utf8(redo_record.to_vec()).ok()?,
            _ => return None,
        };
        Some(MarkedFile { size, redo_record })
    }

    fn value(&self, size: u64) -> String {
        format!("{} {size}", self.0)
    }
}

impl fmt::Display for OriginMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a published file's mark contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MarkedFile {
    pub size: u64,
    /// The redo record; empty if there is none.
    pub redo_record: String,
}

/// Whether files here can be marked. Only probes: a missing mark gives another error than an unsupported one.
pub(super) fn can_be_put(dir: impl AsFd) -> bool {
    let mut value = [0; VALUE_MAX];
    matches!(rustix::fs::fgetxattr(dir, NAME, value.as_mut_slice()), Ok(_) | Err(Errno::NODATA))
}
