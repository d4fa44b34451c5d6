//! Makes the parts out of the configuration and of what they share. `App::start` joins them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::feeds::{Feeds, FeedsParts};
use super::pod_status::PodStatus;
use super::pool_view::PoolView;
use super::record_intake::RecordIntake;
use super::reload::roots;
use super::session_caps::SharedLease;
use super::{AppError, PodTunnels, deferral};
use crate::admission::TaskBudget;
use crate::bandwidth::BandwidthLimits;
use crate::batch::BatchBoard;
use crate::config::{Config, CurrentConfig, DeliveryGuarantee};
use crate::consume::{self, Consume, ControlFollower, DeferredTaskWaker, Group, Watchdog};
use crate::dispatch::{DeferralPolicy, Dispatcher, DispatcherParts};
use crate::feeds::FeedBoard;
use crate::health::PodHealth;
use crate::insight::{PartitionBoard, RecentFailures};
use crate::kafka::{ClientRenewal, consumer_properties, needed_rights, session_timeout, uses_new_protocol};
use crate::metrics::Metrics;
use crate::offsets::{Offsets, run_heartbeat};
use crate::outcome::AdmittedOutcome;
use crate::pool::{FtpConnector, SessionPool};
use crate::publish::{AnswerTopics, AtLeastOnce, Committer, ExactlyOnce, Producer, Publish, PublishHandle};
use crate::sidecar::PodView;
use crate::storage::{LocalTarget, TempNames};
use crate::traces::Traces;
use crate::transfer::{LocalStorages, TransferExecutor};

/// What several parts hold.
pub(super) struct Parts<'a> {
    config: &'a Config,
    offsets: Arc<Offsets>,
    pub budget: TaskBudget,
    pub health: Arc<PodHealth>,
    renewal: Arc<ClientRenewal>,
    pub metrics: Metrics,
    pub bandwidth: BandwidthLimits,
    pub failures: RecentFailures,
    pub partitions: PartitionBoard,
    pub batches: BatchBoard,
    pub feeds: FeedBoard,
    pub traces: Traces,
}

impl<'a> Parts<'a> {
    pub fn new(config: &'a Config) -> Result<Self, AppError> {
        let (pod, group) = (&config.pod.name, &config.kafka.consumer_group);
        let traces = Traces::start(&config.traces, pod, group, Handle::current()).map_err(AppError::Start)?;
        let metrics = Metrics::new(config.connections.ftp.keys().map(String::as_str));
        metrics.set_locals(config.connections.local.keys());
        let offsets = Arc::new(Offsets::default());
        let uses_new_protocol = uses_new_protocol(&consumer_properties(&config.kafka, pod));
        offsets.set_session_timeout(session_timeout(&config.kafka), uses_new_protocol);
        Ok(Parts {
            traces,
            config,
            offsets,
            budget: TaskBudget::new(config.pool.max_waiting_tasks, config.pool.max_waiting_bytes),
            health: PodHealth::new(),
            renewal: Arc::default(),
            failures: RecentFailures::default(),
            partitions: PartitionBoard::default(),
            batches: BatchBoard::default(),
            feeds: FeedBoard::default(),
            bandwidth: bandwidth(config, &metrics),
            metrics,
        })
    }

    /// The way to publish, with room for an answer to each record that the budget can admit.
    pub fn answers(&self) -> (mpsc::Sender<AdmittedOutcome>, mpsc::Receiver<AdmittedOutcome>) {
        mpsc::channel(self.config.pool.max_waiting_tasks + consume::BURST)
    }

    /// Follows the control topic from now on.
    pub fn follow_batches(&self) -> Result<ControlFollower, AppError> {
        let (kafka, pod) = (&self.config.kafka, &self.config.pod.name);
        ControlFollower::start(kafka, pod, self.batches.clone()).map_err(AppError::Start)
    }

    /// Both clients at once, so that a property which one of them refuses is found before anything runs.
    pub fn kafka_clients(&self) -> Result<(Group, Producer), AppError> {
        let (kafka, pod) = (&self.config.kafka, &self.config.pod.name);
        let properties = consumer_properties(kafka, pod);
        let (offsets, health) = (self.offsets.clone(), self.health.clone());
        let group = Group::create(&properties, offsets, health, self.metrics.clone());
        let producer = Producer::create(kafka, pod, self.metrics.clone());
        Ok((group.map_err(AppError::Kafka)?, producer.map_err(AppError::Kafka)?))
    }

    /// Has the process notice that it was suspended, and clients recreated that have lost Kafka for good.
    pub fn start_watchdogs(&self, group: &Group) -> Result<(), AppError> {
        run_heartbeat(&self.offsets).map_err(AppError::Start)?;
        let watchdog = Watchdog {
            group: group.clone(),
            topic: self.config.kafka.input_topic.clone(),
            after: self.config.kafka.recreate_after,
            renewal: self.renewal.clone(),
            health: self.health.clone(),
            metrics: self.metrics.clone(),
        };
        watchdog.spawn().map_err(AppError::Start)
    }

    /// The names of this process's temp files.
    pub fn names(&self, group: &Group) -> Result<TempNames, AppError> {
        let kafka = &self.config.kafka;
        let topics = [&kafka.input_topic, &kafka.retry_topic].map(|topic| Arc::from(&**topic));
        TempNames::new(group.committed_offsets(), &kafka.consumer_group, topics).map_err(AppError::Random)
    }

    pub fn pool(&self, tunnels: &Arc<PodTunnels>) -> SessionPool {
        let connections = self.config.connections.ftp.values().cloned();
        let connector = FtpConnector { tunnels: Some(Arc::<PodTunnels>::clone(tunnels)) };
        SessionPool::new(&self.config.pool, connections, connector, &self.metrics)
    }

    pub fn start_feeds(
        &self,
        current: &Arc<CurrentConfig>,
        pool: &SessionPool,
        tasks: &TaskTracker,
    ) -> Feeds {
        let (current, pool) = (Arc::clone(current), pool.clone());
        let (board, metrics) = (self.feeds.clone(), self.metrics.clone());
        Feeds::start(FeedsParts { current, pool, board, metrics }, tasks)
    }

    pub fn dispatcher(
        &self,
        pool: &SessionPool,
        storages: &LocalStorages,
        names: TempNames,
        answers: mpsc::Sender<AdmittedOutcome>,
        deferral: DeferralPolicy,
    ) -> Dispatcher {
        let connections = &self.config.connections;
        Dispatcher::new(DispatcherParts {
            pool: pool.clone(),
            executor: TransferExecutor::new(storages.clone(), names, self.metrics.clone())
                .throttled_by(self.bandwidth.clone())
                .hashing(self.config.transfer.hash)
                .sweeping_every(self.config.sweep.every),
            connections: connections.ftp.values().cloned().collect(),
            roots: roots(connections),
            resolve: |root, path| Some(root.join(LocalTarget::resolve(root, path).ok()?.relative())),
            deferral,
            budget: self.budget.clone(),
            batches: self.batches.clone(),
            answers,
            metrics: self.metrics.clone(),
            failures: self.failures.clone(),
            traces: self.traces.clone(),
        })
    }

    /// The pod from inside.
    pub fn status(
        &self,
        dispatcher: &Dispatcher,
        current: &Arc<CurrentConfig>,
        tunnels: &Arc<PodTunnels>,
        lease: SharedLease,
        api: SocketAddr,
    ) -> Arc<PodStatus> {
        Arc::new(PodStatus {
            pod: self.config.pod.name.clone(),
            group: self.config.kafka.consumer_group.clone(),
            current: Arc::clone(current),
            dispatcher: dispatcher.clone(),
            tunnels: Arc::clone(tunnels),
            failures: self.failures.clone(),
            partitions: self.partitions.clone(),
            feeds: self.feeds.clone(),
            batches: self.batches.clone(),
            pool: PoolView::new(self.config, self.health.clone(), self.metrics.clone(), api),
            lease,
        })
    }

    /// What the sidecar shows.
    pub fn view(&self, status: Arc<PodStatus>) -> PodView {
        let current = Arc::clone(&status.current);
        let view = PodView::new(self.health.clone(), self.metrics.clone(), status);
        let view = view.with_allowed_hosts(self.config.api_allowed_hosts.as_deref().unwrap_or_default());
        view.with_token(move || current.config().api_token.as_ref().map(|token| token.bearer()))
    }

    pub fn publish(
        &self,
        answers: mpsc::Receiver<AdmittedOutcome>,
        producer: Producer,
        group: Group,
        finish: CancellationToken,
    ) -> Result<PublishHandle, AppError> {
        let kafka = &self.config.kafka;
        let publish = Publish {
            answers,
            finish,
            topics: AnswerTopics {
                results: kafka.result_topic.clone(),
                failures: kafka.fail_topic.clone(),
                retry: kafka.retry_topic.clone(),
                replies: kafka.reply_topics.clone(),
                others: [&kafka.input_topic, &kafka.coordination_topic, &kafka.control_topic]
                    .map(String::clone)
                    .to_vec(),
            },
            producer,
            committer: committer(kafka.delivery, group),
            offsets: self.offsets.clone(),
            budget: self.budget.clone(),
            health: self.health.clone(),
            renewal: self.renewal.clone(),
            metrics: self.metrics.clone(),
        };
        publish.spawn(Handle::current()).map_err(AppError::Start)
    }

    pub fn consume(
        &self,
        group: Group,
        dispatcher: Dispatcher,
        answers: mpsc::Sender<AdmittedOutcome>,
        current: Arc<CurrentConfig>,
        deferred: DeferredTaskWaker,
    ) -> Consume {
        let front = RecordIntake {
            current,
            dispatcher,
            traces: self.traces.clone(),
            answers,
            metrics: self.metrics.clone(),
            failures: self.failures.clone(),
            batches: self.batches.clone(),
            warned_unverified: Mutex::default(),
        };
        Consume {
            group,
            topics: vec![self.config.kafka.input_topic.clone()],
            rights: needed_rights(&self.config.kafka, &self.config.retry),
            retry: deferral::intake(self.config, deferred),
            offsets: self.offsets.clone(),
            budget: self.budget.clone(),
            slow_task: self.config.pool.slow_task,
            downstream: Box::new(front),
            health: self.health.clone(),
            renewal: self.renewal.clone(),
            metrics: self.metrics.clone(),
            partitions: self.partitions.clone(),
        }
    }
}

/// What the pod's connections may move at the start.
fn bandwidth(config: &Config, metrics: &Metrics) -> BandwidthLimits {
    let limits = BandwidthLimits::new(config.pool.bandwidth.clone(), metrics.clone());
    for connection in config.connections.ftp.values() {
        limits.set(connection);
    }
    limits
}

fn committer(delivery: DeliveryGuarantee, group: Group) -> Box<dyn Committer> {
    match delivery {
        DeliveryGuarantee::AtLeastOnce => Box::new(AtLeastOnce::new(group)),
        DeliveryGuarantee::ExactlyOnce => Box::new(ExactlyOnce::new(group)),
    }
}
