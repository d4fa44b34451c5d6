//! How fast bytes may move: each connection's `bandwidth`, and `pool.bandwidth` over all connections of the pod.
//!
//! ```text
//! token_bucket   how many bytes may move now, or how long to wait for some: pure
//! throttle       the limits of one timetable, shared by all transfers that it applies to
//! ```
//!
//! A transfer asks before each read and write. The server cannot send what is not read, since TCP's window is then
//! full; and no deadline of the data connection runs while a transfer waits here, so that it never counts as stalled.

mod throttle;
mod token_bucket;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::Instant;

use crate::config::{BandwidthTimetable, FtpConnection};
use crate::metrics::Metrics;
use crate::task::Operation;
use throttle::Throttle;

/// The limits of a pod. Cheap to clone.
#[derive(Clone)]
pub struct BandwidthLimits {
    inner: Arc<LimitsInner>,
}

struct LimitsInner {
    pod: Arc<Throttle>,
    /// By name. A connection without a limit is added once a transfer has asked: it may get a limit while that runs.
    connections: RwLock<HashMap<String, Arc<Throttle>>>,
    metrics: Metrics,
}

impl BandwidthLimits {
    /// `pod` is the limit for all connections together.
    #[must_use]
    pub fn new(pod: BandwidthTimetable, metrics: Metrics) -> BandwidthLimits {
        let pod = Arc::new(Throttle::new(pod));
        BandwidthLimits { inner: Arc::new(LimitsInner { pod, connections: RwLock::default(), metrics }) }
    }

    /// A connection was added, or its limit has changed: running transfers get it at once.
    pub fn set(&self, connection: &FtpConnection) {
        self.throttle(&connection.name).set(connection.bandwidth.clone());
    }

    /// The connection was removed; its last transfers continue without a limit.
    pub fn forget(&self, connection: &str) {
        let mut connections = self.inner.connections.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(throttle) = connections.remove(connection) {
            throttle.set(BandwidthTimetable::default());
        }
    }

    /// The limits of one transfer over this connection.
    #[must_use]
    pub fn of(&self, connection: &str) -> TransferBandwidth {
        TransferBandwidth {
            connection: connection.to_owned(),
            throttles: [self.throttle(connection), Arc::clone(&self.inner.pod)],
            metrics: self.inner.metrics.clone(),
        }
    }

    fn throttle(&self, connection: &str) -> Arc<Throttle> {
        let known = self.inner.connections.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(throttle) = known.get(connection) {
            return Arc::clone(throttle);
        }
        drop(known);
        let mut connections = self.inner.connections.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(connections.entry(connection.to_owned()).or_default())
    }
}

/// No limits.
impl Default for BandwidthLimits {
    fn default() -> Self {
        BandwidthLimits::new(BandwidthTimetable::default(), Metrics::default())
    }
}

impl fmt::Debug for BandwidthLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BandwidthLimits").field("pod", &self.inner.pod).finish_non_exhaustive()
    }
}

/// The throttles of one transfer: its connection's, then its pod's.
#[derive(Debug)]
pub struct TransferBandwidth {
    connection: String,
    throttles: [Arc<Throttle>; 2],
    metrics: Metrics,
}

impl TransferBandwidth {
    /// Waits until some of `want` bytes may move, and returns how many; all of them if there is no limit. Cancel-safe.
    pub async fn allow(&self, operation: Operation, want: usize) -> Allowance<'_> {
        let mut allowance =
            Allowance { throttles: &self.throttles, operation, taken: [0; 2], moved: 0, bytes: want };
        for (throttle, taken) in self.throttles.iter().zip(&mut allowance.taken) {
            if !throttle.is_limited() {
                continue;
            }
            let started = Instant::now();
            if let Some(bytes) = throttle.take(operation, allowance.bytes).await {
                *taken = bytes;
                allowance.bytes = bytes;
            }
            self.metrics.throttled(operation.as_str(), &self.connection, started.elapsed());
        }
        allowance
    }
}

/// Bytes that may move now. Those that have not moved when this is dropped are returned to the limit.
#[derive(Debug)]
pub struct Allowance<'a> {
    throttles: &'a [Arc<Throttle>; 2],
    operation: Operation,
    /// How many were taken from each throttle; 0 from one without a limit.
    taken: [usize; 2],
    bytes: usize,
    moved: usize,
}

impl Allowance<'_> {
    /// The number of bytes: at least one, unless none was wanted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// This many bytes have moved.
    pub fn spend(mut self, bytes: usize) {
        self.moved = bytes;
    }
}

impl Drop for Allowance<'_> {
    fn drop(&mut self) {
        for (throttle, taken) in self.throttles.iter().zip(self.taken) {
            throttle.return_bytes(self.operation, taken.saturating_sub(self.moved));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MIB: u64 = 1 << 20;

    fn table(text: &str) -> BandwidthTimetable {
        BandwidthTimetable::parse(text).unwrap()
    }

    fn connection(name: &str, bandwidth: &str) -> FtpConnection {
        FtpConnection { name: name.to_owned(), bandwidth: table(bandwidth), ..FtpConnection::default() }
    }

    fn limits(pod: &str, connections: &[(&str, &str)]) -> BandwidthLimits {
        let limits = BandwidthLimits::new(table(pod), Metrics::default());
        for (name, bandwidth) in connections {
            limits.set(&connection(name, bandwidth));
        }
        limits
    }

    /// A transfer that always has more; counts what it moves.
    fn transfer(limits: &BandwidthLimits, connection: &str, operation: Operation) -> Arc<AtomicU64> {
        let (bandwidth, moved) = (limits.of(connection), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&moved);
        tokio::spawn(async move {
            loop {
                let allowance = bandwidth.allow(operation, 256 << 10).await;
                let bytes = allowance.bytes();
                allowance.spend(bytes);
                counter.fetch_add(bytes as u64, Ordering::Relaxed);
                // one without a limit
                tokio::task::yield_now().await;
                if bytes == 256 << 10 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        });
        moved
    }

    async fn per_second(moved: &[Arc<AtomicU64>]) -> Vec<u64> {
        let count = || moved.iter().map(|moved| moved.load(Ordering::Relaxed)).collect::<Vec<_>>();
        sleep(SECOND).await; // the start
        let before = count();
        sleep(10 * SECOND).await;
        count().iter().zip(before).map(|(after, before)| (after - before) / 10).collect()
    }

    fn is_about(bytes: u64, expected: u64) -> bool {
        bytes >= expected * 9 / 10 && bytes <= expected * 11 / 10
    }

    #[tokio::test(start_paused = true)]
    async fn a_connections_transfers_share_its_limit_evenly() {
        let limits = limits("off", &[("a", "1M"), ("b", "off")]);
        let of_a: Vec<_> = (0..4).map(|_| transfer(&limits, "a", Operation::Download)).collect();
        let of_b = transfer(&limits, "b", Operation::Download);
        let rates = per_second(&of_a).await;
        assert!(rates.iter().all(|rate| is_about(*rate, MIB / 4)), "{rates:?}");
        assert!(of_b.load(Ordering::Relaxed) > 100 * MIB, "nobody limits it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_pods_limit_is_over_all_connections_and_each_direction_has_its_own() {
        let limits = limits("1M:3M", &[("a", "off"), ("b", "512k")]);
        let up = [transfer(&limits, "a", Operation::Upload), transfer(&limits, "b", Operation::Upload)];
        let down = transfer(&limits, "a", Operation::Download);
        let rates = per_second(&[&up[..], &[down]].concat()).await;
        assert!(is_about(rates[0] + rates[1], MIB) && rates[1] <= MIB * 11 / 20, "{rates:?}");
        assert!(is_about(rates[2], 3 * MIB), "{rates:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_limit_is_that_of_transfers_under_way() {
        let limits = limits("off", &[("a", "1k")]);
        let moved = [transfer(&limits, "a", Operation::Upload)];
        assert!(is_about(per_second(&moved).await[0], 1 << 10));
        limits.set(&connection("a", "2M"));
        assert!(is_about(per_second(&moved).await[0], 2 * MIB));
        limits.set(&connection("a", "off"));
        assert!(per_second(&moved).await[0] > 100 * MIB);
        limits.set(&connection("a", "1M"));
        assert!(is_about(per_second(&moved).await[0], MIB));
        limits.forget("a");
        assert!(per_second(&moved).await[0] > 100 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_and_bytes_that_did_not_move_cost_nothing() {
        let limits = limits("off", &[("a", "10k")]);
        let bandwidth = limits.of("a");
        for _ in 0..100 {
            drop(bandwidth.allow(Operation::Download, 10_000).await); // a server that sends nothing
            let _ = timeout(Duration::ZERO, bandwidth.allow(Operation::Download, 10_000)).await;
        }
        let moved = [transfer(&limits, "a", Operation::Download)];
        assert!(is_about(per_second(&moved).await[0], 10 << 10));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_counted_by_connection_and_direction() {
        let metrics = Metrics::default();
        let limits = BandwidthLimits::new(table("off"), metrics.clone());
        limits.set(&connection("a", "1M"));
        let series = "ftp_pooler_bandwidth_wait_seconds_total";
        assert!(!metrics.encode().contains(&format!("{series}{{")), "none without a limit");
        let bandwidth = limits.of("a");
        let mut moved = 0;
        while moved < 2 * MIB {
            let allowance = bandwidth.allow(Operation::Upload, 256 << 10).await;
            moved += allowance.bytes() as u64;
            let bytes = allowance.bytes();
            allowance.spend(bytes);
        }
        let text = metrics.encode();
        let line = text.lines().find(|line| line.starts_with(series)).unwrap();
        assert!(line.contains("connection=\"a\",operation=\"upload\""), "{line}");
        let seconds: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((1.5..2.5).contains(&seconds), "{line}");
    }
}
