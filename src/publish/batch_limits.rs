//! How much shares a batch. Pure.
//!
//! A topic's `max.message.bytes` applies to what the producer sends as one record batch: a topic that accepts only
//! small ones rejects many small answers for their sum, and with them everything batched with one that is too large.
//! Batches of that kind of answer are then made smaller, until a rejected answer is alone: it is the one to be
//! truncated. The next ones are truncated to that size at once, for a while: with many of them, not each must be tried
//! from the largest size down.

use std::time::{Duration, Instant};

use super::pending_answers::{MAX_ANSWER_BYTES, PendingAnswer};
use crate::outcome::{Answer, AnswerKind, MIN_MESSAGE_BYTES};

/// Encoded answers in one batch, so that a batch of the largest records stays small.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// How long it is remembered what a topic rejected; its settings may change.
const LEARNED: Duration = Duration::from_secs(600);

/// The bytes that one batch, and one answer, may have of each kind, as far as their topics have let it be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    batch: PerKind<usize>,
    answer: PerKind<usize>,
    /// When something was refused last.
    learned: Option<Instant>,
}

/// Something of each kind of answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerKind<T> {
    pub results: T,
    pub failures: T,
    pub deferrals: T,
}

impl<T> PerKind<T> {
    pub fn of(&mut self, kind: AnswerKind) -> &mut T {
        match kind {
            AnswerKind::Result => &mut self.results,
            AnswerKind::Failure => &mut self.failures,
            AnswerKind::Deferral => &mut self.deferrals,
        }
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        let all = |bytes| PerKind { results: bytes, failures: bytes, deferrals: bytes };
        BatchLimits { batch: all(MAX_BATCH_BYTES), answer: all(MAX_ANSWER_BYTES), learned: None }
    }
}

impl BatchLimits {
    /// Encodes as many of the first answers as make one batch: at least one, and one of a kind that is too
    /// large for it only without others of its kind.
    pub fn encode<'a>(&mut self, chosen: &'a [PendingAnswer], now: Instant) -> Vec<Answer<'a>> {
        if self.learned.is_some_and(|learned| now.saturating_duration_since(learned) >= LEARNED) {
            *self = BatchLimits::default();
        }
        let mut encoded = Vec::with_capacity(chosen.len());
        let (mut held, mut limits, mut largest) = (PerKind::default(), self.batch, self.answer);
        let mut total = 0;
        for pending in chosen {
            let answer = pending.encode(*largest.of(pending.kind()));
            let limit = *limits.of(answer.kind);
            let held_of_kind: &mut usize = held.of(answer.kind);
            let has_company = *held_of_kind > 0;
            *held_of_kind += size_of(&answer);
            total += size_of(&answer);
            let is_too_much = *held_of_kind > limit && has_company;
            if (is_too_much || total > MAX_BATCH_BYTES) && !encoded.is_empty() {
                break;
            }
            encoded.push(answer);
        }
        encoded
    }

    /// Answers of this kind and size were rejected together. The limit converges to between a half and the whole of
    /// what the topic accepts.
    pub fn refused_together(&mut self, kind: AnswerKind, bytes: usize, now: Instant) {
        let limit = self.batch.of(kind);
        *limit = (*limit).min(bytes / 2);
        self.learned = Some(now);
    }

    /// An answer of this kind and size was refused alone. One that could not be cut as far as it was asked to says
    /// nothing about the others.
    pub fn refused_alone(&mut self, kind: AnswerKind, bytes: usize, now: Instant) {
        let limit = self.answer.of(kind);
        if bytes <= *limit {
            *limit = (bytes / 2).max(MIN_MESSAGE_BYTES);
            self.learned = Some(now);
        }
    }
}

/// An answer's share of its batch: key, headers and payload.
pub(super) fn size_of(answer: &Answer<'_>) -> usize {
    let headers =
        answer.headers.iter().map(|header| header.key.len() + header.value.as_ref().map_or(0, Vec::len));
    answer.payload.len() + answer.key.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}
