//! A line of a listing, and the entry that it describes. Pure.
//!
//! MLSD's lines have a standard (RFC 3659, 7): facts, each with a `;` behind it, a blank, and the name. LIST's have
//! none: suppaftp's parser reads what Unix and DOS servers write. Whatever reads more formats replaces
//! [`parse_list`], and nothing else.

use jiff::Timestamp;
use suppaftp::list::ListParser;

use super::mtime::time_val;

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

/// When a file was changed last, as far as the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModifiedTime {
    pub at: Timestamp,
    /// In UTC, to the second. LIST is in the server's own time zone, to the minute or the day.
    pub is_exact: bool,
}

/// One entry of a directory; never the directory itself or the one above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    pub name: String,
    pub kind: EntryKind,
    /// In bytes.
    pub size: Option<u64>,
    pub modified: Option<ModifiedTime>,
}

/// A line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListLine {
    /// Its name is as the server writes it, and may be any.
    Entry(ListedEntry),
    /// Such as `total 12`.
    Nothing,
    NotUnderstood,
}

/// A line of MLSD. There may be no facts; some servers leave out the last `;`.
pub(super) fn parse_mlsd(line: &str) -> ListLine {
    let without_last = || line.split_once(' ').filter(|(facts, _)| facts.contains('='));
    let split = match line.strip_prefix(' ') {
        Some(name) => Some(("", name)),
        None => line.split_once("; ").or_else(without_last),
    };
    let Some((facts, name)) = split else { return ListLine::NotUnderstood };
    let fact = |wanted: &str| {
        let named = facts.split(';').filter_map(|fact| fact.split_once('='));
        named.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value).next()
    };
    let kind = match fact("type").map(str::to_ascii_lowercase).as_deref() {
        None | Some("file") => EntryKind::File,
        Some("dir") => EntryKind::Directory,
        Some("cdir" | "pdir") => return ListLine::Nothing,
        Some(other) if other.contains("link") => EntryKind::Link,
        Some(_) => EntryKind::Other,
    };
    let to_the_second = |at: Timestamp| Timestamp::from_second(at.as_second()).ok();
    let modified = fact("modify").and_then(time_val).and_then(to_the_second);
    ListLine::Entry(ListedEntry {
        name: name.to_owned(),
        kind,
        size: fact("size").and_then(|size| size.parse().ok()),
        modified: modified.map(|at| ModifiedTime { at, is_exact: true }),
    })
}

/// A line of LIST.
pub(super) fn parse_list(line: &str) -> ListLine {
    let digits = |text: &str| text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    if line.trim().is_empty() || line.strip_prefix("total ").is_some_and(digits) {
        return ListLine::Nothing;
    }
    let file = match ListParser::parse_posix(line).or_else(|_| ListParser::parse_dos(line)) {
        Ok(file) => file,
        // Devices, pipes and sockets; suppaftp knows none.
        Err(_) if line.starts_with(['b', 'c', 'p', 's']) && line.get(1..10).is_some_and(is_mode) => {
            return ListLine::Nothing;
        }
        Err(_) => return ListLine::NotUnderstood,
    };
    let kind = if file.is_directory() {
        EntryKind::Directory
    } else if file.is_symlink() {
        EntryKind::Link
    } else {
        EntryKind::File
    };
    ListLine::Entry(ListedEntry {
        name: file.name().strip_prefix("./").unwrap_or(file.name()).to_owned(),
        kind,
        size: (kind == EntryKind::File).then(|| file.size() as u64),
        modified: Timestamp::try_from(file.modified()).ok().map(|at| ModifiedTime { at, is_exact: false }),
    })
}

fn is_mode(text: &str) -> bool {
    text.bytes().all(|byte| b"rwxsStT-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(line: ListLine) -> ListedEntry {
        match line {
            ListLine::Entry(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mlsd_is_read_as_servers_write_it() {
        let file =
            entry(parse_mlsd("Type=file;Size=17;Modify=20240131235959.123;UNIX.mode=0644; a; b=c.csv"));
        assert_eq!((file.name.as_str(), file.kind, file.size), ("a; b=c.csv", EntryKind::File, Some(17)));
        let modified = file.modified.unwrap();
        assert_eq!((modified.at.to_string().as_str(), modified.is_exact), ("2024-01-31T23:59:59Z", true));
        assert_eq!(entry(parse_mlsd("type=dir;modify=20240131235959; sub")).kind, EntryKind::Directory);
        assert_eq!(entry(parse_mlsd("type=OS.unix=slink:/a b;Size=17; l")).kind, EntryKind::Link);
        assert_eq!(entry(parse_mlsd("type=OS.unix=chr-1/3; null")).kind, EntryKind::Other);
        assert_eq!(parse_mlsd("type=cdir;; ."), ListLine::Nothing);
        let bare = entry(parse_mlsd(" no facts"));
        assert_eq!((bare.name.as_str(), bare.size, bare.modified), ("no facts", None, None));
        assert_eq!(entry(parse_mlsd("type=file a b")).name, "a b");
        for line in ["", "x", "what is this", "type=file;"] {
            assert_eq!(parse_mlsd(line), ListLine::NotUnderstood, "{line}");
        }
    }

    #[test]
    fn list_is_read_as_servers_write_it() {
        let file = entry(parse_list("-rw-r--r--    1 ftp      ftp          1234 Jan 02  2020 a b.csv"));
        assert_eq!((file.name.as_str(), file.size), ("a b.csv", Some(1234)));
        let modified = file.modified.unwrap();
        assert_eq!((modified.at.to_string().as_str(), modified.is_exact), ("2020-01-02T00:00:00Z", false));
        let link = entry(parse_list("lrwxrwxrwx 1 root root 5 Jan 02  2020 latest.csv -> a.csv"));
        assert_eq!((link.name.as_str(), link.kind, link.size), ("latest.csv", EntryKind::Link, None));
        assert_eq!(
            entry(parse_list("10-19-20  03:19PM       <DIR>          pub")).kind,
            EntryKind::Directory
        );
        assert_eq!(entry(parse_list("04-08-14  03:09PM                  403 readme.txt")).size, Some(403));
        assert_eq!(parse_list("total 12"), ListLine::Nothing);
        assert_eq!(parse_list("crw-rw-rw- 1 root root 1, 3 Jan 02 2020 null"), ListLine::Nothing);
        assert_eq!(parse_list("??? what"), ListLine::NotUnderstood);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".{0,120}|type=file;size=1; .{0,40}") {
            let _ = (parse_mlsd(&line), parse_list(&line));
        }
    }
}
