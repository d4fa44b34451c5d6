//! The consumer group's member, as far as publish needs it: its offsets and its metadata.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::answering_broker::AnsweringBroker;
use super::consumer_context::GroupContext;
use crate::health::PodHealth;
use crate::kafka::{
    AbandonedCalls, BoundedCalls, CommitError, GroupMember, GroupQuery, generation_of, member_id_of,
    metadata_of, reader_properties, without_value,
};
use crate::metrics::Metrics;
use crate::offsets::{CommitMetadata, Offsets, PartitionCommit, TopicPartition};

/// One query of what is committed, from the publishing thread.
const COMMITTED_DEADLINE: Duration = Duration::from_secs(5);

/// What the publishing thread asks of the member, beyond librdkafka's own timeouts: some of its calls have none.
const CALL: Duration = Duration::from_secs(10);
/// A commit, whose reply librdkafka waits for as long as `socket.timeout.ms` says.
const COMMIT: Duration = Duration::from_secs(30);

/// Of this process' member ids the latest that are known: the coordinator may not have given up the members before.
const MAX_OWN_IDS: usize = 32;
/// The time between the coordinator's knowing a member and its own knowing, by far.
const JOINING: Duration = Duration::from_secs(1);

/// The group's member, as its log lines name it.
pub(super) const MEMBER: &str = "consumer";

pub(super) type Member = BaseConsumer<GroupContext>;

/// What a partition's last owner committed: the low-water mark and its note, if anything was.
pub(super) type CommittedPosition = (TopicPartition, Option<(i64, CommitMetadata)>);

/// The member's properties, secrets among them: never to be shown.
#[derive(Clone)]
pub(super) struct Properties(pub Arc<ClientConfig>);

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Properties").finish_non_exhaustive()
    }
}

/// The pod's consumers; they may be replaced by others with the same properties.
pub(super) struct GroupClients {
    clients: Mutex<(Arc<Member>, Option<Arc<Member>>)>,
    offsets: Arc<Offsets>,
    health: Arc<PodHealth>,
    metrics: Metrics,
    /// The publishing thread's, into the member.
    calls: BoundedCalls,
    /// Those that were replaced and have not ended.
    retired: AbandonedCalls,
    /// What the coordinator has called this process' members, those included that were replaced and those that have joined
    /// again, and its predecessors'.
    own_ids: Mutex<VecDeque<String>>,
}

impl std::fmt::Debug for GroupClients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupClients").finish_non_exhaustive()
    }
}

impl GroupClients {
    pub fn member(&self) -> Arc<Member> {
        self.lock().0.clone()
    }

    /// The member's id, which is remembered as one of this process'; `None` while it has none.
    fn member_id(&self, member: &Member) -> Option<String> {
        let id = Some(member_id_of(member)).filter(|id| !id.is_empty())?;
        self.remember(id.clone());
        Some(id)
    }

    fn remember(&self, id: String) {
        let mut own = self.own_ids.lock().unwrap_or_else(PoisonError::into_inner);
        if !own.contains(&id) {
            if own.len() >= MAX_OWN_IDS {
                own.pop_front();
            }
            own.push_back(id);
        }
    }

    /// Clients that were replaced do not end, so many that no more are made.
    pub fn is_stuck(&self) -> bool {
        self.retired.is_too_many()
    }

    fn lock(&self) -> MutexGuard<'_, (Arc<Member>, Option<Arc<Member>>)> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn context(&self, client: &'static str) -> GroupContext {
        GroupContext::new(client, self.offsets.clone(), self.health.clone(), self.metrics.clone())
    }
}

/// Shared by the consuming and the publishing thread; librdkafka's handles are thread-safe.
#[derive(Clone)]
pub struct Group {
    pub(super) clients: Arc<GroupClients>,
    /// The member's; those of readers without a group are made of them.
    pub(super) properties: Properties,
    /// The cluster's id, once it is known.
    pub(super) cluster: Arc<OnceLock<String>>,
    pub(super) answering: Arc<AnsweringBroker>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

impl Group {
    /// A member that has not joined yet: [`super::Consume::spawn`] subscribes it.
    pub fn create(
        properties: &ClientConfig,
        offsets: Arc<Offsets>,
        health: Arc<PodHealth>,
        metrics: Metrics,
    ) -> KafkaResult<Group> {
        let context = GroupContext::new(MEMBER, Arc::clone(&offsets), Arc::clone(&health), metrics.clone());
        let member: Member = properties.create_with_context(context).map_err(without_value)?;
        let clients = Mutex::new((Arc::new(member), None));
        let (calls, retired, own_ids) = Default::default();
        Ok(Group {
            clients: Arc::new(GroupClients { clients, offsets, health, metrics, calls, retired, own_ids }),
            properties: Properties(Arc::new(properties.clone())),
            cluster: Arc::default(),
            answering: Arc::default(),
        })
    }

    /// The member that there is now.
    pub(super) fn member(&self) -> Arc<Member> {
        self.clients.member()
    }

    /// Other clients take the place of the member and of the retry topic's reader. The new member has not joined yet;
    /// what the old ones held is to be released before.
    pub(super) fn recreate(&self) -> KafkaResult<()> {
        let context = self.clients.context(MEMBER);
        let member: Member = self.properties.0.create_with_context(context).map_err(without_value)?;
        let old = std::mem::replace(&mut *self.clients.lock(), (Arc::new(member), None));
        self.answering.forget();
        self.clients.member_id(&old.0);
        old.0.context().retire();
        if let Some(reader) = &old.1 {
            reader.context().retire();
        }
        self.end_elsewhere(old);
        Ok(())
    }

    /// Ends a client on a thread of its own: librdkafka takes leave of the group, for as long as a session lasts.
    pub(super) fn end_elsewhere<T: Send + 'static>(&self, client: T) {
        self.clients.retired.drop_elsewhere(client);
    }

    /// Calls into the member from another thread than the one that polls it.
    fn call<R: Send + 'static>(
        &self,
        deadline: Duration,
        call: impl FnOnce(&Group) -> R + Send + 'static,
    ) -> KafkaResult<R> {
        let group = self.clone();
        Ok(self.clients.calls.call(deadline, move || call(&group))?)
    }

    /// The consumer that reads the retry topic's partitions, which the group does not assign: no member of it.
    pub(super) fn retry_reader(&self) -> KafkaResult<Arc<Member>> {
        let mut clients = self.clients.lock();
        if let Some(reader) = &clients.1 {
            return Ok(Arc::clone(reader));
        }
        let mut properties = reader_properties(&self.properties.0);
        if let Some(interval) = self.properties.0.get("statistics.interval.ms") {
            properties.set("statistics.interval.ms", interval); // they tell where the partitions end
        }
        let context = self.clients.context("retry reader");
        let reader: Member = properties.create_with_context(context).map_err(without_value)?;
        let reader = Arc::new(reader);
        clients.1 = Some(Arc::clone(&reader));
        Ok(reader)
    }

    /// The same, if there is one yet.
    pub(super) fn existing_retry_reader(&self) -> Option<Arc<Member>> {
        self.clients.lock().1.clone()
    }

    /// Asks for the group's members by way of a client that was just created. The member itself may wait for a broker that
    /// coordinates the group no more: librdkafka looks for another one only when some broker comes or goes.
    pub(super) fn ask_with_new_client(&self) -> KafkaResult<GroupQuery> {
        let mut properties = reader_properties(&self.properties.0);
        properties.remove("group.id"); // it asks, and never joins
        let context = self.clients.context("group query");
        let client: Member = properties.create_with_context(context).map_err(without_value)?;
        Ok(GroupQuery::send(&Arc::new(client), &self.name()))
    }

    /// What the group is called.
    pub(super) fn name(&self) -> String {
        self.properties.0.get("group.id").unwrap_or_default().to_owned()
    }

    /// Commits and waits for the coordinator's reply; librdkafka bounds the wait by `socket.timeout.ms` where it knows
    /// a coordinator.
    pub fn commit(&self, commits: &[PartitionCommit]) -> Result<(), CommitError> {
        if commits.is_empty() {
            return Ok(());
        }
        let offsets = offsets_of(commits)?;
        self.call(COMMIT, move |group| group.member().commit(&offsets, CommitMode::Sync))??;
        Ok(())
    }

    /// The member's identity for a transaction (KIP-447), and its generation; `None` while it is no member of the
    /// group, since the coordinator fences nothing for a commit without one, and while the generation changes.
    pub fn metadata(&self) -> Option<(ConsumerGroupMetadata, i32)> {
        let read = |group: &Group| {
            let member = group.member();
            group.clients.member_id(&member)?;
            let before = generation_of(&member)?;
            let metadata = member.group_metadata()?;
            (generation_of(&member) == Some(before)).then_some((metadata, before))
        };
        self.call(CALL, read).ok()?
    }

    /// The member's id and generation; `None` while it is no member.
    pub(super) fn membership(&self) -> Option<(String, i32)> {
        let member = self.member();
        Some((self.clients.member_id(&member)?, generation_of(&member)?))
    }

    /// The generation that a commit is made under now.
    pub fn generation(&self) -> Option<i32> {
        self.call(CALL, |group| generation_of(&group.member())).ok()?
    }

    /// The address of another process that is a member under this pod's name: it has taken its place while this one
    /// stood still. `None` also where the coordinator does not say. A member that is joining is known to the
    /// coordinator before it knows its own id, so who is found is looked for once more.
    pub fn namesake(&self) -> Option<String> {
        self.unknown_members()?.pop()?;
        std::thread::sleep(JOINING);
        self.unknown_members()?.pop().map(|member| member.host)
    }

    /// Members under this pod's name are from now on taken for its predecessors, which the coordinator has not given up
    /// yet: whoever takes this process' place comes later.
    pub fn note_predecessors(&self) {
        let found = self.unknown_members();
        let (is_answered, members) = (found.is_some(), found.unwrap_or_default());
        tracing::debug!(
            event = "predecessors_noted",
            is_answered,
            members = members.len(),
            "looked for members of this pod's name"
        );
        for member in members {
            self.clients.remember(member.id);
        }
    }

    /// The members under this pod's name that have none of this process' ids.
    fn unknown_members(&self) -> Option<Vec<GroupMember>> {
        let find = |group: &Group| {
            let (member, name) = (group.member(), group.properties.0.get("client.id")?);
            let described = GroupQuery::send(&member, &group.name()).answer(COMMITTED_DEADLINE)?.ok()?;
            group.clients.member_id(&member);
            let own = group.clients.own_ids.lock().unwrap_or_else(PoisonError::into_inner);
            let members = described.members.into_iter();
            Some(members.filter(|other| other.client_id == name && !own.contains(&other.id)).collect())
        };
        self.call(CALL, find).ok()?
    }

    /// Whether exactly this is what the group has committed for these partitions. Offsets of a transaction that is
    /// still open are waited for.
    pub fn has_committed(&self, commits: &[PartitionCommit]) -> KafkaResult<bool> {
        let partitions: Vec<_> = commits.iter().map(|commit| commit.at.clone()).collect();
        let found = self.call(CALL, move |group| group.committed(&partitions, COMMITTED_DEADLINE))??;
        Ok(commits.iter().all(|commit| {
            let of_partition = found.iter().find(|(at, _)| *at == commit.at);
            let position = of_partition.and_then(|(_, position)| position.as_ref());
            let note = CommitMetadata::decode(commit.metadata.as_bytes());
            position.is_some_and(|(low, found)| *low == commit.low_water && note.as_ref() == Ok(found))
        }))
    }

    /// What the partitions' last owners committed.
    pub(super) fn committed(
        &self,
        partitions: &[TopicPartition],
        deadline: Duration,
    ) -> KafkaResult<Vec<CommittedPosition>> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for at in partitions {
            asked.add_partition(&at.topic, at.partition);
        }
        let replied = self.member().committed_offsets(asked, deadline)?;
        let metadata = metadata_of(&replied);
        let mut committed = Vec::with_capacity(partitions.len());
        for (element, metadata) in replied.elements().into_iter().zip(metadata) {
            element.error()?;
            let at = TopicPartition { topic: element.topic().into(), partition: element.partition() };
            let position = match element.offset() {
                Offset::Offset(low) => Some((low, read_note(&at, low, &metadata))),
                _ => None,
            };
            committed.push((at, position));
        }
        Ok(committed)
    }
}

/// The commits as librdkafka wants them.
pub fn offsets_of(commits: &[PartitionCommit]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut element = list.add_partition(&commit.at.topic, commit.at.partition);
        element.set_offset(Offset::Offset(commit.low_water))?;
        if !commit.metadata.is_empty() {
            element.set_metadata(&commit.metadata);
        }
    }
    Ok(list)
}

fn read_note(at: &TopicPartition, low_water: i64, metadata: &[u8]) -> CommitMetadata {
    CommitMetadata::decode(metadata).unwrap_or_else(|error| {
        tracing::warn!(
            event = "foreign_commit_metadata", topic = %at.topic, partition = at.partition, low_water,
            %error,
            "committed metadata is not from FTP Pooler; tasks above the low-water mark may be repeated"
        );
        CommitMetadata::default()
    })
}
