//! What all workers share, and what a reload replaces as a whole.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::auth::Authenticator;
use crate::busiest::BusiestNames;
use crate::limits::ConnectionLimits;
use crate::metrics::Metrics;
use crate::pool::Connector;
use crate::proxy::Worker;
use crate::rates::RateTable;
use crate::resolve::Directory;
use crate::server::ClientTls;
use crate::settings::Settings;

/// Everything that is derived from the configuration.
#[derive(Debug)]
pub struct RouterState {
    /// Counts reloads: anything derived from an earlier state is outdated.
    pub generation: u64,
    pub settings: Settings,
    pub directory: Directory,
    pub authenticator: Authenticator,
    pub connector: Connector,
    /// None: no TLS.
    pub tls: Option<ClientTls>,
    /// For the status page and the metrics.
    pub admin_token: Option<SecretString>,
}

/// One router, with all its workers.
#[derive(Debug)]
pub struct Router {
    state: ArcSwap<RouterState>,
    pub metrics: Metrics,
    pub rates: RateTable,
    pub connections: ConnectionLimits,
    pub busiest: BusiestNames,
    /// Stop accepting, end connections after their requests.
    pub drain: CancellationToken,
    /// Tell `WebSockets` now that the router is going away.
    pub close_streams: CancellationToken,
    draining: AtomicBool,
    workers: Mutex<Vec<Weak<Worker>>>,
    log_counter: AtomicU64,
    epoch: Instant,
}

impl Router {
    pub fn new(state: RouterState, metrics: Metrics) -> Router {
        Router {
            state: ArcSwap::from_pointee(state),
            metrics,
            rates: RateTable::default(),
            connections: ConnectionLimits::default(),
            busiest: BusiestNames::default(),
            drain: CancellationToken::new(),
            close_streams: CancellationToken::new(),
            draining: AtomicBool::new(false),
            workers: Mutex::default(),
            log_counter: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    pub fn state(&self) -> Arc<RouterState> {
        self.state.load_full()
    }

    /// Open streams keep their settings; every later request uses the new state.
    pub fn replace_state(&self, state: RouterState) {
        self.state.store(Arc::new(state));
    }

    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.drain.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn add_worker(&self, worker: &Arc<Worker>) {
        self.workers.lock().push(Arc::downgrade(worker));
    }

    /// The numbers of connections to pods that are in use, that are idle, and of requests waiting for one, over all
    /// workers.
    pub fn pod_connections(&self) -> (usize, usize, usize) {
        let workers: Vec<_> = self.workers.lock().iter().filter_map(Weak::upgrade).collect();
        workers
            .iter()
            .map(|worker| worker.pool.counts())
            .fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2))
    }

    pub fn uptime(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Nanoseconds since the router started, the clock of rate limits.
    pub fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether this request is the one in `of` that is logged.
    pub fn is_sampled(&self, of: u32) -> bool {
        self.log_counter.fetch_add(1, Ordering::Relaxed).is_multiple_of(u64::from(of.max(1)))
    }
}
