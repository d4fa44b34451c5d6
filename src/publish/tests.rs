//! Each kind of error in a transaction has its answer: against librdkafka's mock cluster, which fails on demand.
//!
//! It forgets the offsets of transactions and shows aborted records, so what is seen here is how the thread goes on;
//! that each answer is there once is seen on a real broker, in `tests/e2e` and `tests/chaos`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use service_kit::health::ReportHealth;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{AnswerTopics, AtLeastOnce, Committer, ExactlyOnce, Producer, Publish};
use crate::admission::{Admission, TaskBudget};
use crate::config::{DeliveryGuarantee, KafkaConfig};
use crate::consume::{self, Consume, Group, RecordSink};
use crate::dispatch::TaskStatus;
use crate::health::PodHealth;
use crate::insight::PartitionBoard;
use crate::kafka::{ClientRenewal, CommitError, NeededRights, consumer_properties};
use crate::metrics::Metrics;
use crate::offsets::{Offsets, TopicPartition};
use crate::outcome::AdmittedOutcome;
use crate::outcome::{Completed, Outcome, Verdict};
use crate::record::{Origin, Record};

/// Only there so that a failure ends.
const LONG: Duration = Duration::from_secs(90);

/// Answers each record at once.
struct Echo {
    answers: mpsc::Sender<AdmittedOutcome>,
    accepted: Arc<AtomicUsize>,
}

impl RecordSink for Echo {
    fn accept(&self, record: Box<Record>, admission: Admission) {
        let completed = Completed::default();
        let outcome = Outcome {
            record,
            task_id: Some("id".into()),
            attempts: 1,
            at: Timestamp::now(),
            verdict: Verdict::Completed(completed),
        };
        self.answers.try_send(AdmittedOutcome { outcome, admission }).unwrap();
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    fn withdraw(&self) -> Vec<Origin> {
        Vec::new()
    }

    fn unblock(&self, _stuck: &[(TopicPartition, i64)]) {}

    fn task_status(&self, _origin: &Origin) -> Option<TaskStatus> {
        None
    }
}

/// A pod without transfers, on a cluster of its own.
struct Rig {
    /// Has the cluster, and is its first client.
    producer: BaseProducer,
    runtime: Runtime,
    metrics: Metrics,
    health: Arc<PodHealth>,
    /// Says which clients are to be made anew, as the watchdog does.
    renewal: Arc<ClientRenewal>,
    accepted: Arc<AtomicUsize>,
    finish: CancellationToken,
    ended: oneshot::Receiver<Result<usize, CommitError>>,
    consume: consume::ConsumeHandle,
}

impl Rig {
    /// Its brokers refuse what `errors` say, in this order, before anything else.
    fn start(delivery: DeliveryGuarantee, errors: &[(RDKafkaApiKey, &[RDKafkaRespErr])]) -> Rig {
        let producer = producer_with_cluster();
        let cluster = producer.client().mock_cluster().unwrap();
        for topic in ["tasks", "results", "failures"] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        for (request, errors) in errors {
            cluster.request_errors(*request, errors);
        }
        let kafka = kafka(&cluster.bootstrap_servers(), delivery);
        drop(cluster);
        let (offsets, health, metrics) = (Arc::new(Offsets::default()), PodHealth::new(), Metrics::default());
        let properties = consumer_properties(&kafka, "pod");
        let group = Group::create(&properties, offsets.clone(), health.clone(), metrics.clone()).unwrap();
        let (answers_in, answers) = mpsc::channel(10_000);
        let committer: Box<dyn Committer> = match delivery {
            DeliveryGuarantee::ExactlyOnce => Box::new(ExactlyOnce::new(group.clone())),
            DeliveryGuarantee::AtLeastOnce => Box::new(AtLeastOnce::new(group.clone())),
        };
        let (finish, runtime) = (CancellationToken::new(), Runtime::new().unwrap());
        let renewal = Arc::<ClientRenewal>::default();
        let budget = TaskBudget::new(10_000, 1 << 20);
        let publish = Publish {
            answers,
            finish: finish.clone(),
            topics: AnswerTopics {
                results: "results".into(),
                failures: "failures".into(),
                retry: String::new(),
                replies: Vec::new(),
                others: Vec::new(),
            },
            producer: Producer::create(&kafka, "pod", metrics.clone()).unwrap(),
            committer,
            offsets: offsets.clone(),
            budget: budget.clone(),
            health: health.clone(),
            renewal: renewal.clone(),
            metrics: metrics.clone(),
        };
        let ended = publish.spawn(runtime.handle().clone()).unwrap().ended;
        let accepted = Arc::new(AtomicUsize::new(0));
        let consume = Consume {
            group,
            topics: vec!["tasks".into()],
            rights: NeededRights::default(),
            retry: None,
            slow_task: LONG,
            offsets,
            budget,
            downstream: Box::new(Echo { answers: answers_in, accepted: accepted.clone() }),
            health: health.clone(),
            renewal: renewal.clone(),
            metrics: metrics.clone(),
            partitions: PartitionBoard::default(),
        };
        let consume = consume.spawn().unwrap();
        Rig { producer, runtime, metrics, health, renewal, accepted, finish, ended, consume }
    }

    fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.producer.client().mock_cluster().unwrap()
    }

    fn send(&self, records: usize) {
        for _ in 0..records {
            let record = BaseRecord::<(), str>::to("tasks").payload("{}");
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(LONG).unwrap();
    }

    fn value(&self, series: &str) -> u32 {
        let page = self.metrics.encode();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    fn committed(&self) -> u32 {
        self.value("ftp_pooler_committed_answers_total")
    }

    fn aborted(&self, reason: &str) -> u32 {
        self.value(&format!("ftp_pooler_aborted_transactions_total{{reason=\"{reason}\"}}"))
    }

    fn restarts(&self) -> u32 {
        self.value("ftp_pooler_producer_renewals_total")
    }

    fn wait_for_answers(&self, answers: u32) {
        wait_until(&format!("{answers} answers, not {}", self.committed()), || self.committed() >= answers);
        assert_eq!(self.committed(), answers);
    }

    /// How the thread ended, told to or not.
    fn end(self) -> Result<usize, CommitError> {
        let ended = self.runtime.block_on(async { tokio::time::timeout(LONG, self.ended).await });
        self.consume.leave();
        ended.expect("it ends").expect("it says how")
    }

    fn finish(self) -> usize {
        self.finish.cancel();
        self.end().unwrap()
    }
}

#[expect(
    unsafe_code,
    reason = "librdkafka's call for this has no safe wrapper; each group would take 3 s to form"
)]
fn producer_with_cluster() -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create().unwrap();
    // SAFETY: the client is alive as long as `producer`, and so is its cluster, which it was made with.
    unsafe {
        let cluster = rdkafka::bindings::rd_kafka_handle_mock_cluster(producer.client().native_ptr());
        assert!(!cluster.is_null());
        rdkafka::bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
    }
    producer
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kafka(bootstrap: &str, delivery: DeliveryGuarantee) -> KafkaConfig {
    KafkaConfig {
        control_topic: String::new(),
        reply_topics: Vec::new(),
        bootstrap_servers: vec![bootstrap.to_owned()],
        consumer_group: "group".into(),
        input_topic: "tasks".into(),
        result_topic: "results".into(),
        fail_topic: "failures".into(),
        retry_topic: String::new(),
        coordination_topic: String::new(),
        feeds_topic: String::new(),
        delivery,
        static_membership: false,
        recreate_after: Duration::from_secs(60),
        transaction_timeout: Duration::from_secs(10),
        properties: std::iter::empty().collect(),
    }
}

#[test]
fn a_retriable_error_is_asked_for_again_within_the_transaction() {
    use RDKafkaRespErr::*;
    let passing = [RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS];
    let rig = Rig::start(
        DeliveryGuarantee::ExactlyOnce,
        &[
            (RDKafkaApiKey::InitProducerId, &passing),
            (RDKafkaApiKey::AddOffsetsToTxn, &passing),
            (RDKafkaApiKey::TxnOffsetCommit, &passing),
            (RDKafkaApiKey::EndTxn, &passing),
        ],
    );
    rig.send(20);
    rig.wait_for_answers(20);
    assert_eq!((rig.aborted("failed"), rig.aborted("broken"), rig.restarts()), (0, 0, 0));
    assert_eq!(rig.finish(), 0);
}

#[test]
fn a_transaction_that_a_rebalance_overtook_is_aborted_and_its_answers_are_chosen_anew() {
    let overtaken = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    ];
    let rig = Rig::start(DeliveryGuarantee::ExactlyOnce, &[(RDKafkaApiKey::TxnOffsetCommit, &overtaken)]);
    rig.send(20);
    rig.wait_for_answers(20);
    assert_eq!((rig.aborted("rebalance"), rig.restarts()), (2, 0));
    assert_eq!(rig.finish(), 0);
}

#[test]
fn an_abortable_error_aborts_and_the_batch_is_sent_again() {
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED];
    let rig = Rig::start(DeliveryGuarantee::ExactlyOnce, &[(RDKafkaApiKey::TxnOffsetCommit, &refused)]);
    rig.send(20);
    rig.wait_for_answers(20);
    assert_eq!((rig.aborted("failed"), rig.restarts()), (1, 0));
    assert_eq!(rig.finish(), 0);
}

#[test]
fn a_fatal_error_makes_a_new_producer_and_nothing_is_lost() {
    let invalid = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE];
    for request in [RDKafkaApiKey::EndTxn, RDKafkaApiKey::TxnOffsetCommit] {
        let rig = Rig::start(DeliveryGuarantee::ExactlyOnce, &[(request, &invalid)]);
        rig.send(20);
        rig.wait_for_answers(20);
        assert_eq!((rig.aborted("broken"), rig.restarts()), (1, 1), "{request:?}");
        assert!(rig.health.report(Instant::now()).is_healthy());
        assert_eq!(rig.finish(), 0);
    }
}

#[test]
fn a_producer_that_has_lost_kafka_is_made_anew_and_nothing_is_lost() {
    let rig = Rig::start(DeliveryGuarantee::ExactlyOnce, &[]);
    for round in 1..=3 {
        rig.send(10);
        rig.renewal.want_producer();
        rig.wait_for_answers(10 * round);
        wait_until("a new producer", || rig.restarts() >= round);
    }
    assert_eq!(rig.finish(), 0);
}

#[test]
fn consumers_that_have_lost_kafka_are_made_anew_and_go_on_where_the_old_ones_committed() {
    let rig = Rig::start(DeliveryGuarantee::AtLeastOnce, &[]);
    let lost = || rig.value("ftp_pooler_rebalanced_partitions_total{event=\"lost\"}");
    for round in 1..=3 {
        rig.send(10);
        rig.wait_for_answers(10 * round);
        rig.renewal.want_consumers();
        wait_until("its partition to be lost", || lost() >= round);
    }
    rig.send(10);
    rig.wait_for_answers(40);
    assert!(rig.health.report(Instant::now()).is_healthy());
    assert_eq!(rig.finish(), 0);
}

#[test]
fn a_fenced_producer_ends_the_thread_and_says_so() {
    for code in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    ] {
        let rig = Rig::start(DeliveryGuarantee::ExactlyOnce, &[(RDKafkaApiKey::EndTxn, &[code])]);
        rig.send(1);
        let metrics = rig.metrics.clone();
        let error = rig.end().unwrap_err();
        assert!(matches!(error, CommitError::Fenced(_)), "{error:?}");
        assert!(error.to_string().contains("another process publishes as this pod"), "{error}");
        assert!(metrics.encode().contains("ftp_pooler_fenced_total 1"));
    }
}

#[test]
fn a_pod_that_may_not_publish_yet_is_not_ready_and_goes_on_once_it_may() {
    let forbidden = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED; 3];
    let rig = Rig::start(DeliveryGuarantee::ExactlyOnce, &[(RDKafkaApiKey::InitProducerId, &forbidden)]);
    rig.send(1);
    let not_begun = || {
        let reasons = rig.health.report(Instant::now()).reasons;
        reasons.iter().any(|reason| reason == "the producer has not started")
    };
    wait_until("it to be not ready", not_begun);
    rig.wait_for_answers(1);
    assert!(!not_begun());
    assert_eq!(rig.restarts(), 3);
    assert_eq!(rig.finish(), 0);
}

#[test]
fn brokers_without_transactions_end_the_thread_with_the_way_out() {
    let unsupported = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT];
    let rig = Rig::start(DeliveryGuarantee::ExactlyOnce, &[(RDKafkaApiKey::InitProducerId, &unsupported)]);
    let error = rig.end().unwrap_err();
    assert!(error.to_string().contains("transaction.max.timeout.ms"), "{error}");
}

#[test]
fn brokers_that_go_away_and_come_back_are_waited_for() {
    for delivery in [DeliveryGuarantee::ExactlyOnce, DeliveryGuarantee::AtLeastOnce] {
        let rig = Rig::start(delivery, &[]);
        rig.send(1);
        rig.wait_for_answers(1);
        rig.cluster().broker_down(1).unwrap();
        rig.cluster().broker_up(1).unwrap();
        rig.send(5);
        rig.wait_for_answers(6);
        assert_eq!(rig.finish(), 0);
    }
}

#[test]
fn the_thread_ends_also_where_the_brokers_are_away_and_says_what_is_left() {
    for delivery in [DeliveryGuarantee::ExactlyOnce, DeliveryGuarantee::AtLeastOnce] {
        // No commit is ever confirmed.
        let away = [RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT; 1_000];
        let requests = [RDKafkaApiKey::EndTxn, RDKafkaApiKey::OffsetCommit];
        let rig = Rig::start(delivery, &requests.map(|request| (request, &away[..])));
        rig.send(3);
        wait_until("answers to be on their way", || rig.accepted.load(Ordering::Relaxed) == 3);
        assert_eq!(rig.committed(), 0);
        // Acknowledged answers stand at least once, though their offsets are not committed.
        let left = if delivery == DeliveryGuarantee::ExactlyOnce { 3 } else { 0 };
        assert_eq!(rig.finish(), left);
    }
}

#[test]
fn a_topic_that_may_not_be_written_holds_up_its_own_answers_only() {
    let rig = Rig::start(DeliveryGuarantee::ExactlyOnce, &[]);
    let forbidden = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    rig.cluster().topic_error("results", forbidden).unwrap();
    rig.send(2);
    wait_until("a transaction to be aborted", || rig.aborted("refused") > 0);
    assert_eq!(rig.committed(), 0);
    rig.cluster().topic_error("results", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    rig.wait_for_answers(2);
    assert_eq!((rig.restarts(), rig.finish()), (0, 0));
}
