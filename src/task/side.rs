//! `source` and `destination`: a connection's name and a path on it.

use std::collections::BTreeMap;

use super::Operation;
use super::json::{JsonField, nested, quoted};
use super::path::{self, PathKind};
use super::problems::TaskProblems;
use crate::config::ConfiguredConnections;
use crate::failure::Code;
use crate::text::nearest;

/// How many connections an `unknown_connection` lists.
const LISTED_CONNECTIONS: usize = 10;

/// Whether an operation's source and destination are remote or local.
pub(super) fn locations(operation: Operation) -> (PathKind, PathKind) {
    match operation {
        Operation::Download => (PathKind::Remote, PathKind::Local),
        Operation::Upload => (PathKind::Local, PathKind::Remote),
    }
}

/// `source` or `destination`.
pub(super) struct TaskSide {
    pub connection: String,
    pub path: String,
}

/// Reads one side. Which `location` it must be is known once the operation is; before that, only its form is checked.
pub(super) fn read(
    field: &JsonField<'_>,
    paths: [&'static str; 2],
    location: Option<PathKind>,
    connections: &ConfiguredConnections,
    problems: &mut TaskProblems,
) -> Option<TaskSide> {
    let raw = field.required("an object with connection_id and path", problems)?;
    let [connection, path] = nested(field, raw, paths, problems)?;
    let name = connection.required_string("a connection's name", problems);
    let text = path.required_string("a path, not empty", problems);
    if let Some(name) = &name {
        check_connection(connection.path, name, location, connections, problems);
    }
    if let (Some(text), Some(location)) = (&text, location) {
        check_path(path.path, text, location, problems);
    }
    Some(TaskSide { connection: name?, path: text? })
}

/// Checks a path's form, as far as possible without a file system.
pub(super) fn check_path(field: &str, text: &str, location: PathKind, problems: &mut TaskProblems) {
    if let Some(defect) = path::defect(text, location) {
        problems.add(Code::PathNotAllowed, field, format_args!("\"{}\" {defect}", quoted(text)));
    }
}

fn check_connection(
    field: &str,
    name: &str,
    location: Option<PathKind>,
    connections: &ConfiguredConnections,
    problems: &mut TaskProblems,
) {
    let found = match (connections.ftp.contains_key(name), connections.local.contains_key(name)) {
        (true, _) => PathKind::Remote,
        (_, true) => PathKind::Local,
        (false, false) => {
            let what = format_args!(
                "there is no connection \"{}\"{}",
                quoted(name),
                hint(name, location, connections)
            );
            return problems.add(Code::UnknownConnection, field, what);
        }
    };
    let must_be = match (found, location) {
        (PathKind::Local, Some(PathKind::Remote)) => "a local connection, must be an FTP connection",
        (PathKind::Remote, Some(PathKind::Local)) => "an FTP connection, must be a local connection",
        _ => return,
    };
    let why = "a download goes from FTP to local, an upload from local to FTP";
    problems.invalid(field, format_args!("\"{}\" is {must_be} ({why})", quoted(name)));
}

/// Suggests the connection that an unknown name may mean, and lists the existing ones.
fn hint(name: &str, location: Option<PathKind>, connections: &ConfiguredConnections) -> String {
    let ftp = (location != Some(PathKind::Local)).then(|| names(&connections.ftp)).into_iter().flatten();
    let local = (location != Some(PathKind::Remote)).then(|| names(&connections.local)).into_iter().flatten();
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
