//! The pool's pods as they announce themselves on the coordination topic: wherever they listen, whether they can be reached
//! from here or not, and those that are gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::pod_metrics::{ConnectionMetrics, MetricsSample, TunnelPods};
use crate::client::{ClientError, Cluster, Message, Reader};
use crate::config::KafkaConfig;
use crate::pods::{PodPresence, PodSummary, PoolBoard, PoolSnapshot, PooledConnection, RecordAge};

/// The coordination topic has this partition alone.
const PARTITION: i32 = 0;
/// What stands in the topic is read within this time, or later.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// A topic ends with what no reader is shown, such as transactions' markers.
const NOTHING_FOLLOWS: Duration = Duration::from_millis(500);
/// Records that are taken at once.
const BURST: usize = 10_000;

/// Follows the announcements.
#[derive(Debug)]
pub(super) struct AnnouncedPods {
    reader: Reader,
    board: PoolBoard,
    /// Records before this one stood there when reading began.
    end: i64,
}

impl AnnouncedPods {
    /// Reads what the topic has; `None` where there is no such topic.
    ///
    /// # Errors
    /// The brokers do not answer, or this user may not read the topic.
    pub fn follow(kafka: &KafkaConfig) -> Result<Option<AnnouncedPods>, ClientError> {
        let topic: Arc<str> = kafka.coordination_topic.as_str().into();
        let ends = Cluster::new(kafka)?.ends(&topic)?.unwrap_or_default();
        let Some(ends) = ends.get(&PARTITION).copied() else { return Ok(None) };
        let reader = Reader::open(kafka, [(topic, PARTITION, ends.begin)])?;
        let board = PoolBoard::new(&kafka.consumer_group, "");
        let mut pods = AnnouncedPods { reader, board, end: ends.end };
        let (begun, mut last) = (Instant::now(), ends.begin - 1);
        let mut came = begun;
        while last + 1 < ends.end
            && begun.elapsed() < READ_WITHIN
            && (last < ends.begin || came.elapsed() < NOTHING_FOLLOWS)
        {
            if let Some(message) = pods.reader.next(NOTHING_FOLLOWS)? {
                (last, came) = (message.offset, Instant::now());
                pods.take(&message);
            }
        }
        Ok(Some(pods))
    }

    /// Takes what has come since; waits for nothing.
    ///
    /// # Errors
    /// The topic is gone, or may not be read any more.
    pub fn update(&mut self) -> Result<(), ClientError> {
        for _ in 0..BURST {
            let Some(message) = self.reader.next(Duration::ZERO)? else { break };
            self.take(&message);
        }
        Ok(())
    }

    fn take(&mut self, message: &Message) {
        let age = if message.offset >= self.end {
            RecordAge::New
        } else {
            RecordAge::Replayed { now_ms: Timestamp::now().as_millisecond() }
        };
        let key = message.key.as_deref().unwrap_or_default();
        self.board.take(key, message.payload.as_deref(), age, Instant::now());
    }

    fn snapshot(&self) -> PoolSnapshot {
        self.board.snapshot(None, Instant::now())
    }

    /// `host:port` of each living pod's page.
    pub fn addresses(&self) -> Vec<String> {
        let pods = self.snapshot().pods.into_iter();
        let living = pods.filter(|pod| !matches!(pod.state, PodPresence::Gone | PodPresence::Stopped));
        living.filter_map(|pod| pod.api).collect()
    }

    /// What the pods say of themselves; `None` where there was none.
    pub fn sample(&self) -> Option<MetricsSample> {
        let PoolSnapshot { pods, connections, .. } = self.snapshot();
        let pods: Vec<PodSummary> =
            pods.into_iter().filter(|pod| pod.state != PodPresence::Stopped).collect();
        if pods.is_empty() {
            return None;
        }
        let of_state = |wanted: fn(PodPresence) -> bool| -> Vec<String> {
            pods.iter().filter(|pod| wanted(pod.state)).map(words).collect()
        };
        let mut tunnels: BTreeMap<String, TunnelPods> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| pod.state != PodPresence::Gone) {
            for (tunnel, state) in &pod.figures.tunnels {
                tunnels.entry(tunnel.clone()).or_default().add(state == "connected");
            }
        }
        Some(MetricsSample {
            tunnels,
            pods: pods.len(),
            silent: of_state(|state| state == PodPresence::Gone),
            unwell: of_state(|state| !matches!(state, PodPresence::Gone | PodPresence::Up)),
            errors: connections.iter().filter_map(|of| Some((of.name.clone(), of.error.clone()?))).collect(),
            connections: connections.into_iter().map(metrics).collect::<BTreeMap<_, _>>(),
            announced: pods,
        })
    }
}

fn words(pod: &PodSummary) -> String {
    let state = pod.state.as_words();
    match (pod.state, pod.reasons.as_slice()) {
        (PodPresence::Gone, _) => {
            format!("{}: {state}, last heard of {} s ago", pod.pod, pod.heard_seconds_ago)
        }
        (_, []) => format!("{}: {state}", pod.pod),
        (_, reasons) => format!("{}: {state}: {}", pod.pod, reasons.join("; ")),
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of tasks and sessions, for people")]
fn metrics(of: PooledConnection) -> (String, ConnectionMetrics) {
    let breaker = match of.breaker {
        "open" => 2.0,
        "half-open" => 1.0,
        _ => 0.0,
    };
    let metrics = ConnectionMetrics {
        answered: 0.0,
        per_second: Some(of.tasks_per_second),
        waiting: of.tasks.waiting as f64,
        delayed: of.tasks.delayed as f64,
        in_flight: of.tasks.in_flight as f64,
        deferred: Some(of.deferred as f64),
        idle: of.sessions.idle as f64,
        busy: (of.sessions.busy + of.sessions.connecting) as f64,
        breaker,
        granted: of.granted.map(|granted| granted as f64),
        max_sessions_total: of.max_sessions_total.map(|total| total as f64),
    };
    (of.name, metrics)
}
