//! An idempotent producer whose delivery reports are awaited, one batch at a time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::reply_topics::TopicLookup;
use super::shutdown_deadline::ShutdownDeadline;
use crate::config::{DeliveryGuarantee, KafkaConfig};
use crate::kafka::{
    AbandonedCalls, CallThread, ClientKind, CommitError, LogThrottle, client_properties, log_error, log_line,
    partition_count, pod_transactional_id, to_headers, without_value,
};
use crate::metrics::Metrics;
use crate::record::Header;

/// Defaults; `kafka.properties` may override those that the configuration does not refuse there. The publisher
/// makes its own batches.
const DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "1"),
    ("message.timeout.ms", "30000"),
    ("socket.timeout.ms", "20000"),
    ("reconnect.backoff.max.ms", "2000"),
    // A deferred task comes back in the batch in which it was sent, which its reader gets whole.
    ("batch.size", "65536"),
    // A missing topic is told within this, before the messages for it time out.
    ("topic.metadata.propagation.max.ms", "5000"),
];
/// What delivery rests on: the configuration refuses these in `kafka.properties`.
const FIXED: &[(&str, &str)] = &[("acks", "all"), ("enable.idempotence", "true")];
/// librdkafka wants a message's time within the transaction's, and a request's.
const WITHIN_TRANSACTION: Duration = Duration::from_secs(1);
/// librdkafka's reports arrive while polling: between two polls, which bounds what a report waits. Slept, since
/// a poll that waits for less than librdkafka's millisecond spins.
const POLL: Duration = Duration::from_millis(1);
/// Above librdkafka's own `message.timeout.ms`: past it every message has been reported.
const REPORT_GRACE: Duration = Duration::from_secs(5);

/// One query of a topic's metadata.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// One message to send.
#[derive(Debug)]
pub struct AnswerMessage<'a> {
    pub topic: &'a str,
    pub key: Option<&'a [u8]>,
    pub headers: &'a [Cow<'a, Header>],
    pub payload: &'a [u8],
}

/// Delivery reports by message number; written and read on the publishing thread.
#[derive(Debug, Default)]
pub(super) struct DeliveryReports {
    done: Mutex<HashMap<usize, Result<(), RDKafkaErrorCode>>>,
    throttle: LogThrottle,
    metrics: Metrics,
}

impl DeliveryReports {
    fn new(metrics: Metrics) -> Self {
        DeliveryReports { metrics, ..DeliveryReports::default() }
    }
}

impl ClientContext for DeliveryReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line("producer", &self.throttle, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.kafka_error("produce");
        log_error("producer", &self.throttle, &error, reason);
    }
}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let report = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, report);
    }
}

pub struct Producer {
    inner: Arc<BaseProducer<DeliveryReports>>,
    calls: CallThread,
    abandoned: AbandonedCalls,
    properties: ClientConfig,
    metrics: Metrics,
    message_timeout: Duration,
    /// `transaction.timeout.ms`.
    transaction_timeout: Duration,
    /// Numbers messages over all batches, so that a late report is not taken for another message's.
    next: usize,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive() // its properties hold secrets
    }
}

impl Producer {
    /// A producer for `kafka.delivery`; a transactional one is `<group>-<pod>` to its brokers, so that a pod's
    /// next process fences this one.
    pub fn create(kafka: &KafkaConfig, pod: &str, metrics: Metrics) -> KafkaResult<Producer> {
        let is_transactional = kafka.delivery == DeliveryGuarantee::ExactlyOnce;
        let mut properties = client_properties(kafka, pod, ClientKind::Producer, DEFAULTS);
        for (key, value) in FIXED {
            properties.set(*key, *value);
        }
        let transaction_timeout = kafka.transaction_timeout;
        if is_transactional {
            properties.set("transactional.id", pod_transactional_id(&kafka.consumer_group, pod));
            set_timeouts(&mut properties, transaction_timeout);
        }
        let (inner, calls) = create(&properties, &metrics)?;
        Ok(Producer {
            message_timeout: message_timeout(&properties),
            transaction_timeout,
            inner,
            calls,
            abandoned: AbandonedCalls::default(),
            properties,
            metrics,
            next: 0,
        })
    }

    /// One of the calls that make a transaction, which gets librdkafka's producer. Where it does not return within
    /// `deadline`, whatever timeout it was given, this producer is of no more use. Delivery reports are taken meanwhile:
    /// librdkafka aborts no transaction before they are.
    pub(super) fn call(
        &self,
        deadline: Duration,
        shutdown: &ShutdownDeadline,
        call: impl FnOnce(&BaseProducer<DeliveryReports>) -> KafkaResult<()> + Send + 'static,
    ) -> Result<(), CommitError> {
        let inner = Arc::clone(&self.inner);
        let meanwhile = || {
            self.inner.poll(Duration::ZERO);
            shutdown.keep_waiting();
        };
        Ok(self.calls.call(deadline, meanwhile, move || call(&inner))??)
    }

    /// What its transactions are called by; `None` where it makes none.
    pub(super) fn transactional_id(&self) -> Option<&str> {
        self.properties.get("transactional.id")
    }

    /// Within which a transaction must be over, else its coordinator aborts it.
    pub(super) fn transaction_timeout(&self) -> Duration {
        self.transaction_timeout
    }

    /// Applies to the next producer, and to those that follow it.
    pub(super) fn set_transaction_timeout(&mut self, timeout: Duration) {
        self.transaction_timeout = timeout;
        set_timeouts(&mut self.properties, timeout);
        self.message_timeout = message_timeout(&self.properties);
    }

    /// Whether the topic is there and may be written, as far as its metadata tells.
    pub(super) fn has_topic(&self, topic: &str) -> bool {
        partition_count(self.inner.client(), topic, METADATA_TIMEOUT).is_ok_and(|count| count.is_some())
    }

    /// Looks for a topic that replies are to go to.
    pub(super) fn look_for(&self, topic: &str) -> TopicLookup {
        match partition_count(self.inner.client(), topic, METADATA_TIMEOUT) {
            Ok(Some(_)) => TopicLookup::There,
            Ok(None) => TopicLookup::Missing,
            Err(error) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::TopicAuthorizationFailed) => TopicLookup::Forbidden,
                _ => TopicLookup::Unknown,
            },
        }
    }

    /// What librdkafka calls fatal: this producer takes nothing more.
    pub(super) fn fatal_error(&self) -> Option<RDKafkaErrorCode> {
        self.inner.client().fatal_error().map(|(code, _)| code)
    }

    /// A new producer in this one's place, with its identity. What this one holds is dropped.
    pub(super) fn restart(&mut self) -> KafkaResult<()> {
        let (inner, calls) = create(&self.properties, &self.metrics)?;
        let old = (std::mem::replace(&mut self.calls, calls), std::mem::replace(&mut self.inner, inner));
        self.abandoned.drop_elsewhere(old);
        Ok(())
    }

    /// Calls of producers that were renewed hang, so many that the process should begin again.
    pub(super) fn is_stuck(&self) -> bool {
        self.abandoned.is_too_many()
    }

    /// Sends all messages and waits until each is acknowledged or refused, or the shutdown deadline has passed. The
    /// results stand in the messages' order.
    pub fn send_all(
        &mut self,
        messages: &[AnswerMessage<'_>],
        shutdown: &ShutdownDeadline,
    ) -> Vec<Result<(), RDKafkaErrorCode>> {
        let first = self.next;
        self.next += messages.len();
        let deadline = Instant::now() + self.message_timeout + REPORT_GRACE;
        for (number, message) in (first..).zip(messages) {
            self.enqueue(number, message, deadline, shutdown);
        }
        while self.reported(first) < messages.len() && shutdown.keep_waiting() && Instant::now() < deadline {
            self.poll();
        }
        let mut done = self.reports();
        let results: Vec<_> = (first..self.next)
            .map(|number| done.remove(&number).unwrap_or(Err(RDKafkaErrorCode::MessageTimedOut)))
            .collect();
        done.clear();
        results
    }

    /// Hands one message to librdkafka; a full queue is waited for, another error is its report.
    fn enqueue(
        &self,
        number: usize,
        message: &AnswerMessage<'_>,
        deadline: Instant,
        shutdown: &ShutdownDeadline,
    ) {
        loop {
            let mut record: BaseRecord<'_, [u8], [u8], usize> =
                BaseRecord::with_opaque_to(message.topic, number).payload(message.payload);
            if let Some(key) = message.key {
                record = record.key(key);
            }
            record.headers = headers_for(message.headers);
            let code = match self.inner.send(record) {
                Ok(()) => return,
                Err((error, _)) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
            };
            let is_full = code == RDKafkaErrorCode::QueueFull;
            if !is_full || !shutdown.keep_waiting() || Instant::now() >= deadline {
                self.reports().insert(number, Err(code));
                return;
            }
            self.poll();
        }
    }

    /// Takes the reports that are there; waits a moment where there are none.
    fn poll(&self) {
        let before = self.reports().len();
        self.inner.poll(Duration::ZERO);
        if self.reports().len() == before {
            std::thread::sleep(POLL);
        }
    }

    fn reports(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Result<(), RDKafkaErrorCode>>> {
        self.inner.context().done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reported(&self, first: usize) -> usize {
        self.reports().keys().filter(|number| **number >= first).count()
    }
}

fn set_timeouts(properties: &mut ClientConfig, transaction: Duration) {
    let within = transaction.saturating_sub(WITHIN_TRANSACTION).as_millis().to_string();
    properties.set("transaction.timeout.ms", transaction.as_millis().to_string());
    properties.set("message.timeout.ms", within.as_str()).set("socket.timeout.ms", within);
}

fn message_timeout(properties: &ClientConfig) -> Duration {
    let configured = properties.get("message.timeout.ms").and_then(|ms| ms.parse().ok());
    Duration::from_millis(configured.unwrap_or(30_000))
}

fn create(
    properties: &ClientConfig,
    metrics: &Metrics,
) -> KafkaResult<(Arc<BaseProducer<DeliveryReports>>, CallThread)> {
    let inner =
        properties.create_with_context(DeliveryReports::new(metrics.clone())).map_err(without_value)?;
    let calls = CallThread::start().map_err(|error| {
        KafkaError::ClientCreation(format!("cannot start the producer's thread: {error}"))
    })?;
    Ok((Arc::new(inner), calls))
}

fn headers_for(headers: &[Cow<'_, Header>]) -> Option<OwnedHeaders> {
    to_headers(headers.iter().map(|header| (&*header.key, header.value.as_deref())))
}
