//! The ledgers of all partitions that this pod owns, shared by consume (which adds records) and publish (which finishes
//! them).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{CommitMetadata, CompletedBitmap, Ledger, OffsetDecision, PartitionState, TopicId};
use crate::lease::{CoordinatorSilence, Lease, SuspendDetector};
use crate::record::Origin;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    /// The partition of a record.
    pub fn of(origin: &Origin) -> Self {
        TopicPartition { topic: origin.topic.clone(), partition: origin.partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// Why a partition belongs to this pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The group has assigned it.
    Assigned,
    /// It follows a partition of another topic, and is unknown to the group: see [`Offsets::verify`].
    CoPartitioned,
}

/// What should be committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCommit {
    pub at: TopicPartition,
    pub low_water: i64,
    /// The commit's metadata: a [`CommitMetadata`], encoded.
    pub metadata: String,
    /// The assignment under which it was created.
    epoch: u64,
}

#[derive(Debug)]
struct Owned {
    lease: Lease,
    ledger: Ledger,
    /// The topic's id when the partition was assigned.
    topic_id: Option<TopicId>,
    ownership: Ownership,
    /// Nothing is consumed, answered or committed until the partition is assigned again.
    halted: bool,
    /// Being handed over: what is in flight may finish, nothing new starts.
    revoking: bool,
    committed: Option<(i64, String)>,
    /// Some settled answers are not in a commit yet.
    unsaved: bool,
    /// The log end offset that Kafka's client has received last.
    end: Option<i64>,
    /// Consumed and dropped without an answer: only while revoking.
    abandoned: usize,
    /// When each offset was consumed, in order; completed ones are removed from the front.
    consumed_at: VecDeque<(i64, Instant)>,
}

impl Owned {
    fn begin(&mut self, offset: i64) -> Option<Lease> {
        if self.ledger.begin(offset) == OffsetDecision::Known {
            return None;
        }
        self.consumed_at.push_back((offset, Instant::now()));
        Some(self.lease.clone())
    }

    fn finish(&mut self, offset: i64) {
        self.unsaved |= self.ledger.finish(offset);
        let low = self.ledger.low_water();
        while self.consumed_at.front().is_some_and(|(first, _)| low.is_some_and(|low| *first < low)) {
            self.consumed_at.pop_front();
        }
    }

    /// The commit that would result if `answered` (offsets with their leases' epochs, all of this one) were completed;
    /// `None` if nothing would change.
    fn proposal(&self, at: &TopicPartition, answered: &[(i64, u64)]) -> Option<PartitionCommit> {
        if self.halted {
            return None;
        }
        let committed = self.committed.as_ref();
        if answered.is_empty() && self.ledger.low_water() == committed.map(|(low, _)| *low) && !self.unsaved {
            return None;
        }
        let mut ledger = self.ledger.clone();
        for &(offset, _) in answered {
            ledger.finish(offset);
        }
        let low_water = ledger.low_water()?;
        let metadata = CommitMetadata { topic_id: self.topic_id, done: ledger.done_map() }.encode();
        let is_new = committed.is_none_or(|(low, map)| *low != low_water || *map != metadata);
        is_new.then(|| PartitionCommit { at: at.clone(), low_water, metadata, epoch: self.lease.epoch() })
    }
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    owned: HashMap<TopicPartition, Owned>,
    /// The group's generation for which it is known that no other pod has the co-partitioned partitions.
    verified: Option<i32>,
    /// The generation under which the present batch will be committed.
    committing: Option<i32>,
}

impl State {
    /// False if no coordinator would fence a commit for this partition, although another pod may have it by now.
    fn may_commit(&self, owned: &Owned) -> bool {
        owned.ownership == Ownership::Assigned
            || (self.verified.is_some() && self.verified == self.committing)
    }
}

/// All owned partitions' ledgers, behind one lock that is never held across I/O.
#[derive(Debug, Default)]
pub struct Offsets {
    state: Mutex<State>,
    pub(super) suspend_detector: Arc<SuspendDetector>,
    pub(super) coordinator_silence: CoordinatorSilence,
    /// All leases have ended, and the group has not been rejoined yet.
    pub(super) must_rejoin: AtomicBool,
}

impl Offsets {
    /// Ends the leases of all partitions; false where there are none.
    pub(super) fn end_leases(&self) -> bool {
        let state = self.lock();
        state.owned.values().for_each(|owned| owned.lease.end());
        !state.owned.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below panics while holding the lock; even then the ledger would still be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group has assigned the partition, of the topic with this id. `committed` was left by its last owner.
    pub fn assign(
        &self,
        at: TopicPartition,
        topic_id: Option<TopicId>,
        committed: Option<(i64, CompletedBitmap)>,
    ) {
        self.assign_as(Ownership::Assigned, at, topic_id, committed);
    }

    /// Under this generation of the group no other pod has the co-partitioned partitions; `None` if that is unknown.
    pub fn verify(&self, generation: Option<i32>) {
        self.lock().verified = generation;
    }

    /// The next batch will be committed under this generation, and fenced by the coordinator if that is over.
    pub fn set_committing(&self, generation: Option<i32>) {
        self.lock().committing = generation;
    }

    /// False if an outcome must wait: its partition is co-partitioned, and it is not known yet whether it still belongs
    /// to this pod in the generation under which the next batch will be committed.
    pub fn may_commit(&self, origin: &Origin) -> bool {
        let state = self.lock();
        state.owned.get(&TopicPartition::of(origin)).is_none_or(|owned| state.may_commit(owned))
    }

    /// Like [`Offsets::assign`], however the partition came to this pod. If it is co-partitioned with one that the
    /// group has assigned, the group's coordinator does not know it: it is committed only under a generation that was
    /// [verified](Offsets::verify).
    pub fn assign_as(
        &self,
        ownership: Ownership,
        at: TopicPartition,
        topic_id: Option<TopicId>,
        committed: Option<(i64, CompletedBitmap)>,
    ) {
        let mut state = self.lock();
        state.epoch += 1;
        let lease = Lease::with_detector(state.epoch, self.suspend_detector.clone());
        let (ledger, committed) = match committed {
            Some((low, done)) => {
                (Ledger::resumed(low, &done), Some((low, CommitMetadata { topic_id, done }.encode())))
            }
            None => (Ledger::fresh(), None),
        };
        let owned = Owned {
            lease,
            ledger,
            topic_id,
            ownership,
            halted: false,
            revoking: false,
            committed,
            unsaved: false,
            end: None,
            abandoned: 0,
            consumed_at: VecDeque::new(),
        };
        if let Some(old) = state.owned.insert(at, owned) {
            old.lease.end();
        }
    }

    /// The topic of the records in flight no longer exists: the lease ends, nothing is committed. The partition still
    /// belongs to this pod until it is released or assigned again.
    pub fn halt(&self, at: &TopicPartition) {
        if let Some(owned) = self.lock().owned.get_mut(at) {
            owned.halted = true;
            owned.lease.end();
        }
    }

    /// Adds the record at `offset`: returns its lease if it should be started, `None` if it should be skipped (answered
    /// before, or the partition does not belong to this pod or is about to leave).
    pub fn begin(&self, at: &TopicPartition, offset: i64) -> Option<Lease> {
        let mut state = self.lock();
        let owned = state.owned.get_mut(at).filter(|owned| !owned.revoking && owned.lease.is_live())?;
        owned.begin(offset)
    }

    /// The record at `offset` belongs to another group, and blocks nothing. Committed with the next commit.
    pub fn skip(&self, at: &TopicPartition, offset: i64) {
        let mut state = self.lock();
        if let Some(owned) = state.owned.get_mut(at).filter(|owned| !owned.revoking && owned.lease.is_live())
        {
            owned.ledger.skip(offset);
        }
    }

    /// From `from` to before `end` this topic's partition contains no record, and so nothing to wait for. Committed
    /// with the next commit.
    pub fn skip_range(&self, at: &TopicPartition, topic_id: Option<TopicId>, from: i64, end: i64) {
        let mut state = self.lock();
        let is_same = |owned: &&mut Owned| {
            !owned.revoking && !owned.halted && owned.lease.is_live() && owned.topic_id == topic_id
        };
        if let Some(owned) = state.owned.get_mut(at).filter(is_same) {
            owned.ledger.skip_range(from, end);
        }
    }

    /// False if the record at `offset` must wait: the bitmap of completed offsets would not reach it.
    pub fn has_room(&self, at: &TopicPartition, offset: i64) -> bool {
        self.lock().owned.get(at).is_none_or(|owned| owned.ledger.has_room(offset))
    }

    /// How many records were consumed and not yet answered, over all partitions.
    pub fn in_flight(&self) -> usize {
        self.lock().owned.values().map(|owned| owned.ledger.in_flight()).sum()
    }

    /// Whether an outcome under this lease may still be published: its partition belongs to this pod under the same
    /// assignment.
    pub fn is_owned(&self, origin: &Origin, lease: &Lease) -> bool {
        let at = TopicPartition::of(origin);
        let is_same = |owned: &Owned| owned.lease.epoch() == lease.epoch() && lease.is_live();
        self.lock().owned.get(&at).is_some_and(is_same)
    }

    /// What would be committed if `answered` were completed, for each partition where that differs from what is
    /// committed already; `None` if one of their partitions no longer belongs to this pod, or may not be committed now.
    /// Changes nothing: see [`Offsets::settle`].
    pub fn propose<'a>(
        &self,
        answered: impl IntoIterator<Item = (&'a Origin, &'a Lease)>,
    ) -> Option<Vec<PartitionCommit>> {
        let mut by_partition: HashMap<TopicPartition, Vec<(i64, u64)>> = HashMap::new();
        for (origin, lease) in answered {
            let at = TopicPartition::of(origin);
            by_partition.entry(at).or_default().push((origin.offset, lease.epoch()));
        }
        let state = self.lock();
        let is_ours = |(at, answered): (&TopicPartition, &Vec<(i64, u64)>)| {
            let committable = state.owned.get(at).filter(|owned| state.may_commit(owned));
            let epoch = committable.map(|owned| owned.lease.epoch());
            answered.iter().all(|(_, of_answer)| Some(*of_answer) == epoch)
        };
        if !by_partition.iter().all(is_ours) {
            return None;
        }
        let mut commits = Vec::new();
        for (at, owned) in state.owned.iter().filter(|(_, owned)| state.may_commit(owned)) {
            let answered = by_partition.get(at).map_or(&[][..], Vec::as_slice);
            commits.extend(owned.proposal(at, answered));
        }
        Some(commits)
    }

    /// The answers are on the broker and `commits` were committed. Either may be empty: if answers and offsets are not
    /// one transaction, an answer is settled even if its commit failed, and saved by the next one.
    pub fn settle<'a>(
        &self,
        answered: impl IntoIterator<Item = (&'a Origin, &'a Lease)>,
        commits: &[PartitionCommit],
    ) {
        let mut state = self.lock();
        for (origin, lease) in answered {
            let at = TopicPartition::of(origin);
            if let Some(owned) = state.owned.get_mut(&at).filter(|owned| owned.lease.epoch() == lease.epoch())
            {
                owned.finish(origin.offset);
            }
        }
        for commit in commits {
            let same = |owned: &&mut Owned| owned.lease.epoch() == commit.epoch;
            if let Some(owned) = state.owned.get_mut(&commit.at).filter(same) {
                owned.committed = Some((commit.low_water, commit.metadata.clone()));
                owned.unsaved = false;
            }
        }
    }

    /// The partitions will leave: nothing more is started on them.
    pub fn start_revoke(&self, leaving: &[TopicPartition]) {
        let mut state = self.lock();
        for at in leaving {
            if let Some(owned) = state.owned.get_mut(at) {
                owned.revoking = true;
                owned.lease.close();
            }
        }
    }

    /// Queued records of leaving partitions were dropped unanswered, and are not waited for.
    pub fn abandon<'a>(&self, dropped: impl IntoIterator<Item = &'a Origin>) {
        let mut state = self.lock();
        for origin in dropped {
            let at = TopicPartition::of(origin);
            if let Some(owned) = state.owned.get_mut(&at).filter(|owned| owned.revoking) {
                owned.abandoned += 1;
            }
        }
    }

    /// Whether no answer of these partitions is outstanding, and all that were given are committed.
    pub fn is_drained(&self, leaving: &[TopicPartition]) -> bool {
        let state = self.lock();
        let drained = |owned: &Owned| {
            let is_settled = owned.ledger.in_flight() <= owned.abandoned && !owned.unsaved;
            is_settled || !owned.lease.is_live()
        };
        leaving.iter().filter_map(|at| state.owned.get(at)).all(drained)
    }

    /// The partitions have left: their leases end, late outcomes are dropped.
    pub fn release(&self, gone: &[TopicPartition]) {
        let mut state = self.lock();
        for at in gone {
            if let Some(owned) = state.owned.remove(at) {
                owned.lease.end();
            }
        }
    }

    /// Records the partition's log end offset.
    pub fn note_end(&self, at: &TopicPartition, end: i64) {
        if let Some(owned) = self.lock().owned.get_mut(at) {
            owned.end = Some(end);
        }
    }

    /// A snapshot of every owned partition.
    pub fn snapshot(&self) -> Vec<PartitionState> {
        let state = self.lock();
        let describe = |(at, owned): (&TopicPartition, &Owned)| PartitionState {
            at: at.clone(),
            is_full: owned.ledger.is_full() || owned.revoking || owned.halted,
            is_stuck: owned.ledger.is_full() && !owned.revoking && !owned.halted,
            low_water: owned.ledger.low_water(),
            position: owned.ledger.position(),
            end: owned.end,
            committed: owned.committed.as_ref().map(|(low, _)| *low),
            unanswered: owned.ledger.in_flight(),
            oldest: owned.consumed_at.front().copied(),
            topic_id: owned.topic_id,
            ownership: owned.ownership,
            is_halted: owned.halted,
        };
        state.owned.iter().map(describe).collect()
    }
}
