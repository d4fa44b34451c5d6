//! Prometheus metrics. No label contains an id: the number of series does not grow with the pods.

use hyper::{StatusCode, Version};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::error::ErrorCode;

const PREFIX: &str = "pattern_router";
/// In seconds; the router's own share is about ten microseconds.
const OVERHEAD_BUCKETS: [f64; 8] = [0.000_1, 0.000_5, 0.002, 0.01, 0.05, 0.25, 1.0, 5.0];
const POD_BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.2, 0.5, 2.0, 10.0, 60.0];

/// A client's protocol, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientProtocol {
    Http1,
    Http2,
    WebSocket,
}

/// What is open now, as a label.
#[derive(Debug, Clone)]
pub struct OpenGauges {
    pub http1: IntGauge,
    pub http2: IntGauge,
    pub websocket: IntGauge,
    /// Requests whose answer is still being sent.
    pub request: IntGauge,
}

/// Every metric of the router; cheap to use from every worker.
#[derive(Debug)]
pub struct Metrics {
    pub registry: Registry,
    /// By protocol, then by class of status (1xx to 5xx).
    requests: [[IntCounter; 5]; 3],
    /// Time from a request's head until it is passed to a connection to the pod.
    pub overhead: Histogram,
    /// Time from then until the head of the pod's response.
    pub pod: Histogram,
    pub open: OpenGauges,
    pub pool_waits: Histogram,
    refused: Vec<IntCounter>,
    pub connects: IntCounterVec,
    pub retries: IntCounterVec,
    pub lookups: IntCounterVec,
    pub auth: IntCounterVec,
    pub bytes_received: IntCounter,
    pub bytes_sent: IntCounter,
    pub connections_refused: IntCounterVec,
    pub pod_connections: IntGaugeVec,
    pub reloads: IntCounterVec,
    pub certificate_expiry: IntGauge,
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let vec = IntCounterVec::new(Opts::new(format!("{PREFIX}_{name}"), help), labels)?;
    registry.register(Box::new(vec.clone()))?;
    Ok(vec)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    let vec = IntGaugeVec::new(Opts::new(format!("{PREFIX}_{name}"), help), labels)?;
    registry.register(Box::new(vec.clone()))?;
    Ok(vec)
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
    let options = HistogramOpts::new(format!("{PREFIX}_{name}"), help).buckets(buckets.to_vec());
    let histogram = Histogram::with_opts(options)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

impl Metrics {
    /// # Errors
    /// If two metrics have the same name.
    pub fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let r = &registry;
        let requests =
            counters(r, "requests_total", "Requests answered, by protocol and class", &["proto", "class"])?;
        let of = |proto: &str| {
            ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| requests.with_label_values(&[proto, class]))
        };
        let open = gauges(r, "open", "Connections and requests that are open", &["kind"])?;
        let open = |kind: &str| open.with_label_values(&[kind]);
        let refused =
            counters(r, "refused_total", "Answers of the router itself, by X-Router-Error", &["code"])?;
        let bytes = counters(r, "bytes_total", "Bytes of clients' connections", &["direction"])?;
        Ok(Metrics {
            requests: [of("http1"), of("http2"), of("websocket")],
            overhead: histogram(
                r,
                "overhead_seconds",
                "From a request's head to a pod's connection",
                &OVERHEAD_BUCKETS,
            )?,
            pod: histogram(r, "pod_seconds", "From there to the head of the pod's answer", &POD_BUCKETS)?,
            pool_waits: histogram(
                r,
                "pool_wait_seconds",
                "Requests that waited for a free connection to a pod",
                &OVERHEAD_BUCKETS,
            )?,
            open: OpenGauges {
                http1: open("http1"),
                http2: open("http2"),
                websocket: open("websocket"),
                request: open("request"),
            },
            refused: ErrorCode::ALL.iter().map(|code| refused.with_label_values(&[code.as_str()])).collect(),
            connects: counters(r, "pod_connects_total", "Connects to pods", &["outcome"])?,
            retries: counters(
                r,
                "retries_total",
                "Requests sent again, and connects tried again",
                &["reason"],
            )?,
            lookups: counters(r, "lookups_total", "Look-ups of pods that were not cached", &["outcome"])?,
            auth: counters(r, "auth_total", "Decisions about access", &["outcome"])?,
            bytes_received: bytes.with_label_values(&["received"]),
            bytes_sent: bytes.with_label_values(&["sent"]),
            connections_refused: counters(
                r,
                "connections_refused_total",
                "Clients' connections closed at once",
                &["reason"],
            )?,
            pod_connections: gauges(r, "pod_connections", "Connections to pods", &["state"])?,
            reloads: counters(
                r,
                "reloads_total",
                "Reloads of configuration, certificates and secrets",
                &["outcome"],
            )?,
            certificate_expiry: {
                let gauge = IntGauge::new(
                    format!("{PREFIX}_certificate_expiry_seconds"),
                    "When the first certificate expires, in seconds since 1970; 0 without TLS",
                )?;
                registry.register(Box::new(gauge.clone()))?;
                gauge
            },
            registry,
        })
    }

    pub fn count_request(&self, protocol: ClientProtocol, status: StatusCode) {
        let row = match protocol {
            ClientProtocol::Http1 => 0,
            ClientProtocol::Http2 => 1,
            ClientProtocol::WebSocket => 2,
        };
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        if let Some(counter) = self.requests.get(row).and_then(|classes| classes.get(class)) {
            counter.inc();
        }
    }

    pub fn count_refusal(&self, code: ErrorCode) {
        let index = ErrorCode::ALL.iter().position(|one| *one == code);
        if let Some(counter) = index.and_then(|index| self.refused.get(index)) {
            counter.inc();
        }
    }

    /// The number of all responses so far, and of those in class 5xx.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |class: Option<usize>| {
            let rows = self.requests.iter().flat_map(|row| row.iter().enumerate());
            rows.filter(|(index, _)| class.is_none_or(|one| one == *index))
                .map(|(_, counter)| counter.get())
                .sum()
        };
        (sum(None), sum(Some(4)))
    }

    /// The non-zero numbers of the router's own error responses, by code.
    pub fn refusals(&self) -> Vec<(ErrorCode, u64)> {
        let all = ErrorCode::ALL.iter().zip(&self.refused);
        all.map(|(code, counter)| (*code, counter.get())).filter(|(_, count)| *count > 0).collect()
    }
}

impl ClientProtocol {
    pub fn of(version: Version) -> ClientProtocol {
        if version == Version::HTTP_2 { ClientProtocol::Http2 } else { ClientProtocol::Http1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_counts() {
        let metrics = Metrics::new().unwrap();
        metrics.count_request(ClientProtocol::Http2, StatusCode::BAD_GATEWAY);
        metrics.count_request(ClientProtocol::Http1, StatusCode::OK);
        metrics.count_refusal(ErrorCode::Full);
        assert_eq!(metrics.totals(), (2, 1));
        assert_eq!(metrics.refusals(), [(ErrorCode::Full, 1)]);
        assert!(
            metrics.registry.gather().iter().any(|family| family.name() == "pattern_router_refused_total")
        );
    }
}
