//! One partition's offsets: pure, no clock, no I/O.

use std::collections::BTreeSet;

use super::{CompletedBitmap, MAX_SPAN};

/// What to do with a record that Kafka has delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetDecision {
    /// It is in flight from now on.
    Begin,
    /// It was answered before, or is in flight already: skip it.
    Known,
}

/// The offsets of one partition under one assignment. An offset is unseen, in flight, or completed; those that Kafka
/// skips (compaction, transaction markers) count as completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Every offset below this one has been consumed or skipped. `None` until the first record, if nothing was ever
    /// committed.
    next: Option<i64>,
    in_flight: BTreeSet<i64>,
    /// Completed by an earlier owner, at or above `next`.
    completed_by_predecessor: BTreeSet<i64>,
}

impl Ledger {
    /// A partition without any commit.
    pub fn fresh() -> Self {
        Ledger { next: None, in_flight: BTreeSet::new(), completed_by_predecessor: BTreeSet::new() }
    }

    /// A partition whose last owner committed this low-water mark and bitmap.
    pub fn resumed(low_water: i64, done: &CompletedBitmap) -> Self {
        let mut ledger = Ledger { completed_by_predecessor: done.offsets(low_water), ..Ledger::fresh() };
        ledger.advance(low_water);
        ledger
    }

    /// Adds the record at `offset`.
    pub fn begin(&mut self, offset: i64) -> OffsetDecision {
        if self.next.is_some_and(|next| offset < next) {
            return OffsetDecision::Known;
        }
        let was_done = self.completed_by_predecessor.contains(&offset);
        self.advance(offset + 1);
        if was_done {
            return OffsetDecision::Known;
        }
        self.in_flight.insert(offset);
        debug_assert!(self.is_consistent(), "{self:?}");
        OffsetDecision::Begin
    }

    /// The record at `offset` does not belong to this group, which will not process it.
    pub fn skip(&mut self, offset: i64) {
        if self.next.is_none_or(|next| offset >= next) {
            self.advance(offset + 1);
        }
    }

    /// From `from` to before `end` the partition contains no record. Has no effect if more was consumed since that was
    /// determined.
    pub fn skip_range(&mut self, from: i64, end: i64) {
        if self.next == Some(from) && end > from {
            self.advance(end);
        }
    }

    /// Whether the record at `offset` may be started: the bitmap reaches it. Checked for each record, since a single
    /// one may be far above the last (compaction), and what the bitmap cannot hold is never committed.
    pub fn has_room(&self, offset: i64) -> bool {
        self.in_flight.first().is_none_or(|low| offset - low < MAX_SPAN)
    }

    /// Advances `next`, also past what an earlier owner has completed: the low-water mark is never a completed offset.
    fn advance(&mut self, mut next: i64) {
        self.completed_by_predecessor = self.completed_by_predecessor.split_off(&next);
        while self.completed_by_predecessor.remove(&next) {
            next += 1;
        }
        debug_assert!(self.next.is_none_or(|before| before <= next), "{self:?} moves back to {next}");
        self.next = Some(next);
        debug_assert!(self.is_consistent(), "{self:?}");
    }

    /// Every offset in flight has been consumed; those completed by a predecessor have not, and the low-water mark,
    /// which is committed, is not a completed offset.
    fn is_consistent(&self) -> bool {
        let Some(next) = self.next else { return self.in_flight.is_empty() };
        self.in_flight.last().is_none_or(|last| *last < next)
            && self.completed_by_predecessor.first().is_none_or(|first| *first > next)
    }

    /// The record's answer is on the broker. Returns false if it was not in flight.
    pub fn finish(&mut self, offset: i64) -> bool {
        self.in_flight.remove(&offset)
    }

    /// The first offset that is not completed: where the next owner starts. `None` before the first record.
    pub fn low_water(&self) -> Option<i64> {
        self.in_flight.first().copied().or(self.next)
    }

    /// The first offset that was not consumed yet: where reading continues. `None` before the first record.
    pub fn position(&self) -> Option<i64> {
        self.next
    }

    /// The completed offsets above the low-water mark.
    pub fn done_map(&self) -> CompletedBitmap {
        let (Some(low), Some(next)) = (self.low_water(), self.next) else {
            return CompletedBitmap::default();
        };
        let consumed_at = (low + 1..next).filter(|offset| !self.in_flight.contains(offset));
        CompletedBitmap::new(low, consumed_at.chain(self.completed_by_predecessor.iter().copied()))
    }

    /// Whether the bitmap must not grow: intake pauses until the low-water mark has moved.
    pub fn is_full(&self) -> bool {
        match (self.low_water(), self.next) {
            (Some(low), Some(next)) => next - low >= MAX_SPAN,
            _ => false,
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    use super::*;
    use crate::offsets::{CommitMetadata, TopicId};

    fn done_above(ledger: &Ledger) -> Vec<i64> {
        let low = ledger.low_water().unwrap();
        ledger.done_map().offsets(low).into_iter().collect()
    }

    #[test]
    fn the_low_water_mark_waits_for_the_slowest_task() {
        let mut ledger = Ledger::fresh();
        for offset in 10..14 {
            assert_eq!(ledger.begin(offset), OffsetDecision::Begin);
        }
        ledger.finish(11);
        ledger.finish(13);
        assert_eq!(ledger.low_water(), Some(10));
        assert_eq!(done_above(&ledger), [11, 13]);
        ledger.finish(10);
        assert_eq!(ledger.low_water(), Some(12));
        ledger.finish(12);
        assert_eq!(ledger.low_water(), Some(14));
        assert_eq!(ledger.done_map().encode(), "");
    }

    #[test]
    fn offsets_that_kafka_passes_over_count_as_done() {
        let mut ledger = Ledger::resumed(5, &CompletedBitmap::default());
        ledger.begin(9);
        assert_eq!(ledger.low_water(), Some(9));
        ledger.begin(20);
        ledger.finish(9);
        assert_eq!(ledger.low_water(), Some(20));
    }

    #[test]
    fn a_record_that_the_map_cannot_reach_waits_until_what_holds_it_up_is_finished() {
        let mut ledger = Ledger::resumed(5, &CompletedBitmap::default());
        assert!(ledger.has_room(1_000_000), "nothing is in flight, so nothing is in the map");
        ledger.begin(5);
        ledger.begin(6);
        assert!(ledger.has_room(4), "known");
        assert!(ledger.has_room(5 + MAX_SPAN - 1) && !ledger.has_room(5 + MAX_SPAN));
        ledger.finish(5);
        assert!(ledger.has_room(5 + MAX_SPAN) && !ledger.has_room(6 + MAX_SPAN));
        ledger.finish(6);
        assert!(ledger.has_room(1_000_000));
    }

    #[test]
    fn what_is_another_groups_does_not_hold_the_low_water_mark_back() {
        let mut ledger = Ledger::resumed(5, &CompletedBitmap::new(5, [8]));
        ledger.skip(5);
        assert_eq!(ledger.low_water(), Some(6));
        ledger.begin(6);
        ledger.skip(7);
        ledger.skip(5);
        assert_eq!((ledger.low_water(), ledger.position()), (Some(6), Some(9)), "8 was done before");
        ledger.finish(6);
        assert_eq!(ledger.low_water(), Some(9));

        let mut fresh = Ledger::fresh();
        fresh.skip(3);
        assert_eq!(fresh.low_water(), Some(4));
    }

    #[test]
    fn an_end_without_records_is_passed_unless_more_was_taken_in_since() {
        let mut ledger = Ledger::resumed(5, &CompletedBitmap::default());
        ledger.begin(5);
        ledger.skip_range(5, 9);
        assert_eq!(ledger.position(), Some(6), "the record at 5 came since");
        ledger.skip_range(6, 9);
        assert_eq!((ledger.low_water(), ledger.position()), (Some(5), Some(9)), "5 is still in flight");
        ledger.finish(5);
        assert_eq!(ledger.low_water(), Some(9));
        ledger.skip_range(9, 7);
        assert_eq!(ledger.low_water(), Some(9), "never back");
        let mut fresh = Ledger::fresh();
        fresh.skip_range(0, 3);
        assert_eq!(fresh.low_water(), None);
    }

    #[test]
    fn the_next_owner_skips_what_is_done_and_passes_the_rest_on() {
        let mut ledger = Ledger::resumed(10, &CompletedBitmap::new(10, [12, 15]));
        assert_eq!(ledger.begin(10), OffsetDecision::Begin);
        assert_eq!(ledger.begin(11), OffsetDecision::Begin);
        assert_eq!(ledger.begin(12), OffsetDecision::Known);
        assert_eq!(done_above(&ledger), [12, 15]);
        ledger.finish(10);
        ledger.finish(11);
        assert_eq!(ledger.low_water(), Some(13));
        assert_eq!(done_above(&ledger), [15]);
    }

    #[test]
    fn a_record_delivered_twice_is_begun_once() {
        let mut ledger = Ledger::fresh();
        assert_eq!(ledger.begin(3), OffsetDecision::Begin);
        assert_eq!(ledger.begin(3), OffsetDecision::Known);
        ledger.finish(3);
        assert_eq!(ledger.begin(3), OffsetDecision::Known);
    }

    #[test]
    fn intake_stops_at_the_span_that_the_metadata_bears() {
        let mut ledger = Ledger::fresh();
        ledger.begin(0);
        for offset in 1..MAX_SPAN {
            assert!(!ledger.is_full(), "at {offset}");
            ledger.begin(offset);
            ledger.finish(offset);
        }
        assert!(ledger.is_full());
        assert!(ledger.done_map().encode().len() <= 4_096);
        ledger.finish(0);
        assert!(!ledger.is_full());
    }

    /// The operations of a partition's owner: deliver the next record, finish the n-th in flight, or hand over.
    #[derive(Clone, Debug)]
    enum Step {
        Deliver {
            gap: i64,
        },
        /// Many records, each finished at once but for every n-th.
        Burst {
            count: i64,
            every: i64,
        },
        Finish(usize),
        /// All but the first one in flight.
        FinishMost,
        /// The log's end contains this many offsets without a record, which is detected.
        PassToEnd {
            gap: i64,
        },
        HandOver,
    }

    fn steps(size: usize, bursts: u32) -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                4 => (0i64..3).prop_map(|gap| Step::Deliver { gap }),
                bursts => (1_i64..9_000, 2_i64..5_000).prop_map(|(count, every)| Step::Burst { count, every }),
                4 => any::<usize>().prop_map(Step::Finish),
                1 => Just(Step::FinishMost),
                1 => (0_i64..4).prop_map(|gap| Step::PassToEnd { gap }),
                1 => Just(Step::HandOver),
            ],
            0..size,
        )
    }

    /// The model: a log of records, and which of them are finished. Across owners each record is started until it is
    /// finished, and never again; the low-water mark is the first unfinished one.
    struct Model {
        log: Vec<i64>,
        finished: BTreeSet<i64>,
        ledger: Ledger,
        /// Index into `log` of the next record that Kafka delivers.
        cursor: usize,
        /// The log contains something below this offset, if only markers.
        end: i64,
    }

    impl Model {
        fn new() -> Self {
            Model { log: Vec::new(), finished: BTreeSet::new(), ledger: Ledger::fresh(), cursor: 0, end: 0 }
        }

        /// False if intake is paused.
        fn deliver(&mut self, gap: i64) -> Result<bool, TestCaseError> {
            if self.ledger.is_full() {
                return Ok(false);
            }
            if self.cursor == self.log.len() {
                self.log.push(self.log.last().map_or(0, |last| last + 1).max(self.end) + gap);
            }
            let offset = self.log[self.cursor];
            self.cursor += 1;
            let expected =
                if self.finished.contains(&offset) { OffsetDecision::Known } else { OffsetDecision::Begin };
            prop_assert_eq!(self.ledger.begin(offset), expected);
            Ok(true)
        }

        fn finish(&mut self, offset: i64) -> Result<(), TestCaseError> {
            prop_assert!(self.ledger.finish(offset));
            prop_assert!(self.finished.insert(offset));
            Ok(())
        }

        fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
            let flying: Vec<i64> = self.ledger.in_flight.iter().copied().collect();
            match step {
                Step::Deliver { gap } => {
                    self.deliver(*gap)?;
                }
                Step::Burst { count, every } => {
                    for n in 0..*count {
                        let was = self.ledger.in_flight();
                        if !self.deliver(0)? {
                            break;
                        }
                        if n % every != 0 && self.ledger.in_flight() > was {
                            self.finish(self.log[self.cursor - 1])?;
                        }
                    }
                }
                Step::Finish(n) => {
                    if let Some(&offset) = flying.get(n % flying.len().max(1)) {
                        self.finish(offset)?;
                    }
                }
                Step::FinishMost => flying.iter().skip(1).try_for_each(|offset| self.finish(*offset))?,
                Step::PassToEnd { gap } => {
                    let Some(next) = self.ledger.position().filter(|_| self.cursor == self.log.len()) else {
                        return Ok(());
                    };
                    self.ledger.skip_range(next, next + gap);
                    self.end = self.end.max(next + gap);
                }
                Step::HandOver => {
                    let Some(low) = self.ledger.low_water() else { return Ok(()) };
                    let note =
                        CommitMetadata { topic_id: TopicId::new(u128::MAX), done: self.ledger.done_map() };
                    let metadata = note.encode();
                    prop_assert!(metadata.len() <= 4_096 && metadata.is_ascii(), "{} bytes", metadata.len());
                    let read = CommitMetadata::decode(metadata.as_bytes());
                    prop_assert_eq!(read.as_ref(), Ok(&note), "nothing of it is dropped");
                    self.ledger = Ledger::resumed(low, &note.done);
                    self.cursor = self.log.partition_point(|offset| *offset < low);
                }
            }
            Ok(())
        }

        fn check(&self) -> Result<(), TestCaseError> {
            let Some(low) = self.ledger.low_water() else { return Ok(()) };
            let above = self.ledger.done_map().offsets(low);
            for offset in &self.log {
                let is_told = *offset < low || above.contains(offset);
                prop_assert_eq!(is_told, self.finished.contains(offset), "offset {}, low {}", offset, low);
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn each_record_is_finished_exactly_once_across_owners(steps in steps(300, 0)) {
            let mut model = Model::new();
            for step in &steps {
                model.take(step)?;
                model.check()?;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn spans_up_to_the_largest_are_handed_over_whole(steps in steps(24, 8)) {
            let mut model = Model::new();
            for step in &steps {
                model.take(step)?;
                model.take(&Step::HandOver)?;
                model.check()?;
            }
        }
    }
}
