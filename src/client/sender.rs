//! Sends records and knows of each whether the brokers have it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::{ClientError, sending};
use crate::config::KafkaConfig;
use crate::kafka::{CallThread, to_headers, without_value};

/// Defaults that `kafka.properties` may override: some throughput, and a bound on memory.
const DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "5"),
    ("compression.type", "zstd"),
    ("message.timeout.ms", "30000"),
    ("socket.timeout.ms", "20000"),
    ("queue.buffering.max.messages", "50000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("reconnect.backoff.max.ms", "2000"),
    ("topic.metadata.propagation.max.ms", "5000"),
];
/// Every record is acknowledged by all in-sync replicas, once and in order.
const FIXED: &[(&str, &str)] = &[("acks", "all"), ("enable.idempotence", "true")];
/// A process that dies leaves its transaction open for this long. librdkafka wants the other two within it.
const TRANSACTION: &[(&str, &str)] =
    &[("transaction.timeout.ms", "30000"), ("message.timeout.ms", "25000"), ("socket.timeout.ms", "20000")];
/// One transactional call.
const CALL: Duration = Duration::from_secs(15);
/// So much later than it was asked to a call may return; some ignore their timeouts.
const CALL_GRACE: Duration = Duration::from_secs(5);
/// How often a retriable transactional call is made.
const CALLS: u32 = 4;
/// Between two checks of a full queue, or at deliveries.
const PAUSE: Duration = Duration::from_millis(5);
/// librdkafka's default.
const MESSAGE_MAX_BYTES: usize = 1_000_000;
/// A key (a connection's name and a path of 4,096 bytes), our own header, and Kafka's overhead.
const ENVELOPE_BYTES: usize = 8 * 1024;
/// Above librdkafka's own `message.timeout.ms`: past it every record has been reported.
const REPORT_GRACE: Duration = Duration::from_secs(10);

/// A record to send.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    /// By the key's hash, where `None`.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    pub payload: &'a [u8],
}

/// Delivery reports, counted.
#[derive(Debug, Default)]
struct Reports {
    delivered: AtomicU64,
    refused: AtomicU64,
    first: Mutex<Option<RDKafkaErrorCode>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => drop(self.delivered.fetch_add(1, Ordering::Relaxed)),
            Err((error, _)) => {
                let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
                drop(first);
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

type CommandProducer = ThreadedProducer<Reports>;

/// A producer with a separate thread, which receives the delivery reports, even while a transaction is aborted.
pub struct Sender {
    producer: Arc<CommandProducer>,
    calls: CallThread,
    sent: u64,
    message_timeout: Duration,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Sender {
    /// An idempotent producer.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn open(kafka: &KafkaConfig) -> Result<Sender, ClientError> {
        Sender::with(kafka, None)
    }

    /// A transactional producer. Once this returns, no other process with this id can commit any more, and
    /// what it had left open is aborted (KIP-98).
    ///
    /// # Errors
    /// The brokers do not answer, or refuse the id.
    pub fn open_transactional(kafka: &KafkaConfig, id: &str) -> Result<Sender, ClientError> {
        let sender = Sender::with(kafka, Some(id))?;
        sender
            .call(|producer| producer.init_transactions(CALL))
            .map_err(ClientError::at(format!("beginning as the transactional producer {id}")))?;
        Ok(sender)
    }

    /// Bytes of a record's value that may be sent: librdkafka's `message.max.bytes`, which the configuration may
    /// set, less what a key and headers take.
    #[must_use]
    pub fn max_value_bytes(kafka: &KafkaConfig) -> usize {
        let properties = sending(kafka, DEFAULTS);
        let most = properties.get("message.max.bytes").and_then(|bytes| bytes.parse().ok());
        most.unwrap_or(MESSAGE_MAX_BYTES).saturating_sub(ENVELOPE_BYTES)
    }

    fn with(kafka: &KafkaConfig, id: Option<&str>) -> Result<Sender, ClientError> {
        let mut properties = sending(kafka, DEFAULTS);
        for (key, value) in FIXED.iter().chain(id.map_or(&[][..], |_| TRANSACTION)) {
            properties.set(*key, *value);
        }
        if let Some(id) = id {
            properties.set("transactional.id", id);
        }
        let timeout = properties.get("message.timeout.ms").and_then(|ms| ms.parse().ok()).unwrap_or(30_000);
        let producer = properties
            .create_with_context(Reports::default())
            .map_err(without_value)
            .map_err(ClientError::at("kafka.properties"))?;
        let calls = CallThread::start()
            .map_err(|error| ClientError::Stalled(format!("cannot start the producer's thread: {error}")))?;
        let message_timeout = Duration::from_millis(timeout);
        Ok(Sender { producer: Arc::new(producer), calls, sent: 0, message_timeout })
    }

    /// A transactional call, with a deadline of our own; again, some times, where librdkafka calls it retriable.
    fn call(&self, call: fn(&CommandProducer) -> KafkaResult<()>) -> KafkaResult<()> {
        again(|| {
            let producer = Arc::clone(&self.producer);
            self.calls.call(CALL + CALL_GRACE, || (), move || call(&producer))?
        })
    }

    /// Hands a record over. Waits while the queue is full, as long as records may wait in it.
    ///
    /// # Errors
    /// The record cannot be sent at all: it is too large, or its topic is gone.
    pub fn send(&mut self, record: &Outgoing<'_>) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.message_timeout + REPORT_GRACE;
        loop {
            let mut out: BaseRecord<'_, [u8], [u8], ()> =
                BaseRecord::to(record.topic).payload(record.payload);
            out.key = record.key;
            out.partition = record.partition;
            out.headers = to_headers(record.headers.iter().copied());
            match self.producer.send(out) {
                Ok(()) => break,
                Err((error, _)) => {
                    let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                    if !is_full || Instant::now() >= deadline {
                        return Err(ClientError::at(format!("sending to {}", record.topic))(error));
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
        self.sent += 1;
        Ok(())
    }

    /// Records that the brokers have acknowledged so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.producer.context().delivered.load(Ordering::Relaxed)
    }

    /// The error of the first record that was rejected, if any was: continuing would be useless.
    ///
    /// # Errors
    /// [`ClientError::NotDelivered`].
    pub fn check(&self) -> Result<(), ClientError> {
        let reports = self.producer.context();
        let first = *reports.first.lock().unwrap_or_else(PoisonError::into_inner);
        match first {
            None => Ok(()),
            Some(first) => Err(ClientError::NotDelivered {
                refused: self.sent.saturating_sub(self.delivered()),
                sent: self.sent,
                first,
            }),
        }
    }

    /// True once each record has been acknowledged or refused.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.delivered() + self.producer.context().refused.load(Ordering::Relaxed) >= self.sent
    }

    /// Waits until each record has been acknowledged, calling `meanwhile` now and then.
    ///
    /// # Errors
    /// [`ClientError::NotDelivered`].
    pub fn settle(&mut self, mut meanwhile: impl FnMut()) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.message_timeout + REPORT_GRACE;
        while !self.is_settled() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
            meanwhile();
        }
        self.check()?;
        match self.sent.saturating_sub(self.delivered()) {
            0 => Ok(()),
            refused => Err(ClientError::NotDelivered {
                refused,
                sent: self.sent,
                first: RDKafkaErrorCode::MessageTimedOut,
            }),
        }
    }

    /// Sends these records so that a `read_committed` reader sees all of them or none.
    ///
    /// # Errors
    /// [`ClientError::Fenced`] where another process has taken over; else what Kafka says. The records of this
    /// call are not there then, unless the very commit's reply was lost.
    pub fn send_together(&mut self, records: &[Outgoing<'_>]) -> Result<(), ClientError> {
        let doing = "sending a transaction";
        self.call(rdkafka::producer::Producer::begin_transaction).map_err(ClientError::at(doing))?;
        let sent = records.iter().try_for_each(|record| self.send(record)).and_then(|()| self.settle(|| ()));
        if let Err(error) = sent {
            let _ = self.call(|producer| producer.abort_transaction(CALL));
            return Err(self.unless_fenced(error));
        }
        let committed = self.call(|producer| producer.commit_transaction(CALL));
        committed.map_err(|error| self.unless_fenced(ClientError::at(doing)(error)))
    }

    /// A fenced producer's records fail with various errors; its fatal one gives the reason.
    fn unless_fenced(&self, error: ClientError) -> ClientError {
        match self.producer.client().fatal_error() {
            Some((
                RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch,
                _,
            )) => ClientError::Fenced,
            _ => error,
        }
    }
}

/// Makes a transactional call again that librdkafka calls retriable, some times.
fn again(call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
    let mut left = CALLS;
    loop {
        left -= 1;
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && left > 0 => {
                std::thread::sleep(PAUSE);
            }
            ended => return ended,
        }
    }
}
