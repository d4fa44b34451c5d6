//! The demo's Kafka: librdkafka's mock cluster, in this process, on a real port.
//!
//! It has topics, groups and commits, but no transactions (it accepts and then forgets them), and keeps the
//! last 5 MiB of a partition only.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientContext, bindings};

use crate::answer::HEADER;
use crate::plan::Planned;

pub const TASKS: &str = "ftp-tasks";
pub const RESULTS: &str = "ftp-results";
pub const FAILURES: &str = "ftp-failures";
pub const RETRY: &str = "ftp-tasks-retry";
/// Partitions of each topic.
pub const PARTITIONS: i32 = 3;

/// For records to reach a broker.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that keeps its warnings to itself, and counts what was not delivered.
#[derive(Debug, Default)]
pub struct Quiet {
    undelivered: AtomicUsize,
}

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.undelivered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The broker; it ends when this is dropped.
pub struct Broker {
    /// Carries the mock cluster, and is its first client.
    producer: BaseProducer<Quiet>,
    bootstrap: String,
}

impl Broker {
    /// Starts it, with its topics.
    pub fn start() -> Result<Broker> {
        let producer: BaseProducer<Quiet> = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create_with_context(Quiet::default())
            .context("cannot start the broker")?;
        let bootstrap = make_topics(&producer)?;
        do_not_wait_for_more_members(&producer);
        Ok(Broker { producer, bootstrap })
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Sends records and waits until they are on the broker.
    pub fn send(&self, records: &[Planned]) -> Result<()> {
        for planned in records {
            let mut record: BaseRecord<'_, str, str> =
                BaseRecord::to(TASKS).key(planned.key.as_str()).headers(header(&planned.key));
            if let Some(payload) = &planned.payload {
                record = record.payload(payload);
            }
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        flush(&self.producer)
    }
}

/// Sends one record of the user's own to a broker, and waits until it is acknowledged.
pub fn send_one(bootstrap: &str, topic: &str, key: Option<&str>, payload: &str) -> Result<()> {
    let producer: BaseProducer<Quiet> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("message.timeout.ms", (SEND_TIMEOUT.as_millis() / 2).to_string())
        .create_with_context(Quiet::default())?;
    let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).payload(payload);
    if let Some(key) = key {
        record = record.key(key);
    }
    producer.send(record).map_err(|(error, _)| error)?;
    flush(&producer).with_context(|| {
        format!("is `ftp-pooler demo --keep-running` still running, with its broker at {bootstrap}?")
    })
}

/// Returns the cluster's address.
fn make_topics(producer: &BaseProducer<Quiet>) -> Result<String> {
    let cluster = producer.client().mock_cluster().context("this build of librdkafka has no mock cluster")?;
    for topic in [TASKS, RESULTS, FAILURES, RETRY] {
        cluster.create_topic(topic, PARTITIONS, 1).with_context(|| format!("cannot make topic {topic}"))?;
    }
    Ok(cluster.bootstrap_servers())
}

fn flush(producer: &BaseProducer<Quiet>) -> Result<()> {
    producer.flush(SEND_TIMEOUT).context("the broker does not take records")?;
    match producer.context().undelivered.load(Ordering::Relaxed) {
        0 => Ok(()),
        undelivered => bail!("{undelivered} records did not reach the broker"),
    }
}

fn header(key: &str) -> OwnedHeaders {
    OwnedHeaders::new().insert(Header { key: HEADER, value: Some(key) })
}

/// A new group waits 3 s for more members, as on a real broker. The demo has one member.
#[expect(
    unsafe_code,
    reason = "librdkafka's call for this has no safe wrapper; the demo would begin 3 s later"
)]
fn do_not_wait_for_more_members(producer: &BaseProducer<Quiet>) {
    let client = producer.client().native_ptr();
    // SAFETY: `client` is alive as long as `producer`, and so is its cluster; null is what a client without
    // one gives, and is not passed on.
    unsafe {
        let cluster = bindings::rd_kafka_handle_mock_cluster(client);
        if !cluster.is_null() {
            bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}
