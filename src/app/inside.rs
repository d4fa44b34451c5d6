//! What the sidecar sees of the pod.

use std::sync::Arc;

use crate::config::{CurrentConfig, LastReload};
use crate::dispatch::Dispatcher;
use crate::insight::{ConnectionState, Failed, Failures, Insight, Partition, Partitions, Query, Transfers};

/// The pod from inside. What is configured is asked for each time: it is what holds then.
pub(super) struct Inside {
    pub pod: String,
    pub group: String,
    pub current: Arc<CurrentConfig>,
    pub dispatcher: Dispatcher,
    pub failures: Failures,
    pub partitions: Partitions,
}

impl Insight for Inside {
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

    fn transfers(&self, query: &Query) -> Transfers {
        self.dispatcher.transfers(query)
    }

    fn failures(&self, limit: usize) -> Vec<Failed> {
        self.failures.last(limit)
    }

    fn partitions(&self) -> Vec<Partition> {
        self.partitions.get()
    }

    fn config(&self) -> String {
        self.current.config().to_yaml_redacted()
    }

    fn last_reload(&self) -> LastReload {
        self.current.last_reload()
    }
}
