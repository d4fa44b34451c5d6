//! Encodes an outcome as the message that is sent, within its topic's size limit.

use std::borrow::Cow;

use super::envelope::Envelope;
use super::json::{fitting, push_string, string_len};
use super::original::Original;
use super::transfer_details::MAX_DETAILS_BYTES;
use super::{Completed, Outcome, Verdict};
use crate::failure::{Code, Failure, MAX_MESSAGE_BYTES};
use crate::record::{Header, RetryState};
use crate::text::{char_boundary, rfc3339};

/// Every required field fits into this size, even with a `task_id` of which each byte takes six in JSON, and so do a
/// part of a failure's message and of its original.
pub const MIN_MESSAGE_BYTES: usize = 4096;
/// The smallest size limit that can be requested; a smaller one counts as this. Below [`MIN_MESSAGE_BYTES`] the message
/// is as small as possible: `task_id` and the required fields remain, with an empty message and a null original, and it
/// may be larger than requested.
pub const LEAST_MESSAGE_BYTES: usize = 256;

/// The space reserved for an error's message and for a failure's original, if they need that much.
const MIN_ERROR_BYTES: usize = 256;
const MIN_ORIGINAL_BYTES: usize = 64;

const TRUNCATED: &str = r#","truncated":true"#;
const NOTES: &str = r#","notes":["#;
const TASK: &str = r#","task":"#;

/// The topic that a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerKind {
    Result,
    Failure,
    /// For the retry topic: the record unchanged.
    Deferral,
}

/// A message to be sent; borrows key and headers from the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    pub kind: AnswerKind,
    /// The `task_id`, or if there is none the record's own key.
    pub key: Option<&'a [u8]>,
    /// The record's, in order; our own are removed, or for the retry topic rewritten.
    pub headers: Vec<Cow<'a, Header>>,
    /// One JSON object.
    pub payload: Vec<u8>,
    /// Something was omitted to keep within the size. The payload says so, too.
    pub truncated: bool,
}

impl Outcome {
    /// The topic that the answer is for.
    pub fn kind(&self) -> AnswerKind {
        match self.verdict {
            Verdict::Completed(_) => AnswerKind::Result,
            Verdict::Failed(_) => AnswerKind::Failure,
            Verdict::Deferred(_) => AnswerKind::Deferral,
        }
    }

    /// Encodes the answer so that the record has at most `max_bytes` (at least [`MIN_MESSAGE_BYTES`]; as far as
    /// possible, [`LEAST_MESSAGE_BYTES`]), including its key, headers and Kafka's own overhead: this is what a topic's
    /// `max.message.bytes` limits.
    ///
    /// To fit, a failure's original is truncated first, then its error's message; a result's notes are dropped.
    /// Headers, and after them the record's own key, are dropped only if they alone leave no room for an answer.
    pub fn encode(&self, max_bytes: usize) -> Answer<'_> {
        let max_bytes = max_bytes.max(LEAST_MESSAGE_BYTES);
        match &self.verdict {
            Verdict::Completed(completed) => self.encode_result(completed, max_bytes),
            Verdict::Failed(failure) => self.encode_failure(failure, max_bytes),
            Verdict::Deferred(state) => self.encode_deferral(state, max_bytes),
        }
    }

    /// The record unchanged; a failure if there is no room for it, since a task cannot be truncated.
    fn encode_deferral(&self, state: &RetryState, max_bytes: usize) -> Answer<'_> {
        let payload = self.record.payload.as_deref().unwrap_or_default();
        let envelope = Envelope::of_deferral(&self.record, state.headers(), max_bytes);
        if let Some(envelope) = envelope.filter(|envelope| payload.len() <= envelope.room) {
            return envelope.deferral(payload.to_vec());
        }
        let message =
            format!("cannot be deferred: the retry topic takes no record of {} bytes", payload.len());
        self.encode_failure(&Failure::new(Code::ConnectionUnavailable, message), max_bytes)
    }

    fn encode_result(&self, completed: &Completed, max_bytes: usize) -> Answer<'_> {
        let mut out = String::with_capacity(256);
        out.push_str(r#"{"task_id":"#);
        push_nullable(&mut out, self.task_id.as_deref());
        out.push_str(r#","status":"completed","bytes_transferred":"#);
        out.push_str(&completed.bytes_transferred.to_string());
        out.push_str(r#","duration_ms":"#);
        out.push_str(&u64::try_from(completed.duration.as_millis()).unwrap_or(u64::MAX).to_string());
        out.push_str(r#","completed_at":""#);
        out.push_str(&rfc3339(self.at));
        out.push_str(r#"","attempts":"#);
        out.push_str(&self.attempts.to_string());

        let file = Some(completed.details.file_members()).filter(|file| file.len() <= max_bytes / 4);
        out.push_str(file.as_deref().unwrap_or_default());
        let details = Some(completed.details.members(completed.bytes_transferred));
        let details = details.filter(|details| details.len() <= MAX_DETAILS_BYTES.min(max_bytes / 4));
        out.push_str(details.as_deref().unwrap_or_default());

        let needed = out.len() + TRUNCATED.len() + 1;
        let envelope = Envelope::of(self, max_bytes, needed);
        let notes = fitting_notes(&completed.notes, envelope.room.saturating_sub(needed));
        let truncated =
            envelope.cut || file.is_none() || details.is_none() || notes.len() < completed.notes.len();
        if let Some((first, rest)) = notes.split_first() {
            out.push_str(NOTES);
            push_string(&mut out, first);
            for note in rest {
                out.push(',');
                push_string(&mut out, note);
            }
            out.push(']');
        }
        if truncated {
            out.push_str(TRUNCATED);
        }
        out.push('}');
        envelope.answer(AnswerKind::Result, out, truncated)
    }

    fn encode_failure<'a>(&'a self, failure: &Failure, max_bytes: usize) -> Answer<'a> {
        let (before, after) = self.around_message(failure);
        let fixed = before.len() + after.len() + TASK.len() + 1;
        let envelope =
            Envelope::of(self, max_bytes, fixed + TRUNCATED.len() + MIN_ERROR_BYTES + MIN_ORIGINAL_BYTES);

        // The fields are public, so the message may not have been created by `Failure::new`.
        let bound = char_boundary(&failure.message, MAX_MESSAGE_BYTES);
        let mut message = failure.message.get(..bound).unwrap_or_default();
        let mut original = Original::of(self.record.payload.as_deref());
        let room = envelope.room.saturating_sub(fixed);
        let too_large = string_len(message) + original.len() > room;
        let truncated = too_large || envelope.cut;
        if truncated {
            let room = room.saturating_sub(TRUNCATED.len());
            message = fitting(message, room.saturating_sub(MIN_ORIGINAL_BYTES.min(original.len())));
            original = original.fitting(room.saturating_sub(string_len(message)));
        }

        let mut out = String::with_capacity(fixed + TRUNCATED.len() + string_len(message) + original.len());
        out.push_str(&before);
        push_string(&mut out, message);
        out.push_str(&after);
        if truncated {
            out.push_str(TRUNCATED);
        }
        out.push_str(TASK);
        original.push_to(&mut out);
        out.push('}');
        envelope.answer(AnswerKind::Failure, out, truncated)
    }

    /// A failure's required fields except the original: what precedes the error's message, and what follows it.
    fn around_message(&self, failure: &Failure) -> (String, String) {
        let mut before = String::with_capacity(192);
        before.push_str(r#"{"task_id":"#);
        push_nullable(&mut before, self.task_id.as_deref());
        before.push_str(r#","status":"failed","error":{"code":""#);
        before.push_str(failure.code.as_str());
        before.push_str(r#"","message":"#);

        let ftp_code = failure.ftp_code.map_or_else(|| "null".to_owned(), |code| code.to_string());
        let after = format!(
            r#","retryable":{},"ftp_code":{ftp_code}}},"attempts":{},"failed_at":"{}""#,
            failure.code.is_retryable(),
            self.attempts,
            rfc3339(self.at),
        );
        (before, after)
    }
}

/// The first of the notes, as many as fit into `room` as a member `notes`.
fn fitting_notes(notes: &[String], room: usize) -> &[String] {
    let mut left = room.saturating_sub(NOTES.len() + 1);
    let fitting = notes.iter().take_while(|note| {
        // Each including its comma.
        left.checked_sub(string_len(note) + 1).map(|rest| left = rest).is_some()
    });
    notes.get(..fitting.count()).unwrap_or_default()
}

fn push_nullable(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => push_string(out, text),
        None => out.push_str("null"),
    }
}
