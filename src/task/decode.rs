//! Decodes a record's payload to a task, or to a failure that says why it is not one.

use serde_json::value::RawValue;

use super::foreign::{self, ForeignRecord};
use super::json::{JsonField, object, quoted, string};
use super::problems::TaskProblems;
use super::side::{self, TaskSide};
use super::{Operation, Options, Task, options};
use crate::config::ConfiguredConnections;
use crate::failure::{Code, Failure};

/// The maximum length of a `task_id` in bytes.
pub const MAX_TASK_ID_BYTES: usize = 256;

const FIELDS: [&str; 5] = ["task_id", "operation", "source", "destination", "options"];

/// A record that is not a valid task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The task's id, even if the JSON is truncated after it; `None` if it is missing or invalid.
    pub task_id: Option<String>,
    pub failure: Failure,
}

/// Decodes a record's payload; `None` is a tombstone.
///
/// Unknown fields are ignored, whatever they contain. A known field that occurs twice is an error, as it is ambiguous.
/// An error names every invalid field; its code is `invalid_task`, else `unknown_connection`, else `path_not_allowed`.
pub fn decode(payload: Option<&[u8]>, connections: &ConfiguredConnections) -> Result<Task, Rejected> {
    let Some(payload) = payload else {
        return Err(Rejected::record(None, "has no value (a tombstone), must be a JSON object"));
    };
    let fields = top_level(payload)?;
    let mut problems = TaskProblems::default();
    problems.repeated(&fields);
    let [task_id, operation, source, destination, options] = fields;

    let task_id = read_task_id(&task_id, &mut problems);
    let operation = read_operation(&operation, &mut problems);
    let (source_location, destination_location) = operation.map(side::locations).unzip();
    let paths = ["source.connection_id", "source.path"];
    let source = side::read(&source, paths, source_location, connections, &mut problems);
    let paths = ["destination.connection_id", "destination.path"];
    let destination = side::read(&destination, paths, destination_location, connections, &mut problems);
    let options = options::read(&options, operation, &mut problems);
    if let (Some(source), Some(Operation::Download)) = (&source, operation) {
        options::check_move(&options, &source.path, &mut problems);
    }

    let task = assemble(task_id.clone(), operation, source, destination, options);
    match (problems.into_failure(), task) {
        (None, Some(task)) => Ok(task),
        (Some(failure), _) if failure.code == Code::InvalidTask => {
            let envelope = std::str::from_utf8(payload).ok().and_then(foreign::envelope);
            Err(envelope.map_or(Rejected { task_id, failure }, Rejected::foreign))
        }
        (Some(failure), _) => Err(Rejected { task_id, failure }),
        (None, None) => {
            let failure =
                Failure::new(Code::Internal, "a part of the task was not read, and no reason was given");
            Err(Rejected { task_id, failure })
        }
    }
}

impl Rejected {
    /// The record as a whole is not a JSON object.
    fn record(task_id: Option<String>, what: impl std::fmt::Display) -> Self {
        Rejected { task_id, failure: Failure::new(Code::InvalidTask, format!("the record {what}")) }
    }

    /// The record has another program's format; the task's id is that of the JSON in it.
    fn foreign(ForeignRecord { what, inner }: ForeignRecord<'_>) -> Self {
        let task_id = inner.and_then(|json| {
            let ([task_id], _) = object(json, ["task_id"]);
            read_task_id(&task_id, &mut TaskProblems::default())
        });
        Rejected::record(task_id, what)
    }
}

/// The task's own fields, if the payload is a JSON object.
fn top_level(payload: &[u8]) -> Result<[JsonField<'_>; FIELDS.len()], Rejected> {
    if let Some(foreign) = foreign::binary(payload) {
        return Err(Rejected::foreign(foreign));
    }
    let (text, not_utf8) = match std::str::from_utf8(payload) {
        Ok(text) => (text, None),
        Err(error) => {
            let valid = payload.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            (valid, Some(format!("is not UTF-8 (byte {})", error.valid_up_to())))
        }
    };
    let json = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (fields, read) = object(json, FIELDS);
    let defect = match (not_utf8, read) {
        (Some(defect), _) => defect,
        (None, _) if json.len() < text.len() => {
            "begins with a byte order mark (byte 0), must be JSON only".to_owned()
        }
        (None, Err(_)) => no_object(json),
        (None, Ok(())) => return Ok(fields),
    };
    let [task_id, ..] = &fields;
    Err(Rejected::record(read_task_id(task_id, &mut TaskProblems::default()), defect))
}

/// Explains why a text could not be read as an object.
fn no_object(text: &str) -> String {
    if text.trim_ascii().is_empty() {
        return "is empty, must be a JSON object".to_owned();
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) => format!("is {}, must be a JSON object", quoted(json.get())),
        Err(error) => format!("is not JSON: {error}"),
    }
}

fn read_task_id(field: &JsonField<'_>, problems: &mut TaskProblems) -> Option<String> {
    let task_id = field.required_string("a string of 1 to 256 bytes", problems)?;
    if task_id.len() > MAX_TASK_ID_BYTES {
        problems
            .invalid(field.path, format_args!("has {} bytes, may have {MAX_TASK_ID_BYTES}", task_id.len()));
        return None;
    }
    Some(task_id)
}

fn read_operation(field: &JsonField<'_>, problems: &mut TaskProblems) -> Option<Operation> {
    let needed = "\"download\" or \"upload\"";
    let raw = field.required(needed, problems)?;
    match string(raw).as_deref() {
        Some("download") => Some(Operation::Download),
        Some("upload") => Some(Operation::Upload),
        _ => {
            problems.wrong(field.path, raw, needed);
            None
        }
    }
}

/// Assigns the two sides to remote and local. `None` if any part is missing.
fn assemble(
    task_id: Option<String>,
    operation: Option<Operation>,
    source: Option<TaskSide>,
    destination: Option<TaskSide>,
    options: Options,
) -> Option<Task> {
    let (operation, source, destination) = (operation?, source?, destination?);
    let (remote, local) = match operation {
        Operation::Download => (source, destination),
        Operation::Upload => (destination, source),
    };
    Some(Task {
        task_id: task_id?,
        operation,
        remote: remote.connection,
        remote_path: remote.path,
        local: local.connection,
        local_path: local.path,
        options,
    })
}
