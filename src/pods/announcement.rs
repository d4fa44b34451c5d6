//! What a pod announces about itself: a JSON value under `pod/<group>/<pod>`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::BatchAnswers;
use crate::feeds::FeedStatus;
use crate::metrics::{SessionSnapshot, TaskSnapshot};
use crate::text::shorten;

/// How often each pod announces itself.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);
/// A pod that has announced nothing for this long is gone: three announcements are missing, plus some time for Kafka.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(4 * ANNOUNCE_EVERY.as_secs());
/// The maximum number of connections in an announcement: unavailable ones first, then those in use.
pub const MAX_ANNOUNCED_CONNECTIONS: usize = 500;
/// The maximum number of open batches in an announcement: the newest.
pub const MAX_ANNOUNCED_BATCHES: usize = 200;
/// The maximum number of feeds in an announcement.
pub const MAX_ANNOUNCED_FEEDS: usize = 200;
/// The maximum number of tunnels in an announcement.
pub const MAX_ANNOUNCED_TUNNELS: usize = 100;
/// The maximum number of reasons why a pod is not healthy.
const MAX_REASONS: usize = 3;
/// The maximum length of a name, and of a reason.
const MAX_TEXT_BYTES: usize = 300;
/// The maximum length of a connection's error: there may be as many as connections.
pub const MAX_ERROR_BYTES: usize = 150;
const KEY: &str = "pod/";

/// A pod's announcement. A missing field has its default, so that pods of two versions understand each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent, and each is a field of the record")]
pub struct PodAnnouncement {
    pub group: String,
    pub pod: String,
    pub version: String,
    /// `host:port` of its page and API; empty if it is not known.
    pub api: String,
    /// Seconds since the epoch.
    pub started_at: i64,
    /// When this was sent, by the pod's clock: milliseconds since the epoch.
    pub at_ms: i64,
    /// Its last announcement: it is stopping.
    pub leaves: bool,
    pub healthy: bool,
    pub ready: bool,
    pub draining: bool,
    /// Why it is not healthy or not ready.
    pub reasons: Vec<String>,
    #[serde(flatten)]
    pub figures: PodFigures,
    pub rates: AnnouncedRates,
    /// Failures that it has answered, and how many of the pool's failures were sent again and arrived here.
    pub failures: AnnouncedFailures,
    /// The time from which they are counted, previous processes of this name included, in seconds since the epoch; its
    /// start if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures_since: Option<i64>,
    /// Its answers, and those of previous processes of this name, to tasks of open batches.
    pub batches: BTreeMap<String, BatchAnswers>,
    /// The time from which none of them is missing, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches_exact_since: Option<i64>,
    /// The feeds that it lists.
    pub feeds: Vec<FeedStatus>,
    /// Connections that are in use, shared or not up.
    pub connections: BTreeMap<String, AnnouncedConnection>,
}

/// A pod's present load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodFigures {
    /// `ftp-tasks[0-5]`.
    pub partitions: String,
    pub assigned_partitions: u64,
    pub paused_partitions: u64,
    pub halted_partitions: u64,
    pub lag_records: u64,
    pub held_tasks: u64,
    pub tasks: TaskSnapshot,
    pub sessions: SessionSnapshot,
    /// The state of each tunnel, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tunnels: BTreeMap<String, String>,
}

/// Rates per second, since the previous announcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnnouncedRates {
    pub completed: f64,
    pub failed: f64,
    pub downloaded_bytes: f64,
    pub uploaded_bytes: f64,
}

/// A pod's failures that need attention. Cancelled tasks do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnnouncedFailures {
    pub answered: u64,
    pub sent_again: u64,
}

/// One connection in one pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnnouncedConnection {
    /// `closed`, `half-open` or `open`.
    pub breaker: String,
    pub tasks: TaskSnapshot,
    pub sessions: SessionSnapshot,
    /// Tasks answered a second.
    pub tasks_per_second: f64,
    /// Tasks that this pod has put into the retry topic and that are still there.
    pub deferred: u64,
    /// Why it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions_total: Option<usize>,
    /// How many of those this pod may have open now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<usize>,
}

impl PodAnnouncement {
    /// The key of a pod's record.
    #[must_use]
    pub fn key_of(group: &str, pod: &str) -> String {
        format!("{KEY}{group}/{pod}")
    }

    /// Since when its failures are counted: seconds since the epoch.
    #[must_use]
    pub fn failures_since(&self) -> i64 {
        self.failures_since.unwrap_or(self.started_at)
    }

    /// Since when none of its answers to open batches is missing: seconds since the epoch.
    #[must_use]
    pub fn batches_exact_since(&self) -> i64 {
        self.batches_exact_since.unwrap_or(self.started_at)
    }

    /// How many seconds ago another process than the one that started at `started_at` (seconds since the epoch) announced
    /// itself by this; `None` unless it may still run: it has not said that it stops, and is not gone.
    #[must_use]
    pub fn heard_of_another(&self, started_at: i64, now_ms: i64) -> Option<i64> {
        let seconds = now_ms.saturating_sub(self.at_ms).max(0) / 1_000;
        let is_gone = Duration::from_secs(seconds.unsigned_abs()) >= GONE_AFTER;
        let may_run = !self.leaves && self.started_at != started_at && !is_gone;
        may_run.then_some(seconds)
    }

    #[must_use]
    pub fn key(&self) -> String {
        PodAnnouncement::key_of(&self.group, &self.pod)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether a record of the coordination topic is an announcement, or deletes one.
    #[must_use]
    pub fn is_key(key: &[u8]) -> bool {
        key.starts_with(KEY.as_bytes())
    }

    /// `None` if it is not one of ours.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<PodAnnouncement> {
        let mut said: PodAnnouncement = serde_json::from_slice(value).ok()?;
        if said.pod.is_empty() || said.pod.len() > MAX_TEXT_BYTES {
            return None;
        }
        for text in [&mut said.version, &mut said.api, &mut said.figures.partitions] {
            shorten(text, MAX_TEXT_BYTES);
        }
        if !is_address(&said.api) {
            said.api.clear();
        }
        said.reasons.truncate(MAX_REASONS);
        said.reasons.iter_mut().for_each(|reason| shorten(reason, MAX_TEXT_BYTES));
        said.feeds.truncate(MAX_ANNOUNCED_FEEDS);
        for feed in &mut said.feeds {
            for text in [&mut feed.feed, &mut feed.pod, &mut feed.from, &mut feed.to, &mut feed.schedule] {
                shorten(text, MAX_TEXT_BYTES);
            }
            for text in [&mut feed.paused_by, &mut feed.error].into_iter().flatten() {
                shorten(text, MAX_TEXT_BYTES);
            }
        }
        while said.batches.len() > MAX_ANNOUNCED_BATCHES {
            said.batches.pop_first();
        }
        while said.figures.tunnels.len() > MAX_ANNOUNCED_TUNNELS {
            said.figures.tunnels.pop_last();
        }
        said.figures.tunnels.values_mut().for_each(|state| shorten(state, MAX_TEXT_BYTES));
        while said.connections.len() > MAX_ANNOUNCED_CONNECTIONS {
            said.connections.pop_last();
        }
        let errors = said.connections.values_mut().filter_map(|of| of.error.as_mut());
        errors.for_each(|error| shorten(error, MAX_ERROR_BYTES));
        Some(said)
    }
}

impl AnnouncedConnection {
    /// Sessions in any state.
    #[must_use]
    pub fn open_sessions(&self) -> u64 {
        self.sessions.idle + self.sessions.busy + self.sessions.connecting
    }

    /// Its severity: 0 up, 1 trying, 2 down.
    #[must_use]
    pub fn severity(&self) -> u8 {
        match self.breaker.as_str() {
            "open" => 2,
            "half-open" => 1,
            _ => 0,
        }
    }

    /// Whether it is relevant for an overview of the pool.
    #[must_use]
    pub fn is_worth_announcing(&self) -> bool {
        let TaskSnapshot { waiting, delayed, in_flight } = self.tasks;
        self.severity() > 0
            || self.open_sessions() + waiting + delayed + in_flight > 0
            || self.tasks_per_second > 0.0
            || self.deferred > 0
            || self.max_sessions_total.is_some()
    }
}

/// A link is built from it: a host (`[…]` around an IPv6 address) and a port, and nothing else.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_as_it_was_written() {
        let granted = AnnouncedConnection {
            breaker: "closed".into(),
            max_sessions_total: Some(5),
            granted: Some(2),
            ..AnnouncedConnection::default()
        };
        let said = PodAnnouncement {
            group: "pool".into(),
            pod: "pod-1".into(),
            api: "10.0.0.7:8080".into(),
            ready: true,
            reasons: vec!["draining".into()],
            figures: PodFigures {
                tasks: TaskSnapshot { waiting: 3, delayed: 0, in_flight: 2 },
                ..PodFigures::default()
            },
            rates: AnnouncedRates { completed: 1.5, ..AnnouncedRates::default() },
            connections: BTreeMap::from([("far".into(), granted)]),
            ..PodAnnouncement::default()
        };
        assert_eq!(PodAnnouncement::decode(&said.encode()), Some(said.clone()));
        assert_eq!(said.key(), "pod/pool/pod-1");
        assert!(PodAnnouncement::is_key(said.key().as_bytes()));
        assert!(!PodAnnouncement::is_key(b"report/pod-1/7f"));
    }

    #[test]
    fn pods_of_other_versions_are_understood_and_strangers_are_bounded() {
        let older = PodAnnouncement::decode(br#"{"pod":"a","future":{"x":1}}"#).unwrap();
        assert_eq!((older.pod.as_str(), older.ready, older.figures.held_tasks), ("a", false, 0));
        for nothing in ["", "{}", "no json", r#"{"pod":""}"#, r#"{"pod":7}"#] {
            assert_eq!(PodAnnouncement::decode(nothing.as_bytes()), None, "{nothing}");
        }
        let many: BTreeMap<String, AnnouncedConnection> =
            (0..2_000).map(|n| (format!("c-{n}"), AnnouncedConnection::default())).collect();
        let huge = PodAnnouncement {
            pod: "a".into(),
            reasons: vec!["x".repeat(10_000); 50],
            connections: many,
            figures: PodFigures {
                tunnels: (0..2_000).map(|n| (format!("t-{n}"), "x".repeat(900))).collect(),
                ..PodFigures::default()
            },
            ..PodAnnouncement::default()
        };
        let read = PodAnnouncement::decode(&huge.encode()).unwrap();
        assert_eq!((read.reasons.len(), read.connections.len()), (MAX_REASONS, MAX_ANNOUNCED_CONNECTIONS));
        assert!(read.reasons[0].len() <= MAX_TEXT_BYTES + 4);
        let tunnels = read.figures.tunnels;
        assert_eq!(
            (tunnels.len(), tunnels["t-0"].len() <= MAX_TEXT_BYTES + 4),
            (MAX_ANNOUNCED_TUNNELS, true)
        );
    }

    #[test]
    fn a_name_is_in_use_while_another_process_that_has_not_stopped_is_heard_of() {
        let said = PodAnnouncement { started_at: 100, at_ms: 200_000, ..PodAnnouncement::default() };
        assert_eq!(said.heard_of_another(190, 203_500), Some(3));
        assert_eq!(said.heard_of_another(190, 199_000), Some(0), "its clock is ahead");
        assert_eq!(said.heard_of_another(190, 220_000), None, "it is gone");
        assert_eq!(said.heard_of_another(100, 203_500), None, "this process");
        let left = PodAnnouncement { leaves: true, ..said };
        assert_eq!(left.heard_of_another(190, 203_500), None, "a successor starts without a warning");
    }

    #[test]
    fn a_link_is_made_of_addresses_only() {
        for right in ["10.0.0.7:8080", "[fd00::1]:80", "pod-0.pool.svc:8080", "localhost:1"] {
            assert!(is_address(right), "{right}");
        }
        for wrong in
            ["", "pod", "pod:", "pod:0", "pod:99999", "a b:1", "u@h:1", "h/x:1", "[x]:1", "h:1/x", ":8080"]
        {
            assert!(!is_address(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_idle_connection_that_is_up_is_not_worth_announcing() {
        let idle = AnnouncedConnection { breaker: "closed".into(), ..AnnouncedConnection::default() };
        assert!(!idle.is_worth_announcing());
        for other in [
            AnnouncedConnection { breaker: "half-open".into(), ..idle.clone() },
            AnnouncedConnection { max_sessions_total: Some(3), ..idle.clone() },
            AnnouncedConnection { tasks_per_second: 0.2, ..idle.clone() },
            AnnouncedConnection {
                sessions: SessionSnapshot { idle: 1, ..Default::default() },
                ..idle.clone()
            },
        ] {
            assert!(other.is_worth_announcing(), "{other:?}");
        }
    }
}
