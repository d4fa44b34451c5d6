//! Polls the pool while a run waits for its answers, on its own thread: how many bytes of its files are transferred,
//! and why no answer comes. What cannot be polled stays unknown, and the run continues without it.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::answer_tally::AnswerTally;
use super::situation::Situation;
use crate::cli::lag;
use crate::cli::pod_metrics::{MetricsSample, Scraper};
use crate::cli::pod_url::PodUrl;
use crate::cli::pool_pods::PoolPods;
use crate::client::{Cluster, pool_members};
use crate::config::Config;

/// Between two polls of the pods' transfers.
const TRANSFERS_EVERY: Duration = Duration::from_secs(1);
/// Between two searches for pods, and checks of why no answer comes.
const SITUATION_EVERY: Duration = Duration::from_secs(10);
/// The first poll comes early: before it nothing is known.
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// Records that are read to see whose are deferred.
const MAX_READ: u64 = 20_000;
/// As many as a pod shows.
const TRANSFERS: &str = "/api/v1/transfers?limit=1000";

/// What was seen last.
#[derive(Debug, Default)]
struct Seen {
    /// Task ids and bytes of what is in flight; `None` if no pod could be reached.
    transfers: Option<Vec<(String, u64)>>,
    situation: Option<Situation>,
}

/// Ends with the run: dropping this stops the thread.
#[derive(Debug)]
pub(super) struct PoolObserver {
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
}

impl PoolObserver {
    /// `connections` are those of the run's tasks. With `pods` those are asked, else the members of the group.
    ///
    /// # Errors
    /// As of making a thread.
    pub fn start(
        config: &Config,
        connections: BTreeSet<String>,
        pods: Vec<PodUrl>,
    ) -> io::Result<PoolObserver> {
        let observer = PoolObserver { seen: Arc::default(), is_over: Arc::default() };
        let (seen, is_over) = (Arc::clone(&observer.seen), Arc::clone(&observer.is_over));
        let look = LookOut { pods: PoolPods::new(config), given: pods, config: config.clone(), connections };
        thread::Builder::new().name("observer".to_owned()).spawn(move || look.run(&seen, &is_over))?;
        Ok(observer)
    }

    /// Bytes of this run's files that are in flight.
    pub fn bytes_in_flight(&self, tally: &AnswerTally) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = seen.transfers.iter().flatten().filter(|(task_id, _)| tally.is_open(task_id));
        ours.map(|(_, bytes)| bytes).sum()
    }

    /// The state of the open tasks.
    pub fn situation(&self) -> Option<Situation> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).situation.clone()
    }
}

impl Drop for PoolObserver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

struct LookOut {
    pods: PoolPods,
    /// Pods that the user has named.
    given: Vec<PodUrl>,
    config: Config,
    connections: BTreeSet<String>,
}

#[derive(Deserialize)]
struct TransfersPage {
    transfers: Vec<TransferRow>,
}

#[derive(Deserialize)]
struct TransferRow {
    task_id: String,
    bytes: u64,
}

impl LookOut {
    fn run(&self, seen: &Mutex<Seen>, is_over: &AtomicBool) {
        let mut pods = Vec::new();
        let mut next = Instant::now() + FIRST_AFTER;
        while !is_over.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                pods = if self.given.is_empty() { self.pods.pages("/metrics") } else { self.given.clone() };
                let situation = self.situation(&pods);
                seen.lock().unwrap_or_else(PoisonError::into_inner).situation = situation;
                next = Instant::now() + SITUATION_EVERY;
            }
            let transfers = self.transfers(&pods);
            seen.lock().unwrap_or_else(PoisonError::into_inner).transfers = transfers;
            thread::sleep(TRANSFERS_EVERY);
        }
    }

    fn transfers(&self, pods: &[PodUrl]) -> Option<Vec<(String, u64)>> {
        let pods = pods.iter().map(|pod| pod.at(TRANSFERS)).collect();
        let pages = Scraper::new(pods, self.pods.token()).ok()?.pages();
        let read = |(_, page): (String, Result<String, String>)| {
            serde_json::from_str::<TransfersPage>(&page.ok()?).ok()
        };
        let pages: Vec<TransfersPage> = pages.into_iter().filter_map(read).collect();
        let rows = |page: TransfersPage| page.transfers.into_iter().map(|row| (row.task_id, row.bytes));
        (!pages.is_empty()).then(|| pages.into_iter().flat_map(rows).collect())
    }

    /// `None` if it cannot be determined.
    fn situation(&self, pods: &[PodUrl]) -> Option<Situation> {
        let kafka = &self.config.kafka;
        if let Err(error) = Cluster::new(kafka).ok()?.partitions(&kafka.input_topic) {
            return Some(Situation::KafkaAway(error.to_string()));
        }
        if pool_members(kafka).ok()?.is_empty() {
            return Some(Situation::NoPod { group: kafka.consumer_group.clone() });
        }
        let lag = lag::look(&self.config, MAX_READ).ok()?;
        let deferred = lag.deferred(|connection| self.connections.contains(connection));
        let metrics = Scraper::new(pods.to_vec(), self.pods.token()).ok().and_then(|pods| pods.scrape());
        let metrics = metrics.filter(|metrics| metrics.silent.len() < metrics.pods);
        let down = self.down(metrics.as_ref());
        let count = deferred.values().sum();
        Some(match &metrics {
            Some(_) if !down.is_empty() => Situation::ServerDown { connections: down, deferred: count },
            None if count > 0 => {
                Situation::Deferred { connections: deferred.into_keys().collect(), deferred: count }
            }
            Some(metrics) => self.working(metrics, count),
            None => Situation::Working { in_flight: lag.taken_in(), waiting: lag.waiting(), deferred: 0 },
        })
    }

    /// Our connections that no pod reaches at present.
    fn down(&self, metrics: Option<&MetricsSample>) -> Vec<String> {
        let of = |name: &&String| {
            metrics.and_then(|metrics| metrics.connections.get(*name)).is_some_and(|of| of.breaker >= 1.0)
        };
        self.connections.iter().filter(of).cloned().collect()
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of tasks")]
    fn working(&self, metrics: &MetricsSample, deferred: u64) -> Situation {
        let of = |name: &String| metrics.connections.get(name);
        let (mut in_flight, mut waiting) = (0.0, 0.0);
        for connection in self.connections.iter().filter_map(of) {
            in_flight += connection.in_flight;
            waiting += connection.waiting + connection.delayed;
        }
        Situation::Working { in_flight: in_flight as u64, waiting: waiting as u64, deferred }
    }
}
