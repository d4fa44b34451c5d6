//! Answers on their way to Kafka, and how a batch of them is chosen, encoded and sorted afterwards.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::MAX_BATCH;
use super::holds::Refusal;
use crate::dispatch::Answered;
use crate::failure::{Code, Failure};
use crate::offsets::Lease;
use crate::outcome::{Answer, AnswerKind, MIN_MESSAGE_BYTES, Verdict};
use crate::record::Origin;

/// librdkafka's and Kafka's default limit of a message, less room for the record's framing.
const MAX_ANSWER_BYTES: usize = 1_000_000 - 1_024;
/// An answer that Kafka refuses even so is tried again after this; the others go on.
const ASIDE: Duration = Duration::from_secs(60);

/// An answer that is not yet committed.
pub(super) struct Pending {
    pub answered: Answered,
    /// The largest message that it may become.
    max_bytes: usize,
    /// Not tried before this.
    aside_until: Option<Instant>,
}

impl Pending {
    pub fn new(answered: Answered) -> Self {
        Pending { answered, max_bytes: MAX_ANSWER_BYTES, aside_until: None }
    }

    pub fn origin(&self) -> (&Origin, &Lease) {
        let record = &self.answered.outcome.record;
        (&record.origin, &record.lease)
    }

    /// When the task came to its end.
    pub fn decided_at(&self) -> jiff::Timestamp {
        self.answered.outcome.at
    }

    pub fn kind(&self) -> AnswerKind {
        self.answered.outcome.kind()
    }

    pub fn is_aside(&self, now: Instant) -> bool {
        self.aside_until.is_some_and(|until| now < until)
    }

    /// The message, cut where it must be.
    pub fn encode(&self) -> Answer<'_> {
        self.answered.outcome.encode(self.max_bytes)
    }

    /// A task that the retry topic will not take is answered: kept, it would hold up its partition, and the pod.
    pub fn is_refused_by_retry_topic(&self, code: RDKafkaErrorCode) -> bool {
        self.kind() == AnswerKind::Deferral && matches!(Refusal::of(code), Refusal::Topic | Refusal::Size)
    }

    /// Kafka did not take the message of `bytes`, which was the only one for its topic: one that was too large
    /// is halved, one that cannot be helped set aside.
    pub fn refused(&mut self, code: RDKafkaErrorCode, bytes: usize, now: Instant) {
        if self.is_refused_by_retry_topic(code) {
            let message = format!("cannot be put off, the retry topic did not take it: {code}");
            let failure = Failure::new(Code::ConnectionUnavailable, message);
            self.answered.outcome.verdict = Verdict::Failed(failure);
            return;
        }
        match Refusal::of(code) {
            Refusal::Size if self.max_bytes > MIN_MESSAGE_BYTES => {
                self.max_bytes = (self.max_bytes.min(bytes) / 2).max(MIN_MESSAGE_BYTES);
            }
            Refusal::Size | Refusal::Answer => {
                tracing::error!(origin = %self.origin().0, %code, "answer set aside: Kafka refuses it");
                self.aside_until = Some(now + ASIDE);
            }
            Refusal::Topic | Refusal::Passing => {}
        }
    }
}

/// Takes as many answers as make a batch out of `pending`, in their order, passing over those that are held.
pub(super) fn choose(pending: &mut Vec<Pending>, is_held: impl Fn(&Pending) -> bool) -> Vec<Pending> {
    let (mut batch, mut rest) = (Vec::new(), Vec::new());
    for answer in pending.drain(..) {
        if batch.len() < MAX_BATCH && !is_held(&answer) { batch.push(answer) } else { rest.push(answer) }
    }
    *pending = rest;
    batch
}
