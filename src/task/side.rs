//! `source` and `destination`: a connection's name and a path on it.

use std::collections::BTreeMap;

use super::Operation;
use super::json::{Field, nested, quoted};
use super::path::{self, Kind};
use super::problems::Problems;
use crate::config::Connections;
use crate::failure::Code;
use crate::text::nearest;

/// Connections that an `unknown_connection` lists.
const LISTED_CONNECTIONS: usize = 10;

/// Where an operation's source and its destination lie.
pub(super) fn kinds(operation: Operation) -> (Kind, Kind) {
    match operation {
        Operation::Download => (Kind::Remote, Kind::Local),
        Operation::Upload => (Kind::Local, Kind::Remote),
    }
}

/// `source` or `destination`.
pub(super) struct Side {
    pub connection: String,
    pub path: String,
}

/// Reads one side. Which `kind` it has to be is known once the operation is; before, only its form is checked.
pub(super) fn read(
    field: &Field<'_>,
    paths: [&'static str; 2],
    kind: Option<Kind>,
    connections: &Connections,
    problems: &mut Problems,
) -> Option<Side> {
    let raw = field.required("an object with connection_id and path", problems)?;
    let [connection, path] = nested(field, raw, paths, problems)?;
    let name = connection.required_string("a connection's name", problems);
    let text = path.required_string("a path, not empty", problems);
    if let Some(name) = &name {
        check_connection(connection.path, name, kind, connections, problems);
    }
    if let (Some(text), Some(kind)) = (&text, kind) {
        check_path(path.path, text, kind, problems);
    }
    Some(Side { connection: name?, path: text? })
}

/// Checks a path's form, as far as it can be told without looking at a file system.
pub(super) fn check_path(field: &str, text: &str, kind: Kind, problems: &mut Problems) {
    if let Some(flaw) = path::flaw(text, kind) {
        problems.add(Code::PathNotAllowed, field, format_args!("\"{}\" {flaw}", quoted(text)));
    }
}

fn check_connection(
    field: &str,
    name: &str,
    kind: Option<Kind>,
    connections: &Connections,
    problems: &mut Problems,
) {
    let found = match (connections.ftp.contains_key(name), connections.local.contains_key(name)) {
        (true, _) => Kind::Remote,
        (_, true) => Kind::Local,
        (false, false) => {
            let what =
                format_args!("there is no connection \"{}\"{}", quoted(name), hint(name, kind, connections));
            return problems.add(Code::UnknownConnection, field, what);
        }
    };
    let must_be = match (found, kind) {
        (Kind::Local, Some(Kind::Remote)) => "a local connection, must be an FTP connection",
        (Kind::Remote, Some(Kind::Local)) => "an FTP connection, must be a local connection",
        _ => return,
    };
    let why = "a download goes from FTP to local, an upload from local to FTP";
    problems.invalid(field, format_args!("\"{}\" is {must_be} ({why})", quoted(name)));
}

/// What an unknown connection may have been meant to be, and which there are.
fn hint(name: &str, kind: Option<Kind>, connections: &Connections) -> String {
    let ftp = (kind != Some(Kind::Local)).then(|| names(&connections.ftp)).into_iter().flatten();
    let local = (kind != Some(Kind::Remote)).then(|| names(&connections.local)).into_iter().flatten();
    let known: Vec<&str> = ftp.chain(local).collect();
    let meant = nearest(name, known.iter().copied())
        .map(|meant| format!(", did you mean \"{meant}\"?"))
        .unwrap_or_default();
    let listed = known.get(..LISTED_CONNECTIONS).unwrap_or(&known);
    let more = match known.len() - listed.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let there = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
    format!("{meant} (there are: {there}{more})")
}

fn names<T>(connections: &BTreeMap<String, T>) -> impl Iterator<Item = &str> {
    connections.keys().map(String::as_str)
}
