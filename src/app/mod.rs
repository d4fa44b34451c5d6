//! Creates all parts, runs them and drains them: the only module that knows them all.
//!
//! ```text
//! parts          what the parts are created from, and how: what several of them share
//! record_intake  where records enter: a task goes to dispatch, anything else to publish as a failure
//! deferral       makes sure that the retry topic can be used
//! reload         reads connections.ini and the secrets' files again, and lets every part know what changed
//!   storages     the local connections' storages, each with its orphan cleaner
//!   replaced     storages that were replaced, and in which running tries still work
//! tunnels        the tunnels that connections lead through
//! feeds          lists the feeds whose partitions are this pod's
//! session_caps   shares sessions with the other pods, where a connection has max_sessions_total
//! pool_view      announces this pod to the others, and reads what they announce
//! local_watch    whether the local connections can be used, for the page
//! pod_status     what the sidecar reads of the pod
//! malloc_arenas  how many arenas the memory comes from
//! error          why a pod could not start or continue, and its exit code
//! ```

mod deferral;
mod error;
mod feeds;
mod local_watch;
mod malloc_arenas;
mod parts;
mod pod_status;
mod pool_view;
mod record_intake;
mod reload;
mod session_caps;
mod tunnels;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use service_kit::signals::{self, RunEnd, Service, Signals};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::TaskBudget;
use crate::config::{Config, ConfigSources, CurrentConfig};
use crate::consume::{self, ControlFollower, DeferredTaskWaker};
use crate::dispatch::Dispatcher;
use crate::health::PodHealth;
use crate::pool::SessionPool;
use crate::publish;
use crate::sidecar::Sidecar;
use crate::traces::Traces;
use crate::transfer::LocalStorages;
pub use error::AppError;
use feeds::Feeds;
use parts::Parts;
use pool_view::PoolAnnouncing;
use reload::{OpenStorages, Reloader, ReplacedStorages, WatchedFiles};
use session_caps::SessionCaps;
pub use tunnels::{CommandTunnels, PodTunnels, TunnelFinding, become_child_if_requested};

/// The last answers' way to Kafka, once nothing is in flight any more: a grace above the publisher's own bound, for a
/// call of librdkafka's that blocks.
const LAST_ANSWERS: Duration = publish::FINAL_PUBLISH_TIMEOUT.saturating_add(Duration::from_secs(2));
/// Leaving the group. With the brokers away librdkafka would take `session.timeout.ms`, and there is nobody to take
/// leave of: the process ends without.
const LEAVE: Duration = Duration::from_secs(3);
const CLOSE_SESSIONS: Duration = Duration::from_secs(3);
/// The last report of sessions, and leaving the coordinator's group.
const LEAVE_COORDINATION: Duration = Duration::from_millis(1_500);
/// The spans that wait; no longer than leaving may take.
const LAST_TRACES: Duration = Duration::from_secs(2);
const SETTLE_STORAGE: Duration = Duration::from_secs(3);

/// Threads for blocking calls, made as they are needed: enough for several file systems that hang (128 calls each), since names
/// are looked up on them as well.
const BLOCKING_THREADS: usize = 2_048;
/// The sidecar's connections, and whatever else runs in the background, come to their ends.
const LAST_TASKS: Duration = Duration::from_secs(4);

/// The longest that a pod takes from the end of its drain to its exit: whoever stops it waits for the drain
/// and this, and for the group's session timeout, should a broker be away.
pub const AFTER_DRAIN: Duration = SETTLE_STORAGE
    .saturating_add(LAST_ANSWERS)
    .saturating_add(LEAVE)
    .saturating_add(LEAVE_COORDINATION.saturating_mul(3))
    .saturating_add(LAST_TASKS);

/// Runs a pod with what was loaded from `sources`, until it is told to stop (SIGTERM or SIGINT; a second one aborts at
/// once).
pub fn run(config: Config, sources: ConfigSources) -> Result<(), AppError> {
    malloc_arenas::limit();
    if !config.pod.core_dumps {
        forbid_dumps();
    }
    let runtime = runtime().map_err(AppError::Start)?;
    let result = runtime.block_on(run_until_stopped(config, sources));
    runtime.shutdown_background(); // a disk that does not answer must not hold up the exit
    result
}

/// No core file shows the passwords that the process has read, nor does /proc to another process of its user.
fn forbid_dumps() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(event = "process_dumpable", %error, "the process stays dumpable: a core file would show its passwords");
    }
}

/// A worker for every second core: the others have the calls into file systems, and Kafka's clients. Idle workers wake
/// each other for every few events, which costs more than the events where those come one by one.
fn runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(2))
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
}

async fn run_until_stopped(config: Config, sources: ConfigSources) -> Result<(), AppError> {
    let mut signals = Signals::listen().map_err(AppError::Start)?;
    tracing::info!(
        event = "pod_starting",
        version = env!("CARGO_PKG_VERSION"),
        pod = config.pod.name,
        group = config.kafka.consumer_group,
        config = %sources.config.display(),
        connections = %sources.connections_file().display(),
        "starting ftp-pooler {}", env!("CARGO_PKG_VERSION")
    );
    let storages = LocalStorages::default();
    let start = async {
        let app = App::start(config, sources).await?;
        storages.replace(app.storages.all());
        Ok(app)
    };
    match signals::run_until_stopped(&mut signals, start).await {
        RunEnd::Stopped => match storages.hanging() {
            hanging if hanging.is_empty() => Ok(()),
            hanging => Err(AppError::Hanging(hanging.join("; "))),
        },
        RunEnd::Failed(error) => Err(error),
        RunEnd::Aborted => Err(AppError::Aborted),
    }
}

/// A running pod.
#[derive(Debug)]
pub struct App {
    current: Arc<CurrentConfig>,
    api_addr: SocketAddr,
    metrics_addr: SocketAddr,
    health: Arc<PodHealth>,
    budget: TaskBudget,
    dispatcher: Dispatcher,
    pool: SessionPool,
    tunnels: Arc<PodTunnels>,
    together: Together,
    storages: LocalStorages,
    replaced: ReplacedStorages,
    consume: consume::ConsumeHandle,
    publish: publish::PublishHandle,
    finish_publishing: CancellationToken,
    /// Told where the configuration is to be read again.
    reload: Arc<Notify>,
    stop_reloading: CancellationToken,
    stop_storage_tasks: CancellationToken,
    close_sidecar: CancellationToken,
    tasks: TaskTracker,
    traces: Traces,
    /// Ends when it is dropped.
    _batches: ControlFollower,
}

/// What this pod does together with the others.
#[derive(Debug)]
struct Together {
    session_caps: SessionCaps,
    feeds: Feeds,
    announcing: PoolAnnouncing,
}

/// How a stop went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopSummary {
    /// Transfers cut off at the drain's deadline; their tasks are done again by the next owner.
    pub cut_off: usize,
    /// Answers that Kafka did not take.
    pub unanswered: usize,
    /// Sessions that did not close in time.
    pub open_sessions: usize,
}

impl App {
    /// Binds, opens, connects and starts everything, in this order: what can fail, fails before the group
    /// is joined. What `sources` says later on is taken over.
    pub async fn start(config: Config, sources: ConfigSources) -> Result<App, AppError> {
        let current = CurrentConfig::new(config.clone());
        let shared = Parts::new(&config)?;
        let sidecar = Sidecar::bind(&config.api, &config.metrics).await?;
        let (api_addr, metrics_addr) = addresses(&sidecar)?;
        let storages = reload::open_all(&config.connections, config.sweep.every)?;
        let (answers_in, answers) = shared.answers();

        let (group, producer) = shared.kafka_clients()?;
        let batches = shared.follow_batches()?;
        let names = shared.names(&group)?;
        let tunnels = PodTunnels::start(&config, &shared.metrics).await?;
        let pool = shared.pool(&tunnels);
        let [finish_publishing, close_sidecar, stop_storage_tasks, stop_reloading] =
            std::array::from_fn(|_| CancellationToken::new());
        let tasks = TaskTracker::new();
        let deferral = deferral::start(&config, &tasks, &close_sidecar).await;
        let session_caps = SessionCaps::start(&current, &pool, &tasks, &close_sidecar);
        let feeds = shared.start_feeds(&current, &pool, &tasks);
        let dispatcher = shared.dispatcher(&pool, &storages, names.clone(), answers_in.clone(), deferral);

        let deferred_tasks = report_tunnel_outages(&tunnels, dispatcher.clone());

        let publish = shared.publish(answers, producer, group.clone(), finish_publishing.clone())?;
        shared.start_watchdogs(&group)?;
        let consume = shared.consume(group, dispatcher.clone(), answers_in, current.clone(), deferred_tasks);
        let consume = consume.spawn().map_err(AppError::Kafka)?;

        let reload = Arc::new(Notify::new());
        let open = OpenStorages::sweep(storages.clone(), names, tasks.clone(), stop_storage_tasks.clone());
        let replaced = open.replaced();
        let reloader = Reloader {
            sources,
            current: current.clone(),
            pool: pool.clone(),
            tunnels: tunnels.clone(),
            dispatcher: dispatcher.clone(),
            storages: open,
            metrics: shared.metrics.clone(),
            bandwidth: shared.bandwidth.clone(),
            asked: reload.clone(),
            files: WatchedFiles::default(),
        };
        tasks.spawn(reloader.run(stop_reloading.clone()));
        tasks.spawn(local_watch::watch(storages.clone(), shared.health.clone(), stop_storage_tasks.clone()));
        let status = shared.status(&dispatcher, &current, &tunnels, session_caps.lease.clone(), api_addr);
        let announcing = PoolAnnouncing::start(&status, &tasks, &close_sidecar);
        tasks.spawn(sidecar.run(shared.view(status), close_sidecar.clone()));
        let Parts { health, budget, traces, .. } = shared;
        log_addresses(api_addr, metrics_addr);
        Ok(App {
            current,
            api_addr,
            metrics_addr,
            health,
            budget,
            dispatcher,
            pool,
            tunnels,
            together: Together { session_caps, feeds, announcing },
            storages,
            replaced,
            consume,
            publish,
            finish_publishing,
            reload,
            stop_reloading,
            stop_storage_tasks,
            close_sidecar,
            tasks,
            traces,
            _batches: batches,
        })
    }

    /// Where the page, `/health`, `/ready` and `/metrics` are.
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Where `/metrics` is for Prometheus.
    pub fn metrics_addr(&self) -> SocketAddr {
        self.metrics_addr
    }

    /// Resolves when the pod cannot go on.
    pub async fn failed(&mut self) -> AppError {
        tokio::select! {
            ended = &mut self.consume.ended => match ended {
                Ok(Err(error)) => AppError::Kafka(error),
                _ => AppError::Ended("consume"),
            },
            ended = &mut self.publish.ended => match ended {
                Ok(Err(error)) => AppError::Publish(error),
                _ => AppError::Ended("publish"),
            },
        }
    }

    /// Not ready, no intake, drain, last answers, leave. Takes `shutdown.drain_seconds` and the bounds above at
    /// most, whether Kafka is there or not: 17 seconds more, where everything hangs.
    pub async fn stop(mut self) -> StopSummary {
        let drain = self.current.config().shutdown.drain;
        self.stop_reloading.cancel();
        tracing::info!(
            event = "pod_draining",
            drain_seconds = drain.as_secs_f64(),
            "draining: no more tasks are taken"
        );
        self.health.set_draining();
        self.consume.hold();
        self.together.feeds.stop(LEAVE_COORDINATION).await;
        let left = self.dispatcher.drain(Instant::now() + drain).await;
        self.stop_storage_tasks.cancel();
        if !self.replaced.settle_with(self.storages.all(), SETTLE_STORAGE).await {
            for hanging in self.storages.hanging() {
                tracing::warn!(
                    event = "storage_hangs",
                    "the pod ends without waiting for a file system that does not answer: {hanging}"
                );
            }
        }
        self.finish_publishing.cancel();
        let unanswered = match end_of(&mut self.publish.ended, LAST_ANSWERS).await {
            Some(Ok(left)) => left,
            _ => self.budget.tasks(), // it failed, or is stuck: what is still held is not committed
        };
        if unanswered > 0 {
            tracing::warn!(
                event = "answers_unpublished",
                unanswered,
                "Kafka did not accept the last answers: the next owner repeats their tasks"
            );
        }
        self.consume.leave();
        let traces = self.traces;
        let last_traces = tokio::task::spawn_blocking(move || traces.stop(LAST_TRACES));
        let close_sessions = async {
            let open = self.pool.shutdown(CLOSE_SESSIONS).await;
            tokio::join!(
                self.together.session_caps.stop(LEAVE_COORDINATION),
                self.together.announcing.stop(LEAVE_COORDINATION)
            );
            open
        };
        let (open_sessions, _, _) = tokio::join!(
            close_sessions,
            end_of(&mut self.consume.ended, LEAVE),
            timeout(LAST_TRACES, last_traces)
        );
        self.tunnels.stop();
        self.close_sidecar.cancel();
        self.tasks.close();
        let _ = timeout(LAST_TASKS, self.tasks.wait()).await;
        StopSummary { cut_off: left.cancelled, unanswered, open_sessions }
    }
}

impl Service for App {
    type Error = AppError;

    fn reload(&self) {
        self.reload.notify_one();
    }

    async fn failed(&mut self) -> AppError {
        App::failed(self).await
    }

    async fn stop(self) {
        App::stop(self).await.log();
    }
}

/// How a thread ended; `None` where it does not in time. Where that was asked for before (its failure was the
/// reason to stop), it is `None` at once: a oneshot must not be polled again.
async fn end_of<T>(ended: &mut oneshot::Receiver<T>, within: Duration) -> Option<T> {
    if ended.is_terminated() {
        return None;
    }
    timeout(within, ended).await.ok()?.ok()
}

impl StopSummary {
    fn log(self) {
        let StopSummary { cut_off, unanswered, open_sessions } = self;
        tracing::info!(event = "pod_stopped", cut_off, unanswered, open_sessions, "stopped");
    }
}

/// Reports a tunnel's outages to the queues of its connections. When it is connected again, tasks that were deferred meanwhile are
/// requested by the waker that is returned.
fn report_tunnel_outages(tunnels: &PodTunnels, dispatcher: Dispatcher) -> DeferredTaskWaker {
    let waker = DeferredTaskWaker::default();
    let deferred = waker.clone();
    tunnels.attach(move |connection, outage| match outage {
        Some(failure) => dispatcher.route_lost(connection, failure),
        None if dispatcher.route_restored(connection) => deferred.wake(Timestamp::now()),
        None => {}
    });
    waker
}

fn log_addresses(api: SocketAddr, metrics: SocketAddr) {
    tracing::info!(event = "listening", what = "api", addr = %api, "page and API at http://{api}/");
    tracing::info!(
        event = "listening",
        what = "metrics",
        addr = %metrics,
        "metrics at http://{metrics}/metrics"
    );
}

fn addresses(sidecar: &Sidecar) -> Result<(SocketAddr, SocketAddr), AppError> {
    let both = || Ok((sidecar.api_address()?, sidecar.metrics_address()?));
    both().map_err(AppError::Start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_thread_may_be_asked_for_twice() {
        let (end, mut ended) = oneshot::channel();
        end.send(7).unwrap();
        assert_eq!(end_of(&mut ended, LEAVE).await, Some(7));
        assert_eq!(end_of(&mut ended, LEAVE).await, None);
    }
}
