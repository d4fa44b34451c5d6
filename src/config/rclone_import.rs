//! Converts the FTP remotes of an rclone.conf to sections of connections.ini. Pure, and as lenient as rclone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::connection_keys::{FTP_KEYS, TYPE};
use super::connections::{self, ConnectionContext, ConnectionsFile};
use super::errors::{ConfigErrors, ErrorCollector};
use super::ini;
use super::kind::KeyKind;
use super::load::FilesInUse;
use super::obscure::reveal;
use super::rclone_keys::RCLONE_ONLY_KEYS;

/// The start of an encrypted rclone.conf, after its comment.
const ENCRYPTED: &str = "RCLONE_ENCRYPT_V";
/// Replaces the pod's default while sections are checked; they do not depend on it.
const MAX_SESSIONS: usize = 10;

/// Why nothing could be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(
        "{0} is encrypted: `rclone config show > plain.conf` asks for its password and writes what can be \
         imported (remove that file afterwards)"
    )]
    Encrypted(String),
}

/// The result of the import.
#[derive(Default, PartialEq, Eq)]
pub struct RcloneImport {
    /// Name and text, in the order of rclone.conf. The text may contain obscured passwords.
    pub sections: Vec<(String, String)>,
    /// What was omitted, and why; one per line, without secrets.
    pub notes: Vec<String>,
    /// FTP remotes with errors, for which no sections were created.
    pub refused: Vec<String>,
    /// FTP remotes of which a key with an effect was omitted.
    pub incomplete: Vec<String>,
}

impl std::fmt::Debug for RcloneImport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.sections.iter().map(|(name, _)| name.as_str()).collect();
        let mut shown = f.debug_struct("RcloneImport");
        shown.field("sections", &names).field("notes", &self.notes);
        shown.field("refused", &self.refused).field("incomplete", &self.incomplete).finish()
    }
}

/// Parses rclone.conf's `text`; `path` names it in notes. A remote without a user gets `user`, as rclone uses the
/// current one. Remotes of other types are not parsed, whatever they contain.
///
/// # Errors
/// The file is encrypted.
pub fn import_rclone(text: &str, path: &str, user: &str) -> Result<RcloneImport, ImportError> {
    if text.lines().any(|line| line.trim_start().starts_with(ENCRYPTED)) {
        return Err(ImportError::Encrypted(path.to_owned()));
    }
    let mut imported = RcloneImport::default();
    for remote in remotes(text) {
        take(&remote, path, user, &mut imported);
    }
    Ok(imported)
}

/// A section of rclone.conf, as rclone reads it: with `=` or `:`; of a repeated key the last one applies.
#[derive(Default)]
struct RcloneRemote {
    name: String,
    keys: BTreeMap<String, String>,
    /// Line numbers that contain no key.
    unreadable: Vec<usize>,
}

fn remotes(text: &str) -> Vec<RcloneRemote> {
    let mut remotes: Vec<RcloneRemote> = Vec::new();
    let mut current = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let known = remotes.iter().position(|remote| remote.name == name.trim());
            current = known.or(Some(remotes.len()));
            if known.is_none() {
                remotes.push(RcloneRemote { name: name.trim().to_owned(), ..RcloneRemote::default() });
            }
            continue;
        }
        // a line before the first section belongs to no remote
        let Some(remote) = current.and_then(|at| remotes.get_mut(at)) else { continue };
        match line.split_once(['=', ':']) {
            Some((key, value)) if !key.trim().is_empty() => {
                remote.keys.insert(key.trim().to_owned(), value.trim().to_owned());
            }
            _ => remote.unreadable.push(index + 1),
        }
    }
    remotes
}

fn take(remote: &RcloneRemote, path: &str, user: &str, imported: &mut RcloneImport) {
    let name = &remote.name;
    match remote.keys.get(TYPE).map(String::as_str) {
        Some("ftp") => {}
        Some(other) => {
            return imported.notes.push(format!("[{name}] is left out: its type is {other}, not ftp"));
        }
        None => return imported.notes.push(format!("[{name}] is left out: it has no type")),
    }
    for line in &remote.unreadable {
        imported.notes.push(format!("{path}:{line}: [{name}] a line that is not `key = value` is left out"));
    }
    let notes = imported.notes.len() - remote.unreadable.len();
    let text = ftp(remote, user, &mut imported.notes);
    if imported.notes.iter().skip(notes).any(|note| note.contains(LEFT_OUT)) {
        imported.incomplete.push(name.clone());
    }
    // A section that a pod would refuse at its start is not written to its file.
    let mut errors = ErrorCollector::default();
    let file = ConnectionsFile { path, text: Some(&text), had_connections: false };
    let context = ConnectionContext::alone(path, MAX_SESSIONS, &FilesInUse::All);
    connections::read_text(&file, &context, &mut errors);
    match errors.or(()) {
        Ok(()) => imported.sections.push((name.clone(), text)),
        Err(errors) => {
            let whys: Vec<String> =
                errors.errors().iter().map(|error| format!("{}: {}", error.key, error.problem)).collect();
            imported.notes.push(format!("[{name}] is left out: {}", whys.join("; ")));
            imported.refused.push(name.clone());
        }
    }
}

/// rclone's flag `--inplace`, as its configuration can contain it for one remote.
const INPLACE_KEYS: [&str; 3] = ["inplace", "override.inplace", "global.inplace"];

/// rclone's flag `--bwlimit`, likewise.
const BWLIMIT_KEYS: [&str; 3] = ["override.bwlimit", "bwlimit", "global.bwlimit"];

/// The values that rclone treats as true.
fn is_on(value: &str) -> bool {
    ["true", "t", "1", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
}

/// Ends the note on each omitted key.
const LEFT_OUT: &str = " is left out";

fn ftp(remote: &RcloneRemote, user: &str, notes: &mut Vec<String>) -> String {
    let name = &remote.name;
    let mut text = format!("[{name}]\ntype = ftp\n");
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {value}");
    };
    // an empty value is rclone's default
    let value = |key: &str| remote.keys.get(key).map(String::as_str).filter(|value| !value.is_empty());
    for key in FTP_KEYS.iter().filter(|key| key.is_rclones && key.path != TYPE) {
        match value(key.path) {
            // rclone's word for an infinite duration
            Some(off) if off.eq_ignore_ascii_case("off") && matches!(key.kind, KeyKind::Time { .. }) => {
                match key.kind.read("0") {
                    Ok(_) => line(key.path, "0"),
                    Err(_) => {
                        notes.push(format!("[{name}] {}{LEFT_OUT}: here each wait has an end", key.path));
                    }
                }
            }
            Some(value) => line(key.path, value),
            None if key.path == "user" => {
                notes.push(format!(
                    "[{name}] has no user, where rclone uses the current user: it is {user} now"
                ));
                line("user", user);
            }
            None => {}
        }
    }
    match value("pass") {
        None => line("pass", ""),
        Some(pass) => {
            if reveal(pass).is_err() {
                notes.push(format!("[{name}] pass is not obscured as rclone does it"));
            }
            line("obscured_pass", pass);
        }
    }
    if INPLACE_KEYS.iter().filter_map(|key| value(key)).any(is_on) {
        line("upload", "in_place");
    }
    if let Some(limit) = BWLIMIT_KEYS.iter().find_map(|key| value(key)) {
        line("bandwidth", limit);
    }
    for key in remote.keys.keys().filter(|key| value(key).is_some()) {
        left_out(remote, key, notes);
    }
    text
}

/// Reports a key that is not imported, unless that changes nothing.
fn left_out(remote: &RcloneRemote, key: &str, notes: &mut Vec<String>) {
    if key == "pass"
        || INPLACE_KEYS.contains(&key)
        || BWLIMIT_KEYS.contains(&key)
        || FTP_KEYS.iter().any(|known| known.is_rclones && known.path == key)
    {
        return;
    }
    let (name, value) = (&remote.name, remote.keys.get(key).cloned().unwrap_or_default());
    match RCLONE_ONLY_KEYS.iter().find(|known| known.name == key) {
        Some(known) if known.is_harmless(&value.into()) => {}
        Some(known) => notes.push(format!("[{name}] {key}{LEFT_OUT}: {}", known.note)),
        // Its value is not shown: a misspelt key may contain a password.
        None => notes.push(format!("[{name}] {key}{LEFT_OUT}: it is not a known key")),
    }
}

/// The names of the sections that a connections.ini has.
///
/// # Errors
/// The errors in it.
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
    fn a_line_that_is_no_key_is_named_and_the_rest_is_taken() {
        let imported = import(
            "[a]\ntype = ftp\nwhat is this\nhost = h\nuser = u\n[b]\ntype = ftp\nhost = h\nuser = u\n",
        );
        assert_eq!(imported.notes, ["rclone.conf:3: [a] a line that is not `key = value` is left out"]);
        assert_eq!((imported.sections.len(), imported.incomplete), (2, vec!["a".to_owned()]));
    }

    /// Case b33.
    #[test]
    fn b33_remotes_of_other_types_are_not_read() {
        let text = "[gdrive (old)]\ntype = drive\ntoken = {}\nno key\n\n[my:remote]\ntype = s3\n\n[partner]\ntype = ftp\n\
                    host = ftp.example.com\nuser = u\npass = YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ\n";
        let imported = import(text);
        assert_eq!(imported.sections.len(), 1);
        assert_eq!(imported.sections[0].0, "partner");
        let notes = imported.notes.join("\n");
        assert!(notes.contains("[gdrive (old)] is left out: its type is drive"), "{notes}");
        assert!(
            notes.contains("[my:remote] is left out: its type is s3") && imported.refused.is_empty(),
            "{notes}"
        );
    }

    #[test]
    fn rclones_inplace_and_no_check_upload_are_taken_over() {
        for key in INPLACE_KEYS {
            let imported = import(&format!(
                "[a]\ntype = ftp\nhost = h\nuser = u\n{key} = true\nno_check_upload = true\n"
            ));
            let expected =
                "[a]\ntype = ftp\nhost = h\nuser = u\nno_check_upload = true\npass = \nupload = in_place\n";
            assert_eq!((imported.sections[0].1.as_str(), imported.notes.len()), (expected, 0), "{key}");
            assert!(imported.incomplete.is_empty());
        }
        let imported = import("[a]\ntype = ftp\nhost = h\nuser = u\ninplace = false\n");
        assert!(!imported.sections[0].1.contains("upload"), "{}", imported.sections[0].1);
    }

    #[test]
    fn rclones_limit_of_bandwidth_is_taken_over() {
        let remote = "[a]\ntype = ftp\nhost = h\nuser = u\n";
        for (keys, limit) in [
            ("bwlimit = 08:00,512k 18:00,off", "08:00,512k 18:00,off"),
            ("override.bwlimit = 10M:1M", "10M:1M"),
            ("global.bwlimit = 1M\noverride.bwlimit = 2M", "2M"),
        ] {
            let imported = import(&format!("{remote}{keys}\n"));
            assert!(imported.sections[0].1.ends_with(&format!("bandwidth = {limit}\n")), "{keys}");
            assert_eq!((imported.notes.len(), imported.incomplete.len()), (0, 0), "{keys}");
        }
        let imported = import(&format!("{remote}bwlimit = fast\n"));
        assert_eq!(imported.refused, ["a"]);
        assert!(imported.notes[0].contains("bandwidth: found `fast`"), "{}", imported.notes[0]);
    }

    #[test]
    fn what_rclone_takes_is_taken() {
        let text = "[a]\ntype: ftp\nhost : first\nhost = second\nuser = u\nport =\nexplicit_tls =\nidle_timeout = off\n\
                    shut_timeout = off\n[b]\ntype = ftp\nhost = h\nuser = u\n[a]\nport = 2121\n[a/b]\ntype = ftp\nhost = h\n\
                    user = u\n";
        let imported = import(text);
        let expected = "[a]\ntype = ftp\nhost = second\nport = 2121\nuser = u\nidle_timeout = 0\npass = \n";
        assert_eq!(imported.sections[0].1, expected);
        assert_eq!(imported.incomplete, ["a"], "it waits for ever in rclone");
        assert_eq!(imported.refused, ["a/b"]);
        let notes = imported.notes.join("\n");
        assert!(notes.contains("[a] shut_timeout is left out: here each wait has an end"), "{notes}");
        assert!(
            notes.contains("[a/b] is left out:") && notes.contains("is not a valid connection name"),
            "{notes}"
        );
    }
}
