//! The polling thread.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use tokio::sync::oneshot;

use super::group::Group;
use super::rebalance::{Changed, Rebalances, interned, list_of};
use crate::dispatch::{Admission, Budget};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::offsets::{Offsets, TopicPartition};
use crate::record::{Header, Origin, Record};

/// One poll waits this long at most: the loop beats, and looks at pauses and rebalances, in between.
const POLL: Duration = Duration::from_millis(100);
const POLL_WHILE_REBALANCING: Duration = Duration::from_millis(10);
/// Records taken in between two looks at pauses and rebalances.
pub const BURST: usize = 256;
const WATERMARK_DEADLINE: Duration = Duration::from_secs(5);

/// Where records go. Never blocks.
pub trait Downstream: Send {
    /// Takes one record over, to be answered under its lease.
    fn accept(&self, record: Box<Record>, admission: Admission);
    /// Drops the queued records whose leases let nothing begin any more, and returns where they stood.
    fn withdraw(&self) -> Vec<Origin>;
}

/// What the thread needs.
pub struct Consume {
    pub group: Group,
    pub topics: Vec<String>,
    pub offsets: Arc<Offsets>,
    pub budget: Budget,
    pub downstream: Box<dyn Downstream>,
    pub health: Arc<Health>,
    pub metrics: Metrics,
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
pub struct Handle {
    phase: Arc<AtomicU8>,
    thread: JoinHandle<()>,
    /// Resolves when the thread has ended: with the error that ended it, if one did.
    pub ended: oneshot::Receiver<Result<(), KafkaError>>,
}

impl Handle {
    /// No more records are taken in; the group keeps its member, so that offsets can be committed.
    pub fn hold(&self) {
        self.phase.fetch_max(Phase::Hold as u8, Ordering::Relaxed);
    }

    /// Leaves the group. With the brokers away this takes up to `session.timeout.ms`: wait for
    /// [`Handle::ended`] with a deadline.
    pub fn leave(&self) {
        self.phase.fetch_max(Phase::Leave as u8, Ordering::Relaxed);
        self.thread.thread().unpark();
    }
}

impl Consume {
    /// Subscribes and starts the thread.
    pub fn spawn(self) -> Result<Handle, KafkaError> {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        self.group.member.subscribe(&topics)?;
        let phase = Arc::new(AtomicU8::new(Phase::Run as u8));
        let (end, ended) = oneshot::channel();
        let looked_at = phase.clone();
        let thread = std::thread::Builder::new()
            .name("consume".into())
            .spawn(move || {
                let result = Loop::new(self, looked_at).run();
                let _ = end.send(result); // nobody listens after a second signal
            })
            .map_err(|error| {
                KafkaError::Subscription(format!("cannot start the consuming thread: {error}"))
            })?;
        Ok(Handle { phase, thread, ended })
    }
}

struct Loop {
    parts: Consume,
    phase: Arc<AtomicU8>,
    rebalances: Rebalances,
    paused: HashSet<TopicPartition>,
    /// Stopped by an offset out of range, until somebody mends it.
    halted: HashSet<TopicPartition>,
    over_budget: bool,
    topic_names: Vec<Arc<str>>,
}

impl Loop {
    fn new(parts: Consume, phase: Arc<AtomicU8>) -> Self {
        Loop {
            parts,
            phase,
            rebalances: Rebalances::default(),
            paused: HashSet::new(),
            halted: HashSet::new(),
            over_budget: false,
            topic_names: Vec::new(),
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
            self.rebalance();
            self.pause_and_resume();
            if let Err(error) = self.poll_burst() {
                break Err(error);
            }
        };
        self.parts.health.set_joined(false);
        self.parts.health.consume.end();
        self.parts.group.member.context().set_closing();
        // The last handle closes the consumer, which leaves the group; publish has dropped its own by now.
        drop(self.parts);
        result
    }

    /// Polls until a poll comes back empty or the burst is full; only a fatal error is returned.
    fn poll_burst(&mut self) -> Result<(), KafkaError> {
        let wait = if self.rebalances.is_pending() { POLL_WHILE_REBALANCING } else { POLL };
        let group = self.parts.group.clone();
        for polled in 0..BURST {
            match group.member.poll(if polled == 0 { wait } else { Duration::ZERO }) {
                None => break,
                Some(Ok(message)) => self.take_in(&message),
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(KafkaError::MessageConsumptionFatal(code));
                }
                Some(Err(error)) => self.note(&error),
            }
            if self.parts.budget.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn take_in(&mut self, message: &BorrowedMessage<'_>) {
        if self.is_at(Phase::Hold) {
            return; // not begun in the ledger: the next owner gets it
        }
        let topic = interned(&mut self.topic_names, message.topic());
        let at = TopicPartition { topic, partition: message.partition() };
        let Some(lease) = self.parts.offsets.begin(&at, message.offset()) else { return };
        let payload = message.payload().map(<[u8]>::to_vec);
        let record = Record {
            origin: Origin { topic: at.topic, partition: at.partition, offset: message.offset() },
            key: message.key().map(<[u8]>::to_vec),
            headers: headers_of(message),
            timestamp_ms: message.timestamp().to_millis(),
            lease,
            payload,
        };
        let admission = self.parts.budget.admit(size_of_record(&record));
        self.parts.downstream.accept(Box::new(record), admission);
    }

    fn rebalance(&mut self) {
        let now = Instant::now();
        let Consume { group, offsets, downstream, .. } = &self.parts;
        let mut changes = Vec::new();
        while let Some(rebalance) = group.member.context().next_rebalance() {
            self.parts.health.set_joined(true);
            changes.push(self.rebalances.announce(rebalance, group, offsets, now));
        }
        changes.push(self.rebalances.step(group, offsets, now, || downstream.withdraw()));
        for Changed { assigned, released } in changes {
            for at in &assigned {
                self.paused.remove(at);
            }
            for at in &released {
                self.paused.remove(at);
                if self.halted.remove(at) {
                    self.parts.health.lift_halt(&halt_key(at));
                }
                self.parts.metrics.forget_partition(&at.topic, at.partition);
            }
            if !released.is_empty() {
                downstream.withdraw(); // frees their share of the budget
            }
        }
    }

    /// Pauses hold as long as their reason does: the pod's budget, the partition's span, a halt, the end.
    fn pause_and_resume(&mut self) {
        let budget = &self.parts.budget;
        self.over_budget = if self.over_budget { !budget.has_room() } else { budget.is_full() };
        let all = self.over_budget || self.is_at(Phase::Hold);
        let owned = self.parts.offsets.snapshot();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for state in &owned {
            let wanted = all || state.is_full || self.halted.contains(&state.at);
            match (wanted, self.paused.contains(&state.at)) {
                (true, false) => pause.push(state.at.clone()),
                (false, true) => resume.push(state.at.clone()),
                _ => {}
            }
        }
        let member = &self.parts.group.member;
        if !pause.is_empty() && is_done("pause", &member.pause(&list_of(&pause))) {
            self.paused.extend(pause);
        }
        if !resume.is_empty() && is_done("resume", &member.resume(&list_of(&resume))) {
            for at in &resume {
                self.paused.remove(at);
            }
        }
        self.parts.metrics.partitions(owned.len(), self.paused.len());
        self.parts.metrics.held(budget.tasks(), budget.bytes());
    }

    fn note(&mut self, error: &KafkaError) {
        self.parts.metrics.kafka_error("consume");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.halt_out_of_range();
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                tracing::error!(topics = ?self.parts.topics, %error, "the input topic is not there; waiting for it");
            }
            _ => tracing::warn!(%error, "Kafka consumer"),
        }
    }

    /// librdkafka does not say which partition's offset is out of range: those whose low-water mark the
    /// broker no longer (or not yet) has.
    fn halt_out_of_range(&mut self) {
        for state in self.parts.offsets.snapshot() {
            let Some(low_water) = state.low_water else { continue };
            let asked = self.parts.group.member.fetch_watermarks(
                &state.at.topic,
                state.at.partition,
                WATERMARK_DEADLINE,
            );
            let Ok((first, end)) = asked else { continue };
            if (first..=end).contains(&low_water) {
                continue;
            }
            let reason = format!(
                "{}: offset {low_water} is out of range, the broker has {first} to {end}: records were \
                 deleted before they were answered, or the topic was made anew; stop the pods and reset the \
                 group's offset (kafka-consumer-groups --reset-offsets) to go on",
                halt_key(&state.at)
            );
            tracing::error!("{reason}");
            self.parts.health.halt(halt_key(&state.at), reason);
            self.halted.insert(state.at);
        }
    }
}

fn halt_key(at: &TopicPartition) -> String {
    format!("{}[{}]", at.topic, at.partition)
}

/// Whether a request to librdkafka was taken; one that was not is logged, and made again next time.
fn is_done(what: &str, result: &Result<(), KafkaError>) -> bool {
    if let Err(error) = result {
        tracing::warn!(%error, what, "Kafka consumer");
    }
    result.is_ok()
}

fn headers_of(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let own = |header: rdkafka::message::Header<'_, &[u8]>| Header {
        key: header.key.to_owned(),
        value: header.value.map(<[u8]>::to_vec),
    };
    message.headers().map(|headers| headers.iter().map(own).collect()).unwrap_or_default()
}

/// What a record costs the pod in memory, roughly: its own bytes.
fn size_of_record(record: &Record) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|header| header.key.len() + header.value.as_ref().map_or(0, Vec::len))
        .sum();
    record.payload.as_ref().map_or(0, Vec::len) + record.key.as_ref().map_or(0, Vec::len) + headers
}
