//! What the sidecar sees of the pod.

use std::sync::Arc;

use super::PodTunnels;
use crate::config::{CurrentConfig, LastReload};
use crate::dispatch::Dispatcher;
use crate::feeds::{FeedBoard, FeedStatus};
use crate::insight::{
    AssignedPartition, ConnectionState, FailureEntry, PartitionBoard, PodInsight, RecentFailures,
    TransferList, TransferQuery, TunnelReport,
};

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
