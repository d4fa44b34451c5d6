//! What the sidecar sees of the pod.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::PodTunnels;
use super::pool_view::PoolView;
use super::session_caps::SharedLease;
use crate::batch::{BatchAnswers, BatchBoard, KnownBatch};
use crate::config::{CurrentConfig, DeliveryGuarantee, LastReload};
use crate::dispatch::Dispatcher;
use crate::feeds::{FeedBoard, FeedStatus};
use crate::insight::{
    AssignedPartition, ConnectionState, FailureEntry, MAX_OPEN_BATCHES, OpenBatch, OpenBatches,
    PartitionBoard, PodInsight, RecentFailures, SessionSharing, TransferList, TransferQuery, TunnelReport,
};
use crate::pods::PoolSnapshot;

/// The pod from inside. What is configured is asked for each time: it is what holds then.
pub(super) struct PodStatus {
    pub pod: String,
    pub group: String,
    pub current: Arc<CurrentConfig>,
    pub dispatcher: Dispatcher,
    pub tunnels: Arc<PodTunnels>,
    pub failures: RecentFailures,
    pub partitions: PartitionBoard,
    pub feeds: FeedBoard,
    pub batches: BatchBoard,
    pub pool: PoolView,
    pub lease: SharedLease,
}

impl PodInsight for PodStatus {
    fn pod(&self) -> &str {
        &self.pod
    }

    fn group(&self) -> &str {
        &self.group
    }

    fn connections(&self) -> Vec<ConnectionState> {
        let config = self.current.config();
        let configured = config.connections.ftp.values();
        configured.filter_map(|connection| self.dispatcher.connection(connection)).collect()
    }

    fn tunnels(&self) -> Vec<TunnelReport> {
        self.tunnels.reports()
    }

    fn feeds(&self) -> Vec<FeedStatus> {
        self.feeds.all()
    }

    fn pool(&self) -> PoolSnapshot {
        self.pool.board.snapshot(Some(self.pool.own(self)), Instant::now())
    }

    fn batches(&self) -> OpenBatches {
        let known = self.batches.open(MAX_KNOWN);
        let (mut answers, others_exact_since) = self.pool.board.batch_answers();
        let ids = known.iter().map(|batch| batch.id.as_str());
        let (own_answers, own_exact_since) = self.pool.own_answers(&self.batches, ids);
        for (id, own) in own_answers {
            *answers.entry(id).or_default() += own;
        }
        let exact_since = others_exact_since.max(own_exact_since);
        let waits_for = self.current.config().retry.max_deferral;
        let open = |batch: KnownBatch| {
            open_batch(&batch, answers.get(&batch.id).copied().unwrap_or_default(), exact_since, waits_for)
        };
        let mut batches: Vec<OpenBatch> = known.into_iter().filter_map(open).collect();
        let total = batches.len();
        batches.truncate(MAX_OPEN_BATCHES);
        OpenBatches { total, batches }
    }

    fn session_sharing(&self) -> SessionSharing {
        let config = self.current.config();
        if config.kafka.delivery == DeliveryGuarantee::AtLeastOnce {
            return SessionSharing::because(
                "needs_transactions",
                "kafka.delivery is at_least_once: max_sessions_total needs brokers with transactions",
            );
        }
        if !config.connections.share_sessions() {
            return SessionSharing::new("off");
        }
        self.lease.sharing()
    }

    fn transfers(&self, query: &TransferQuery) -> TransferList {
        self.dispatcher.transfers(query)
    }

    fn failures(&self, limit: usize) -> Vec<FailureEntry> {
        self.failures.last(limit)
    }

    fn partitions(&self) -> Vec<AssignedPartition> {
        self.partitions.get()
    }

    fn config(&self) -> String {
        self.current.config().to_yaml_redacted()
    }

    fn last_reload(&self) -> LastReload {
        self.current.last_reload()
    }
}

/// How many batches are searched for open ones.
const MAX_KNOWN: usize = 1_000;

/// The batch, unless all its tasks are answered, as far as the pods have counted, which is all of them since `exact_since`
/// (seconds since the epoch). Those of a batch that is older than a task may
/// wait are answered, or their partition has a backlog that the lag shows.
fn open_batch(
    batch: &KnownBatch,
    answers: BatchAnswers,
    exact_since: i64,
    longest_wait: Duration,
) -> Option<OpenBatch> {
    let submitted = batch.submitted.as_ref()?;
    let at: Timestamp = submitted.at.parse().ok()?;
    let age = Timestamp::now().duration_since(at);
    let open = submitted.tasks.saturating_sub(answers.total());
    let is_recent = Duration::try_from(age).map_or(true, |age| age < longest_wait);
    (open > 0 && is_recent).then(|| OpenBatch {
        batch: batch.id.clone(),
        at: submitted.at.clone(),
        by: submitted.by.clone(),
        what: submitted.what.clone(),
        tasks: submitted.tasks,
        completed: answers.completed,
        failed: answers.failed,
        open,
        is_exact: exact_since <= at.as_second(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::SubmittedBatch;

    fn submitted(seconds_ago: i64) -> KnownBatch {
        let at = Timestamp::from_second(Timestamp::now().as_second() - seconds_ago).unwrap();
        let submitted =
            SubmittedBatch { at: at.to_string(), by: "alice".into(), what: "a → b".into(), tasks: 10 };
        KnownBatch { id: "b".into(), submitted: Some(submitted), ..KnownBatch::default() }
    }

    #[test]
    fn a_batch_is_open_until_the_pods_have_counted_its_answers_or_it_is_too_old() {
        let day = Duration::from_secs(86_400);
        let early = Timestamp::now().as_second() - 1_000;
        let open = |batch: &KnownBatch, completed, exact_since| {
            open_batch(batch, BatchAnswers { completed, failed: 1 }, exact_since, day)
        };
        let found = open(&submitted(60), 3, early).unwrap();
        assert_eq!((found.open, found.completed, found.failed, found.is_exact), (6, 3, 1, true));
        assert_eq!(open(&submitted(60), 9, early), None, "all are answered");
        assert_eq!(open(&submitted(90_000), 3, early), None, "no task waits that long");
        let restarted = Timestamp::now().as_second();
        assert!(!open(&submitted(60), 3, restarted).unwrap().is_exact, "it may have answered before");
        assert_eq!(open(&KnownBatch::default(), 0, early), None);
    }
}
