//! The FTP remotes of an rclone.conf as sections of connections.ini. Pure.

use std::fmt::Write as _;

use ::config::{Value, ValueKind};

use super::connection_keys::{FTP_KEYS, TYPE};
use super::connections::{self, ConnectionContext, ConnectionsFile};
use super::errors::{ConfigErrors, ErrorCollector};
use super::ini::{self, IniSection};
use super::load::FilesInUse;
use super::obscure::reveal;
use super::rclone_keys::RCLONE_ONLY_KEYS;

/// What an encrypted rclone.conf begins with, after its remark.
const ENCRYPTED: &str = "RCLONE_ENCRYPT_V";
/// Stands for the pod's default while sections are checked; they do not depend on it.
const MAX_SESSIONS: usize = 10;

/// Why nothing could be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(
        "{0} is encrypted: `rclone config show > plain.conf` asks for its password and writes what can be \
         imported (remove that file afterwards)"
    )]
    Encrypted(String),
    #[error("{0}")]
    Errors(#[from] ConfigErrors),
}

/// What was taken over.
#[derive(Default, PartialEq, Eq)]
pub struct RcloneImport {
    /// Name and text, in the order of rclone.conf. The text may hold passwords, obscured.
    pub sections: Vec<(String, String)>,
    /// What was left out, and why; a line each, without secrets.
    pub notes: Vec<String>,
    /// FTP remotes with mistakes: no sections were made of them.
    pub refused: Vec<String>,
}

impl std::fmt::Debug for RcloneImport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.sections.iter().map(|(name, _)| name.as_str()).collect();
        let mut shown = f.debug_struct("Imported");
        shown.field("sections", &names).field("notes", &self.notes).field("refused", &self.refused).finish()
    }
}

/// Reads rclone.conf's `text`; `path` names it in mistakes. A remote without a user gets `user`, as rclone takes
/// whoever runs it.
///
/// # Errors
/// The file is encrypted, or is no INI file.
pub fn import_rclone(text: &str, path: &str, user: &str) -> Result<RcloneImport, ImportError> {
    if text.lines().any(|line| line.trim_start().starts_with(ENCRYPTED)) {
        return Err(ImportError::Encrypted(path.to_owned()));
    }
    let mut errors = ErrorCollector::default();
    let mut sections: Vec<(String, IniSection)> = ini::read(text, path, &mut errors).into_iter().collect();
    errors.or(())?;
    sections.sort_by_key(|(_, section)| section.line);
    let mut imported = RcloneImport::default();
    for (name, section) in sections {
        take(&name, &section, path, user, &mut imported);
    }
    Ok(imported)
}

fn take(name: &str, section: &IniSection, path: &str, user: &str, imported: &mut RcloneImport) {
    match value(section, TYPE) {
        Some("ftp") => {}
        Some(other) => {
            return imported.notes.push(format!("[{name}] is left out: its type is {other}, not ftp"));
        }
        None => return imported.notes.push(format!("[{name}] is left out: it has no type")),
    }
    let text = ftp(name, section, user, &mut imported.notes);
    // What a pod would refuse at its start is not put into its file.
    let mut errors = ErrorCollector::default();
    let file = ConnectionsFile { path, text: Some(&text), had_connections: false };
    let context = ConnectionContext { path, max_sessions: MAX_SESSIONS, files: &FilesInUse::All };
    connections::read_text(&file, &context, &mut errors);
    match errors.or(()) {
        Ok(()) => imported.sections.push((name.to_owned(), text)),
        Err(errors) => {
            let whys: Vec<String> =
                errors.errors().iter().map(|error| format!("{}: {}", error.key, error.problem)).collect();
            imported.notes.push(format!("[{name}] is left out: {}", whys.join("; ")));
            imported.refused.push(name.to_owned());
        }
    }
}

fn value<'a>(section: &'a IniSection, key: &str) -> Option<&'a str> {
    match &section.values.get(key)?.kind {
        ValueKind::String(text) => Some(text.trim()),
        _ => None,
    }
}

fn ftp(name: &str, section: &IniSection, user: &str, notes: &mut Vec<String>) -> String {
    let mut text = format!("[{name}]\ntype = ftp\n");
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {value}");
    };
    for key in FTP_KEYS.iter().filter(|key| key.is_rclones && key.path != TYPE) {
        match value(section, key.path) {
            Some(value) => line(key.path, value),
            None if key.path == "user" => {
                notes.push(format!(
                    "[{name}] has no user, where rclone takes whoever runs it: it is {user} now"
                ));
                line("user", user);
            }
            None => {}
        }
    }
    match value(section, "pass").filter(|pass| !pass.is_empty()) {
        None => line("pass", ""),
        Some(pass) => {
            if reveal(pass).is_err() {
                notes.push(format!("[{name}] pass is not obscured as rclone does it"));
            }
            line("obscured_pass", pass);
        }
    }
    for (key, value) in &section.values {
        left_out(name, key, value, notes);
    }
    text
}

/// Tells of a key that is not taken over, unless leaving it out changes nothing.
fn left_out(name: &str, key: &str, value: &Value, notes: &mut Vec<String>) {
    if key == "pass" || FTP_KEYS.iter().any(|known| known.is_rclones && known.path == key) {
        return;
    }
    match RCLONE_ONLY_KEYS.iter().find(|known| known.name == key) {
        Some(known) if known.is_harmless(value) => {}
        Some(known) => notes.push(format!("[{name}] {key} is left out: {}", known.note)),
        // Its value is not shown: a misspelt key may hold a password.
        None => notes.push(format!("[{name}] {key} is left out: nothing here knows it")),
    }
}

/// The names of the sections that a connections.ini has.
///
/// # Errors
/// Its mistakes.
pub fn section_names(text: &str, path: &str) -> Result<Vec<String>, ConfigErrors> {
    let mut errors = ErrorCollector::default();
    let names = ini::read(text, path, &mut errors).into_keys().collect();
    errors.or(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(text: &str) -> RcloneImport {
        import_rclone(text, "rclone.conf", "alice").unwrap()
    }

    #[test]
    fn ftp_remotes_are_taken_over_and_others_are_named() {
        let imported = import(
            "[b]\ntype = ftp\nhost = ftp.example.com\nport = 2121\nuser = u\n\
             pass = YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ\nexplicit_tls = true\nconcurrency = 4\nclose_timeout = 1m30s\n\
             tls_cache_size = 5\nask_password = true\nfancy = secret\n\n[gdrive]\ntype = drive\ntoken = {}\n\
             \n[a]\ntype = ftp\nhost = h\n",
        );
        let (name, text) = &imported.sections[0];
        assert_eq!(name, "b");
        assert_eq!(
            text,
            "[b]\ntype = ftp\nhost = ftp.example.com\nport = 2121\nuser = u\nexplicit_tls = true\n\
             concurrency = 4\nclose_timeout = 1m30s\nobscured_pass = YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ\n"
        );
        assert_eq!(imported.sections[1].1, "[a]\ntype = ftp\nhost = h\nuser = alice\npass = \n");
        let notes = imported.notes.join("\n");
        for told in
            ["[gdrive] is left out: its type is drive", "[b] ask_password", "[b] fancy", "[a] has no user"]
        {
            assert!(notes.contains(told), "{told}: {notes}");
        }
        assert!(!notes.contains("secret") && !notes.contains("tls_cache_size"), "{notes}");
    }

    #[test]
    fn what_a_pod_would_refuse_is_left_out_with_the_reason() {
        let imported = import("[x]\ntype = ftp\nhost = h\nuser = u\nport = 99999\n[y]\nhost = h\n");
        assert!(imported.sections.is_empty());
        assert!(imported.notes[0].contains("port"), "{:?}", imported.notes);
        assert!(imported.notes[1].contains("no type"), "{:?}", imported.notes);
    }

    #[test]
    fn an_encrypted_file_says_what_to_do() {
        let text = "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nb5+jsgKYBg==\n";
        let error = import_rclone(text, "rclone.conf", "u").unwrap_err();
        assert!(error.to_string().contains("rclone config show"), "{error}");
    }

    #[test]
    fn what_is_no_ini_is_a_mistake_with_its_line() {
        let error = import_rclone("[a]\nwhat is this\n", "rclone.conf", "u").unwrap_err();
        assert!(error.to_string().contains("rclone.conf:2:"), "{error}");
    }
}
