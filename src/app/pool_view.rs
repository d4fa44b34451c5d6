//! Shows the whole pool: announces this pod to the others on the coordination topic, and reads what they announce.
//!
//! Without the topic, or the rights for it, the pod works as ever and shows itself alone.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pod_status::PodStatus;
use crate::batch::{BatchAnswers, BatchBoard};
use crate::config::{Config, KafkaConfig};
use crate::consume::partition_ranges;
use crate::coordination::FollowerHandle;
use crate::coordination::pod_announcer::{AnnouncedPod, PodAnnouncer};
use crate::coordination::session_caps::COORDINATION_PARTITION;
use crate::health::PodHealth;
use crate::insight::{ConnectionState, PodInsight as _};
use crate::kafka::{Unprepared, prepare_compacted_topic};
use crate::metrics::{ConnectionTotals, Metrics, MetricsSnapshot};
use crate::offsets::TopicPartition;
use crate::pods::{
    ANNOUNCE_EVERY, AnnouncedConnection, AnnouncedFailures, AnnouncedRates, InheritedCounts,
    MAX_ANNOUNCED_BATCHES, MAX_ANNOUNCED_CONNECTIONS, MAX_ANNOUNCED_FEEDS, MAX_ANNOUNCED_TUNNELS,
    MAX_ERROR_BYTES, PodAnnouncement, PodFigures, PoolBoard,
};
use crate::text::shorten;
use service_kit::health::{HealthReport, ReportHealth as _};

/// Between two attempts to prepare the topic.
const AGAIN: Duration = Duration::from_secs(30);

/// What this pod announces, and the board of all of them.
#[derive(Debug)]
pub(super) struct PoolView {
    pub board: PoolBoard,
    kafka: KafkaConfig,
    health: Arc<PodHealth>,
    metrics: Metrics,
    /// Where page and API listen.
    api: SocketAddr,
    rates: Mutex<RateWindow>,
    /// Of the process that had this pod's name before.
    inherited: OnceLock<InheritedCounts>,
}

impl PoolView {
    pub fn new(config: &Config, health: Arc<PodHealth>, metrics: Metrics, api: SocketAddr) -> Self {
        PoolView {
            board: PoolBoard::new(&config.kafka.consumer_group, &config.pod.name),
            kafka: config.kafka.clone(),
            health,
            rates: Mutex::new(RateWindow::new(metrics.snapshot().totals)),
            metrics,
            api,
            inherited: OnceLock::new(),
        }
    }

    /// What this pod and processes before it under its name have answered of these batches' tasks; and since when none of
    /// those answers is missing, in seconds since the epoch.
    pub fn own_answers<'a>(
        &self,
        batches: &BatchBoard,
        ids: impl Iterator<Item = &'a str> + Clone,
    ) -> (BTreeMap<String, BatchAnswers>, i64) {
        let mut said = PodAnnouncement {
            started_at: self.started_at(),
            batches: batches.answers(ids.clone()),
            ..PodAnnouncement::default()
        };
        self.add_inherited(&mut said, ids);
        let exact_since = said.batches_exact_since();
        (said.batches, exact_since)
    }

    fn add_inherited<'a>(&self, said: &mut PodAnnouncement, ids: impl Iterator<Item = &'a str>) {
        if let Some(inherited) = self.inherited.get() {
            inherited.add_to(said, ids);
        }
    }

    /// When this process started, in seconds since the epoch.
    pub fn started_at(&self) -> i64 {
        self.metrics.snapshot().started_at
    }

    /// How this pod is now.
    pub fn own(&self, status: &PodStatus) -> PodAnnouncement {
        let (figures, health) = (self.metrics.snapshot(), self.health.report(Instant::now()));
        let partitions = status.partitions();
        let assigned: Vec<TopicPartition> = partitions
            .iter()
            .map(|of| TopicPartition { topic: of.topic.as_str().into(), partition: of.partition })
            .collect();
        let halted = partitions.iter().filter(|partition| partition.halted.is_some()).count();
        let (answered, sent_again) = status.failures.counts();
        let open = status.batches.open(MAX_ANNOUNCED_BATCHES);
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.advance(&figures, Instant::now());
        let mut said = PodAnnouncement {
            group: status.group.clone(),
            pod: status.pod.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: advertised(self.api, &self.kafka.bootstrap_servers),
            started_at: figures.started_at,
            at_ms: Timestamp::now().as_millisecond(),
            leaves: false,
            healthy: health.is_healthy(),
            ready: health.is_ready(),
            draining: health.draining,
            reasons: reasons(&health),
            figures: PodFigures {
                partitions: partition_ranges(&assigned),
                assigned_partitions: figures.assigned_partitions,
                paused_partitions: figures.paused_partitions,
                halted_partitions: halted as u64,
                lag_records: figures.lag_records,
                held_tasks: figures.held_tasks,
                tasks: figures.tasks,
                sessions: figures.sessions,
                tunnels: status
                    .tunnels()
                    .into_iter()
                    .take(MAX_ANNOUNCED_TUNNELS)
                    .map(|tunnel| (tunnel.name, tunnel.state.to_owned()))
                    .collect(),
            },
            rates: rates.rates,
            failures: AnnouncedFailures { answered, sent_again },
            batches: status.batches.answers(open.iter().map(|batch| batch.id.as_str())),
            feeds: status.feeds.all().into_iter().take(MAX_ANNOUNCED_FEEDS).collect(),
            connections: announced_connections(status, &figures, &rates.answered_per_second),
            ..PodAnnouncement::default()
        };
        self.add_inherited(&mut said, open.iter().map(|batch| batch.id.as_str()));
        said
    }
}

/// Why the pod is not well.
fn reasons(health: &HealthReport) -> Vec<String> {
    let stuck = health.stuck().into_iter().map(|name| format!("the loop {name} is silent"));
    stuck.chain(health.reasons.iter().cloned()).collect()
}

fn announced_connections(
    status: &PodStatus,
    figures: &MetricsSnapshot,
    per_second: &HashMap<String, f64>,
) -> BTreeMap<String, AnnouncedConnection> {
    let with_figures = |state: crate::insight::ConnectionState| {
        let found = figures.connections.binary_search_by(|of| of.name.cmp(&state.name));
        let of = found.ok().and_then(|at| figures.connections.get(at));
        let announced = AnnouncedConnection {
            breaker: state.breaker.to_owned(),
            tasks: of.map(|of| of.tasks).unwrap_or_default(),
            sessions: of.map(|of| of.sessions).unwrap_or_default(),
            tasks_per_second: per_second.get(&state.name).copied().unwrap_or_default(),
            deferred: state.deferred,
            error: error_of(&state),
            max_sessions_total: state.max_sessions_total,
            granted: state.granted,
        };
        (state.name, announced)
    };
    let all = status.connections().into_iter().map(with_figures);
    let mut worth: Vec<_> = all.filter(|(_, of)| of.is_worth_announcing()).collect();
    worth.sort_by_key(|(_, of)| std::cmp::Reverse(of.severity()));
    worth.truncate(MAX_ANNOUNCED_CONNECTIONS);
    worth.into_iter().collect()
}

/// Why the connection is not up.
fn error_of(state: &ConnectionState) -> Option<String> {
    let mut error = state.last_error.as_ref().filter(|_| state.breaker != "closed")?.message.clone();
    shorten(&mut error, MAX_ERROR_BYTES);
    Some(error)
}

/// How fast the totals grew between the last two samples.
#[derive(Debug)]
struct RateWindow {
    at: Instant,
    totals: ConnectionTotals,
    answered: HashMap<String, u64>,
    rates: AnnouncedRates,
    answered_per_second: HashMap<String, f64>,
}

impl RateWindow {
    fn new(totals: ConnectionTotals) -> Self {
        RateWindow {
            at: Instant::now(),
            totals,
            answered: HashMap::new(),
            rates: AnnouncedRates::default(),
            answered_per_second: HashMap::new(),
        }
    }

    /// Takes a sample, if the last one is old enough.
    fn advance(&mut self, figures: &MetricsSnapshot, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed + Duration::from_millis(500) < ANNOUNCE_EVERY {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "rates for people")]
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let (before, totals) = (self.totals, figures.totals);
        self.rates = AnnouncedRates {
            completed: rate(before.completed, totals.completed),
            failed: rate(before.failed, totals.failed),
            downloaded_bytes: rate(before.downloaded_bytes, totals.downloaded_bytes),
            uploaded_bytes: rate(before.uploaded_bytes, totals.uploaded_bytes),
        };
        let answered: HashMap<String, u64> = figures
            .connections
            .iter()
            .map(|of| (of.name.clone(), of.totals.completed + of.totals.failed))
            .collect();
        self.answered_per_second = answered
            .iter()
            .map(|(name, now)| (name.clone(), rate(self.answered.get(name).copied().unwrap_or(0), *now)))
            .collect();
        (self.at, self.totals, self.answered) = (now, totals, answered);
    }
}

/// Where others reach the page: the address that it listens on; where that is every one, this machine's own on the way to
/// Kafka. No packet is sent for it.
fn advertised(api: SocketAddr, brokers: &[String]) -> String {
    if !api.ip().is_unspecified() {
        return api.to_string();
    }
    let own = brokers.iter().find_map(|broker| own_address(broker));
    own.map_or_else(String::new, |ip| SocketAddr::new(ip, api.port()).to_string())
}

fn own_address(broker: &str) -> Option<IpAddr> {
    let address = broker.to_socket_addrs().ok()?.next()?;
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

struct OwnPod(Arc<PodStatus>);

impl AnnouncedPod for OwnPod {
    fn announcement(&self) -> PodAnnouncement {
        self.0.pool.own(&self.0)
    }

    fn take_over(&self, last: &PodAnnouncement) {
        let view = &self.0.pool;
        let now_ms = Timestamp::now().as_millisecond();
        if let Some(seconds_ago) = last.heard_of_another(view.started_at(), now_ms) {
            let PodAnnouncement { pod, api, .. } = last;
            tracing::warn!(
                event = "pod_name_in_use",
                pod,
                api,
                seconds_ago,
                "another process has announced itself as pod {pod} (API {api}) {seconds_ago} s ago, and not that it \
                 stops: unless it has crashed, one of the two will be fenced and end; each pod needs its own pod.name"
            );
        }
        view.inherited.get_or_init(|| InheritedCounts::of(last, view.started_at()));
    }
}

/// The running announcer, once the topic can be used.
#[derive(Debug)]
pub(super) struct PoolAnnouncing {
    running: Arc<Mutex<Option<FollowerHandle>>>,
}

impl PoolAnnouncing {
    pub fn start(status: &Arc<PodStatus>, tasks: &TaskTracker, stop: &CancellationToken) -> PoolAnnouncing {
        let running = Arc::new(Mutex::new(None));
        let (status, stop, begun) = (Arc::clone(status), stop.clone(), Arc::clone(&running));
        tasks.spawn(async move {
            tokio::select! {
                () = begin(status, &begun) => {}
                () = stop.cancelled() => {}
            }
        });
        PoolAnnouncing { running }
    }

    /// Tells the others that this pod stops.
    pub async fn stop(&self, within: Duration) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(announcer) = running else { return };
        announcer.stop();
        let _ = timeout(within, announcer.ended).await;
    }
}

async fn begin(status: Arc<PodStatus>, running: &Mutex<Option<FollowerHandle>>) {
    let (kafka, board) = (status.pool.kafka.clone(), status.pool.board.clone());
    let topic = kafka.coordination_topic.as_str();
    board.set_unavailable(Some("the coordination topic has not been read yet".to_owned()));
    let mut last = String::new();
    loop {
        let prepared = prepare_compacted_topic(&kafka, &status.pod, topic, COORDINATION_PARTITION + 1).await;
        let announcer = || PodAnnouncer {
            kafka: kafka.clone(),
            pod: status.pod.clone(),
            board: board.clone(),
            announced: Box::new(OwnPod(Arc::clone(&status))),
        };
        let begun = prepared
            .and_then(|()| announcer().spawn().map_err(|error| Unprepared::Unusable(error.to_string())));
        match begun {
            Ok(handle) => {
                *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
                return;
            }
            Err(error) => {
                let error = error.to_string();
                if error != last {
                    tracing::info!(
                        event = "pool_status_unavailable",
                        topic,
                        error,
                        "the other pods are not known: {error}; trying again"
                    );
                }
                board.set_unavailable(Some(error.clone()));
                last = error;
                sleep(AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_between_two_samples_that_are_far_enough_apart() {
        let metrics = Metrics::new(["far"]);
        let mut window = RateWindow::new(metrics.snapshot().totals);
        let begun = window.at;
        metrics.bytes("download", "far", 5_000);
        metrics.answered("download", "far", None, Duration::ZERO);
        window.advance(&metrics.snapshot(), begun + Duration::from_secs(1));
        assert_eq!(window.rates, AnnouncedRates::default(), "too early");
        window.advance(&metrics.snapshot(), begun + Duration::from_secs(5));
        assert!((window.rates.downloaded_bytes - 1_000.0).abs() < 1e-6, "{window:?}");
        assert!((window.answered_per_second["far"] - 0.2).abs() < 1e-6, "{window:?}");
        window.advance(&metrics.snapshot(), begun + Duration::from_secs(10));
        assert_eq!(window.rates, AnnouncedRates::default(), "nothing since");
    }

    #[test]
    fn others_are_told_an_address_that_they_can_reach() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(advertised(at("10.1.2.3:8080"), &[]), "10.1.2.3:8080");
        assert_eq!(advertised(at("0.0.0.0:8080"), &["127.0.0.1:9092".to_owned()]), "127.0.0.1:8080");
        assert_eq!(advertised(at("0.0.0.0:8080"), &["no address".to_owned()]), "");
    }
}
