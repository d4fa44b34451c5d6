//! The polling thread.

mod assignment;
mod end_markers;
mod rebalance_reader;
mod recreate;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use tokio::sync::oneshot;

use end_markers::EndMarkerScanner;
use rebalance_reader::RebalanceReader;

use super::delayed_records::{DelayedRecords, RecordReadiness, RetryIntake, SLACK};
use super::fetched_record::FetchedRecord;
use super::group::{Group, Member};
use super::halted_partitions::HaltedPartitions;
use super::kafka_outage::KafkaOutageLog;
use super::partition_report::PartitionReporter;
use super::rebalance::Rebalances;
use super::retry_assignment::RetryAssignment;
use super::rights::Rights;
use super::session_timeout::SessionTimeout;
use crate::admission::{Admission, TaskBudget};
use crate::dispatch::TaskStatus;
use crate::health::PodHealth;
use crate::insight::PartitionBoard;
use crate::kafka::{ClientRenewal, NeededRights, uses_new_protocol};
use crate::metrics::Metrics;
use crate::offsets::{Offsets, PartitionState, TopicPartition};
use crate::record::{Origin, Record};

/// One poll waits this long at most: the loop beats, and checks pauses and rebalances, in between.
const POLL: Duration = Duration::from_millis(100);
const POLL_WHILE_REBALANCING: Duration = Duration::from_millis(10);
/// Partitions are paused once the budget has been full for this long; until then nothing is polled.
const PAUSE_AFTER: Duration = Duration::from_millis(100);
const BUDGET_POLL: Duration = Duration::from_millis(2);
/// Between two attempts to move the low-water mark of partitions whose span is full.
const UNBLOCK_INTERVAL: Duration = Duration::from_millis(250);
/// Records taken in between two checks of pauses and rebalances.
pub const BURST: usize = 256;

/// Where records go. Does not block, except that the first record waits for what the control topic says (5 s at most).
pub trait RecordSink: Send {
    /// Takes one record over, to be answered under its lease.
    fn accept(&self, record: Box<Record>, admission: Admission);
    /// Drops the queued records whose leases let nothing begin any more, and returns where they stood.
    fn withdraw(&self) -> Vec<Origin>;
    /// Nothing more is taken in of these partitions until the records at these offsets are answered: whatever
    /// holds one up and can wait elsewhere is to wait there.
    fn unblock(&self, stuck: &[(TopicPartition, i64)]);
    /// Where the task of this record is; `None` where its answer is on its way to Kafka.
    fn task_status(&self, origin: &Origin) -> Option<TaskStatus>;
}

/// What the thread needs.
pub struct Consume {
    pub group: Group,
    /// Where the tasks come from.
    pub topics: Vec<String>,
    /// What the pod must be allowed.
    pub rights: NeededRights,
    /// Where deferred tasks come from, besides.
    pub retry: Option<RetryIntake>,
    pub offsets: Arc<Offsets>,
    pub budget: TaskBudget,
    /// A task held for longer is logged.
    pub slow_task: Duration,
    pub downstream: Box<dyn RecordSink>,
    pub health: Arc<PodHealth>,
    /// Says when the clients are to be made anew.
    pub renewal: Arc<ClientRenewal>,
    pub metrics: Metrics,
    /// Where the partitions are shown.
    pub partitions: PartitionBoard,
}

impl std::fmt::Debug for Consume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consume").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// What the thread is asked to do; only ever raised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Run = 0,
    /// Take nothing in, but stay in the group.
    Hold = 1,
    Leave = 2,
}

/// The running thread.
#[derive(Debug)]
pub struct ConsumeHandle {
    phase: Arc<AtomicU8>,
    thread: JoinHandle<()>,
    /// Resolves when the thread has ended: with the error that ended it, if one did.
    pub ended: oneshot::Receiver<Result<(), KafkaError>>,
}

impl ConsumeHandle {
    /// No more records are taken in; the group keeps its member, so that offsets can be committed.
    pub fn hold(&self) {
        self.phase.fetch_max(Phase::Hold as u8, Ordering::Relaxed);
    }

    /// Leaves the group. With the brokers away this takes up to `session.timeout.ms`: wait for
    /// [`ConsumeHandle::ended`] with a deadline.
    pub fn leave(&self) {
        self.phase.fetch_max(Phase::Leave as u8, Ordering::Relaxed);
        self.thread.thread().unpark();
    }
}

impl Consume {
    /// To the input topic; and to the retry topic where the group is to spread that as well.
    fn subscribe(&self, group_spreads_retries: bool) -> Result<(), KafkaError> {
        let retry = self.retry.iter().filter(|_| group_spreads_retries).map(|retry| &retry.topic);
        let topics: Vec<&str> = self.topics.iter().chain(retry).map(String::as_str).collect();
        self.group.member().subscribe(&topics)
    }

    /// Subscribes and starts the thread.
    pub fn spawn(self) -> Result<ConsumeHandle, KafkaError> {
        let phase = Arc::new(AtomicU8::new(Phase::Run as u8));
        let (end, ended) = oneshot::channel();
        let seen_phase = phase.clone();
        self.subscribe(uses_new_protocol(&self.group.properties.0))?;
        let thread = std::thread::Builder::new()
            .name("consume".into())
            .spawn(move || {
                let result = PollLoop::new(self, seen_phase).run();
                let _ = end.send(result); // nobody listens after a second signal
            })
            .map_err(|error| {
                KafkaError::Subscription(format!("cannot start the consuming thread: {error}"))
            })?;
        Ok(ConsumeHandle { phase, thread, ended })
    }
}

struct PollLoop {
    parts: Consume,
    phase: Arc<AtomicU8>,
    rebalances: Rebalances,
    paused: HashSet<TopicPartition>,
    halts: HaltedPartitions,
    rebalance_reader: Option<RebalanceReader>,
    end_markers: EndMarkerScanner,
    rights: Rights,
    session_timeout: SessionTimeout,
    /// For the rebalance that began then it cannot be had.
    unreadable_since: Option<Instant>,
    /// Records that are not due yet, or for which there is no room yet.
    delayed: DelayedRecords,
    over_budget: bool,
    /// Since when the budget is full, but not yet paused for.
    full_since: Option<Instant>,
    partition_reporter: PartitionReporter,
    kafka_outage: KafkaOutageLog,
    last_unblock: Option<Instant>,
    topic_names: Vec<Arc<str>>,
    /// This pod's share of the retry topic.
    retry_assignment: RetryAssignment,
    /// The group spreads the retry topic as well as the input topic.
    group_spreads_retries: bool,
    /// What was logged last of this pod's share.
    share_told: Option<(bool, Option<String>)>,
}

impl PollLoop {
    fn new(mut parts: Consume, phase: Arc<AtomicU8>) -> Self {
        let retry_topic = parts.retry.as_ref().map(|retry| &*retry.topic);
        let rights = Rights::new(std::mem::take(&mut parts.rights), retry_topic);
        let partition_reporter = PartitionReporter::new(parts.slow_task, parts.partitions.clone());
        // By the new protocol the coordinator spreads each topic by itself, with its range assignor.
        let group_spreads_retries = uses_new_protocol(&parts.group.properties.0);
        let session_timeout = SessionTimeout::new(group_spreads_retries);
        let retry = parts.retry.as_ref().filter(|_| !group_spreads_retries).map(|retry| &*retry.topic);
        let retry_assignment = RetryAssignment::new(parts.topics.first().map_or("", String::as_str), retry);
        PollLoop {
            parts,
            phase,
            rebalances: Rebalances::default(),
            paused: HashSet::new(),
            halts: HaltedPartitions::default(),
            rebalance_reader: None,
            end_markers: EndMarkerScanner::default(),
            rights,
            session_timeout,
            unreadable_since: None,
            delayed: DelayedRecords::default(),
            over_budget: false,
            full_since: None,
            partition_reporter,
            kafka_outage: KafkaOutageLog::new(Instant::now()),
            last_unblock: None,
            topic_names: Vec::new(),
            retry_assignment,
            group_spreads_retries,
            share_told: None,
        }
    }

    fn is_at(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) >= phase as u8
    }

    fn run(mut self) -> Result<(), KafkaError> {
        let result = loop {
            if self.is_at(Phase::Leave) {
                break Ok(());
            }
            self.parts.health.consume.beat();
            self.log_kafka_outage();
            self.recreate_clients();
            self.parts.offsets.end_session_of_silence();
            self.rejoin_after_leases_ended();
            self.session_timeout.check(&self.parts.group, &self.parts.offsets);
            self.check_topics();
            self.rights.check(&self.parts.group, &self.parts.health);
            self.rebalance();
            self.assign_retry_partitions();
            self.take_in_due();
            self.pause_and_resume();
            self.read_during_rebalance();
            if let Err(error) = self.poll_burst() {
                break Err(error);
            }
        };
        self.parts.health.set_joined(false);
        self.parts.health.consume.finish();
        self.parts.group.member().context().set_closing();
        // The last handle closes the consumer, which leaves the group; publish has dropped its own by now.
        drop((self.halts, self.rebalance_reader, self.parts));
        result
    }

    fn log_kafka_outage(&mut self) {
        let (now, health) = (Instant::now(), &self.parts.health);
        if let Some(event) = self.kafka_outage.observe(health.kafka_unseen_for(now), health.is_joined(), now)
        {
            event.log();
        }
    }

    /// Polls until a poll comes back empty or the burst is full; only a fatal error is returned.
    fn poll_burst(&mut self) -> Result<(), KafkaError> {
        if self.parts.budget.is_full() && !self.over_budget {
            std::thread::sleep(BUDGET_POLL);
            return Ok(());
        }
        let wait = if self.rebalances.is_pending() || self.retry_assignment.is_pending() {
            POLL_WHILE_REBALANCING
        } else {
            POLL
        };
        self.poll_from(&self.parts.group.member(), wait)?;
        match self.parts.group.existing_retry_reader() {
            Some(reader) => self.poll_from(&reader, Duration::ZERO),
            None => Ok(()),
        }
    }

    fn poll_from(&mut self, client: &Member, wait: Duration) -> Result<(), KafkaError> {
        for polled in 0..BURST {
            // Without room every partition is paused: the first poll then serves callbacks and the group's deadline.
            if polled > 0 && self.parts.budget.is_full() {
                break;
            }
            match client.poll(if polled == 0 { wait } else { Duration::ZERO }) {
                None => break,
                Some(Ok(message)) => {
                    if !self.take_in(&message) {
                        break; // its partition is to be paused first
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(KafkaError::MessageConsumptionFatal(code));
                }
                Some(Err(error)) => self.note(&error),
            }
        }
        Ok(())
    }

    /// False where the record stays outside, because it is not due yet, or cannot be begun yet.
    fn take_in(&mut self, message: &BorrowedMessage<'_>) -> bool {
        if self.is_at(Phase::Hold) {
            return true; // not begun in the ledger: the next owner gets it
        }
        let mut arrived = FetchedRecord::of(message, &mut self.topic_names);
        let wait = match self.delayed.classify(self.parts.retry.as_ref(), &mut arrived, Timestamp::now()) {
            RecordReadiness::Delayed(wait) => Some(wait),
            RecordReadiness::Due | RecordReadiness::OtherGroup => self.must_wait(&arrived).then_some(SLACK),
        };
        let Some(wait) = wait else {
            self.admit(arrived);
            return true;
        };
        self.delayed.keep(arrived, Instant::now() + wait);
        false
    }

    /// What is begun past a record that is kept would make that one count as done.
    fn must_wait(&self, arrived: &FetchedRecord) -> bool {
        self.delayed.holds(&arrived.at) || !self.parts.offsets.has_room(&arrived.at, arrived.offset)
    }

    fn admit(&self, mut arrived: FetchedRecord) {
        if arrived.is_of_other_group {
            self.parts.offsets.skip(&arrived.at, arrived.offset);
            return;
        }
        let Some(lease) = self.parts.offsets.begin(&arrived.at, arrived.offset) else { return };
        let admission = self.parts.budget.admit(arrived.size());
        self.delayed.settle(&mut arrived, Timestamp::now());
        self.parts.downstream.accept(Box::new(arrived.into_record(lease)), admission);
    }

    /// Takes in the records that were early and are due now, as far as there is room for them.
    fn take_in_due(&mut self) {
        self.delayed.read_early(self.parts.retry.as_ref(), Instant::now());
        while !self.parts.budget.is_full() && !self.is_at(Phase::Hold) {
            let offsets = &self.parts.offsets;
            let has_room = |head: &FetchedRecord| offsets.has_room(&head.at, head.offset);
            let Some(arrived) = self.delayed.next_due(Instant::now(), has_room) else { return };
            self.admit(arrived);
        }
    }

    /// A pause costs what librdkafka has prefetched. A small budget is full again and again, and has room a moment
    /// later: so long, nothing is polled instead.
    fn is_full_for_long(&mut self) -> bool {
        if !self.parts.budget.is_full() {
            self.full_since = None;
            return false;
        }
        self.full_since.get_or_insert_with(Instant::now).elapsed() >= PAUSE_AFTER
    }

    fn unblock(&mut self, owned: &[PartitionState]) {
        if self.last_unblock.is_some_and(|last| last.elapsed() < UNBLOCK_INTERVAL) {
            return;
        }
        let is_stuck = |state: &PartitionState| state.is_stuck || self.has_no_room(&state.at);
        let stuck = owned.iter().filter(|state| is_stuck(state));
        let stuck: Vec<_> = stuck.filter_map(|state| Some((state.at.clone(), state.low_water?))).collect();
        if !stuck.is_empty() {
            self.last_unblock = Some(Instant::now());
            self.parts.downstream.unblock(&stuck);
        }
    }

    /// True where the partition's next record is due and cannot be begun: a gap before it is as large as a full span.
    fn has_no_room(&self, at: &TopicPartition) -> bool {
        let mut due = self.delayed.due(Instant::now());
        due.any(|head| head.at == *at && !self.parts.offsets.has_room(at, head.offset))
    }

    fn note(&mut self, error: &KafkaError) {
        self.parts.metrics.kafka_error("consume");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.halts.verify_later(&self.parts.offsets);
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                tracing::error!(
                    event = "topic_missing", topics = ?self.parts.topics,
                    retry_topic = ?self.parts.retry.as_ref().map(|retry| &retry.topic), %error,
                    "topic does not exist; waiting for it"
                );
            }
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                let right = format!("Read on group {}", self.parts.group.name());
                self.parts.health.set_missing_rights("group", vec![right]);
            }
            _ => self.parts.group.member().context().log_error(error),
        }
    }
}

/// Whether a request to librdkafka was taken; one that was not is logged, and made again next time.
fn is_done(what: &str, result: &Result<(), KafkaError>) -> bool {
    if let Err(error) = result {
        tracing::warn!(
            event = "kafka_request_failed", %error, what,
            "Kafka consumer request failed; retrying"
        );
    }
    result.is_ok()
}
