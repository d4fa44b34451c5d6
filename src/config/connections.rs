//! The sections of connections.ini, overridden and added to by the environment, as typed connections.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::connection_keys::{self as keys, FOREIGN, Foreign, Taken};
use super::encoding::NameEncoding;
use super::entry::{At, Entry, Said};
use super::environment::{ConnectionVariable, normalized};
use super::errors::{Mistakes, SourceLocation};
use super::ini::{self, Section};
use super::kind::{charset, quoted, time_offset};
use super::network;
use super::password;
use super::section_reader::{Reading, Scope};
use super::tls;
use super::{
    ConfiguredConnections, FtpConnection, LocalConnection, MinRate, RenameOver, SessionTimeouts, TlsMode,
};
use crate::text::nearest;

/// OpenSSL forgets a TLS session 300 s after it was made, and then no data connection can resume it.
const TLS_SESSION_AGE: Duration = Duration::from_secs(270);

/// Where connections.ini is and what it says; `None` where it is not there.
pub(super) struct File<'a> {
    pub path: &'a str,
    pub text: Option<&'a str>,
    /// When it was read last: then it must have some still, whatever the environment adds. A file that is cut short, or
    /// that a mount shows empty for a moment, must not remove them all.
    pub had_connections: bool,
    /// Every `base_path` has to be a directory here.
    pub needs_directories: bool,
}

/// Reads all connections. `max_sessions` is `pool.max_sessions_per_connection`.
pub(super) fn read(
    file: &File<'_>,
    variables: Vec<ConnectionVariable>,
    max_sessions: usize,
    mistakes: &mut Mistakes,
) -> ConfiguredConnections {
    let mut sections = file.text.map(|text| ini::read(text, file.path, mistakes)).unwrap_or_default();
    let in_file = !sections.is_empty();
    if file.text.is_some() && !in_file && (file.had_connections || variables.is_empty()) {
        mistakes.in_file(file.path, None, "has no connection; expected sections such as [remote-ftp]");
    }
    let only_variables = override_sections(&mut sections, variables, mistakes);
    let mut connections = ConfiguredConnections { in_file, ..ConfiguredConnections::default() };
    for (name, section) in sections {
        let line = (!only_variables.contains_key(&name)).then_some(section.line);
        let scope = Scope { name: &name, line };
        let mut reading =
            Reading { file: file.path, connection: Some(scope), entries: section.entries, mistakes };
        match kind(&mut reading, only_variables.get(&name)) {
            Some(Type::Ftp) => {
                let ftp = ftp(&name, &mut reading, max_sessions);
                connections.ftp.insert(name, Arc::new(ftp));
            }
            Some(Type::Local) => {
                let local = local(&name, &mut reading, file.needs_directories);
                connections.local.insert(name, Arc::new(local));
            }
            None => {}
        }
    }
    connections
}

/// Puts the variables' values into the sections; gives the connections that only the environment defines,
/// with the hint for one that was meant to be in the file.
fn override_sections(
    sections: &mut BTreeMap<String, Section>,
    variables: Vec<ConnectionVariable>,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, String> {
    let in_file: Vec<String> = sections.keys().cloned().collect();
    let mut only_variables = BTreeMap::new();
    for ConnectionVariable { name, key, entry } in variables {
        let mut matches = in_file.iter().filter(|known| normalized(known) == name);
        let target = match (matches.next(), matches.next()) {
            (Some(one), None) => one.clone(),
            (Some(one), Some(other)) => {
                let At::Variable(variable) = &entry.at else { continue };
                let problem = format!("means [{one}] as well as [{other}]; rename one of them");
                mistakes.add(SourceLocation::Environment, variable, problem);
                continue;
            }
            (None, _) => {
                let new = name.replace('_', "-");
                let near = nearest(&new, in_file.iter().map(String::as_str));
                let hint = near.map(|near| format!("; did you mean [{near}]?")).unwrap_or_default();
                only_variables.insert(new.clone(), hint);
                new
            }
        };
        let section = sections.entry(target).or_insert_with(|| Section { line: 0, entries: BTreeMap::new() });
        section.entries.insert(key, entry);
    }
    only_variables
}

enum Type {
    Ftp,
    Local,
}

/// The section's type. Without one nothing else in it can be checked.
fn kind(reading: &mut Reading<'_>, only_variables: Option<&String>) -> Option<Type> {
    if let (Some(hint), false) = (only_variables, reading.is_set(&keys::TYPE)) {
        let (key, entry) = reading.entries.pop_first()?;
        let problem = format!("no section has this name, and a new connection needs its TYPE{hint}");
        reading.wrong(&key, Some(&entry), problem);
        return None;
    }
    match reading.text(&keys::TYPE).as_str() {
        "ftp" => Some(Type::Ftp),
        "local" => Some(Type::Local),
        _ => None,
    }
}

fn ftp(name: &str, reading: &mut Reading<'_>, max_sessions: usize) -> FtpConnection {
    let pass = password::take(reading);
    let network = network::take(reading);
    let path_root = path_root(reading);
    let rename_over = match reading.text(&keys::RENAME_OVER).as_str() {
        "delete_first" => RenameOver::DeleteFirst,
        _ => RenameOver::Auto,
    };
    let tls = tls::take(reading);
    let standard_age = (tls.mode != TlsMode::Off).then_some(TLS_SESSION_AGE);
    let connection = FtpConnection {
        name: name.to_owned(),
        host: reading.text(&keys::HOST),
        port: reading.port(&keys::PORT),
        user: reading.text(&keys::USER),
        pass,
        max_sessions: sessions(reading, max_sessions),
        max_session_age: reading.time_if_set(&keys::MAX_SESSION_AGE).or(standard_age),
        max_session_transfers: Some(reading.number(&keys::MAX_SESSION_TRANSFERS)).filter(|most| *most > 0),
        tls,
        network,
        path_root,
        disable_epsv: reading.flag(&keys::DISABLE_EPSV),
        disable_utf8: reading.flag(&keys::DISABLE_UTF8),
        charset: charset(&reading.text(&keys::CHARSET)).ok().filter(|charset| *charset != encoding_rs::UTF_8),
        time_offset: reading.text_if_set(&keys::TIME_OFFSET).and_then(|text| time_offset(&text)),
        encoding: reading.text_if_set(&keys::ENCODING).and_then(|text| NameEncoding::parse(&text).ok()),
        writing_mdtm: reading.flag(&keys::WRITING_MDTM),
        idle_timeout: reading.time_if_set(&keys::IDLE_TIMEOUT),
        rename_over,
        resume: reading.flag(&keys::RESUME),
        max_file_size: reading.number(&keys::MAX_FILE_SIZE),
        min_rate: MinRate {
            bytes_per_second: reading.number(&keys::MIN_RATE),
            window: reading.time(&keys::MIN_RATE_WINDOW),
        },
        timeouts: SessionTimeouts {
            connect: reading.time(&keys::CONNECT_TIMEOUT),
            greeting: reading.time(&keys::GREETING_TIMEOUT),
            login: reading.time(&keys::LOGIN_TIMEOUT),
            reply: reading.time(&keys::REPLY_TIMEOUT),
            first_byte: reading.time(&keys::FIRST_BYTE_TIMEOUT),
            stall: reading.time(&keys::STALL_TIMEOUT),
            close: close_timeout(reading),
            hash: reading.time(&keys::HASH_TIMEOUT),
        },
    };
    take_foreign(reading);
    reading.refuse_the_rest(keys::FTP);
    connection
}

/// rclone waits twice when a transfer ends, and has a key for each; here it is one wait.
fn close_timeout(reading: &mut Reading<'_>) -> Duration {
    let (close, shut) = (reading.time(&keys::CLOSE_TIMEOUT), reading.time_if_set(&keys::SHUT_TIMEOUT));
    shut.map_or(close, |shut| shut.min(close))
}

fn path_root(reading: &mut Reading<'_>) -> Option<String> {
    let entry = reading.entries.get(keys::PATH_ROOT.path).cloned();
    let root = reading.text_if_set(&keys::PATH_ROOT)?;
    if root.split('/').any(|component| component == "..") {
        reading.wrong(keys::PATH_ROOT.path, entry.as_ref(), "expected a path without `..`");
    }
    match root.trim_end_matches('/') {
        "" => Some("/".to_owned()),
        root => Some(root.to_owned()),
    }
}

/// `max_sessions`, else the pod's default; rclone's `concurrency` can only lower it, and 0 is no limit.
fn sessions(reading: &mut Reading<'_>, standard: usize) -> usize {
    let own = reading.number_if_set(&keys::MAX_SESSIONS).and_then(|n| usize::try_from(n).ok());
    let ceiling = own.unwrap_or(standard);
    match reading.count(&keys::CONCURRENCY) {
        0 => ceiling,
        concurrency => concurrency.min(ceiling),
    }
}

/// rclone's keys that this version does not have: right where they change nothing, else a mistake.
fn take_foreign(reading: &mut Reading<'_>) {
    for foreign in FOREIGN {
        let Some(entry) = reading.entries.remove(foreign.name) else { continue };
        if !is_harmless(foreign, &entry) {
            let problem =
                format!("rclone's key {} is not supported in this version: {}", foreign.name, foreign.note);
            reading.wrong(foreign.name, Some(&entry), problem);
        }
    }
}

pub(super) fn is_harmless(foreign: &Foreign, entry: &Entry) -> bool {
    match (foreign.taken, &entry.said) {
        (Taken::Any, _) => true,
        (Taken::Only(values), Said::One(value)) => {
            values.contains(&value.trim().to_ascii_lowercase().as_str())
        }
        (Taken::Only(_), _) => false,
    }
}

fn local(name: &str, reading: &mut Reading<'_>, needs_directory: bool) -> LocalConnection {
    let entry = reading.entries.get(keys::BASE_PATH.path).cloned();
    let text = reading.text(&keys::BASE_PATH);
    // Components, so that `/data//storage/` and `/data/storage` are one path.
    let base_path: PathBuf = Path::new(&text).components().collect();
    if needs_directory
        && !text.is_empty()
        && let Err(problem) = check_directory(&base_path)
    {
        reading.wrong(keys::BASE_PATH.path, entry.as_ref(), problem);
    }
    reading.entries.remove("description");
    reading.refuse_the_rest(keys::LOCAL);
    LocalConnection { name: name.to_owned(), base_path }
}

fn check_directory(path: &Path) -> Result<(), String> {
    let shown = quoted(&path.display().to_string());
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("{shown} is not a directory")),
        Err(error) => Err(format!("{shown}: {error}; expected a directory that is there")),
    }
}
