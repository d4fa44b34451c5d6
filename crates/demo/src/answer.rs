//! Whether an answer is the one that the contract wants for its record. Pure.

use std::str::FromStr as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::plan::{Expected, Planned, Refusal};

/// Each record carries this header, with its key as the value; its answer must carry it back.
pub const HEADER: &str = "demo-record";

/// The topic that an answer was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Result,
    Failure,
}

/// A message of the result or the failure topic.
#[derive(Clone, Debug)]
pub struct Answer {
    pub kind: Kind,
    pub key: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub payload: String,
}

impl Answer {
    /// `error.code` of a failure.
    pub fn code(&self) -> Option<String> {
        let message: Value = serde_json::from_str(&self.payload).ok()?;
        Some(message.pointer("/error/code")?.as_str()?.to_owned())
    }

    /// Whether this is the right answer to `planned`; `Err` says what is wrong with it.
    pub fn check(&self, planned: &Planned) -> Result<(), String> {
        let message: Value =
            serde_json::from_str(&self.payload).map_err(|error| format!("the answer is no JSON: {error}"))?;
        if self.headers != [(HEADER.to_owned(), planned.key.clone().into_bytes())] {
            return Err(format!("the record's headers did not come back: {:?}", self.headers));
        }
        match (&planned.expected, self.kind) {
            (Expected::Moved { file, .. }, Kind::Result) => check_result(&message, &planned.key, file.size()),
            (Expected::Refused(refusal), Kind::Failure) => check_failure(&message, planned, refusal),
            (Expected::Moved { .. }, Kind::Failure) => Err(format!("failed: {}", told(&message))),
            (Expected::Refused(refusal), Kind::Result) => {
                Err(format!("completed, should have failed with {}", refusal.code))
            }
        }
    }
}

fn check_result(message: &Value, key: &str, bytes: usize) -> Result<(), String> {
    expect(message, "/task_id", &json!(key))?;
    expect(message, "/status", &json!("completed"))?;
    expect(message, "/bytes_transferred", &json!(bytes))?;
    holds(message, "/duration_ms", "a number", Value::is_u64)?;
    holds(message, "/completed_at", "a time", is_time)
}

fn check_failure(message: &Value, planned: &Planned, refusal: &Refusal) -> Result<(), String> {
    if message.pointer("/error/code") != Some(&json!(refusal.code)) {
        return Err(format!("failed with another code than {}: {}", refusal.code, told(message)));
    }
    let id = refusal.has_id.then_some(&planned.key);
    expect(message, "/task_id", &json!(id))?;
    expect(message, "/status", &json!("failed"))?;
    expect(message, "/error/retryable", &json!(refusal.is_retryable()))?;
    expect(message, "/task", &original(planned.payload.as_deref()))?;
    holds(message, "/error/message", "a text", |text| text.as_str().is_some_and(|text| !text.is_empty()))?;
    holds(message, "/error/ftp_code", "a reply code or null", |code| code.is_null() || code.is_u64())?;
    holds(message, "/failed_at", "a time", is_time)?;
    let begun =
        |attempts: &Value| attempts.as_u64().is_some_and(|attempts| (attempts > 0) == refusal.is_begun);
    holds(message, "/attempts", if refusal.is_begun { "1 or more" } else { "0" }, begun)
}

/// How a failure shows the record it answers.
fn original(payload: Option<&str>) -> Value {
    let Some(text) = payload else { return Value::Null };
    serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(|| json!({"raw": text}))
}

/// A failure in its own words.
fn told(message: &Value) -> String {
    message.get("error").map_or_else(|| message.to_string(), Value::to_string)
}

fn expect(message: &Value, field: &str, expected: &Value) -> Result<(), String> {
    holds(message, field, &expected.to_string(), |found| found == expected)
}

fn holds(message: &Value, field: &str, expected: &str, holds: impl Fn(&Value) -> bool) -> Result<(), String> {
    match message.pointer(field) {
        Some(found) if holds(found) => Ok(()),
        Some(found) => Err(format!("{field} is {found}, should be {expected}")),
        None => Err(format!("{field} is missing, should be {expected}")),
    }
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| Timestamp::from_str(text).is_ok())
}
