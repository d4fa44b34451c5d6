//! A connection's password: as it is, obscured as rclone does it, or in a file of its own.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::connection_keys::{OBSCURED_PASS, PASS, PASS_FILE};
use super::keys::Key;
use super::kind::{Kind, MAX_SECRET_BYTES};
use super::obscure;
use super::section_reader::Reading;

const WAYS: [&Key; 3] = [&PASS, &OBSCURED_PASS, &PASS_FILE];

/// Takes the password from whichever of the three keys is set. The environment's overrides the file's,
/// whichever of the three either uses.
pub(super) fn take(reading: &mut Reading<'_>) -> SecretString {
    if WAYS.iter().any(|key| reading.is_from_environment(key)) {
        for key in WAYS {
            if !reading.is_from_environment(key) {
                reading.entries.remove(key.path);
            }
        }
    }
    let mut set = WAYS.into_iter().filter(|key| reading.is_set(key));
    let (way, second) = (set.next(), set.next());
    if let (Some(way), Some(second)) = (way, second) {
        let entry = reading.entries.get(second.path).cloned();
        reading.wrong(
            second.path,
            entry.as_ref(),
            format!("{} is set as well; expected one of them", way.path),
        );
    }
    let Some(way) = way else {
        let problem =
            "is missing; expected pass, obscured_pass or pass_file (for an anonymous server any pass)";
        reading.wrong(PASS.path, None, problem);
        return SecretString::default();
    };
    let entry = reading.entries.get(way.path).cloned();
    // The ways that lost are no unknown keys.
    let others = WAYS.into_iter().filter(|key| key.path != way.path);
    for key in others.collect::<Vec<_>>() {
        reading.entries.remove(key.path);
    }
    let Some(text) = reading.text_if_set(way) else { return SecretString::default() };
    if way.path == PASS_FILE.path {
        reading.mistakes.reads(Path::new(&text));
    }
    match password(way, &text) {
        Ok(password) => password,
        Err(problem) => {
            reading.wrong(way.path, entry.as_ref(), problem);
            SecretString::default()
        }
    }
}

fn password(way: &Key, text: &str) -> Result<SecretString, String> {
    let password = match way.path {
        "obscured_pass" => obscure::reveal(text).map_err(|error| error.to_string())?,
        "pass_file" => from_file(text)?,
        _ => return Ok(SecretString::from(text)),
    };
    match Kind::Secret.read(password.expose_secret()) {
        Ok(_) => Ok(password),
        Err(problem) => Err(format!("the password {problem}")),
    }
}

/// The file's text, without the line break at its end.
pub(super) fn from_file(path: &str) -> Result<SecretString, String> {
    // One more than the longest password and its line break, so that a longer one is noticed.
    const MAX_BYTES: u64 = MAX_SECRET_BYTES as u64 + 3;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
        .map_err(|error| format!("`{path}` cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("`{path}` is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_a_files_end_is_not_the_passwords() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        for (content, password) in [("p", "p"), ("p\n", "p"), ("p\r\n", "p"), (" p \n", " p "), ("", "")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(from_file(path.to_str().unwrap()).unwrap().expose_secret(), password);
        }
    }

    #[test]
    fn a_password_file_with_a_second_line_or_without_end_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        for content in ["hunter2\nsecond\n".to_owned(), "hunter2".repeat(1000)] {
            std::fs::write(&path, content).unwrap();
            let problem = password(&PASS_FILE, path.to_str().unwrap()).unwrap_err();
            assert!(problem.starts_with("the password h"), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        assert!(password(&PASS_FILE, "/nonexistent/file").unwrap_err().contains("/nonexistent/file"));
        assert!(password(&PASS_FILE, "/dev/zero").is_err());
    }
}
