//! The brokers, as far as a group sees them: logs with open, committed and aborted records, the group's
//! coordinator, committed offsets, and transactions. It notes what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use crate::offsets::{CommitMetadata, PartitionCommit, TopicPartition};
use crate::record::Header;

/// A process of a pod: its next one is another member, and another epoch of its producer.
pub type Incarnation = usize;
/// A task's number.
pub type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visible {
    Yes,
    /// In this process's open transaction.
    NotYet(Incarnation),
    Never,
}

#[derive(Clone, Debug)]
pub struct Stored {
    pub offset: i64,
    pub id: Id,
    pub headers: Vec<Header>,
    visible: Visible,
}

/// A partition's records. Offsets that are missing are transactions' markers, or were compacted away.
#[derive(Debug, Default)]
pub struct Log {
    records: Vec<Stored>,
    pub end: i64,
}

impl Log {
    fn append(&mut self, id: Id, headers: Vec<Header>, visible: Visible) {
        self.records.push(Stored { offset: self.end, id, headers, visible });
        self.end += 1;
    }

    /// The next record that a `read_committed` consumer gets.
    pub fn read(&self, position: i64) -> Option<&Stored> {
        let open = |record: &&Stored| matches!(record.visible, Visible::NotYet(_));
        let stable = self.records.iter().find(open).map_or(self.end, |record| record.offset);
        let from = self.records.iter().skip_while(|record| record.offset < position);
        from.take_while(|record| record.offset < stable).find(|record| record.visible == Visible::Yes)
    }

    fn resolve(&mut self, by: Incarnation, is_committed: bool) {
        let visible = if is_committed { Visible::Yes } else { Visible::Never };
        let open = |record: &&mut Stored| record.visible == Visible::NotYet(by);
        let mut count = 0;
        for record in self.records.iter_mut().filter(open) {
            record.visible = visible;
            count += 1;
        }
        self.end += i64::from(count > 0); // the marker
    }
}

/// An open transaction.
#[derive(Debug, Default)]
struct Open {
    /// The records whose answers, or deferrals, are in it.
    sources: Vec<(TopicPartition, i64)>,
    answers: Vec<Id>,
    offsets: Vec<PartitionCommit>,
}

#[derive(Debug, Default)]
pub struct Broker {
    pub logs: BTreeMap<TopicPartition, Log>,
    pub committed: BTreeMap<TopicPartition, (i64, String)>,
    open: BTreeMap<Incarnation, Open>,
    /// What a `read_committed` reader of the answers sees.
    pub answers: BTreeMap<Id, usize>,
    /// Records whose answer or deferral is visible.
    done: BTreeMap<TopicPartition, BTreeSet<i64>>,
    pub generation: u64,
    pub members: BTreeSet<Incarnation>,
    pub owners: BTreeMap<TopicPartition, Incarnation>,
    /// Next owner of each partition once its owner has released it.
    pub targets: BTreeMap<TopicPartition, Incarnation>,
}

/// A commit that was not taken.
pub struct Fenced;

impl Broker {
    pub fn produce(&mut self, at: &TopicPartition, id: Id, gap: i64) {
        let log = self.logs.entry(at.clone()).or_default();
        log.end += gap;
        log.append(id, Vec::new(), Visible::Yes);
    }

    /// A new process's `init_transactions` aborts what its predecessor left; so does the transaction's timeout.
    pub fn abort(&mut self, of: Incarnation) {
        if self.open.remove(&of).is_some() {
            self.logs.values_mut().for_each(|log| log.resolve(of, false));
        }
    }

    pub fn begin(&mut self, of: Incarnation) {
        self.open.entry(of).or_default();
    }

    pub fn has_open(&self, of: Incarnation) -> bool {
        self.open.contains_key(&of)
    }

    pub fn send_answer(&mut self, of: Incarnation, source: (TopicPartition, i64), id: Id) {
        if let Some(open) = self.open.get_mut(&of) {
            open.sources.push(source);
            open.answers.push(id);
        }
    }

    pub fn send_deferral(
        &mut self,
        of: Incarnation,
        source: (TopicPartition, i64),
        to: &TopicPartition,
        id: Id,
        headers: Vec<Header>,
    ) {
        if let Some(open) = self.open.get_mut(&of) {
            open.sources.push(source);
            self.logs.entry(to.clone()).or_default().append(id, headers, Visible::NotYet(of));
        }
    }

    /// KIP-447: the member must be of the group's present generation.
    pub fn send_offsets(
        &mut self,
        of: Incarnation,
        generation: u64,
        commits: Vec<PartitionCommit>,
    ) -> Result<(), Fenced> {
        let is_member = self.members.contains(&of) && generation == self.generation;
        match self.open.get_mut(&of).filter(|_| is_member) {
            Some(open) => {
                open.offsets = commits;
                Ok(())
            }
            None => Err(Fenced),
        }
    }

    /// Whether offsets are pending that a new owner asking for stable ones must wait for.
    pub fn is_pending(&self, at: &TopicPartition) -> bool {
        self.open.values().flat_map(|open| &open.offsets).any(|commit| commit.at == *at)
    }

    /// # Errors
    /// What must never happen has.
    pub fn commit(&mut self, of: Incarnation) -> Result<(), String> {
        let Some(open) = self.open.remove(&of) else { return Err("no transaction is open".to_owned()) };
        self.logs.values_mut().for_each(|log| log.resolve(of, true));
        for id in open.answers {
            *self.answers.entry(id).or_default() += 1;
            if self.answers.get(&id) != Some(&1) {
                return Err(format!("task {id} is answered twice"));
            }
        }
        for (at, offset) in open.sources {
            if !self.done.entry(at.clone()).or_default().insert(offset) {
                return Err(format!("{at}@{offset} is done twice"));
            }
        }
        open.offsets.into_iter().try_for_each(|commit| self.store(commit))
    }

    /// The offset and its map must cover everything that is done, and nothing else.
    fn store(&mut self, commit: PartitionCommit) -> Result<(), String> {
        let PartitionCommit { at, low_water, metadata, .. } = commit;
        if self.committed.get(&at).is_some_and(|(before, _)| low_water < *before) {
            return Err(format!("the low-water mark of {at} went back to {low_water}"));
        }
        if metadata.len() > 4_096 {
            return Err(format!("{at}: OFFSET_METADATA_TOO_LARGE"));
        }
        let map = CommitMetadata::decode(metadata.as_bytes())
            .map_err(|error| error.to_string())?
            .done
            .offsets(low_water);
        let done = self.done.entry(at.clone()).or_default();
        let told = |offset: &i64| *offset < low_water || map.contains(offset);
        let records = self.logs.get(&at).map_or(&[][..], |log| &log.records);
        for record in records.iter().filter(|record| record.visible == Visible::Yes) {
            match (told(&record.offset), done.contains(&record.offset)) {
                (true, false) => {
                    return Err(format!("{at}@{} is committed, and was not done", record.offset));
                }
                (false, true) => return Err(format!("{at}@{} is done, and the map says not", record.offset)),
                _ => {}
            }
        }
        self.committed.insert(at, (low_water, metadata));
        Ok(())
    }

    /// The session is over, or the member left: its partitions are free.
    pub fn expel(&mut self, member: Incarnation) {
        if self.members.remove(&member) {
            self.owners.retain(|_, owner| *owner != member);
            self.generation += 1;
        }
    }

    pub fn join(&mut self, member: Incarnation) {
        self.members.insert(member);
        self.generation += 1;
    }

    /// Decides the next owners; a free partition has its owner at once, the others must be released first.
    pub fn rebalance(&mut self, shuffle: usize) {
        self.generation += 1;
        let members: Vec<_> = self.members.iter().copied().collect();
        let partitions: Vec<_> = self.logs.keys().cloned().collect();
        for (n, at) in partitions.into_iter().enumerate() {
            if let Some(target) = members.get((n * 7 + shuffle) % members.len().max(1)) {
                self.targets.insert(at.clone(), *target);
                self.owners.entry(at).or_insert(*target);
            }
        }
    }

    /// The owner has released it; the partition is its target's.
    pub fn release(&mut self, at: &TopicPartition) {
        self.owners.remove(at);
        if let Some(target) = self.targets.get(at).filter(|target| self.members.contains(target)) {
            self.owners.insert(at.clone(), *target);
        }
        self.generation += 1;
    }
}
