//! A pod: the product's own ledgers, leases, notes and early records, wired as the consuming and the publishing
//! thread wire them; or wired wrongly, to see that it would be noticed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::delayed_records::{DelayedRecords, RecordReadiness, RetryIntake, SLACK};
use super::super::early_reading::DeferredTaskWaker;
use super::super::fetched_record::FetchedRecord;
use super::broker::{Broker, Id, Incarnation};
use crate::lease::Lease;
use crate::offsets::{CommitMetadata, CompletedBitmap, Offsets, PartitionCommit, TopicPartition};
use crate::record::{Origin, RetryState};

pub const DELAY: Duration = Duration::from_secs(30);
/// Records taken in of one partition in one go.
const BURST: usize = 3;
const RETRY: &str = "retry";

/// How a pod may be wired wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// An outcome counts for its partition, under whatever assignment it was begun.
    OutcomesWithoutEpoch,
    /// The next owner reads the low-water mark alone.
    MapDropped,
    /// The member's generation is read when the offsets are sent, not before the outcomes are chosen.
    MemberReadLate,
    /// What was in an aborted transaction counts as answered.
    AbortedIsSettled,
    /// Committed offsets are read while a transaction that holds some is open.
    OffsetsReadUnstable,
    /// A deferred task is begun before it is due, and dropped when its partition leaves.
    EarlyIsFinished,
    /// Records are begun however far they stand behind the first in flight.
    SpanUnlooked,
    /// A record is begun past one that is kept for lack of room.
    KeptOvertaken,
}

/// The time, and what is wrong.
#[derive(Clone, Copy, Debug)]
pub struct World {
    pub begun: Instant,
    pub elapsed: Duration,
    pub sabotage: Sabotage,
}

impl World {
    fn now(&self) -> Instant {
        self.begun + self.elapsed
    }

    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.elapsed
    }
}

#[derive(Clone, Debug)]
struct Work {
    id: Id,
    origin: Origin,
    lease: Lease,
    retry: Option<Box<RetryState>>,
    is_deferred: bool,
}

/// A batch of the publishing thread, step by step.
#[derive(Debug)]
struct Batch {
    generation: u64,
    work: Vec<Work>,
    commits: Option<Vec<PartitionCommit>>,
    has_sent_offsets: bool,
}

#[derive(Debug, Default)]
pub struct Pod {
    pub me: Incarnation,
    /// The process before this one, whose transaction is aborted before the first of this one's.
    pub before: Option<Incarnation>,
    pub is_frozen: bool,
    generation: Option<u64>,
    offsets: Offsets,
    delayed: DelayedRecords,
    positions: BTreeMap<TopicPartition, i64>,
    leases: BTreeMap<TopicPartition, Lease>,
    leaving: Vec<TopicPartition>,
    waiting: Vec<Work>,
    pending: Vec<Work>,
    batch: Option<Batch>,
}

/// The pod's process has ended: its producer was fenced.
pub struct Ended;

impl Pod {
    pub fn new(me: Incarnation, before: Option<Incarnation>) -> Self {
        Pod { me, before, ..Pod::default() }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.pending.is_empty() && self.batch.is_none()
    }

    /// Learns what the coordinator knows: that it is no member any more, or which partitions are to leave.
    pub fn heartbeat(&mut self, broker: &mut Broker) {
        if !broker.members.contains(&self.me) {
            let lost: Vec<_> = self.positions.keys().cloned().collect();
            self.drop_partitions(&lost);
            broker.join(self.me);
        }
        self.generation = Some(broker.generation);
        // What was announced once is let go, even where it is to come back.
        let is_leaving =
            |at: &&TopicPartition| broker.targets.get(at) != Some(&self.me) && !self.leaving.contains(at);
        let leaving: Vec<_> = self.positions.keys().filter(is_leaving).cloned().collect();
        self.offsets.start_revoke(&leaving);
        self.leaving.extend(leaving);
    }

    /// Lets go of leaving partitions: once they are drained, or since the bound is over.
    pub fn release(&mut self, broker: &mut Broker, is_late: bool) {
        if self.leaving.is_empty() || !broker.members.contains(&self.me) {
            return;
        }
        if is_late || self.offsets.is_drained(&self.leaving) {
            let leaving = std::mem::take(&mut self.leaving);
            self.drop_partitions(&leaving);
            for at in &leaving {
                broker.release(at);
            }
            self.generation = Some(broker.generation);
        }
    }

    /// What is in flight of them goes on: its outcome comes late.
    fn drop_partitions(&mut self, gone: &[TopicPartition]) {
        self.offsets.release(gone);
        for at in gone {
            self.positions.remove(at);
            self.delayed.forget(at);
        }
        self.leaving.retain(|at| !gone.contains(at));
    }

    /// Takes over the partitions that are ours by now.
    pub fn take_over(&mut self, broker: &Broker, world: &World) -> Result<(), String> {
        if self.generation != Some(broker.generation) {
            return Ok(());
        }
        for (at, _) in broker.owners.iter().filter(|(_, owner)| **owner == self.me) {
            let is_unstable = broker.is_pending(at) && world.sabotage != Sabotage::OffsetsReadUnstable;
            if self.positions.contains_key(at) || is_unstable {
                continue;
            }
            let committed = match broker.committed.get(at) {
                Some((low, metadata)) => {
                    let note =
                        CommitMetadata::decode(metadata.as_bytes()).map_err(|error| error.to_string())?;
                    let done = if world.sabotage == Sabotage::MapDropped {
                        CompletedBitmap::default()
                    } else {
                        note.done
                    };
                    Some((*low, done))
                }
                None => None,
            };
            self.positions.insert(at.clone(), committed.as_ref().map_or(0, |(low, _)| *low));
            self.delayed.forget(at);
            self.offsets.assign(at.clone(), None, committed);
        }
        Ok(())
    }

    /// Reads everything again from the last committed offsets on.
    pub fn rewind(&mut self, broker: &Broker) {
        for (at, position) in &mut self.positions {
            *position = broker.committed.get(at).map_or(0, |(low, _)| *low);
        }
    }

    /// Takes in what is due, and reads on where nothing pauses the partition.
    pub fn poll(&mut self, broker: &Broker, world: &World) {
        while let Some(arrived) = self.next_due(world) {
            self.admit(arrived);
        }
        let retry = RetryIntake {
            topic: RETRY.into(),
            group: "us".into(),
            longest: DELAY,
            waker: DeferredTaskWaker::default(),
        };
        for state in self.offsets.snapshot() {
            for _ in 0..BURST {
                let Some(position) = self.positions.get(&state.at).copied() else { break };
                if state.is_full {
                    break;
                }
                let Some(stored) = broker.logs.get(&state.at).and_then(|log| log.read(position)) else {
                    break;
                };
                self.positions.insert(state.at.clone(), stored.offset + 1);
                let mut arrived = FetchedRecord {
                    at: state.at.clone(),
                    offset: stored.offset,
                    key: Some(stored.id.to_string().into_bytes()),
                    headers: stored.headers.clone(),
                    payload: None,
                    timestamp_ms: None,
                    retry: None,
                    is_of_other_group: false,
                };
                match self.delayed.classify(Some(&retry), &mut arrived, world.wall()) {
                    RecordReadiness::Delayed(wait) if world.sabotage == Sabotage::EarlyIsFinished => {
                        let origin = Origin {
                            topic: arrived.at.topic.clone(),
                            partition: arrived.at.partition,
                            offset: arrived.offset,
                        };
                        if let Some(lease) = self.offsets.begin(&arrived.at, arrived.offset) {
                            self.offsets.settle([(&origin, &lease)], &[]);
                        }
                        let _ = wait;
                    }
                    RecordReadiness::Delayed(wait) => self.delayed.keep(arrived, world.now() + wait),
                    RecordReadiness::Due | RecordReadiness::OtherGroup if self.must_wait(&arrived, world) => {
                        self.delayed.keep(arrived, world.now() + SLACK);
                    }
                    RecordReadiness::Due | RecordReadiness::OtherGroup => self.admit(arrived),
                }
                // The pause may fail: something more comes on in the next go, and must wait as well.
                if self.delayed.holds(&state.at) {
                    break;
                }
            }
        }
    }

    fn next_due(&mut self, world: &World) -> Option<FetchedRecord> {
        let (offsets, is_blind) = (&self.offsets, world.sabotage == Sabotage::SpanUnlooked);
        self.delayed.next_due(world.now(), |head| is_blind || offsets.has_room(&head.at, head.offset))
    }

    fn must_wait(&self, arrived: &FetchedRecord, world: &World) -> bool {
        let is_overtaken = world.sabotage == Sabotage::KeptOvertaken;
        let is_blind = world.sabotage == Sabotage::SpanUnlooked;
        (!is_overtaken && self.delayed.holds(&arrived.at))
            || (!is_blind && !self.offsets.has_room(&arrived.at, arrived.offset))
    }

    fn admit(&mut self, arrived: FetchedRecord) {
        let Some(lease) = self.offsets.begin(&arrived.at, arrived.offset) else { return };
        self.leases.insert(arrived.at.clone(), lease.clone());
        let record = arrived.into_record(lease);
        let id = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()?.parse().ok());
        let work = Work {
            id: id.unwrap_or_default(),
            origin: record.origin,
            lease: record.lease,
            retry: record.retry,
            is_deferred: false,
        };
        self.waiting.push(work);
    }

    /// Some task is done, or is to wait elsewhere.
    pub fn finish(&mut self, pick: usize, defers: bool) {
        if !self.waiting.is_empty() {
            let work = self.waiting.swap_remove(pick % self.waiting.len());
            let is_deferred = defers && work.retry.as_ref().is_none_or(|retry| retry.attempts < 3);
            self.pending.push(Work { is_deferred, ..work });
        }
    }

    /// The publishing thread's next step.
    pub fn publish(&mut self, broker: &mut Broker, world: &World) -> Result<Result<(), Ended>, String> {
        let Some(mut batch) = self.batch.take() else {
            self.choose(broker, world);
            return Ok(Ok(()));
        };
        if !broker.has_open(self.me) {
            return Ok(Err(Ended)); // its transaction timed out: the producer's epoch is another's
        }
        let Some(commits) = batch.commits.clone() else {
            let answered = batch.work.iter().map(|work| (&work.origin, &work.lease));
            match self.offsets.propose(answered) {
                Some(commits) => self.batch = Some(Batch { commits: Some(commits), ..batch }),
                None => self.abort(batch, broker, world),
            }
            return Ok(Ok(()));
        };
        if !batch.has_sent_offsets {
            let late = world.sabotage == Sabotage::MemberReadLate;
            let generation = if late { self.generation.unwrap_or_default() } else { batch.generation };
            batch.has_sent_offsets = true;
            match broker.send_offsets(self.me, generation, commits) {
                Ok(()) => self.batch = Some(batch),
                Err(_) => self.abort(batch, broker, world),
            }
            return Ok(Ok(()));
        }
        broker.commit(self.me)?;
        self.offsets.settle(batch.work.iter().map(|work| (&work.origin, &work.lease)), &commits);
        Ok(Ok(()))
    }

    /// Metadata first, then outcomes by ownership, then they are sent.
    fn choose(&mut self, broker: &mut Broker, world: &World) {
        let Some(generation) = self.generation else { return };
        if let Some(before) = self.before.take() {
            broker.abort(before);
        }
        if world.sabotage == Sabotage::OutcomesWithoutEpoch {
            for work in &mut self.pending {
                let at = TopicPartition::of(&work.origin);
                work.lease = self.leases.get(&at).cloned().unwrap_or_else(|| work.lease.clone());
            }
        }
        let offsets = &self.offsets;
        self.pending.retain(|work| offsets.is_owned(&work.origin, &work.lease));
        let work = std::mem::take(&mut self.pending);
        if work.is_empty() && offsets.propose([]).is_none_or(|commits| commits.is_empty()) {
            return;
        }
        broker.begin(self.me);
        for work in &work {
            let source = (TopicPartition::of(&work.origin), work.origin.offset);
            if work.is_deferred {
                let to = TopicPartition { topic: RETRY.into(), partition: i32::from(work.id % 2 == 1) };
                broker.send_deferral(self.me, source, &to, work.id, retry_state_of(work, world).headers());
            } else {
                broker.send_answer(self.me, source, work.id);
            }
        }
        self.batch = Some(Batch { generation, work, commits: None, has_sent_offsets: false });
    }

    fn abort(&mut self, batch: Batch, broker: &mut Broker, world: &World) {
        broker.abort(self.me);
        if world.sabotage == Sabotage::AbortedIsSettled {
            self.offsets.settle(batch.work.iter().map(|work| (&work.origin, &work.lease)), &[]);
        } else {
            self.pending.splice(0..0, batch.work);
        }
    }

    /// Kafka did not take all of the batch.
    pub fn fail_batch(&mut self, broker: &mut Broker, world: &World) {
        if let Some(batch) = self.batch.take_if(|batch| !batch.has_sent_offsets) {
            self.abort(batch, broker, world);
        }
    }
}

fn retry_state_of(work: &Work, world: &World) -> RetryState {
    RetryState {
        group: "us".into(),
        not_before: world.wall() + DELAY,
        attempts: work.retry.as_ref().map_or(1, |retry| retry.attempts + 1),
        origin: work.retry.as_ref().map_or_else(|| work.origin.clone(), |retry| retry.origin.clone()),
        origin_ms: None,
        since: world.wall(),
        begun: None,
    }
}
