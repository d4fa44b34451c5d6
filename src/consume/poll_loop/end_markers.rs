//! Finds partitions that end with records no consumer is ever shown: transaction markers, aborted records.
//!
//! The low-water mark stops at the first of these offsets and would stay there until a record follows. Until then the
//! partition seems to have a lag of one; and if retention removes that offset first, the mark is below the log's start,
//! it can no longer be known whether a task was lost there, and the partition halts. So a separate reader, outside the
//! group, reads on in partitions that have stopped short of their end. If it reaches the end without being shown a
//! record, there is none, and the mark moves on.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, Message as _};

use super::super::rebalance::list_of;
use super::{Phase, PollLoop};
use crate::kafka::{assign_reader, open_reader, reader_properties};
use crate::offsets::{PartitionState, TopicId, TopicPartition};

/// A partition that has been idle for this long is read.
const IDLE_BEFORE_SCAN: Duration = Duration::from_secs(10);
/// For all that are read at once. A slower one is read again later.
const DEADLINE: Duration = Duration::from_secs(20);
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);
/// A marker is small, and a record ends the reading: this many bytes are enough.
const FETCH_BYTES: &str = "65536";

/// A partition as it was when nothing moved in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct IdlePosition {
    position: i64,
    end: i64,
    topic_id: Option<TopicId>,
}

/// From `from` to before `end` the partition holds no record.
#[derive(Debug)]
struct EmptyRange {
    at: TopicPartition,
    topic_id: Option<TopicId>,
    from: i64,
    end: i64,
}

/// What a reading has found.
#[derive(Debug, Default)]
struct EndScan {
    empty: Vec<EmptyRange>,
    /// Time was too short for these.
    unread: Vec<TopicPartition>,
}

#[derive(Debug, Default)]
pub(super) struct EndMarkerScanner {
    /// What was idle at the last scan, and whether it has been read since.
    still: HashMap<TopicPartition, (IdlePosition, bool)>,
    last_scan: Option<Instant>,
    reading: Option<Receiver<KafkaResult<EndScan>>>,
}

impl PollLoop {
    /// Moves the low-water mark over what holds no record at the end of partitions with nothing to do.
    pub(super) fn skip_end_markers(&mut self, owned: &[PartitionState]) {
        if self.is_at(Phase::Hold) {
            return;
        }
        for EmptyRange { at, topic_id, from, end } in self.end_markers.found() {
            tracing::debug!(
                event = "end_markers_skipped", topic = %at.topic, partition = at.partition, from, end,
                "skipped offsets without a record"
            );
            self.parts.offsets.skip_range(&at, topic_id, from, end);
        }
        let is_free = |state: &&PartitionState| {
            let at = &state.at;
            let is_blocked = self.paused.contains(at) || self.halts.contains(at) || self.delayed.holds(at);
            !is_blocked && !state.is_full && !state.is_halted
        };
        let still = owned.iter().filter(is_free).filter_map(|state| Some((state.at.clone(), still(state)?)));
        self.end_markers.scan(still.collect(), &self.parts.group.properties.0, Instant::now());
    }
}

/// `None` where something is in flight, or the end is reached, or unknown.
fn still(state: &PartitionState) -> Option<IdlePosition> {
    let (position, end) = state.position.zip(state.end)?;
    let is_idle = state.low_water == Some(position) && position < end;
    is_idle.then_some(IdlePosition { position, end, topic_id: state.topic_id })
}

impl EndMarkerScanner {
    /// What a reading that has ended has found.
    fn found(&mut self) -> Vec<EmptyRange> {
        let Some(reading) = &self.reading else { return Vec::new() };
        let found = match reading.try_recv() {
            Err(TryRecvError::Empty) => return Vec::new(),
            Ok(Ok(EndScan { empty, unread })) => {
                self.still.retain(|at, _| !unread.contains(at));
                empty
            }
            Ok(Err(error)) => {
                tracing::debug!(event = "end_scan_failed", %error, "scan of partition ends failed; retrying");
                self.still.clear();
                Vec::new()
            }
            Err(TryRecvError::Disconnected) => Vec::new(),
        };
        self.reading = None;
        found
    }

    /// Starts reading those that have not moved since the last check, each once.
    fn scan(&mut self, now: HashMap<TopicPartition, IdlePosition>, properties: &ClientConfig, at: Instant) {
        let is_too_soon =
            self.last_scan.is_some_and(|last| at.saturating_duration_since(last) < IDLE_BEFORE_SCAN);
        if is_too_soon || self.reading.is_some() {
            return;
        }
        self.last_scan = Some(at);
        let due = self.due(now);
        if due.is_empty() {
            return;
        }
        let properties = reader_properties(properties);
        let (tell, told) = sync_channel(1);
        let read = move || {
            let _ = tell.send(read(properties, &due)); // nobody listens after the end
        };
        match std::thread::Builder::new().name("end-markers".into()).spawn(read) {
            Ok(_) => self.reading = Some(told),
            Err(error) => {
                tracing::warn!(event = "end_scan_failed", %error, "cannot start the scan of partition ends");
            }
        }
    }

    fn due(&mut self, now: HashMap<TopicPartition, IdlePosition>) -> Vec<(TopicPartition, IdlePosition)> {
        let mut due = Vec::new();
        let before = std::mem::take(&mut self.still);
        for (at, state) in now {
            let was = before.get(&at).filter(|(was, _)| *was == state);
            if matches!(was, Some((_, false))) {
                due.push((at.clone(), state.clone()));
            }
            self.still.insert(at, (state, was.is_some()));
        }
        due
    }
}

/// Reads these partitions until each has reached its end or shown a record.
fn read(mut properties: ClientConfig, asked: &[(TopicPartition, IdlePosition)]) -> KafkaResult<EndScan> {
    properties.set("auto.offset.reset", "error").set("fetch.message.max.bytes", FETCH_BYTES);
    let reader = open_reader(&properties, [])?;
    let mut open = Vec::new();
    for (at, still) in asked {
        // By `read_committed` this is the last stable offset: what an open transaction holds is behind it.
        let (first, end) = reader.fetch_watermarks(&at.topic, at.partition, WATERMARKS_TIMEOUT)?;
        if first <= still.position && still.position < end {
            open.push(EmptyRange { at: at.clone(), topic_id: still.topic_id, from: still.position, end });
        }
    }
    let start = |empty: &EmptyRange| Offset::Offset(empty.from);
    let from = open.iter().map(|empty| (&*empty.at.topic, empty.at.partition, start(empty)));
    assign_reader(&reader, from)?;
    let started = Instant::now();
    let mut empty = Vec::new();
    while !open.is_empty() && started.elapsed() < DEADLINE {
        match reader.poll(POLL) {
            Some(Ok(message)) => {
                let shows = |empty: &EmptyRange| {
                    *empty.at.topic == *message.topic() && empty.at.partition == message.partition()
                };
                if let Some(shown) = open.iter().position(shows) {
                    reader.pause(&list_of(&[open.swap_remove(shown).at]))?;
                }
            }
            Some(Err(error)) => {
                tracing::debug!(event = "end_scan_failed", %error, "read error in the scan of partition ends");
            }
            None => {}
        }
        // Advances in the records' order, and past invisible records once those are reached.
        let positions = reader.position()?;
        let is_at_end = |empty: &EmptyRange| {
            let position = positions.find_partition(&empty.at.topic, empty.at.partition);
            matches!(position.map(|found| found.offset()), Some(Offset::Offset(at)) if at >= empty.end)
        };
        empty.extend(open.extract_if(.., |empty| is_at_end(empty)));
    }
    Ok(EndScan { empty, unread: open.into_iter().map(|unread| unread.at).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn one(position: i64, end: i64) -> HashMap<TopicPartition, IdlePosition> {
        [(at(0), IdlePosition { position, end, topic_id: None })].into()
    }

    #[test]
    fn what_stands_still_is_read_once_and_again_where_something_has_changed() {
        let mut end_markers = EndMarkerScanner::default();
        assert!(end_markers.due(one(3, 4)).is_empty(), "it may move yet");
        assert_eq!(end_markers.due(one(3, 4)).len(), 1);
        assert!(end_markers.due(one(3, 4)).is_empty(), "read, and a record was there");
        assert!(end_markers.due(one(3, 5)).is_empty(), "it has grown");
        assert_eq!(end_markers.due(one(3, 5)).len(), 1);
        assert!(end_markers.due(HashMap::new()).is_empty());
        assert!(end_markers.due(one(3, 5)).is_empty(), "it was away");
    }
}
