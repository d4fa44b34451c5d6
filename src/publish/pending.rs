//! Answers on their way to Kafka, and how a batch of them is chosen, encoded and sorted afterwards.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::MAX_BATCH;
use super::holds::Refusal;
use crate::dispatch::Answered;
use crate::offsets::Lease;
use crate::outcome::{Answer, AnswerKind, MIN_MESSAGE_BYTES};
use crate::record::Origin;

/// Encoded answers in one batch, so that a batch of the largest records stays small.
const MAX_BATCH_BYTES: usize = 4 << 20;
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

    pub fn kind(&self) -> AnswerKind {
        self.answered.outcome.kind()
    }

    pub fn is_aside(&self, now: Instant) -> bool {
        self.aside_until.is_some_and(|until| now < until)
    }

    /// Kafka did not take it: an answer that was too large is halved, one that cannot be helped set aside.
    pub fn refused(&mut self, code: RDKafkaErrorCode, now: Instant) {
        match Refusal::of(code) {
            Refusal::Size if self.max_bytes > MIN_MESSAGE_BYTES => {
                self.max_bytes = (self.max_bytes / 2).max(MIN_MESSAGE_BYTES);
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

/// Encodes as many answers as fit into one batch, the first in any case.
pub(super) fn encode(batch: &[Pending]) -> Vec<Answer<'_>> {
    let (mut encoded, mut bytes) = (Vec::with_capacity(batch.len()), 0);
    for pending in batch {
        let answer = pending.answered.outcome.encode(pending.max_bytes);
        bytes += answer.payload.len();
        if bytes > MAX_BATCH_BYTES && !encoded.is_empty() {
            break;
        }
        encoded.push(answer);
    }
    encoded
}
