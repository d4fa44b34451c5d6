//! Secrets: a connection's password as obscured by rclone, and secrets in separate files.

use secrecy::{ExposeSecret, SecretString};

use super::connection::FtpConnection;
use super::key::FieldAccess;
use super::kind::{KeyKind, KeyValue};
use super::obscure;

pub(super) const OBSCURED: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        let revealed = obscure::reveal(&value.into_text()).map_err(|error| error.to_string())?;
        ftp.pass = checked(revealed)?;
        Ok(())
    },
    get: |_| KeyValue::ShownByAnother,
};

pub(super) const FILE: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        if let KeyValue::File { path, content } = value {
            ftp.pass = checked(from_file(&path, content)?)?;
        }
        Ok(())
    },
    get: |_| KeyValue::ShownByAnother,
};

fn checked(password: SecretString) -> Result<SecretString, String> {
    match KeyKind::Secret.read(password.expose_secret()) {
        Ok(_) => Ok(password),
        Err(problem) => Err(format!("the password {problem}")),
    }
}

/// The file's text, without a trailing line break.
pub(super) fn from_file(path: &str, content: Vec<u8>) -> Result<SecretString, String> {
    let text = String::from_utf8(content).map_err(|_| format!("`{path}` is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(content: &str) -> Result<String, String> {
        let mut ftp = FtpConnection::default();
        let value = KeyValue::File { path: "/run/secrets/pass".to_owned(), content: content.into() };
        (FILE.set)(&mut ftp, value).map(|()| ftp.pass.expose_secret().to_owned())
    }

    #[test]
    fn one_line_break_at_a_files_end_is_not_part_of_the_password() {
        for (content, expected) in [("p", "p"), ("p\n", "p"), ("p\r\n", "p"), (" p \n", " p "), ("", "")] {
            assert_eq!(password(content).unwrap(), expected);
        }
    }

    #[test]
    fn a_password_file_with_a_second_line_or_of_any_length_is_refused_without_showing_it() {
        for content in ["hunter2\nsecond\n".to_owned(), "hunter2\n\n".to_owned(), "hunter2".repeat(1000)] {
            let problem = password(&content).unwrap_err();
            assert!(
                problem.starts_with("the password h") || problem.starts_with("the password e"),
                "{problem}"
            );
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        let latin1 =
            KeyValue::File { path: "/run/secrets/pass".to_owned(), content: b"hunter2\xe4".to_vec() };
        let problem = (FILE.set)(&mut FtpConnection::default(), latin1).unwrap_err();
        assert_eq!(problem, "`/run/secrets/pass` is not UTF-8");
    }
}
