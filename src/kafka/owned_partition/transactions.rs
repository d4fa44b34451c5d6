//! The transactional producer of an owned partition. Every call has a deadline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::OwnedRecord;
use crate::config::KafkaConfig;
use crate::kafka::{
    ClientKind, CommitError, LogThrottle, client_properties, log_error, log_line, without_value,
};

/// One call of librdkafka's; what it calls retriable is called again until [`WITHIN`].
const CALL: Duration = Duration::from_secs(2);
/// Beginning, or a whole transaction. Above the time for which the coordinator keeps an open transaction of a
/// predecessor that died, which must end first.
const WITHIN: Duration = Duration::from_secs(14);
/// Between two polls for delivery reports.
const POLL: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_millis(50);

const PROPERTIES: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("linger.ms", "0"),
    ("transaction.timeout.ms", "10000"),
    ("message.timeout.ms", "9000"),
    ("socket.timeout.ms", "9000"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Delivery reports, counted.
#[derive(Debug, Default)]
struct OwnerReports {
    reported: AtomicUsize,
    refused: Mutex<Option<RDKafkaErrorCode>>,
    throttle: LogThrottle,
}

impl ClientContext for OwnerReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line("owned partition's producer", &self.throttle, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error("owned partition's producer", &self.throttle, &error, reason);
    }
}

impl ProducerContext for OwnerReports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
        }
        self.reported.fetch_add(1, Ordering::Relaxed);
    }
}

/// A producer with the partition's identity.
pub(super) struct OwnerProducer {
    inner: BaseProducer<OwnerReports>,
    sent: usize,
}

impl OwnerProducer {
    /// Begins as this transactional producer. Once it returns, no earlier one can commit anything, and what it had left
    /// open is aborted (KIP-98).
    pub fn begin(kafka: &KafkaConfig, pod: &str, id: &str) -> Result<Self, CommitError> {
        let mut properties = client_properties(kafka, pod, ClientKind::Producer, &[]);
        for (key, value) in PROPERTIES {
            properties.set(*key, *value);
        }
        properties.set("transactional.id", id);
        let inner: BaseProducer<OwnerReports> =
            properties.create_with_context(OwnerReports::default()).map_err(without_value)?;
        let until = Instant::now() + WITHIN;
        again_until(until, || inner.init_transactions(CALL))?;
        Ok(OwnerProducer { inner, sent: 0 })
    }

    /// Writes all of these records, or none. After an error it is uncertain which, and the producer is unusable.
    pub fn write(&mut self, records: &[OwnedRecord]) -> Result<(), CommitError> {
        let until = Instant::now() + WITHIN;
        again_until(until, || self.inner.begin_transaction())?;
        for record in records {
            self.send(record, until)?;
        }
        while self.reports().reported.load(Ordering::Relaxed) < self.sent {
            if Instant::now() >= until {
                return Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut).into());
            }
            self.inner.poll(Duration::ZERO);
            std::thread::sleep(POLL);
        }
        let refused = *self.reports().refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = refused {
            return Err(self.unless_fenced(KafkaError::MessageProduction(code)));
        }
        again_until(until, || self.inner.commit_transaction(CALL))
    }

    fn send(&mut self, record: &OwnedRecord, until: Instant) -> Result<(), CommitError> {
        loop {
            let mut out: BaseRecord<'_, [u8], [u8], ()> =
                BaseRecord::to(&record.topic).key(record.key.as_bytes());
            out.payload = record.value.as_deref();
            out.partition = record.partition;
            let Err((error, _)) = self.inner.send(out) else {
                self.sent += 1;
                return Ok(());
            };
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full || Instant::now() >= until {
                return Err(self.unless_fenced(error));
            }
            self.inner.poll(Duration::ZERO);
            std::thread::sleep(POLL);
        }
    }

    /// A fenced producer's records fail with various errors; its fatal one gives the reason.
    fn unless_fenced(&self, error: KafkaError) -> CommitError {
        match self.inner.client().fatal_error() {
            Some((
                code @ (RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch),
                _,
            )) => CommitError::Fenced(KafkaError::Global(code)),
            _ => error.into(),
        }
    }

    fn reports(&self) -> &Arc<OwnerReports> {
        self.inner.context()
    }
}

impl Drop for OwnerProducer {
    fn drop(&mut self) {
        // The remaining records are not awaited.
        self.inner.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    }
}

/// Makes a call again that librdkafka calls retriable.
fn again_until(until: Instant, call: impl Fn() -> KafkaResult<()>) -> Result<(), CommitError> {
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            ended => return Ok(ended?),
        }
    }
}
