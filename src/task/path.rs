//! Which paths can be a file's path at all. Where they lead is decided by `storage` and the server.

use std::borrow::Cow;

/// The maximum length of a path in bytes: Linux's `PATH_MAX`, and about the longest command line that FTP servers
/// accept.
pub const MAX_PATH_BYTES: usize = 4096;
/// The maximum length of one name in a local path: Linux's `NAME_MAX`.
pub const MAX_NAME_BYTES: usize = 255;

/// The side that a path belongs to, and whose rules it must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathKind {
    Remote,
    Local,
}

/// What is wrong with a non-empty path; `None` if it can be a file's.
///
/// NUL, CR and LF are rejected on both sides: on the control connection they end or change a line (RFC 959 section
/// 5.3.2 excludes CR and LF; NUL becomes a line feed in vsftpd), and the two sides of a task should not differ in what
/// a name is. Other control characters are valid in a path.
pub(super) fn defect(path: &str, location: PathKind) -> Option<Cow<'static, str>> {
    if path.len() > MAX_PATH_BYTES {
        return Some(format!("has {} bytes, may have {MAX_PATH_BYTES}", path.len()).into());
    }
    if let Some((at, char)) = path.char_indices().find(|(_, char)| matches!(char, '\0' | '\r' | '\n')) {
        let char = match char {
            '\0' => "NUL",
            '\r' => "CR",
            _ => "LF",
        };
        return Some(format!("holds a {char} (byte {at}), which no path can").into());
    }
    // A backslash separates names on Windows servers. Elsewhere it is an ordinary character, but a file named `..\\x`
    // is no loss.
    let parts_names = |char| char == '/' || (char == '\\' && location == PathKind::Remote);
    if path.split(parts_names).any(|name| name == "..") {
        return Some("has a `..` component, which is not allowed".into());
    }
    if path.rsplit('/').next().is_none_or(|name| name.is_empty() || name == ".") {
        return Some("names a directory, must name a file".into());
    }
    if location == PathKind::Local {
        let long = path.split('/').find(|name| name.len() > MAX_NAME_BYTES)?;
        return Some(format!("has a name of {} bytes, may have {MAX_NAME_BYTES}", long.len()).into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, location: PathKind) -> String {
        defect(path, location).unwrap_or_else(|| panic!("{path:?} was allowed")).into_owned()
    }

    #[test]
    fn names_as_users_have_them_are_allowed_on_both_sides() {
        for path in [
            "/a",
            "a",
            "-leading",
            " spaces ",
            "/x/[y]%#*?.txt",
            "/ünï/文件",
            "..a",
            "a..",
            "/a/.../b",
            ".hidden",
            "./a",
            "//a//b",
            "~root",
            "tab\there",
            "esc\u{1b}",
            "\u{2028}",
            "a b/c",
            "/.x",
            "x\u{7f}",
            r"C:\dir\a.txt",
            r"a\",
        ] {
            assert_eq!(defect(path, PathKind::Remote), None, "{path:?}");
            assert_eq!(defect(path, PathKind::Local), None, "{path:?}");
        }
    }

    #[test]
    fn a_parent_component_is_refused_wherever_it_stands() {
        for path in ["..", "../a", "/..", "/../a", "a/../b", "a/..", "/a/b/../../../etc/passwd"] {
            for location in [PathKind::Remote, PathKind::Local] {
                assert!(refused(path, location).contains("`..` component"), "{path}");
            }
        }
    }

    #[test]
    fn a_parent_component_between_backslashes_is_refused_on_servers_only() {
        assert!(refused(r"..\..\boot.ini", PathKind::Remote).contains("`..`"));
        assert!(refused(r"a/..\b", PathKind::Remote).contains("`..`"));
        assert_eq!(defect(r"a\..\b", PathKind::Local), None);
    }

    #[test]
    fn what_would_end_the_command_line_is_refused_with_its_place() {
        assert_eq!(refused("a\0b", PathKind::Remote), "holds a NUL (byte 1), which no path can");
        assert_eq!(refused("ü\rb", PathKind::Local), "holds a CR (byte 2), which no path can");
        assert_eq!(refused("/x\nDELE y", PathKind::Remote), "holds a LF (byte 2), which no path can");
    }

    #[test]
    fn a_path_that_names_no_file_is_refused() {
        for path in ["/", ".", "a/", "/a/b/", "/a/.", "./", "//"] {
            for location in [PathKind::Remote, PathKind::Local] {
                assert_eq!(refused(path, location), "names a directory, must name a file", "{path}");
            }
        }
    }

    #[test]
    fn lengths_are_counted_in_bytes() {
        assert_eq!(defect(&"a".repeat(255), PathKind::Local), None);
        assert!(refused(&"a".repeat(256), PathKind::Local).contains("a name of 256 bytes"));
        assert!(refused(&"ü".repeat(128), PathKind::Local).contains("a name of 256 bytes"));
        assert_eq!(defect(&"a".repeat(4096), PathKind::Remote), None);
        assert!(refused(&"a".repeat(4097), PathKind::Remote).contains("4097 bytes"));
    }
}
