//! Which answers share a batch, and what becomes of those that Kafka did not take. Pure.
//!
//! A topic's `max.message.bytes` holds for what the producer sends as one record batch, so a topic that takes
//! only small ones refuses many small answers for their sum, and with them whichever answer went along with
//! one that is too large. Batches of that kind of answer become smaller then, until an answer that is refused
//! is alone: it is the one to be cut.

use rdkafka::error::RDKafkaErrorCode;

use super::MAX_BATCH;
use crate::dispatch::Answered;
use crate::offsets::Lease;
use crate::outcome::{Answer, AnswerKind, MIN_MESSAGE_BYTES};
use crate::record::Origin;

/// Encoded answers in one batch, so that a batch of the largest records stays small.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// librdkafka's and Kafka's default limit of a message, less room for the record's framing.
const MAX_ANSWER_BYTES: usize = 1_000_000 - 1_024;

/// An answer that is not yet committed, and the largest message it may become.
#[derive(Debug)]
pub(super) struct Pending {
    pub answered: Answered,
    max_bytes: usize,
}

impl Pending {
    pub fn new(answered: Answered) -> Self {
        Pending { answered, max_bytes: MAX_ANSWER_BYTES }
    }

    pub fn origin(&self) -> (&Origin, &Lease) {
        let record = &self.answered.outcome.record;
        (&record.origin, &record.lease)
    }

    fn kind(&self) -> AnswerKind {
        if self.answered.outcome.verdict.is_ok() { AnswerKind::Result } else { AnswerKind::Failure }
    }
}

/// What became of a batch's answers.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub delivered: Vec<Pending>,
    pub refused: Vec<Pending>,
    /// Refused for their size: to be sent after all others, which they must not hold up.
    pub too_large: Vec<Pending>,
}

/// The bytes that one batch may hold of each kind of answer, as far as the topics have let it be known.
#[derive(Debug)]
pub(super) struct Sizes {
    results: usize,
    failures: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { results: MAX_BATCH_BYTES, failures: MAX_BATCH_BYTES }
    }
}

impl Sizes {
    /// Encodes as many of the first answers as make one batch: at least one.
    pub fn encode<'a>(&self, pending: &'a [Pending]) -> Vec<Answer<'a>> {
        let mut encoded = Vec::with_capacity(pending.len().min(MAX_BATCH));
        let (mut results, mut failures) = (0, 0);
        for pending in pending.iter().take(MAX_BATCH) {
            let answer = pending.answered.outcome.encode(pending.max_bytes);
            let (held, limit) = match answer.kind {
                AnswerKind::Result => (&mut results, self.results),
                AnswerKind::Failure => (&mut failures, self.failures),
            };
            let is_first = *held == 0;
            *held += size_of(&answer);
            let is_too_much = (*held > limit && !is_first) || results + failures > MAX_BATCH_BYTES;
            if is_too_much && !encoded.is_empty() {
                break;
            }
            encoded.push(answer);
        }
        encoded
    }

    /// Parts a batch by its reports. Where answers were too large, further batches of their kind will be
    /// smaller; one that had no other of its kind beside it is itself halved.
    pub fn sort(
        &mut self,
        batch: Vec<Pending>,
        sizes: &[usize],
        reports: &[Result<(), RDKafkaErrorCode>],
    ) -> Sorted {
        let alone = |kind| batch.iter().filter(|pending| pending.kind() == kind).count() == 1;
        let (result_alone, failure_alone) = (alone(AnswerKind::Result), alone(AnswerKind::Failure));
        let (mut results, mut failures) = (0, 0);
        let mut sorted = Sorted { delivered: Vec::with_capacity(batch.len()), ..Sorted::default() };
        for ((mut pending, size), report) in batch.into_iter().zip(sizes).zip(reports) {
            match report {
                Ok(()) => sorted.delivered.push(pending),
                Err(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
                    let (is_alone, refused) = match pending.kind() {
                        AnswerKind::Result => (result_alone, &mut results),
                        AnswerKind::Failure => (failure_alone, &mut failures),
                    };
                    if is_alone {
                        pending.max_bytes = (*size / 2).clamp(MIN_MESSAGE_BYTES, MAX_ANSWER_BYTES);
                    } else {
                        *refused += size;
                    }
                    sorted.too_large.push(pending);
                }
                Err(_) => sorted.refused.push(pending),
            }
        }
        lower(&mut self.results, results);
        lower(&mut self.failures, failures);
        sorted
    }
}

/// Half of what was refused, so that the limit comes to stand between a half and the whole of what the topic
/// takes.
fn lower(limit: &mut usize, refused: usize) {
    if refused > 0 {
        *limit = (*limit).min(refused / 2);
    }
}

/// An answer's share of its batch: key, headers and payload.
pub(super) fn size_of(answer: &Answer<'_>) -> usize {
    let headers =
        answer.headers.iter().map(|header| header.key.len() + header.value.as_ref().map_or(0, Vec::len));
    answer.payload.len() + answer.key.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::dispatch::Budget;
    use crate::failure::{Code, Failure};
    use crate::outcome::{Completed, Outcome};
    use crate::record::Record;

    fn pending(offset: i64, verdict: Result<Completed, Failure>, payload: usize) -> Pending {
        let origin = Origin { topic: "t".into(), partition: 0, offset };
        let record = Box::new(Record {
            origin,
            key: None,
            headers: Vec::new(),
            payload: Some(vec![b'x'; payload]),
            timestamp_ms: None,
            lease: Lease::default(),
        });
        let outcome =
            Outcome { record, task_id: Some("id".into()), attempts: 1, at: Timestamp::UNIX_EPOCH, verdict };
        Pending::new(Answered { outcome, admission: Budget::new(1, 1).admit(0) })
    }

    fn result(offset: i64) -> Pending {
        let completed = Completed { bytes_transferred: 1, duration: Duration::ZERO, notes: Vec::new() };
        pending(offset, Ok(completed), 0)
    }

    fn failure(offset: i64, payload: usize) -> Pending {
        pending(offset, Err(Failure::new(Code::InvalidTask, "no")), payload)
    }

    /// A topic that takes `limit` bytes in one batch; returns the answers in the order in which it took them.
    fn publish(
        mut waiting: Vec<Pending>,
        results_limit: usize,
        failures_limit: usize,
        rounds: usize,
    ) -> (Vec<i64>, Vec<Pending>) {
        let (mut sizes, mut taken) = (Sizes::default(), Vec::new());
        for _ in 0..rounds {
            if waiting.is_empty() {
                break;
            }
            let encoded = sizes.encode(&waiting);
            let of = |kind| encoded.iter().filter(|a| a.kind == kind).map(size_of).sum::<usize>();
            let (results, failures) = (of(AnswerKind::Result), of(AnswerKind::Failure));
            let report = |answer: &Answer<'_>| match answer.kind {
                AnswerKind::Result if results <= results_limit => Ok(()),
                AnswerKind::Failure if failures <= failures_limit => Ok(()),
                _ => Err(RDKafkaErrorCode::MessageSizeTooLarge),
            };
            let reports: Vec<_> = encoded.iter().map(report).collect();
            let bytes: Vec<_> = encoded.iter().map(size_of).collect();
            drop(encoded);
            let later = waiting.split_off(reports.len());
            let sorted = sizes.sort(waiting, &bytes, &reports);
            taken.extend(sorted.delivered.iter().map(|pending| pending.origin().0.offset));
            waiting = sorted.refused;
            waiting.extend(later);
            waiting.extend(sorted.too_large);
        }
        (taken, waiting)
    }

    #[test]
    fn answers_that_are_too_much_together_are_sent_in_smaller_batches() {
        let (mut taken, left) = publish((0..1_000).map(result).collect(), 20_000, 20_000, 200);
        taken.sort_unstable();
        assert_eq!((taken, left.len()), ((0..1_000).collect(), 0));
    }

    #[test]
    fn an_answer_that_is_too_large_is_cut_and_takes_no_other_with_it() {
        let mut waiting: Vec<_> = (1..100).map(|offset| failure(offset, 100)).collect();
        waiting.insert(50, failure(0, 900_000));
        let (mut taken, left) = publish(waiting, 10_000, 10_000, 60);
        assert_eq!(taken.last(), Some(&0));
        taken.sort_unstable();
        assert_eq!((taken, left.len()), ((0..100).collect(), 0));
    }

    #[test]
    fn an_answer_that_never_fits_holds_up_no_other() {
        let mut waiting: Vec<_> = (1..100).map(|offset| failure(offset, 10)).collect();
        waiting.insert(0, failure(0, 900_000));
        let (mut taken, left) = publish(waiting, 2_000, 2_000, 200);
        taken.sort_unstable();
        assert_eq!((taken, left.len()), ((1..100).collect(), 1));
    }
}
