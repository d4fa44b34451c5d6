//! What is in a directory, with sizes and times: MLSD (RFC 3659, 7) where the server has it, else LIST.
//!
//! LIST has no standard: suppaftp's parser knows what Unix and DOS servers write. It is sent without a path,
//! after CWD, since vsftpd takes a path for a pattern and answers a missing one like an empty directory.

use bytes::BufMut;
use jiff::Timestamp;
use suppaftp::list::ListParser;

use crate::failure::TryError;

use super::fault::{Fault, Step};
use super::mlsd::MlsdLine;
use super::mtime::time_val;
use super::names::decode;
use super::session::Session;

/// Bytes of one line at most; what is longer is told as one that was not understood.
const MAX_LINE: usize = 64 * 1024;
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    /// A symlink, whose target may be either.
    Link,
    /// A device, a socket, or what only the server knows.
    Other,
}

/// When a file was changed last, as far as the server tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub at: Timestamp,
    /// In UTC, to the second. LIST is in the server's own time zone, to the minute or the day.
    pub is_exact: bool,
}

/// One entry of a directory; never the directory itself or the one above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub kind: EntryKind,
    pub size: Option<u64>,
    pub modified: Option<Told>,
}

impl Session {
    /// Hands each entry of `directory` (empty: the one logged in to) to `take`; a line that could not be
    /// understood is the error. Memory does not grow with the directory.
    ///
    /// # Errors
    /// `source_not_found` where there is no such directory; else as of RETR.
    pub async fn entries(
        &mut self,
        directory: &str,
        mut take: impl FnMut(Result<Entry, String>),
    ) -> Result<(), TryError> {
        if self.lists_exactly() {
            let path = if directory.is_empty() { "." } else { directory };
            match self.read_listing(Step::Mlsd, path, |line| take_line(line, mlsd, &mut take)).await {
                // Some say in FEAT what they do not have.
                Err(error) if self.is_sound() && matches!(error.failure.ftp_code, Some(500 | 502 | 504)) => {}
                listed => return listed,
            }
        }
        let path = absolute(&self.home().await?, directory);
        let reply = self.about(Step::Cwd, &path).await?;
        if !reply.is_done() {
            return Err(self.fail(Step::Cwd, Some(&path), &Fault::Reply(reply)));
        }
        match self.read_listing(Step::List, ".", |line| take_line(line, list, &mut take)).await {
            // An empty directory, as some servers tell it; it is there, CWD said so.
            Err(error) if self.is_sound() && matches!(error.failure.ftp_code, Some(450 | 550)) => Ok(()),
            listed => listed,
        }
    }

    /// Whether sizes and times of this server's listings are exact.
    #[must_use]
    pub fn lists_exactly(&self) -> bool {
        self.features.has("MLST") || self.features.has("MLSD")
    }

    /// The directory logged in to: LIST goes by the current directory, and that is another one after each CWD.
    async fn home(&mut self) -> Result<String, TryError> {
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let reply = match self.exchange(Step::Pwd, None).await {
            Ok(reply) => reply,
            Err(fault) => return Err(self.fail(Step::Pwd, None, &fault)),
        };
        match reply.quoted_path() {
            Some(home) if reply.code == 257 => {
                self.home = Some(home.clone());
                Ok(home)
            }
            _ => Err(self.fail(Step::Pwd, None, &Fault::Reply(reply))),
        }
    }

    async fn read_listing(
        &mut self,
        step: Step,
        argument: &str,
        mut take: impl FnMut(Result<&str, String>),
    ) -> Result<(), TryError> {
        let charset = self.connection().charset;
        let mut retrieve = self.listing(step, argument).await?;
        let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK);
        let mut skipping = false;
        loop {
            let read = retrieve.read(&mut (&mut buffer).limit(CHUNK)).await?;
            let mut begin = 0;
            while let Some(length) =
                buffer.get(begin..).and_then(|rest| rest.iter().position(|b| *b == b'\n'))
            {
                let line = buffer.get(begin..begin + length).unwrap_or_default();
                if !std::mem::take(&mut skipping) {
                    told(line, charset, &mut take);
                }
                begin += length + 1;
            }
            buffer.drain(..begin);
            if skipping {
                buffer.clear();
            } else if buffer.len() > MAX_LINE {
                take(Err(format!("a line of more than {MAX_LINE} bytes")));
                buffer.clear();
                skipping = true;
            }
            if read == 0 {
                break;
            }
        }
        if !buffer.is_empty() && !skipping {
            told(&buffer, charset, &mut take);
        }
        retrieve.finish().await.map(|_| ())
    }
}

/// Hands a line over as text.
fn told(
    line: &[u8],
    charset: Option<&'static encoding_rs::Encoding>,
    take: &mut impl FnMut(Result<&str, String>),
) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return;
    }
    if let Some(charset) = charset {
        take(Ok(&decode(charset, line)));
    } else if let Ok(line) = std::str::from_utf8(line) {
        take(Ok(line));
    } else {
        let shown = String::from_utf8_lossy(line).into_owned();
        take(Err(format!("{}: no UTF-8; the connection's `charset` may help", shown.escape_debug())));
    }
}

fn take_line(
    line: Result<&str, String>,
    parse: impl Fn(&str) -> Line,
    take: &mut impl FnMut(Result<Entry, String>),
) {
    match line.map(parse) {
        Ok(Line::Entry(entry)) if is_name(&entry.name) => take(Ok(entry)),
        Ok(Line::Entry(Entry { name, .. })) if name == "." || name == ".." => {}
        Ok(Line::Entry(Entry { name, .. })) => take(Err(format!("{}: no file's name", name.escape_debug()))),
        Ok(Line::Nothing) => {}
        Ok(Line::Strange(line)) => take(Err(line.escape_debug().to_string())),
        Err(problem) => take(Err(problem)),
    }
}

/// A server's word is not taken for a name that leads elsewhere.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0', '\r', '\n'])
}

enum Line {
    Entry(Entry),
    /// Such as `total 12`.
    Nothing,
    Strange(String),
}

/// A line of MLSD.
fn mlsd(line: &str) -> Line {
    let Some(parsed) = MlsdLine::parse(line) else { return Line::Strange(line.to_owned()) };
    let kind = match parsed.fact("type").map(str::to_ascii_lowercase).as_deref() {
        None | Some("file") => EntryKind::File,
        Some("dir") => EntryKind::Directory,
        Some("cdir" | "pdir") => return Line::Nothing,
        Some(other) if other.contains("link") => EntryKind::Link,
        Some(_) => EntryKind::Other,
    };
    let modified = parsed.fact("modify").and_then(time_val).and_then(to_the_second);
    Line::Entry(Entry {
        name: parsed.name.to_owned(),
        kind,
        size: parsed.fact("size").and_then(|size| size.parse().ok()),
        modified: modified.map(|at| Told { at, is_exact: true }),
    })
}

fn to_the_second(at: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(at.as_second()).ok()
}

/// A line of LIST, as Unix or DOS servers write it.
fn list(line: &str) -> Line {
    let digits = |text: &str| text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    if line.trim().is_empty() || line.strip_prefix("total ").is_some_and(digits) {
        return Line::Nothing;
    }
    let file = match ListParser::parse_posix(line).or_else(|_| ListParser::parse_dos(line)) {
        Ok(file) => file,
        // Devices, pipes and sockets; suppaftp knows none.
        Err(_) if line.starts_with(['b', 'c', 'p', 's']) && line.get(1..10).is_some_and(is_mode) => {
            return Line::Nothing;
        }
        Err(_) => return Line::Strange(line.to_owned()),
    };
    let kind = if file.is_directory() {
        EntryKind::Directory
    } else if file.is_symlink() {
        EntryKind::Link
    } else {
        EntryKind::File
    };
    Line::Entry(Entry {
        name: file.name().strip_prefix("./").unwrap_or(file.name()).to_owned(),
        kind,
        size: (kind == EntryKind::File).then(|| file.size() as u64),
        modified: Timestamp::try_from(file.modified()).ok().map(|at| Told { at, is_exact: false }),
    })
}

fn is_mode(text: &str) -> bool {
    text.bytes().all(|byte| b"rwxsStT-".contains(&byte))
}

fn absolute(home: &str, directory: &str) -> String {
    match directory {
        "" => home.to_owned(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{}/{relative}", home.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(line: Line) -> Entry {
        match line {
            Line::Entry(entry) => entry,
            Line::Nothing => panic!("nothing"),
            Line::Strange(line) => panic!("strange: {line}"),
        }
    }

    #[test]
    fn mlsd_is_read_as_servers_write_it() {
        let file = entry(mlsd("Type=file;Size=17;Modify=20240131235959.123;UNIX.mode=0644; a; b=c.csv"));
        assert_eq!((file.name.as_str(), file.kind, file.size), ("a; b=c.csv", EntryKind::File, Some(17)));
        let modified = file.modified.unwrap();
        assert_eq!((modified.at.to_string().as_str(), modified.is_exact), ("2024-01-31T23:59:59Z", true));
        assert_eq!(entry(mlsd("type=dir;modify=20240131235959; sub")).kind, EntryKind::Directory);
        assert_eq!(entry(mlsd("type=OS.unix=slink:/x; l")).kind, EntryKind::Link);
        assert_eq!(entry(mlsd("type=OS.unix=chr-1/3; null")).kind, EntryKind::Other);
        assert!(matches!(mlsd("type=cdir;; ."), Line::Nothing));
        assert!(matches!(mlsd("what is this"), Line::Strange(_)));
        assert_eq!(entry(mlsd(" no facts")).name, "no facts");
    }

    #[test]
    fn list_is_read_as_servers_write_it() {
        let file = entry(list("-rw-r--r--    1 ftp      ftp          1234 Jan 02  2020 a b.csv"));
        assert_eq!((file.name.as_str(), file.size), ("a b.csv", Some(1234)));
        assert_eq!(file.modified.unwrap().at.to_string(), "2020-01-02T00:00:00Z");
        let link = entry(list("lrwxrwxrwx 1 root root 5 Jan 02  2020 latest.csv -> a.csv"));
        assert_eq!((link.name.as_str(), link.kind, link.size), ("latest.csv", EntryKind::Link, None));
        assert_eq!(entry(list("10-19-20  03:19PM       <DIR>          pub")).kind, EntryKind::Directory);
        assert_eq!(entry(list("04-08-14  03:09PM                  403 readme.txt")).size, Some(403));
        assert!(matches!(list("total 12"), Line::Nothing));
        assert!(matches!(list("crw-rw-rw- 1 root root 1, 3 Jan 02 2020 null"), Line::Nothing));
        assert!(matches!(list("??? what"), Line::Strange(_)));
    }

    #[test]
    fn a_path_is_taken_out_of_257() {
        let path = |line| crate::ftp::reply::reply(line).quoted_path();
        assert_eq!(path("257 \"/home/\"\"x\"\"\" is current").as_deref(), Some("/home/\"x\""));
        assert_eq!(path("257 nothing"), None);
        assert_eq!(path("257 \"open"), None);
        assert_eq!(absolute("/", "a"), "/a");
        assert_eq!(absolute("/home", ""), "/home");
        assert_eq!(absolute("/home", "/pub"), "/pub");
    }

    proptest! {
        #[test]
        fn whatever_a_server_lists_no_name_leads_elsewhere(line in ".{0,120}|type=file;size=1; .{0,40}") {
            for parse in [mlsd, list] {
                take_line(Ok(&line), parse, &mut |taken| {
                    if let Ok(entry) = taken {
                        assert!(is_name(&entry.name));
                    }
                });
            }
        }
    }
}
