//! What a pod's last process had counted, and this one counts on: a restart forgets neither open failures nor the answers to
//! open batches. Pure.

use std::collections::BTreeMap;

use super::announcement::{AnnouncedFailures, PodAnnouncement};
use crate::batch::BatchAnswers;

/// Seconds for which failures are counted from one process to the next: as long as Kafka keeps them unless told otherwise.
const FAILURES_FOR: i64 = 7 * 86_400;

/// The counts of the process that had this pod's name before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InheritedCounts {
    failures: AnnouncedFailures,
    failures_since: Option<i64>,
    batches: BTreeMap<String, BatchAnswers>,
    batches_exact_since: Option<i64>,
}

impl InheritedCounts {
    /// Of the last announcement of a process under the same name; `started_at` is when this one started. What a process
    /// has counted since its last announcement is lost with it, unless it has said that it stops.
    #[must_use]
    pub fn of(predecessor: &PodAnnouncement, started_at: i64) -> InheritedCounts {
        if predecessor.started_at == started_at {
            return InheritedCounts::default(); // this process
        }
        let since = predecessor.failures_since();
        let is_recent = started_at.saturating_sub(since) < FAILURES_FOR;
        InheritedCounts {
            failures: if is_recent { predecessor.failures } else { AnnouncedFailures::default() },
            failures_since: is_recent.then_some(since),
            batches: predecessor.batches.clone(),
            batches_exact_since: predecessor.leaves.then(|| predecessor.batches_exact_since()),
        }
    }

    /// Adds them to what this process says of itself. `batches` are those that are open.
    pub fn add_to<'a>(&self, said: &mut PodAnnouncement, batches: impl IntoIterator<Item = &'a str>) {
        said.failures.answered += self.failures.answered;
        said.failures.sent_again += self.failures.sent_again;
        said.failures_since = Some(self.failures_since.unwrap_or(said.started_at));
        said.batches_exact_since = Some(self.batches_exact_since.unwrap_or(said.started_at));
        for id in batches {
            if let Some(inherited) = self.batches.get(id) {
                *said.batches.entry(id.to_owned()).or_default() += *inherited;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(started_at: i64, answered: u64, completed: u64) -> PodAnnouncement {
        PodAnnouncement {
            started_at,
            failures: AnnouncedFailures { answered, sent_again: 1 },
            batches: ["a", "b"].map(|id| (id.to_owned(), BatchAnswers { completed, failed: 1 })).into(),
            ..PodAnnouncement::default()
        }
    }

    /// What the next process says, which has answered the same itself.
    fn next(predecessor: &PodAnnouncement, started_at: i64) -> PodAnnouncement {
        let mut said = process(started_at, 2, 3);
        InheritedCounts::of(predecessor, started_at).add_to(&mut said, ["a"]);
        said
    }

    #[test]
    fn counts_go_on_from_one_process_to_the_next() {
        let first = PodAnnouncement { leaves: true, ..process(100, 10, 20) };
        let second = PodAnnouncement { leaves: true, ..next(&first, 200) };
        let third = next(&second, 300);
        assert_eq!(third.failures, AnnouncedFailures { answered: 14, sent_again: 3 });
        assert_eq!((third.failures_since(), third.batches_exact_since()), (100, 100));
        assert_eq!(third.batches["a"], BatchAnswers { completed: 26, failed: 3 });
        assert_eq!(third.batches["b"], BatchAnswers { completed: 3, failed: 1 }, "it is not open any more");
    }

    #[test]
    fn after_a_crash_batches_are_exact_from_the_restart_on_only() {
        let next = next(&process(100, 10, 20), 200);
        assert_eq!((next.failures_since(), next.batches_exact_since()), (100, 200));
        assert_eq!(next.batches["a"], BatchAnswers { completed: 23, failed: 2 });
    }

    #[test]
    fn failures_of_long_ago_are_not_counted_for_ever() {
        let old = PodAnnouncement { leaves: true, ..process(100, 10, 20) };
        let next = next(&old, 100 + FAILURES_FOR);
        assert_eq!((next.failures.answered, next.failures_since()), (2, 100 + FAILURES_FOR));
        assert_eq!(next.batches["a"].completed, 23, "a batch has a bound of its own");
    }

    #[test]
    fn a_process_does_not_inherit_from_itself() {
        let said = process(100, 10, 20);
        assert_eq!(InheritedCounts::of(&said, 100), InheritedCounts::default());
    }
}
