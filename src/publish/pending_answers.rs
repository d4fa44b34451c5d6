//! Answers on their way to Kafka, and how a batch of them is chosen, encoded and sorted afterwards.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::MAX_BATCH;
use super::refusing_topics::Refusal;
use crate::failure::{Code, Failure};
use crate::lease::Lease;
use crate::outcome::AdmittedOutcome;
use crate::outcome::{Answer, AnswerKind, LEAST_MESSAGE_BYTES, Verdict};
use crate::record::{Header, Origin};

/// librdkafka's and Kafka's default limit of a message, less room for the record's framing.
pub(super) const MAX_ANSWER_BYTES: usize = 1_000_000 - 1_024;
/// An answer that Kafka rejects even so is retried after this, in a separate batch; the others continue.
pub(super) const ASIDE: Duration = Duration::from_secs(60);

/// Where an answer goes besides its own topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReplyRoute {
    Undecided,
    Nowhere,
    To(String),
}

/// An answer that is not yet committed.
pub(super) struct PendingAnswer {
    pub answered: AdmittedOutcome,
    /// The largest message that it may become.
    max_bytes: usize,
    /// Not tried before this.
    aside_until: Option<Instant>,
    pub reply: ReplyRoute,
    /// Batches that its reply has spoiled.
    pub reply_tries: u8,
}

impl PendingAnswer {
    pub fn new(answered: AdmittedOutcome) -> Self {
        PendingAnswer {
            answered,
            max_bytes: MAX_ANSWER_BYTES,
            aside_until: None,
            reply: ReplyRoute::Undecided,
            reply_tries: 0,
        }
    }

    pub fn origin(&self) -> (&Origin, &Lease) {
        let record = &self.answered.outcome.record;
        (&record.origin, &record.lease)
    }

    /// The record's.
    pub fn headers(&self) -> &[Header] {
        &self.answered.outcome.record.headers
    }

    /// The topic that has a copy of the answer, in the same batch.
    pub fn reply_topic(&self) -> Option<&str> {
        if let ReplyRoute::To(topic) = &self.reply { Some(topic) } else { None }
    }

    /// There will be no reply, and the answer says why.
    pub fn reply_refused(&mut self, note: &str) {
        self.reply = ReplyRoute::Nowhere;
        match &mut self.answered.outcome.verdict {
            Verdict::Completed(completed) => completed.notes.push(note.to_owned()),
            Verdict::Failed(failure) => {
                *failure = Failure { message: format!("{}; {note}", failure.message), ..failure.clone() };
            }
            Verdict::Deferred(_) => {}
        }
    }

    /// When the task came to its end.
    pub fn decided_at(&self) -> jiff::Timestamp {
        self.answered.outcome.at
    }

    pub fn kind(&self) -> AnswerKind {
        self.answered.outcome.kind()
    }

    /// The message, truncated if necessary to keep within `max_bytes`, and below what was rejected before.
    pub fn encode(&self, max_bytes: usize) -> Answer<'_> {
        self.answered.outcome.encode(self.max_bytes.min(max_bytes))
    }

    /// A task that the retry topic will not take is answered: kept, it would hold up its partition, and the pod.
    pub fn is_refused_by_retry_topic(&self, code: RDKafkaErrorCode) -> bool {
        self.kind() == AnswerKind::Deferral && matches!(Refusal::of(code), Refusal::Topic | Refusal::Size)
    }

    /// Kafka did not take the message of `bytes`, which was the only one for its topic: one that was too large
    /// is halved, down to what cannot be left out; one that cannot be helped is set aside.
    pub fn refused(&mut self, code: RDKafkaErrorCode, bytes: usize, now: Instant) {
        if self.is_refused_by_retry_topic(code) {
            let message = format!("cannot be deferred, the retry topic did not take it: {code}");
            let failure = Failure::new(Code::ConnectionUnavailable, message);
            self.answered.outcome.verdict = Verdict::Failed(failure);
            return;
        }
        match Refusal::of(code) {
            Refusal::Size if self.max_bytes > LEAST_MESSAGE_BYTES => {
                self.max_bytes = (self.max_bytes.min(bytes) / 2).max(LEAST_MESSAGE_BYTES);
            }
            Refusal::Size => {
                tracing::error!(
                    event = "answer_set_aside", origin = %self.origin().0, bytes, %code,
                    "answer rejected by its topic even without its optional parts; it is held and retried \
                     every minute: raise the topic's max.message.bytes"
                );
                self.aside_until = Some(now + ASIDE);
            }
            Refusal::Answer => {
                tracing::error!(
                    event = "answer_set_aside", origin = %self.origin().0, %code,
                    "answer rejected by Kafka; it is held and retried every minute"
                );
                self.aside_until = Some(now + ASIDE);
            }
            Refusal::Topic | Refusal::Transient => {}
        }
    }
}

/// Selects batches. Held answers will probably be rejected again, and with them everything in the same transaction:
/// each gets a separate batch, alternating with batches of the others.
#[derive(Debug, Default)]
pub(super) struct BatchSelector {
    was_aside: bool,
}

impl BatchSelector {
    /// Takes as many answers out of `pending` as fit into a batch, in order, skipping those that are blocked.
    pub fn select(
        &mut self,
        pending: &mut Vec<PendingAnswer>,
        now: Instant,
        is_blocked: impl Fn(&PendingAnswer) -> bool,
    ) -> Vec<PendingAnswer> {
        let is_due = |answer: &PendingAnswer| {
            answer.aside_until.is_some_and(|until| now >= until) && !is_blocked(answer)
        };
        let is_free = |answer: &PendingAnswer| answer.aside_until.is_none() && !is_blocked(answer);
        let aside = if self.was_aside && pending.iter().any(is_free) {
            None
        } else {
            pending.iter().position(is_due)
        };
        self.was_aside = aside.is_some();
        if let Some(index) = aside {
            return vec![pending.remove(index)];
        }
        let (mut batch, mut rest) = (Vec::new(), Vec::new());
        for answer in pending.drain(..) {
            if batch.len() < MAX_BATCH && is_free(&answer) { batch.push(answer) } else { rest.push(answer) }
        }
        *pending = rest;
        batch
    }
}
