//! What the sidecar sees of the pod.

use std::sync::Arc;
use std::time::Instant;

use super::PodTunnels;
use super::pool_view::PoolView;
use super::session_caps::SharedLease;
use crate::config::{CurrentConfig, DeliveryGuarantee, LastReload};
use crate::dispatch::Dispatcher;
use crate::insight::{
    AssignedPartition, ConnectionState, FailureEntry, PartitionBoard, PodInsight, RecentFailures,
    SessionSharing, TransferList, TransferQuery, TunnelReport,
};
use crate::pool_status::PoolSnapshot;

/// The pod from inside. What is configured is asked for each time: it is what holds then.
pub(super) struct PodStatus {
    pub pod: String,
    pub group: String,
    pub current: Arc<CurrentConfig>,
    pub dispatcher: Dispatcher,
    pub tunnels: Arc<PodTunnels>,
    pub failures: RecentFailures,
    pub partitions: PartitionBoard,
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

    fn pool(&self) -> PoolSnapshot {
        self.pool.board.snapshot(Some(self.pool.own(self)), Instant::now())
    }

    fn session_sharing(&self) -> SessionSharing {
        let config = self.current.config();
        if config.kafka.delivery == DeliveryGuarantee::AtLeastOnce {
            return SessionSharing::because(
                "needs_transactions",
                "kafka.delivery is at_least_once: max_sessions_total needs brokers with transactions",
            );
        }
        if config.connections.ftp.values().all(|connection| connection.max_sessions_total.is_none()) {
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
