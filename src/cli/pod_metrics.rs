//! The pods' metrics, as their /metrics says them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::cli::pod_url::PodUrl;
use crate::config::ApiToken;
use crate::pods::PodSummary;

/// One pod's answer: connect, request and all; a token that it wants makes it two.
const DEADLINE: Duration = Duration::from_secs(2);

/// A pod's metrics: `host:port`, `http://host:port` or `http://host:port/path`.
pub(super) fn url(text: &str) -> Result<PodUrl, String> {
    PodUrl::parse(text, "/metrics")
}

/// One connection's metrics, over all pods.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ConnectionMetrics {
    pub answered: f64,
    /// Answered a second, where the pods say so.
    pub per_second: Option<f64>,
    pub waiting: f64,
    pub delayed: f64,
    pub in_flight: f64,
    /// In the retry topic, where the pods say so.
    pub deferred: Option<f64>,
    pub idle: f64,
    pub busy: f64,
    /// 0 closed, 1 half-open, 2 open: the worst of all pods.
    pub breaker: f64,
    /// Of the total over all pods, what is granted now; where the pods say so.
    pub granted: Option<f64>,
    pub max_sessions_total: Option<f64>,
}

/// One tunnel over all pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TunnelPods {
    /// Pods that have it, and those in which something comes through.
    pub pods: usize,
    pub up: usize,
}

impl TunnelPods {
    pub fn add(&mut self, is_up: bool) {
        self.pods += 1;
        self.up += usize::from(is_up);
    }
}

/// All pods' metrics at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct MetricsSample {
    pub pods: usize,
    /// Pods that did not answer, with the reason.
    pub silent: Vec<String>,
    /// Pods that are not well, with the reason; where they say so.
    pub unwell: Vec<String>,
    /// The pods, where they were not asked but announced themselves.
    pub announced: Vec<PodSummary>,
    pub connections: BTreeMap<String, ConnectionMetrics>,
    /// Why connections are not up, where the pods say so.
    pub errors: BTreeMap<String, String>,
    pub tunnels: BTreeMap<String, TunnelPods>,
}

/// Asks all pods at once.
#[derive(Debug)]
pub(super) struct Scraper {
    pods: Vec<PodUrl>,
    token: Option<Arc<ApiToken>>,
    runtime: Runtime,
}

impl Scraper {
    /// Pods that want a token, as their API ports may, are sent `token`; the others are not.
    ///
    /// # Errors
    /// As of making a runtime.
    pub fn new(pods: Vec<PodUrl>, token: Option<Arc<ApiToken>>) -> io::Result<Scraper> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Scraper { pods, token, runtime })
    }

    /// What the pods say; `None` where there are none to ask. Takes four seconds at most.
    pub fn scrape(&self) -> Option<MetricsSample> {
        if self.pods.is_empty() {
            return None;
        }
        let answers = self.pages();
        let mut scrape = MetricsSample { pods: answers.len(), ..MetricsSample::default() };
        for (address, page) in answers {
            match page {
                Ok(page) => scrape.add(&page),
                Err(error) => scrape.silent.push(format!("{address}: {error}")),
            }
        }
        scrape.silent.sort();
        Some(scrape)
    }

    /// Each pod's page, or why there is none, by its address. Takes four seconds at most.
    pub fn pages(&self) -> Vec<(String, Result<String, String>)> {
        self.runtime.block_on(async {
            let mut asked = JoinSet::new();
            for pod in self.pods.clone() {
                let token = self.token.clone();
                asked.spawn(async move {
                    let page = page(&pod, token).await;
                    (pod.authority, page)
                });
            }
            asked.join_all().await
        })
    }
}

/// The pod's page; with the token only where it asks for one.
async fn page(pod: &PodUrl, token: Option<Arc<ApiToken>>) -> Result<String, String> {
    let ask = async |authorization| pod.get(authorization, DEADLINE).await.map_err(|error| error.to_string());
    let mut answer = ask(None).await?;
    if answer.0 == StatusCode::UNAUTHORIZED {
        let token = token.ok_or("token required: set api.token here as well, or use its metrics port")?;
        answer = ask(Some(token.bearer().authorization())).await?;
    }
    match answer {
        (status, page) if status.is_success() => Ok(page),
        (status, _) => Err(format!("said {status}")),
    }
}

impl MetricsSample {
    /// Adds a pod's page, in Prometheus' text format.
    fn add(&mut self, page: &str) {
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some((name, labels)) = series.split_once('{') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            if let Some(tunnel) = label(labels, "tunnel").filter(|_| name == "ftp_pooler_tunnel_up") {
                self.tunnels.entry(tunnel).or_default().add(value > 0.5);
            }
            let Some(connection) = label(labels, "connection") else { continue };
            let state = label(labels, "state");
            let slot = |entry: &'static str| (name, state.as_deref()) == (entry, None);
            let entry = match (name, state.as_deref()) {
                ("ftp_pooler_tasks", Some("waiting" | "delayed" | "in_flight"))
                | ("ftp_pooler_sessions", Some("idle" | "busy")) => {
                    self.connections.entry(connection).or_default()
                }
                _ if slot("ftp_pooler_tasks_answered_total") || slot("ftp_pooler_breaker_state") => {
                    self.connections.entry(connection).or_default()
                }
                _ => continue,
            };
            match (name, state.as_deref()) {
                ("ftp_pooler_tasks", Some("waiting")) => entry.waiting += value,
                ("ftp_pooler_tasks", Some("delayed")) => entry.delayed += value,
                ("ftp_pooler_tasks", Some("in_flight")) => entry.in_flight += value,
                ("ftp_pooler_sessions", Some("idle")) => entry.idle += value,
                ("ftp_pooler_sessions", Some("busy")) => entry.busy += value,
                ("ftp_pooler_breaker_state", _) => entry.breaker = entry.breaker.max(value),
                _ => entry.answered += value,
            }
        }
    }
}

/// A label's value; escapes are undone.
fn label(labels: &str, name: &str) -> Option<String> {
    let mut rest = labels;
    loop {
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (at, '"') => break at,
                (_, other) => value.push(other),
            }
        };
        if key.trim_start_matches([',', ' ']) == name {
            return Some(value);
        }
        rest = after.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_added_up_by_connection() {
        let page = "# HELP x\nftp_pooler_tasks{connection=\"a\",state=\"waiting\"} 3\n\
            ftp_pooler_tasks{connection=\"a\",state=\"in_flight\"} 2\n\
            ftp_pooler_tasks_answered_total{connection=\"a\",operation=\"download\",status=\"completed\"} 7\n\
            ftp_pooler_sessions{connection=\"a\",state=\"busy\"} 1\nftp_pooler_breaker_state{connection=\"b \\\"q\\\"\"} 2\n\
            ftp_pooler_tunnel_up{tunnel=\"plant\"} 1\nftp_pooler_tunnel_state{tunnel=\"plant\",state=\"error\"} 0\n\
            ftp_pooler_ready 1\nnonsense\n";
        let mut scrape = MetricsSample::default();
        scrape.add(page);
        scrape.add(page);
        let a = scrape.connections["a"];
        assert_eq!(format!("{} {} {} {}", a.waiting, a.in_flight, a.answered, a.busy), "6 4 14 2");
        assert_eq!(format!("{}", scrape.connections["b \"q\""].breaker), "2");
        scrape.add("ftp_pooler_tunnel_up{tunnel=\"plant\"} 0\n");
        assert_eq!(scrape.tunnels["plant"], TunnelPods { pods: 3, up: 2 });
    }
}
