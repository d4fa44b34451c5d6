//! What a partition is found to be, from what the group has committed.

use super::*;
use crate::offsets::{CompletedBitmap, TopicId};

fn counting(committed: Option<(i64, &[i64])>, begin: i64, end: i64) -> PartitionCount {
    let committed = committed.map(|(offset, done)| CommittedOffset {
        offset,
        metadata: CommitMetadata {
            topic_id: TopicId::new(7),
            done: CompletedBitmap::new(offset, done.iter().copied()),
        }
        .encode()
        .into_bytes(),
    });
    PartitionCount::new(&"t".into(), 0, Ends { begin, end }, committed.as_ref())
}

#[test]
fn what_is_open_before_the_last_done_one_was_taken_in() {
    let state = counting(Some((10, &[12, 15])), 0, 20);
    let shown = &state.shown;
    assert_eq!((shown.low_water, shown.done_above, shown.taken_in, shown.waiting), (10, 2, 4, 4));
    assert_eq!(state.is_taken_in(12), None);
    assert_eq!(state.is_taken_in(13), Some(true));
    assert_eq!(state.is_taken_in(16), Some(false));
}

#[test]
fn a_group_that_has_committed_nothing_waits_for_everything() {
    let shown = counting(None, 5, 9).shown;
    assert_eq!((shown.committed, shown.low_water, shown.taken_in, shown.waiting), (false, 5, 0, 4));
    assert_eq!((shown.halted, shown.lost, shown.lag), (false, 0, Some(4)));
}

#[test]
fn what_was_removed_from_the_topic_is_not_waited_for() {
    let state = counting(Some((3, &[4, 6])), 8, 10);
    let shown = &state.shown;
    assert_eq!((shown.low_water, shown.done_above, shown.waiting), (8, 0, 2));
    assert_eq!((shown.halted, shown.lost, shown.lag), (true, 3, None), "3, 5 and 7 were not done");
    assert_eq!(shown.halt(), "halted, 3 lost");
}

#[test]
fn a_commit_beyond_the_end_is_told() {
    let shown = counting(Some((30, &[])), 0, 10).shown;
    assert!(shown.beyond_end && shown.waiting == 0);
    assert!(!counting(Some((10, &[])), 0, 10).shown.beyond_end);
}

#[test]
fn somebody_elses_metadata_is_no_map() {
    let committed = CommittedOffset { offset: 4, metadata: b"\xff other".to_vec() };
    let shown = PartitionCount::new(&"t".into(), 0, Ends { begin: 0, end: 6 }, Some(&committed)).shown;
    assert_eq!((shown.low_water, shown.done_above, shown.waiting), (4, 0, 2));
}

#[test]
fn a_halted_partition_is_named_with_what_is_lost() {
    let shown = |committed: Option<(i64, &[i64])>| counting(committed, 8, 10).shown;
    let partitions = vec![shown(Some((3, &[4, 6]))), shown(Some((8, &[])))];
    let report = LagReport {
        group: "g".to_owned(),
        partitions,
        connections: Vec::new(),
        exact: true,
        batches: BTreeMap::from([("b".to_owned(), 2)]),
    };
    let halted = report.halted();
    assert!(halted.len() == 1 && halted[0].ends_with("] (halted, 3 lost)"), "{halted:?}");
    assert_eq!((report.open_of_batch("b"), report.open_of_batch("typo")), (2, 0));
}
