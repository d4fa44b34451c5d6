//! Which tasks have been held for too long, and are to be reported. Pure; the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::offsets::{PartitionState, TopicPartition};
use crate::record::Origin;

/// Tasks reported at one time.
const MAX_REPORTED: usize = 10;

/// A task that has been held for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlowTask {
    pub origin: Origin,
    pub held: Duration,
}

/// Checks the oldest record of each partition: the one that the low-water mark waits for.
#[derive(Debug)]
pub(super) struct SlowTasks {
    after: Duration,
    /// When a partition's oldest was reported.
    told: HashMap<TopicPartition, (i64, Instant)>,
}

impl SlowTasks {
    pub fn new(after: Duration) -> Self {
        SlowTasks { after, told: HashMap::new() }
    }

    /// Those to be reported now, the oldest first: each again when as much time has passed.
    pub fn due(&mut self, owned: &[PartitionState], now: Instant) -> Vec<SlowTask> {
        self.told.retain(|at, _| owned.iter().any(|state| state.at == *at));
        let mut due: Vec<_> = owned.iter().filter_map(|state| self.slow(state, now)).collect();
        due.sort_by_key(|(_, task)| std::cmp::Reverse(task.held));
        due.truncate(MAX_REPORTED);
        for (at, task) in &due {
            self.told.insert(at.clone(), (task.origin.offset, now));
        }
        due.into_iter().map(|(_, task)| task).collect()
    }

    fn slow(&self, state: &PartitionState, now: Instant) -> Option<(TopicPartition, SlowTask)> {
        let (offset, since) = state.oldest?;
        let held = now.saturating_duration_since(since);
        let told = self.told.get(&state.at).filter(|(told, _)| *told == offset);
        let is_told = told.is_some_and(|(_, when)| now.saturating_duration_since(*when) < self.after);
        if held < self.after || is_told {
            return None;
        }
        let origin = Origin { topic: state.at.topic.clone(), partition: state.at.partition, offset };
        Some((state.at.clone(), SlowTask { origin, held }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::Offsets;

    const AFTER: Duration = Duration::from_secs(300);

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn holding(partitions: i32) -> Offsets {
        let offsets = Offsets::default();
        for partition in 0..partitions {
            offsets.assign(at(partition), None, None);
            offsets.begin(&at(partition), 7).unwrap();
            offsets.begin(&at(partition), 8).unwrap();
        }
        offsets
    }

    fn offsets_of(tasks: &[SlowTask]) -> Vec<i64> {
        tasks.iter().map(|task| task.origin.offset).collect()
    }

    #[test]
    fn a_slow_task_is_told_of_now_and_then_and_the_next_one_after_it() {
        let (offsets, mut slow, start) = (holding(1), SlowTasks::new(AFTER), Instant::now());
        assert_eq!(slow.due(&offsets.snapshot(), start), []);
        let later = start + AFTER + Duration::from_secs(1);
        let told = slow.due(&offsets.snapshot(), later);
        assert_eq!(offsets_of(&told), [7]);
        assert!(told.iter().all(|task| task.held >= AFTER));
        assert_eq!(slow.due(&offsets.snapshot(), later + AFTER / 2), []);
        assert_eq!(offsets_of(&slow.due(&offsets.snapshot(), later + AFTER)), [7]);

        let lease = offsets.begin(&at(0), 9).unwrap();
        let origin = Origin { topic: "t".into(), partition: 0, offset: 7 };
        offsets.settle([(&origin, &lease)], &[]);
        assert_eq!(offsets_of(&slow.due(&offsets.snapshot(), later + AFTER)), [8]);
    }

    #[test]
    fn no_more_than_a_few_are_told_of_at_once_and_nobodys_is_forgotten() {
        let (offsets, mut slow) = (holding(25), SlowTasks::new(AFTER));
        let later = Instant::now() + AFTER * 2;
        let counts = [(); 4].map(|()| slow.due(&offsets.snapshot(), later).len());
        assert_eq!(counts, [10, 10, 5, 0]);
        offsets.release(&[at(3)]);
        slow.due(&offsets.snapshot(), later);
        assert_eq!(slow.told.len(), 24, "nothing is kept of a partition that left");
    }
}
