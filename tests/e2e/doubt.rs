//! A commit whose confirmation never came: whether it took place is found out, and its answers are there once.
//!
//! The publishing thread runs in this process, with a committer that loses its producer right after a commit, or
//! right before one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ftp_pooler::admission::{Admission, TaskBudget};
use ftp_pooler::config::{DeliveryGuarantee, KafkaConfig};
use ftp_pooler::consume::{self, Consume, Group, RecordSink};
use ftp_pooler::dispatch::TaskStatus;
use ftp_pooler::health::PodHealth;
use ftp_pooler::insight::PartitionBoard;
use ftp_pooler::kafka::{CommitError, KafkaError, NeededRights, consumer_properties};
use ftp_pooler::metrics::Metrics;
use ftp_pooler::offsets::{Offsets, PartitionCommit, TopicPartition};
use ftp_pooler::outcome::AdmittedOutcome;
use ftp_pooler::outcome::{Completed, Outcome, TransferDetails, Verdict};
use ftp_pooler::publish::{
    AnswerTopics, CommitFailure, Committer, ExactlyOnce, Producer, Publish, ShutdownDeadline,
};
use ftp_pooler::record::{Origin, Record};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::stage::LONG;
use crate::support::client::{Answers, send};
use crate::support::kafka::{Kafka as Broker, Topics};

/// Answers each record at once; its `task_id` is the record's offset.
struct Echo(mpsc::Sender<AdmittedOutcome>);

impl RecordSink for Echo {
    fn accept(&self, record: Box<Record>, admission: Admission) {
        let completed = Completed {
            bytes_transferred: 0,
            duration: Duration::ZERO,
            notes: Vec::new(),
            details: TransferDetails::default(),
        };
        let outcome = Outcome {
            task_id: Some(record.origin.offset.to_string()),
            record,
            attempts: 1,
            at: jiff::Timestamp::now(),
            verdict: Verdict::Completed(completed),
        };
        self.0.try_send(AdmittedOutcome { outcome, admission }).expect("room for an answer");
    }

    fn withdraw(&self) -> Vec<Origin> {
        Vec::new()
    }

    fn unblock(&self, _: &[(TopicPartition, i64)]) {}

    fn task_status(&self, _: &Origin) -> Option<TaskStatus> {
        None
    }
}

/// Of three commits one takes place and is not confirmed, one neither, and the third is well.
struct Doubtful {
    inner: ExactlyOnce,
    commits: Arc<AtomicU32>,
}

fn lost() -> CommitFailure {
    CommitFailure::Uncertain(CommitError::Broken { why: "as this test says", error: KafkaError::Canceled })
}

impl Committer for Doubtful {
    fn start(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        self.inner.start(producer, deadline)
    }

    fn prepare(&mut self) -> Result<Option<i32>, CommitError> {
        self.inner.prepare()
    }

    fn begin(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        self.inner.begin(producer, deadline)
    }

    fn commit(
        &mut self,
        producer: &Producer,
        commits: &[PartitionCommit],
        deadline: &ShutdownDeadline,
    ) -> Result<(), CommitFailure> {
        match self.commits.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => self.inner.commit(producer, commits, deadline).and_then(|()| Err(lost())),
            1 => Err(lost()),
            _ => self.inner.commit(producer, commits, deadline),
        }
    }

    fn abort(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        self.inner.abort(producer, deadline)
    }

    fn has_committed(&self, commits: &[PartitionCommit]) -> Result<bool, CommitError> {
        self.inner.has_committed(commits)
    }

    fn keeps_answers_without_commit(&self) -> bool {
        false
    }
}

fn kafka(broker: &Broker, topics: &Topics) -> KafkaConfig {
    KafkaConfig {
        control_topic: String::new(),
        reply_topics: Vec::new(),
        bootstrap_servers: vec![broker.bootstrap().to_owned()],
        consumer_group: topics.group.clone(),
        input_topic: topics.tasks.clone(),
        result_topic: topics.results.clone(),
        fail_topic: topics.failures.clone(),
        retry_topic: String::new(),
        coordination_topic: String::new(),
        feeds_topic: String::new(),
        delivery: DeliveryGuarantee::ExactlyOnce,
        static_membership: false,
        recreate_after: Duration::from_secs(60),
        transaction_timeout: Duration::from_secs(10),
        properties: std::iter::empty().collect(),
    }
}

#[test]
#[ignore = "needs Kafka: make test"]
fn a_commit_in_doubt_is_read_from_the_groups_offsets_and_its_answers_are_there_once() {
    let broker = Broker::shared();
    let topics = broker.topics("doubt", 1);
    let kafka = kafka(broker, &topics);
    let (offsets, health, metrics) = (Arc::new(Offsets::default()), PodHealth::new(), Metrics::default());
    let properties = consumer_properties(&kafka, "pod");
    let group =
        Group::create(&properties, offsets.clone(), health.clone(), metrics.clone()).expect("a member");
    let (answers_in, answers) = mpsc::channel(1_000);
    let (finish, runtime) = (CancellationToken::new(), Runtime::new().expect("a runtime"));
    let budget = TaskBudget::new(1_000, 1 << 20);
    let commits = Arc::new(AtomicU32::new(0));
    let committer = Doubtful { inner: ExactlyOnce::new(group.clone()), commits: commits.clone() };
    let publish = Publish {
        answers,
        finish: finish.clone(),
        topics: AnswerTopics {
            results: topics.results.clone(),
            failures: topics.failures.clone(),
            retry: String::new(),
            replies: Vec::new(),
            others: Vec::new(),
        },
        producer: Producer::create(&kafka, "pod", metrics.clone()).expect("a producer"),
        committer: Box::new(committer),
        offsets: offsets.clone(),
        budget: budget.clone(),
        health: health.clone(),
        renewal: Arc::default(),
        metrics: metrics.clone(),
    };
    let publish = publish.spawn(runtime.handle().clone()).expect("a thread");
    let consume: consume::ConsumeHandle = Consume {
        group,
        topics: vec![topics.tasks.clone()],
        retry: None,
        rights: NeededRights::default(),
        slow_task: LONG,
        offsets,
        budget,
        downstream: Box::new(Echo(answers_in)),
        health,
        renewal: Arc::default(),
        metrics: metrics.clone(),
        partitions: PartitionBoard::default(),
    }
    .spawn()
    .expect("a thread");

    let mut seen = Answers::of(broker, &topics);
    for round in 1..=8 {
        send(broker, &topics.tasks, [b"{}".as_slice(); 5]);
        seen.wait_for(round * 5, LONG);
    }
    finish.cancel();
    let left = runtime.block_on(async { tokio::time::timeout(LONG, publish.ended).await });
    assert_eq!(left.expect("it ends").expect("it says how").expect("no error"), 0);
    consume.leave();

    let ids: Vec<String> = (0..40).map(|id: u32| id.to_string()).collect();
    seen.read_to_end().assert_each_once(&ids);
    assert!(commits.load(Ordering::Relaxed) >= 8);
    assert!(metrics.encode().lines().any(|line| line.starts_with("ftp_pooler_producer_renewals_total")));
    assert_eq!(broker.lag(&topics), 0);
}
