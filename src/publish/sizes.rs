//! How much shares a batch. Pure.
//!
//! A topic's `max.message.bytes` holds for what the producer sends as one record batch: a topic that takes only
//! small ones refuses many small answers for their sum, and with them whatever went along with one that is too
//! large. Batches of that kind of answer become smaller then, until an answer that is refused is alone: it is
//! the one to be cut.

use super::pending::Pending;
use crate::outcome::{Answer, AnswerKind};

/// Encoded answers in one batch, so that a batch of the largest records stays small.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// The bytes that one batch may hold of each kind of answer, as far as their topics have let it be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    results: usize,
    failures: usize,
    deferrals: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { results: MAX_BATCH_BYTES, failures: MAX_BATCH_BYTES, deferrals: MAX_BATCH_BYTES }
    }
}

impl Sizes {
    /// Encodes as many of the first answers as make one batch: at least one, and one of a kind that is too
    /// large for it only without others of its kind.
    pub fn encode<'a>(&self, chosen: &'a [Pending]) -> Vec<Answer<'a>> {
        let mut encoded = Vec::with_capacity(chosen.len());
        let mut held = Sizes { results: 0, failures: 0, deferrals: 0 };
        for pending in chosen {
            let (answer, limit) = (pending.encode(), *self.clone().of(pending.kind()));
            let held_of_kind = held.of(answer.kind);
            let has_company = *held_of_kind > 0;
            *held_of_kind += size_of(&answer);
            let is_too_much = *held_of_kind > limit && has_company;
            if (is_too_much || held.sum() > MAX_BATCH_BYTES) && !encoded.is_empty() {
                break;
            }
            encoded.push(answer);
        }
        encoded
    }

    /// Answers of this kind and size were refused together. The limit comes to stand between a half and the
    /// whole of what the topic takes.
    pub fn refused_together(&mut self, kind: AnswerKind, bytes: usize) {
        let limit = self.of(kind);
        *limit = (*limit).min(bytes / 2);
    }

    fn of(&mut self, kind: AnswerKind) -> &mut usize {
        match kind {
            AnswerKind::Result => &mut self.results,
            AnswerKind::Failure => &mut self.failures,
            AnswerKind::Deferral => &mut self.deferrals,
        }
    }

    fn sum(&self) -> usize {
        self.results + self.failures + self.deferrals
    }
}

/// An answer's share of its batch: key, headers and payload.
pub(super) fn size_of(answer: &Answer<'_>) -> usize {
    let headers =
        answer.headers.iter().map(|header| header.key.len() + header.value.as_ref().map_or(0, Vec::len));
    answer.payload.len() + answer.key.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}
