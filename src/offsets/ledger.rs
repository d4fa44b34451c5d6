//! One partition's offsets: pure, no clock, no I/O.

use std::collections::BTreeSet;

use super::{DoneMap, MAX_SPAN};

/// What to do with a record that Kafka delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// It is in flight from now on.
    Begin,
    /// It was answered before, or is in flight already: skip it.
    Known,
}

/// Offsets of one partition under one assignment. An offset is unseen, in flight, or done; those that Kafka
/// passes over (compaction, transaction markers) count as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Every offset below this one has been taken in or passed over. `None` until the first record, where
    /// nothing was ever committed.
    next: Option<i64>,
    in_flight: BTreeSet<i64>,
    /// Done by an earlier owner, at or above `next`.
    inherited: BTreeSet<i64>,
}

impl Ledger {
    /// A partition that nobody has committed yet.
    pub fn fresh() -> Self {
        Ledger { next: None, in_flight: BTreeSet::new(), inherited: BTreeSet::new() }
    }

    /// A partition whose last owner committed this low-water mark and map.
    pub fn resumed(low_water: i64, done: &DoneMap) -> Self {
        let mut ledger = Ledger { inherited: done.offsets(low_water), ..Ledger::fresh() };
        ledger.advance(low_water);
        ledger
    }

    /// Takes in the record at `offset`.
    pub fn begin(&mut self, offset: i64) -> Intake {
        if self.next.is_some_and(|next| offset < next) {
            return Intake::Known;
        }
        let was_done = self.inherited.contains(&offset);
        self.advance(offset + 1);
        if was_done {
            return Intake::Known;
        }
        self.in_flight.insert(offset);
        Intake::Begin
    }

    /// Moves `next`, and on over what an earlier owner has done: the low-water mark is never a done offset.
    fn advance(&mut self, mut next: i64) {
        self.inherited = self.inherited.split_off(&next);
        while self.inherited.remove(&next) {
            next += 1;
        }
        self.next = Some(next);
    }

    /// The record's answer is on the broker. False where it was not in flight.
    pub fn finish(&mut self, offset: i64) -> bool {
        self.in_flight.remove(&offset)
    }

    /// The first offset that is not done: where the next owner begins. `None` before the first record.
    pub fn low_water(&self) -> Option<i64> {
        self.in_flight.first().copied().or(self.next)
    }

    /// The first offset that was not taken in yet: where Kafka is read on. `None` before the first record.
    pub fn position(&self) -> Option<i64> {
        self.next
    }

    /// The offsets above the low-water mark that are done.
    pub fn done_map(&self) -> DoneMap {
        let (Some(low), Some(next)) = (self.low_water(), self.next) else { return DoneMap::default() };
        let taken_in = (low + 1..next).filter(|offset| !self.in_flight.contains(offset));
        DoneMap::new(low, taken_in.chain(self.inherited.iter().copied()))
    }

    /// True while the map may not grow: intake waits until the low-water mark has moved.
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

    use super::*;

    fn done_above(ledger: &Ledger) -> Vec<i64> {
        let low = ledger.low_water().unwrap();
        ledger.done_map().offsets(low).into_iter().collect()
    }

    #[test]
    fn the_low_water_mark_waits_for_the_slowest_task() {
        let mut ledger = Ledger::fresh();
        for offset in 10..14 {
            assert_eq!(ledger.begin(offset), Intake::Begin);
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
        let mut ledger = Ledger::resumed(5, &DoneMap::default());
        ledger.begin(9);
        assert_eq!(ledger.low_water(), Some(9));
        ledger.begin(20);
        ledger.finish(9);
        assert_eq!(ledger.low_water(), Some(20));
    }

    #[test]
    fn the_next_owner_skips_what_is_done_and_passes_the_rest_on() {
        let mut ledger = Ledger::resumed(10, &DoneMap::new(10, [12, 15]));
        assert_eq!(ledger.begin(10), Intake::Begin);
        assert_eq!(ledger.begin(11), Intake::Begin);
        assert_eq!(ledger.begin(12), Intake::Known);
        assert_eq!(done_above(&ledger), [12, 15]);
        ledger.finish(10);
        ledger.finish(11);
        assert_eq!(ledger.low_water(), Some(13));
        assert_eq!(done_above(&ledger), [15]);
    }

    #[test]
    fn a_record_delivered_twice_is_begun_once() {
        let mut ledger = Ledger::fresh();
        assert_eq!(ledger.begin(3), Intake::Begin);
        assert_eq!(ledger.begin(3), Intake::Known);
        ledger.finish(3);
        assert_eq!(ledger.begin(3), Intake::Known);
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

    /// What a partition's owner does: deliver the next record, finish the n-th in flight, or hand over.
    #[derive(Clone, Debug)]
    enum Step {
        Deliver { gap: i64 },
        Finish(usize),
        HandOver,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                4 => (0i64..3).prop_map(|gap| Step::Deliver { gap }),
                4 => any::<usize>().prop_map(Step::Finish),
                1 => Just(Step::HandOver),
            ],
            0..300,
        )
    }

    proptest! {
        /// The model: a set of records with a flag each. Across owners, each record is begun until it is
        /// finished, and never again; the low-water mark is the first unfinished one.
        #[test]
        fn each_record_is_finished_exactly_once_across_owners(steps in steps()) {
            let mut log: Vec<i64> = Vec::new();
            let mut finished = BTreeSet::new();
            let mut ledger = Ledger::fresh();
            let mut cursor = 0; // index into `log` of the next record that Kafka delivers
            for step in steps {
                match step {
                    Step::Deliver { gap } => {
                        if cursor == log.len() {
                            log.push(log.last().map_or(0, |last| last + 1) + gap);
                        }
                        let offset = log[cursor];
                        cursor += 1;
                        let expected = if finished.contains(&offset) { Intake::Known } else { Intake::Begin };
                        prop_assert_eq!(ledger.begin(offset), expected);
                    }
                    Step::Finish(n) => {
                        let flying: Vec<i64> = ledger.in_flight.iter().copied().collect();
                        if let Some(&offset) = flying.get(n % flying.len().max(1)) {
                            prop_assert!(ledger.finish(offset));
                            prop_assert!(finished.insert(offset));
                        }
                    }
                    Step::HandOver => {
                        let Some(low) = ledger.low_water() else { continue };
                        let map = DoneMap::decode(ledger.done_map().encode().as_bytes()).unwrap();
                        ledger = Ledger::resumed(low, &map);
                        cursor = log.iter().position(|&offset| offset >= low).unwrap_or(log.len());
                    }
                }
                if let Some(low) = ledger.low_water() {
                    prop_assert!(log.iter().filter(|&&o| o < low).all(|o| finished.contains(o)));
                    let above: BTreeSet<i64> = ledger.done_map().offsets(low);
                    prop_assert!(finished.iter().filter(|&&o| o > low).all(|o| above.contains(o)));
                    prop_assert!(log.iter().filter(|&&o| o >= low && !finished.contains(&o)).all(|o| !above.contains(o)));
                }
            }
        }
    }
}
