//! Sorts a batch's answers once Kafka has reported on each. Pure; time is an argument.

use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode;

use super::batch_limits::{BatchLimits, PerKind};
use super::pending_answers::PendingAnswer;
use super::refusing_topics::Refusal;
use crate::outcome::AnswerKind;

/// A batch, parted by its reports.
#[derive(Default)]
pub(super) struct DeliveryResults {
    pub delivered: Vec<PendingAnswer>,
    /// To be sent again, in their order.
    pub refused: Vec<PendingAnswer>,
    /// Refused for their size: to be sent again after all others, which they must not hold up.
    pub too_large: Vec<PendingAnswer>,
}

/// Parts a batch of answers of `bytes` each. Where some were too large together, `batch_limits` makes further batches
/// smaller; one that was alone of its kind is itself cut.
pub(super) fn sort_by_report(
    batch: Vec<PendingAnswer>,
    bytes: &[usize],
    reports: &[Result<(), RDKafkaErrorCode>],
    batch_limits: &mut BatchLimits,
    now: Instant,
) -> DeliveryResults {
    let (mut count, mut refused_bytes) = (PerKind::<usize>::default(), PerKind::default());
    for pending in &batch {
        *count.of(pending.kind()) += 1;
    }
    let mut sorted =
        DeliveryResults { delivered: Vec::with_capacity(batch.len()), ..DeliveryResults::default() };
    for ((mut pending, bytes), report) in batch.into_iter().zip(bytes).zip(reports) {
        let Err(code) = *report else {
            sorted.delivered.push(pending);
            continue;
        };
        let kind = pending.kind();
        match Refusal::of(code) {
            Refusal::Size if *count.of(kind) > 1 => {
                *refused_bytes.of(kind) += bytes;
                sorted.too_large.push(pending);
            }
            Refusal::Size => {
                pending.refused(code, *bytes, now);
                batch_limits.refused_alone(kind, *bytes, now);
                sorted.too_large.push(pending);
            }
            _ => {
                pending.refused(code, *bytes, now);
                sorted.refused.push(pending);
            }
        }
    }
    for kind in [AnswerKind::Result, AnswerKind::Failure, AnswerKind::Deferral] {
        let refused: usize = *refused_bytes.of(kind);
        if refused > 0 {
            batch_limits.refused_together(kind, refused, now);
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::batch_limits::size_of;
    use super::super::pending_answers::{ASIDE, BatchSelector};
    use super::*;
    use crate::admission::TaskBudget;
    use crate::failure::{Code, Failure};
    use crate::lease::Lease;
    use crate::outcome::AdmittedOutcome;
    use crate::outcome::{Answer, Completed, Outcome};
    use crate::record::{Origin, Record};

    fn pending(offset: i64, verdict: Result<Completed, Failure>, payload: usize) -> PendingAnswer {
        let origin = Origin { topic: "t".into(), partition: 0, offset };
        let record = Box::new(Record {
            origin,
            key: None,
            headers: Vec::new(),
            payload: Some(vec![b'x'; payload]),
            timestamp_ms: None,
            retry: None,
            lease: Lease::default(),
        });
        let outcome = Outcome {
            record,
            task_id: Some("id".into()),
            attempts: 1,
            at: Timestamp::UNIX_EPOCH,
            verdict: verdict.into(),
        };
        PendingAnswer::new(AdmittedOutcome { outcome, admission: TaskBudget::new(1, 1).admit(0) })
    }

    fn result(offset: i64) -> PendingAnswer {
        let completed = Completed { bytes_transferred: 1, ..Completed::default() };
        pending(offset, Ok(completed), 0)
    }

    fn failure(offset: i64, payload: usize) -> PendingAnswer {
        pending(offset, Err(Failure::new(Code::InvalidTask, "no")), payload)
    }

    /// A topic that accepts `limit` bytes in one batch; returns the answers in the order in which it accepted them.
    fn publish(
        mut waiting: Vec<PendingAnswer>,
        results_limit: usize,
        failures_limit: usize,
        rounds: usize,
    ) -> (Vec<i64>, Vec<PendingAnswer>) {
        let (mut batch_limits, mut taken) = (BatchLimits::default(), Vec::new());
        for _ in 0..rounds {
            if waiting.is_empty() {
                break;
            }
            let encoded = batch_limits.encode(&waiting, Instant::now());
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
            let sorted = sort_by_report(waiting, &bytes, &reports, &mut batch_limits, Instant::now());
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
    fn a_topic_of_one_kibibyte_takes_what_cannot_be_left_out() {
        let waiting = (0..8).map(|offset| failure(offset, 100_000)).collect();
        let (mut taken, left) = publish(waiting, 1_000, 1_000, 100);
        taken.sort_unstable();
        assert_eq!((taken, left.len()), ((0..8).collect(), 0));
    }

    #[test]
    fn many_that_are_too_large_are_not_tried_from_the_largest_size_down_one_by_one() {
        let waiting = (0..200).map(|offset| failure(offset, 900_000)).collect();
        let (taken, left) = publish(waiting, 20_000, 20_000, 230);
        assert_eq!((taken.len(), left.len()), (200, 0));
    }

    #[test]
    fn an_answer_that_never_fits_holds_up_no_other() {
        let mut waiting: Vec<_> = (1..100).map(|offset| failure(offset, 10)).collect();
        let mut wordy = failure(0, 900_000);
        wordy.answered.outcome.task_id = Some("\u{1}".repeat(256)); // six bytes each, and required
        waiting.insert(0, wordy);
        let (mut taken, left) = publish(waiting, 1_000, 1_000, 200);
        taken.sort_unstable();
        assert_eq!((taken, left.len()), ((1..100).collect(), 1));
    }

    #[test]
    fn what_was_set_aside_is_tried_alone_and_takes_turns_with_the_others() {
        let now = Instant::now();
        let mut aside: Vec<_> = (0..3).map(|offset| failure(offset, 10)).collect();
        for pending in &mut aside {
            pending.refused(RDKafkaErrorCode::PolicyViolation, 100, now);
        }
        let mut waiting: Vec<_> = aside.into_iter().chain((10..14).map(result)).collect();
        let mut selector = BatchSelector::default();
        let mut next = |waiting: &mut Vec<PendingAnswer>, now| {
            let chosen = selector.select(waiting, now, |pending| pending.origin().0.offset == 13);
            chosen.iter().map(|pending| pending.origin().0.offset).collect::<Vec<_>>()
        };
        assert_eq!(next(&mut waiting, now), [10, 11, 12], "not those aside, nor the one on hold");
        let later = now + ASIDE;
        waiting.push(result(14));
        assert_eq!(next(&mut waiting, later), [0]);
        assert_eq!(next(&mut waiting, later), [14]);
        assert_eq!(next(&mut waiting, later), [1]);
        assert_eq!(next(&mut waiting, later), [2], "nobody else is there");
        assert_eq!(next(&mut waiting, later), [0; 0]);
    }
}
