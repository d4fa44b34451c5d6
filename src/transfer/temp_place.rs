//! The directory of uploads' temp files on a server, and their names there: a connection may have its own directory,
//! prefix and suffix for them.

use std::borrow::Cow;

use crate::config::FtpConnection;
use crate::failure::{Code, Failure, TryError};
use crate::storage::{TempName, TempNames};
use crate::text::shown;

use super::give_up;

/// The directory of the temp file for an upload to `path`, with a trailing slash; empty for the login directory.
/// Relative paths stay relative.
///
/// # Errors
/// `path` names no file.
pub(super) fn directory<'a>(connection: &FtpConnection, path: &'a str) -> Result<Cow<'a, str>, TryError> {
    let (own, name) = path.rfind('/').map_or(("", path), |slash| path.split_at(slash + 1));
    if matches!(name, "" | "." | "..") {
        return Err(give_up(Code::PathNotAllowed, format!("{} names no file", shown(path))));
    }
    let Some(directory) = &connection.temp_dir else { return Ok(own.into()) };
    let beneath = format!("{}/x", directory.trim_end_matches('/'));
    let there = connection.on_server(&beneath).ok_or_else(|| {
        give_up(Code::PathNotAllowed, format!("temp_dir: `encoding` makes a `..` of {}", shown(directory)))
    })?;
    Ok(there.strip_suffix('x').unwrap_or_default().to_owned().into())
}

/// The path of a temp file.
pub(super) fn path(connection: &FtpConnection, directory: &str, temp: &TempName) -> String {
    format!("{directory}{}", connection.temp_name_on_server(temp.as_str()))
}

/// Whether a file of this name can only be a temp file.
pub(super) fn is_one(connection: &FtpConnection, name: &str) -> bool {
    connection.usual_temp_name(name).is_some_and(|name| TempName::is_one(&name))
}

/// Parses a name found in a directory on the server.
pub(super) fn read(connection: &FtpConnection, names: &TempNames, name: &str) -> Option<TempName> {
    names.read(&connection.usual_temp_name(name)?)
}

/// Rewrites a failure to name the file first, and its temp name second, which means nothing to a user.
pub(super) fn by_destination(mut failure: Failure, path: &str, temp: &str) -> Failure {
    failure.message = text_by_destination(&failure.message, path, temp);
    failure
}

/// [`by_destination`] for a note.
pub(super) fn text_by_destination(text: &str, path: &str, temp: &str) -> String {
    let (path, temp) = (shown(path), shown(temp));
    if temp == path {
        return text.to_owned();
    }
    text.replacen(&temp, &format!("{path} (under its temp name {temp})"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temp_files_lie_beside_their_files_or_in_a_directory_of_their_own() {
        let mut connection = FtpConnection::default();
        for (path, expected) in [("f", ""), ("a/f", "a/"), ("/f", "/"), ("/a/b/f", "/a/b/")] {
            assert_eq!(directory(&connection, path).unwrap(), expected);
        }
        for path in ["", "a/", "a/..", "."] {
            assert_eq!(directory(&connection, path).unwrap_err().failure.code, Code::PathNotAllowed);
        }
        for (temp_dir, root, expected) in [
            ("/tmp", None, "/tmp/"),
            ("part", None, "part/"),
            ("/", None, "/"),
            ("/tmp", Some("/up"), "/up/tmp/"),
        ] {
            connection.temp_dir = Some(temp_dir.to_owned());
            connection.path_root = root.map(str::to_owned);
            assert_eq!(directory(&connection, "/a/f").unwrap(), expected);
        }
    }

    #[test]
    fn the_destination_is_named_first() {
        let text = "STOR /up/.ftp-pooler-1.tmp: the server said 553";
        assert_eq!(
            text_by_destination(text, "/up/f", "/up/.ftp-pooler-1.tmp"),
            "STOR /up/f (under its temp name /up/.ftp-pooler-1.tmp): the server said 553"
        );
        assert_eq!(text_by_destination("STOR /f: x", "/f", "/f"), "STOR /f: x");
    }
}
