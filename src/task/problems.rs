//! The problems of a task, collected into one failure that names them all.

use std::fmt::Display;

use serde_json::value::RawValue;

use super::json::{JsonField, JsonValue, quoted};
use crate::failure::{Code, Failure};
use crate::text::shorten;

/// How many problems a message names; the others are counted.
const NAMED_PROBLEMS: usize = 5;
/// The maximum length of such a message in bytes.
const MAX_MESSAGE_BYTES: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct TaskProblems {
    list: Vec<(Code, String)>,
}

impl TaskProblems {
    pub fn add(&mut self, code: Code, field: &str, what: impl Display) {
        self.list.push((code, format!("{field}: {what}")));
    }

    /// A field that breaks the contract.
    pub fn invalid(&mut self, field: &str, what: impl Display) {
        self.add(Code::InvalidTask, field, what);
    }

    /// A field whose value is not what it must be.
    pub fn wrong(&mut self, field: &str, found: &RawValue, needed: impl Display) {
        self.invalid(field, format_args!("is {}, must be {needed}", quoted(found.get())));
    }

    /// Fields that occur more than once in their object.
    pub fn repeated(&mut self, fields: &[JsonField<'_>]) {
        for field in fields.iter().filter(|field| matches!(field.value, JsonValue::Repeated)) {
            self.invalid(field.path, "occurs more than once");
        }
    }

    /// The failure that names them all, the most basic ones first, with the code of the first; `None` if
    /// there are no problems.
    pub fn into_failure(mut self) -> Option<Failure> {
        self.list.sort_by_key(|(code, _)| rank(*code));
        let code = self.list.first()?.0;
        let texts: Vec<&str> = self.list.iter().take(NAMED_PROBLEMS).map(|(_, text)| text.as_str()).collect();
        let mut message = texts.join("; ");
        let more = match self.list.len() - texts.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        shorten(&mut message, MAX_MESSAGE_BYTES - more.len());
        Some(Failure::new(code, message + &more))
    }
}

/// An invalid task ranks before an unknown connection, and that before its path.
fn rank(code: Code) -> u8 {
    match code {
        Code::InvalidTask => 0,
        Code::UnknownConnection => 1,
        _ => 2,
    }
}
