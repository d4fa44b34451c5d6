//! The pool's messages, as a reader of its two answer topics understands them.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::task::Task;

/// What the pool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadAnswer {
    pub task_id: Option<String>,
    /// When it was answered, by the pod's clock.
    pub at: Option<Timestamp>,
    pub verdict: AnswerStatus,
}

/// Which file it is about: `CONNECTION:PATH`, the source and the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct FileEnds {
    pub source: Option<String>,
    pub destination: Option<String>,
}

impl FileEnds {
    pub fn of_task(task: &Task) -> FileEnds {
        FileEnds { source: Some(task.source()), destination: Some(task.destination()) }
    }

    /// As far as the JSON says them: it may be no task.
    fn of_json(task: &Value) -> FileEnds {
        let end = |side: &str| {
            let side = task.get(side)?;
            let text = |name: &str| side.get(name).and_then(Value::as_str);
            Some(format!("{}:{}", text("connection_id")?, text("path")?))
        };
        FileEnds { source: end("source"), destination: end("destination") }
    }
}

/// `remote-ftp:/pub/a → local:/in/a`; nothing where neither is known.
impl fmt::Display for FileEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, &self.destination) {
            (None, None) => Ok(()),
            (source, destination) => {
                let known = |end: &Option<String>| end.clone().unwrap_or_else(|| "?".to_owned());
                write!(f, "{} → {}", known(source), known(destination))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AnswerStatus {
    Completed { bytes: u64 },
    Failed(FailureAnswer),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailureAnswer {
    pub code: String,
    pub message: String,
    pub is_retryable: bool,
    pub attempts: u64,
    /// The FTP connection that the task names, if known.
    pub connection: Option<String>,
    pub file: FileEnds,
    /// The original task; `None` where the record was no JSON object, or was cut.
    pub task: Option<String>,
    /// Something of the original was cut off.
    pub is_truncated: bool,
}

#[derive(Deserialize)]
struct AnswerJson<'a> {
    #[serde(borrow, default)]
    task_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(default)]
    bytes_transferred: u64,
    #[serde(borrow, default)]
    error: Option<WireError<'a>>,
    #[serde(default)]
    attempts: u64,
    #[serde(borrow, default)]
    completed_at: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    failed_at: Option<Cow<'a, str>>,
    #[serde(default)]
    truncated: bool,
    #[serde(borrow, default)]
    task: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireError<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(default)]
    retryable: bool,
}

impl ReadAnswer {
    /// Reads a message; `None` if it is not the pool's.
    pub fn read(payload: Option<&[u8]>) -> Option<ReadAnswer> {
        let wire: AnswerJson<'_> = serde_json::from_slice(payload?).ok()?;
        let (at, verdict) = match (&*wire.status, wire.error) {
            ("completed", _) => {
                (wire.completed_at, AnswerStatus::Completed { bytes: wire.bytes_transferred })
            }
            ("failed", Some(error)) => {
                let task = wire.task.map(RawValue::get).filter(|task| is_task(task));
                let json: Value = task.and_then(|task| serde_json::from_str(task).ok()).unwrap_or_default();
                let failed = FailureAnswer {
                    code: error.code.into_owned(),
                    message: error.message.into_owned(),
                    is_retryable: error.retryable,
                    attempts: wire.attempts,
                    connection: connection_of(&json),
                    file: FileEnds::of_json(&json),
                    task: task.map(str::to_owned),
                    is_truncated: wire.truncated,
                };
                (wire.failed_at, AnswerStatus::Failed(failed))
            }
            _ => return None,
        };
        let at = at.and_then(|at: Cow<'_, str>| at.parse().ok());
        Some(ReadAnswer { task_id: wire.task_id.map(Cow::into_owned), at, verdict })
    }
}

/// Not an object that wraps a record that was not a task: `{"raw": …}`, `{"raw_base64": …}`.
fn is_task(json: &str) -> bool {
    #[derive(Deserialize)]
    struct OriginalJson<'a> {
        #[serde(borrow, default)]
        raw: Option<&'a RawValue>,
        #[serde(borrow, default)]
        raw_base64: Option<&'a RawValue>,
        #[serde(borrow, default)]
        task_id: Option<&'a RawValue>,
    }
    json.starts_with('{')
        && serde_json::from_str::<OriginalJson<'_>>(json)
            .map_or(true, |raw| raw.task_id.is_some() || (raw.raw.is_none() && raw.raw_base64.is_none()))
}

/// The remote side's connection, as far as the task says one.
fn connection_of(task: &Value) -> Option<String> {
    let is_upload = task.get("operation").is_some_and(|operation| operation == "upload");
    let side = task.get(if is_upload { "destination" } else { "source" })?;
    side.get("connection_id")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(json: &str) -> FailureAnswer {
        match ReadAnswer::read(Some(json.as_bytes())).unwrap().verdict {
            AnswerStatus::Failed(failed) => failed,
            AnswerStatus::Completed { .. } => panic!("completed"),
        }
    }

    #[test]
    fn both_kinds_of_answers_are_read() {
        let result = r#"{"task_id":"a","status":"completed","bytes_transferred":7,"duration_ms":1,
            "completed_at":"2025-01-15T10:30:00.000Z","notes":["x"]}"#;
        let answer = ReadAnswer::read(Some(result.as_bytes())).unwrap();
        assert_eq!(answer.verdict, AnswerStatus::Completed { bytes: 7 });
        assert_eq!(answer.at.unwrap().to_string(), "2025-01-15T10:30:00Z");

        let failure = r#"{"task_id":null,"status":"failed","error":{"code":"timeout","message":"m",
            "retryable":true,"ftp_code":null},"attempts":4,"failed_at":"2025-01-15T10:30:00.000Z",
            "task":{"operation":"upload","task_id":"a","n":1.0,"source":{"connection_id":"here","path":"/a"},
            "destination":{"connection_id":"there","path":"/b"}}}"#;
        let failed = failed(failure);
        assert_eq!((failed.code.as_str(), failed.connection.as_deref()), ("timeout", Some("there")));
        assert!(failed.task.unwrap().contains("1.0"), "numbers stay as they are");
        assert_eq!(failed.file.to_string(), "here:/a → there:/b");
    }

    #[test]
    fn what_was_no_task_cannot_be_sent_again() {
        for task in [r#"{"raw":"{\"task_id\": 1"}"#, r#"{"raw_base64":"/w=="}"#, "null"] {
            let json = format!(
                r#"{{"status":"failed","error":{{"code":"invalid_task"}},"truncated":true,"task":{task}}}"#
            );
            let failed = failed(&json);
            assert_eq!((failed.task, failed.is_truncated), (None, true));
        }
    }

    #[test]
    fn a_message_of_somebody_else_is_none() {
        for payload in [&b"{}"[..], b"", b"x", b"{\"status\":\"open\"}", b"[1]"] {
            assert_eq!(ReadAnswer::read(Some(payload)), None);
        }
        assert_eq!(ReadAnswer::read(None), None);
    }
}
