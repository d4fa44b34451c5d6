//! What the parts report: one method per event. All are cheap, and none blocks.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::connection::ConnectionSeries;
use super::{CloseReason, Metrics, PodSeries, forget};
use crate::breaker::BreakerState;
use crate::config::ReloadResult;
use crate::failure::Code;

/// What a rebalance does to a partition (label `event`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceEvent {
    Assigned,
    /// Its transfers may finish.
    Revoked,
    /// Another pod may own it already.
    Lost,
}

impl RebalanceEvent {
    pub(super) const ALL: [RebalanceEvent; 3] =
        [RebalanceEvent::Assigned, RebalanceEvent::Revoked, RebalanceEvent::Lost];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            RebalanceEvent::Assigned => "assigned",
            RebalanceEvent::Revoked => "revoked",
            RebalanceEvent::Lost => "lost",
        }
    }
}

/// The states of a tunnel.
const TUNNEL_STATES: &[&str] = &["pending", "connecting", TUNNEL_UP, "disconnected", "error"];
const TUNNEL_UP: &str = "connected";

/// The label of an error code outside the closed list.
const OTHER_CODE: &str = "other";

/// Why transactions are aborted, for which operations the Kafka client reports errors, and what recreated clients had
/// lost: alerts count them.
const ABORTS: &[&str] = &["rebalance", "refused", "failed", "broken"];
const KAFKA_OPERATIONS: &[&str] = &["consume", "produce", "commit"];
const LOST: &[&str] = &["no_broker", "no_membership", "no_group_answer", "nothing_published"];

/// Without its first value at zero, the first event is no increase.
pub(super) fn begin_at_zero(series: &PodSeries) {
    let all = [
        (&series.aborted, ABORTS),
        (&series.kafka_errors, KAFKA_OPERATIONS),
        (&series.clients_recreated, LOST),
    ];
    for (counter, labels) in all {
        for label in labels {
            counter.with_label_values(&[*label]);
        }
    }
}

impl Metrics {
    /// A task was answered: its operation (`download`, `upload`, `invalid`), its error code if it failed.
    pub fn answered(&self, operation: &str, connection: &str, code: Option<&str>, took: Duration) {
        let series = self.connection(connection);
        let direction = series.direction(operation);
        match (code, direction) {
            (None, Some(direction)) => {
                direction.completed.inc();
                direction.duration.observe(took.as_secs_f64());
            }
            (Some(_), Some(direction)) => direction.failed.inc(),
            (_, None) => {
                series.invalid.fetch_add(1, Ordering::Relaxed);
                let labels = ["invalid", series.name.as_str(), "failed"];
                self.inner.series.answered.with_label_values(&labels).inc();
            }
        }
        if code == Some(Code::Internal.as_str()) {
            self.inner.series.internal.inc();
        }
        if let Some(code) = code {
            self.inner.series.failures.with_label_values(&[series.name.as_str(), code_label(code)]).inc();
        }
    }

    /// Payload bytes that crossed a data connection, counted while they do.
    pub fn bytes(&self, operation: &str, connection: &str, bytes: u64) {
        if let Some(direction) = self.connection(connection).direction(operation) {
            direction.bytes.inc_by(bytes);
        }
    }

    /// A transfer has waited this long for its bandwidth limit.
    pub fn throttled(&self, operation: &str, connection: &str, waited: Duration) {
        let name = &self.connection(connection).name;
        let waits = self.inner.series.bandwidth_wait.with_label_values(&[operation, name.as_str()]);
        waits.inc_by(waited.as_secs_f64());
    }

    /// A tunnel has entered this state.
    pub fn tunnel(&self, tunnel: &str, state: &str) {
        let series = &self.inner.series;
        for other in TUNNEL_STATES {
            series.tunnel_state.with_label_values(&[tunnel, other]).set(i64::from(*other == state));
        }
        let is_up = state == TUNNEL_UP;
        series.tunnel_up.with_label_values(&[tunnel]).set(i64::from(is_up));
        series.tunnel_connects.with_label_values(&[tunnel]).inc_by(u64::from(is_up));
    }

    /// A tunnel went down, or could not be created.
    pub fn tunnel_failed(&self, tunnel: &str, class: &str) {
        self.inner.series.tunnel_errors.with_label_values(&[tunnel, class]).inc();
    }

    /// A feed's source was listed, completely or not.
    pub fn feed_listed(&self, feed: &str, is_whole: bool) {
        let series = &self.inner.series;
        for (result, count) in [("completed", u64::from(is_whole)), ("failed", u64::from(!is_whole))] {
            series.feed_listings.with_label_values(&[feed, result]).inc_by(count);
        }
        if is_whole {
            series.feed_listed.with_label_values(&[feed]).set(service_kit::metrics::unix_seconds());
        }
    }

    /// A feed's tasks are committed.
    pub fn feed_tasks(&self, feed: &str, tasks: usize) {
        self.inner.series.feed_tasks.with_label_values(&[feed]).inc_by(tasks as u64);
    }

    /// How many files a feed knows.
    pub fn feed_files(&self, feed: &str, known: u64, settling: u64) {
        for (state, count) in [("known", known), ("settling", settling)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.inner.series.feed_files.with_label_values(&[feed, state]).set(count);
        }
    }

    /// This pod no longer lists the feed: its series are removed.
    pub fn forget_feed(&self, feed: &str) {
        forget::feed(&self.inner.series, feed);
    }

    /// A try is repeated after an error with this code.
    pub fn retried(&self, connection: &str, code: &str) {
        let connection = self.connection(connection);
        self.inner.series.retries.with_label_values(&[connection.name.as_str(), code_label(code)]).inc();
    }

    /// How many sessions a connection may have now.
    pub fn session_limit(&self, connection: &str, limit: usize) {
        self.connection(connection).sessions.limit.set(gauge(limit));
    }

    /// Sessions of a connection now, by state; set, not added.
    pub fn sessions(&self, connection: &str, idle: usize, busy: usize, connecting: usize) {
        let connection = self.connection(connection);
        connection.sessions.idle.set(gauge(idle));
        connection.sessions.busy.set(gauge(busy));
        connection.sessions.connecting.set(gauge(connecting));
    }

    pub fn session_opened(&self, connection: &str) {
        self.connection(connection).sessions.opened.inc();
    }

    pub fn session_closed(&self, connection: &str, reason: CloseReason) {
        let connection = self.connection(connection);
        let labels = [connection.name.as_str(), reason.as_str()];
        self.inner.series.sessions_closed.with_label_values(&labels).inc();
    }

    /// Tasks of a connection: waiting for a session, waiting for a retry's time, in flight.
    pub fn tasks(&self, connection: &str, waiting: usize, delayed: usize, in_flight: usize) {
        let connection = self.connection(connection);
        connection.tasks.waiting.set(gauge(waiting));
        connection.tasks.delayed.set(gauge(delayed));
        connection.tasks.in_flight.set(gauge(in_flight));
    }

    /// The present state of a connection's circuit breaker.
    pub fn breaker(&self, connection: &str, state: BreakerState) {
        self.connection(connection).breaker.set(state.value());
    }

    /// The present state of local connections' breakers; those not named are closed.
    pub fn local_breakers(&self, tripped: &HashMap<String, BreakerState>) {
        for name in &*self.inner.locals.lock().unwrap_or_else(PoisonError::into_inner) {
            let state = tripped.get(name).map_or(0, |state| state.value());
            self.inner.series.local_breaker.with_label_values(&[name.as_str()]).set(state);
        }
    }

    /// A task goes to the retry topic; `reason` is a word of the code, not of a message.
    pub fn deferred(&self, connection: &str, reason: &'static str) {
        let connection = self.connection(connection);
        self.inner.series.deferred.with_label_values(&[connection.name.as_str(), reason]).inc();
    }

    /// Tasks the pod holds from intake to commit, and their payload bytes.
    pub fn held(&self, tasks: usize, bytes: usize) {
        self.inner.series.held_tasks.set(gauge(tasks));
        self.inner.series.held_bytes.set(gauge(bytes));
    }

    /// From the record's timestamp to the start of its first try.
    pub fn waited(&self, connection: &str, wait: Duration) {
        self.connection(connection).wait.observe(wait.as_secs_f64());
    }

    /// Records of a partition not yet answered and committed (log end offset - low-water mark).
    pub fn lag(&self, topic: &str, partition: i32, records: i64) {
        self.inner.series.lag.with_label_values(&[topic, &partition.to_string()]).set(records);
    }

    /// The partition left this pod: its series are removed.
    pub fn forget_partition(&self, topic: &str, partition: i32) {
        let labels = [topic, &partition.to_string()];
        // Fails if nothing was ever set: there is nothing to remove then.
        let _ = self.inner.series.lag.remove_label_values(&labels);
        let _ = self.inner.series.span.remove_label_values(&labels);
    }

    /// Offsets of a partition from its low-water mark to the newest consumed record.
    pub fn span(&self, topic: &str, partition: i32, offsets: i64) {
        self.inner.series.span.with_label_values(&[topic, &partition.to_string()]).set(offsets);
    }

    /// Age of the oldest record in flight; zero if there is none.
    pub fn oldest(&self, age: Duration) {
        self.inner.series.oldest.set(age.as_secs_f64());
    }

    /// Partitions came or went.
    pub fn rebalanced(&self, event: RebalanceEvent, partitions: usize) {
        let partitions = u64::try_from(partitions).unwrap_or(u64::MAX);
        self.inner.series.rebalanced.with_label_values(&[event.as_str()]).inc_by(partitions);
    }

    /// Assigned partitions whose consumption is halted.
    pub fn halted(&self, partitions: usize) {
        self.inner.series.partitions_halted.set(gauge(partitions));
    }

    pub fn partitions(&self, assigned: usize, paused: usize) {
        self.inner.series.partitions_assigned.set(gauge(assigned));
        self.inner.series.partitions_paused.set(gauge(paused));
    }

    /// One batch of answers was sent and its offsets committed; each answer with the time since its task ended.
    pub fn committed(&self, answers: impl Iterator<Item = Duration>, took: Duration) {
        let series = &self.inner.series;
        let mut count = 0_u32;
        for wait in answers {
            series.answer_wait.observe(wait.as_secs_f64());
            count += 1;
        }
        series.committed.inc_by(count.into());
        series.commit_answers.observe(count.into());
        series.commit_duration.observe(took.as_secs_f64());
    }

    /// A transaction was aborted: its answers are selected and sent again. `reason` is a word of the code.
    pub fn aborted(&self, reason: &'static str) {
        self.inner.series.aborted.with_label_values(&[reason]).inc();
    }

    /// The producer failed fatally, and is replaced.
    pub fn producer_renewed(&self) {
        self.inner.series.renewals.inc();
    }

    /// The pod's clients are recreated; `reason` is a word of the code, not of a message.
    pub fn clients_recreated(&self, reason: &'static str) {
        self.inner.series.clients_recreated.with_label_values(&[reason]).inc();
    }

    /// Another process has fenced this pod.
    pub fn fenced(&self) {
        self.inner.series.fenced.inc();
    }

    /// Kafka reported an error: `what` is `produce`, `commit`, `consume`, … (a word of the code, not of a message).
    pub fn kafka_error(&self, what: &'static str) {
        self.inner.series.kafka_errors.with_label_values(&[what]).inc();
    }

    /// The connections' configuration was reloaded.
    pub fn reloaded(&self, result: ReloadResult) {
        let series = &self.inner.series;
        series.reloads.with_label_values(&[result.as_str()]).inc();
        let is_right = result != ReloadResult::Refused;
        series.config_valid.set(is_right.into());
        if is_right {
            series.config_read.set(service_kit::metrics::unix_seconds());
        }
    }

    /// The present state of the health endpoints.
    pub fn health(&self, healthy: bool, ready: bool) {
        self.inner.series.healthy.set(healthy.into());
        self.inner.series.ready.set(ready.into());
    }

    fn connection(&self, name: &str) -> Arc<ConnectionSeries> {
        self.inner.connections.get(name, &self.inner.series)
    }
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn code_label(code: &str) -> &'static str {
    Code::ALL.iter().map(|known| known.as_str()).find(|known| *known == code).unwrap_or(OTHER_CODE)
}
