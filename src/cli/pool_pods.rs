//! Where the pool's pods are, for commands: where they announce themselves, or else the members of the group, each at
//! its address and the configuration's `api.port`. A pod that cannot be reached from here is left out: the pods' data
//! is a bonus, never required.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::announced_pods::AnnouncedPods;
use super::pod_metrics::{MetricsSample, Scraper};
use super::pod_url::PodUrl;
use crate::client::pool_members;
use crate::config::{ApiToken, Config, KafkaConfig, ListenAddress};

/// Pods that are asked at most.
const MAX_PODS: usize = 200;

/// How pods are found.
#[derive(Clone, Debug)]
pub(super) struct PoolPods {
    kafka: KafkaConfig,
    api: ListenAddress,
    token: Option<Arc<ApiToken>>,
}

impl PoolPods {
    pub fn new(config: &Config) -> PoolPods {
        PoolPods { kafka: config.kafka.clone(), api: config.api.clone(), token: config.api_token.clone() }
    }

    /// What pods that want a token are sent.
    pub fn token(&self) -> Option<Arc<ApiToken>> {
        self.token.clone()
    }

    /// URL of each pod's page at `path`; none if Kafka does not say who is in the group. Blocks for at most twenty
    /// seconds.
    pub fn pages(&self, path: &str) -> Vec<PodUrl> {
        let announced = AnnouncedPods::follow(&self.kafka).ok().flatten();
        let addresses = announced.map(|pods| pods.addresses()).unwrap_or_default();
        if !addresses.is_empty() {
            let page = |address: &String| PodUrl::parse(&format!("http://{address}{path}"), path).ok();
            return addresses.iter().filter_map(page).take(MAX_PODS).collect();
        }
        let members = pool_members(&self.kafka).unwrap_or_default();
        let mut hosts: Vec<String> = members.into_iter().map(|member| member.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts.truncate(MAX_PODS);
        let page = |host: String| PodUrl::here(&ListenAddress { host, port: self.api.port }, path);
        hosts.into_iter().filter(|host| !host.is_empty()).map(page).collect()
    }

    /// The pods' metrics; `None` if no pod is known. Blocks for at most fifteen seconds.
    fn metrics(&self) -> Option<MetricsSample> {
        Scraper::new(self.pages("/metrics"), self.token.clone()).ok()?.scrape()
    }

    /// Open sessions by connection, of all pods that can be reached.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of sessions")]
    pub fn sessions(&self) -> BTreeMap<String, u64> {
        let sample = self.metrics().unwrap_or_default();
        let count = |(name, of): (String, super::pod_metrics::ConnectionMetrics)| {
            (name, (of.idle + of.busy).max(0.0) as u64)
        };
        sample.connections.into_iter().map(count).collect()
    }
}
