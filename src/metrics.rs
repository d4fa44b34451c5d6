//! Every metric, declared once: name with its unit, labels, and the doc comment that becomes its help.
//!
//! ```text
//! declare      how a metric is declared: one line, from which field, registration and help are generated
//! record       what the parts report: one method per event
//! connection   one connection's series, looked up by label once and kept
//! forget       removes the series of a removed connection
//! snapshot     the metrics as the page shows them: by connection, summed, as JSON
//! ```
//!
//! Labels are bounded: connections come from the configuration, codes, states and reasons from closed lists, partitions
//! from the assignment (and are removed with it). The process's own metrics are `service_kit::metrics`'.

mod connection;
mod declare;
mod forget;
mod record;
mod snapshot;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    CounterVec, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use service_kit::metrics::{ProcessMetrics, unix_seconds};

use crate::config::ReloadResult;
use connection::ConnectionSeriesMap;
pub use connection::{CloseReason, MAX_OWN_HISTOGRAMS, UNKNOWN_CONNECTION};
use declare::declare_metrics;
pub use record::RebalanceEvent;
pub use snapshot::{ConnectionSnapshot, ConnectionTotals, MetricsSnapshot, SessionSnapshot, TaskSnapshot};

/// From a small file on a near server to a large one on a far server, in seconds.
const DURATION_BUCKETS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// From an idle pool to a backlog of a day, in seconds.
const WAIT_BUCKETS: &[f64] =
    &[0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];
/// From a commit of some milliseconds to a broker that is away, in seconds.
const COMMIT_BUCKETS: &[f64] = &[0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// A batch's answers.
const BATCH_BUCKETS: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];

declare_metrics! {
    /// Tasks answered, by status (completed, failed).
    answered: IntCounterVec = "ftp_pooler_tasks_answered_total", ["operation", "connection", "status"];
    /// Failures sent, by error code.
    failures: IntCounterVec = "ftp_pooler_failures_total", ["connection", "code"];
    /// Failures by a fault of the pooler itself (code internal), over all connections.
    internal: IntCounter = "ftp_pooler_internal_failures_total", [];
    /// Completed tasks: from the start of the first try to the end of the last one.
    duration: HistogramVec = "ftp_pooler_task_duration_seconds", ["operation", "connection"], DURATION_BUCKETS;
    /// Tasks started: from the record's timestamp to the start of the first try.
    wait: HistogramVec = "ftp_pooler_task_wait_seconds", ["connection"], WAIT_BUCKETS;
    /// Payload bytes that crossed data connections, those of failed tries included.
    bytes: IntCounterVec = "ftp_pooler_transferred_bytes_total", ["operation", "connection"];
    /// Seconds that transfers have waited since `bandwidth` or `pool.bandwidth` let no byte move.
    bandwidth_wait: CounterVec = "ftp_pooler_bandwidth_wait_seconds_total", ["operation", "connection"];
    /// Retries, by the code of the previous error.
    retries: IntCounterVec = "ftp_pooler_retries_total", ["connection", "code"];

    /// Tasks the pod holds now, by state: waiting for a session, delayed until a retry is due, in flight.
    tasks: IntGaugeVec = "ftp_pooler_tasks", ["connection", "state"];
    /// A connection's circuit breaker now: 0 closed, 1 half-open (one probe decides), 2 open (no tries).
    breaker: IntGaugeVec = "ftp_pooler_breaker_state", ["connection"];
    /// A local connection's circuit breaker now, the same way: its file system is full, read-only, frozen or missing.
    local_breaker: IntGaugeVec = "ftp_pooler_local_breaker_state", ["connection"];
    /// Tasks deferred to the retry topic, by reason.
    deferred: IntCounterVec = "ftp_pooler_deferred_tasks_total", ["connection", "reason"];
    /// Tasks held from intake until their answer is committed.
    held_tasks: IntGauge = "ftp_pooler_held_tasks", [];
    /// Payload bytes of the records of the tasks held.
    held_bytes: IntGauge = "ftp_pooler_held_bytes", [];

    /// Open sessions now: idle, busy, connecting. Each counts against the caps.
    sessions: IntGaugeVec = "ftp_pooler_sessions", ["connection", "state"];
    /// Sessions that a connection may have now: its cap, or fewer while its server reports too many connections, or while
    /// the pod is granted fewer of the total over all pods.
    session_limit: IntGaugeVec = "ftp_pooler_session_limit", ["connection"];
    /// Sessions logged in.
    sessions_opened: IntCounterVec = "ftp_pooler_sessions_opened_total", ["connection"];
    /// Sessions closed, by reason: idle for too long, evicted for another connection, protocol state unknown, dead, replaced since
    /// their connection has changed, shutdown.
    sessions_closed: IntCounterVec = "ftp_pooler_sessions_closed_total", ["connection", "reason"];

    /// Records of a partition not yet answered and committed: log end offset - low-water mark. The markers that
    /// Kafka's transactions write count as well, so that up to 1 per recent transaction may remain with no open task.
    lag: IntGaugeVec = "ftp_pooler_lag_records", ["topic", "partition"];
    /// Offsets of a partition from its low-water mark to the newest record consumed; at 18,000 consumption pauses.
    span: IntGaugeVec = "ftp_pooler_ledger_span_offsets", ["topic", "partition"];
    /// Age of the oldest record in flight, over all partitions; 0 if there is none.
    oldest: Gauge = "ftp_pooler_oldest_task_seconds", [];
    /// Partitions assigned and released, by event (assigned, revoked, lost).
    rebalanced: IntCounterVec = "ftp_pooler_rebalanced_partitions_total", ["event"];
    /// Partitions assigned to this pod that are halted: their committed offset is out of range, or of a recreated topic.
    partitions_halted: IntGauge = "ftp_pooler_halted_partitions", [];
    /// Partitions assigned to this pod.
    partitions_assigned: IntGauge = "ftp_pooler_assigned_partitions", [];
    /// Assigned partitions whose intake is paused.
    partitions_paused: IntGauge = "ftp_pooler_paused_partitions", [];
    /// Answers sent to Kafka whose tasks' offsets are committed.
    committed: IntCounter = "ftp_pooler_committed_answers_total", [];
    /// One batch (or transaction): answers sent and acknowledged, offsets committed.
    commit_duration: Histogram = "ftp_pooler_commit_duration_seconds", [], COMMIT_BUCKETS;
    /// Answers in a batch that was committed; 0 where only offsets were.
    commit_answers: Histogram = "ftp_pooler_commit_answers", [], BATCH_BUCKETS;
    /// From a task's end to the commit of its answer.
    answer_wait: Histogram = "ftp_pooler_answer_wait_seconds", [], COMMIT_BUCKETS;
    /// Transactions aborted, by reason (rebalance, refused, failed, broken): their answers are sent again.
    aborted: IntCounterVec = "ftp_pooler_aborted_transactions_total", ["reason"];
    /// Producers that failed fatally and were replaced by one with the same transactional id.
    renewals: IntCounter = "ftp_pooler_producer_renewals_total", [];
    /// Times that the pod's Kafka clients were recreated because they had lost Kafka while a new client reached it, by what
    /// they had lost (a broker, the membership, the group's answer, answers published).
    clients_recreated: IntCounterVec = "ftp_pooler_kafka_clients_recreated_total", ["reason"];
    /// Times that another process fenced this pod, which then stops.
    fenced: IntCounter = "ftp_pooler_fenced_total", [];
    /// Errors that the Kafka client reported, by operation (consume, produce, commit, ...).
    kafka_errors: IntCounterVec = "ftp_pooler_kafka_errors_total", ["operation"];

    /// A tunnel's state now: 1 for the one that it is in (pending, connecting, connected, disconnected, error).
    tunnel_state: IntGaugeVec = "ftp_pooler_tunnel_state", ["tunnel", "state"];
    /// 1 while something comes through the tunnel.
    tunnel_up: IntGaugeVec = "ftp_pooler_tunnel_up", ["tunnel"];
    /// Times that a tunnel has become connected.
    tunnel_connects: IntCounterVec = "ftp_pooler_tunnel_connects_total", ["tunnel"];
    /// Times that a tunnel went down or could not be made, by class (docs/tunnels/TROUBLESHOOTING.md).
    tunnel_errors: IntCounterVec = "ftp_pooler_tunnel_errors_total", ["tunnel", "class"];

    /// Listings of a feed's source, by result (completed, failed).
    feed_listings: IntCounterVec = "ftp_pooler_feed_listings_total", ["feed", "result"];
    /// Tasks that a feed has made.
    feed_tasks: IntCounterVec = "ftp_pooler_feed_tasks_total", ["feed"];
    /// Files of a feed, by state: known to have become tasks, and settling, which have to stand still for longer.
    feed_files: IntGaugeVec = "ftp_pooler_feed_files", ["feed", "state"];
    /// When a feed's source was last listed to its end, seconds since the epoch.
    feed_listed: IntGaugeVec = "ftp_pooler_feed_last_success_timestamp_seconds", ["feed"];

    /// Reloads of connections.ini, by result (applied, unchanged, refused).
    reloads: IntCounterVec = "ftp_pooler_config_reloads_total", ["result"];
    /// 1 if the configuration was valid when it was last read; 0 if an error keeps the files' contents from
    /// being applied.
    config_valid: IntGauge = "ftp_pooler_config_valid", [];
    /// When the configuration was last found valid, at the start or at its last change; seconds since the epoch.
    config_read: IntGauge = "ftp_pooler_config_last_success_timestamp_seconds", [];

    /// 1 while every loop of the pod is alive, as /health says.
    healthy: IntGauge = "ftp_pooler_healthy", [];
    /// 1 while the pod takes tasks, as /ready says.
    ready: IntGauge = "ftp_pooler_ready", [];
    /// Always 1: the version that runs.
    build_info: IntGaugeVec = "ftp_pooler_build_info", ["version"];
}

/// The pod's metrics; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<MetricsInner>,
}

struct MetricsInner {
    registry: Registry,
    series: PodSeries,
    connections: ConnectionSeriesMap,
    /// The names of the local connections.
    locals: Mutex<BTreeSet<String>>,
    process: ProcessMetrics,
}

impl Metrics {
    /// Metrics of these connections, each with its series at zero. Any other name (a task may contain any) is counted
    /// under [`UNKNOWN_CONNECTION`]. More than [`MAX_OWN_HISTOGRAMS`] connections share their histograms.
    pub fn new<I: IntoIterator<Item: AsRef<str>>>(connections: I) -> Self {
        let names: Vec<_> = connections.into_iter().collect();
        let metrics = Metrics::with(ConnectionSeriesMap::closed(names.len()));
        for name in names {
            metrics.introduce(name.as_ref());
        }
        metrics
    }

    /// Sets the present local connections.
    pub fn set_locals<'a>(&self, names: impl IntoIterator<Item = &'a String>) {
        let names: BTreeSet<String> = names.into_iter().cloned().collect();
        let mut locals = self.inner.locals.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in locals.difference(&names) {
            let _ = self.inner.series.local_breaker.remove_label_values(&[gone.as_str()]);
        }
        for name in &names {
            self.inner.series.local_breaker.with_label_values(&[name.as_str()]);
        }
        *locals = names;
    }

    /// Adds a connection.
    pub fn introduce(&self, connection: &str) {
        self.inner.connections.introduce(connection, &self.inner.series);
    }

    /// The tunnel was removed, and its series with it.
    pub fn forget_tunnel(&self, tunnel: &str) {
        forget::tunnel(&self.inner.series, tunnel);
    }

    /// The connection was removed, and its series with it; the pod's totals keep its numbers.
    pub fn forget_connection(&self, connection: &str) {
        self.inner.connections.forget(connection, &self.inner.series);
    }

    /// All series in Prometheus's text format 0.0.4; the process's own are read now.
    #[must_use]
    pub fn encode(&self) -> String {
        self.inner.process.refresh();
        service_kit::metrics::encode(&self.inner.registry)
    }

    fn with(connections: ConnectionSeriesMap) -> Self {
        let registry = Registry::new();
        #[expect(clippy::expect_used, reason = "the declarations are constants, and every test would fail")]
        let (series, process) = PodSeries::register(&registry)
            .and_then(|series| Ok((series, ProcessMetrics::register(&registry)?)))
            .expect("metrics are declared correctly");
        series.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for result in ReloadResult::ALL {
            series.reloads.with_label_values(&[result.as_str()]).reset();
        }
        series.config_valid.set(1);
        series.config_read.set(unix_seconds());
        for event in RebalanceEvent::ALL {
            series.rebalanced.with_label_values(&[event.as_str()]).reset();
        }
        record::begin_at_zero(&series);
        let locals = Mutex::default();
        Metrics { inner: Arc::new(MetricsInner { registry, series, connections, locals, process }) }
    }
}

/// Without a list of connections: each name is added when first used, up to a bound.
impl Default for Metrics {
    fn default() -> Self {
        Metrics::with(ConnectionSeriesMap::open())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
