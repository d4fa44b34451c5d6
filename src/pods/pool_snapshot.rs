//! The pool in the form of the page and the API.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::announcement::{AnnouncedRates, PodAnnouncement, PodFigures};
use crate::feeds::FeedStatus;
use crate::metrics::{SessionSnapshot, TaskSnapshot};

/// A pod's state, as far as the others know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PodPresence {
    Up,
    /// It accepts no tasks, and reports why.
    NotReady,
    /// One of its loops is silent.
    Stuck,
    Draining,
    /// It has announced that it stops.
    Stopped,
    /// It has announced nothing for 20 s.
    Gone,
    /// No announcements are being read: Kafka is unavailable.
    Unknown,
}

impl PodPresence {
    /// Those that need attention come first.
    pub(super) const fn rank(self) -> u8 {
        match self {
            PodPresence::Gone => 0,
            PodPresence::Stuck => 1,
            PodPresence::NotReady => 2,
            PodPresence::Draining | PodPresence::Unknown => 3,
            PodPresence::Up => 4,
            PodPresence::Stopped => 5,
        }
    }

    /// Whether the pod's last announcement is still valid.
    pub(super) const fn is_counted(self) -> bool {
        !matches!(self, PodPresence::Gone | PodPresence::Stopped)
    }

    /// In words, for display.
    #[must_use]
    pub const fn as_words(self) -> &'static str {
        match self {
            PodPresence::Up => "up",
            PodPresence::NotReady => "not ready",
            PodPresence::Stuck => "stuck",
            PodPresence::Draining => "draining",
            PodPresence::Stopped => "stopped",
            PodPresence::Gone => "gone",
            PodPresence::Unknown => "unknown",
        }
    }
}

/// All pods, and their combined state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PoolSnapshot {
    /// Why the other pods are not known (any more).
    pub unavailable: Option<String>,
    /// Those in trouble first, then by name.
    pub pods: Vec<PodSummary>,
    pub open_failures: OpenFailures,
    /// Over all live pods, by name.
    #[serde(skip)]
    pub feeds: Vec<FeedStatus>,
    /// Connections that some pod uses, shares or cannot reach, by name; over all live pods.
    pub connections: Vec<PooledConnection>,
}

/// Failures that were not sent again, over all pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OpenFailures {
    /// Seconds since the epoch: the earliest time from which a pod counts, over its restarts.
    pub since: i64,
    /// Answered since then; cancelled tasks do not count.
    pub answered: u64,
    /// Of those, or of earlier ones, sent again (`ftp-pooler failures retry`).
    pub sent_again: u64,
    /// The remaining ones.
    pub open: u64,
}

impl OpenFailures {
    pub(super) fn of<'a>(pods: impl IntoIterator<Item = &'a PodAnnouncement>) -> Self {
        let mut sum = OpenFailures { since: i64::MAX, ..OpenFailures::default() };
        for pod in pods {
            sum.since = sum.since.min(pod.failures_since());
            sum.answered += pod.failures.answered;
            sum.sent_again += pod.failures.sent_again;
        }
        sum.open = sum.answered.saturating_sub(sum.sent_again);
        sum
    }
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodSummary {
    pub pod: String,
    /// The pod that answers the request.
    pub is_this_pod: bool,
    pub state: PodPresence,
    /// Seconds since its last announcement.
    pub heard_seconds_ago: u64,
    /// The address of its page and API: `10.0.0.7:8080`; null if it is not known.
    pub api: Option<String>,
    pub version: String,
    /// Seconds since the epoch.
    pub started_at: i64,
    pub reasons: Vec<String>,
    #[serde(flatten)]
    pub figures: PodFigures,
    pub per_second: AnnouncedRates,
}

impl PodSummary {
    pub(super) fn new(said: &PodAnnouncement, state: PodPresence, age: Duration, is_this_pod: bool) -> Self {
        // What a pod had is no longer its own: others own its partitions, or will soon.
        let (figures, per_second) = if state.is_counted() {
            (said.figures.clone(), said.rates)
        } else {
            (PodFigures::default(), AnnouncedRates::default())
        };
        PodSummary {
            pod: said.pod.clone(),
            is_this_pod,
            state,
            heard_seconds_ago: age.as_secs(),
            api: Some(said.api.clone()).filter(|api| !api.is_empty()),
            version: said.version.clone(),
            started_at: said.started_at,
            reasons: said.reasons.clone(),
            figures,
            per_second,
        }
    }
}

/// One connection over all pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PooledConnection {
    pub name: String,
    /// The worst state in any pod: `closed`, `half-open` or `open`.
    pub breaker: &'static str,
    /// How many pods have it in another state than closed.
    pub pods_down: u64,
    pub tasks: TaskSnapshot,
    pub sessions: SessionSnapshot,
    pub tasks_per_second: f64,
    /// Tasks that the pods have put into the retry topic and that are still there.
    pub deferred: u64,
    /// Why it is not up in some pod, one whose state is the worst.
    pub error: Option<String>,
    /// The lowest value of any pod.
    pub max_sessions_total: Option<usize>,
    /// How many of that total are granted to all pods together now.
    pub granted: Option<usize>,
    /// The pods that have the sessions, if there is a total.
    pub holders: Vec<SessionHolder>,
}

/// A pod's share of a connection's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionHolder {
    pub pod: String,
    pub granted: usize,
    /// Open sessions, in any state.
    pub sessions: u64,
}

/// By name; of a feed that has moved between pods, the latest listing.
pub(super) fn all_feeds(pods: &[&PodAnnouncement]) -> Vec<FeedStatus> {
    let mut feeds: BTreeMap<&str, &FeedStatus> = BTreeMap::new();
    for feed in pods.iter().flat_map(|pod| &pod.feeds) {
        let known = feeds.entry(&feed.feed).or_insert(feed);
        if known.listed_at < feed.listed_at {
            *known = feed;
        }
    }
    feeds.into_values().cloned().collect()
}

/// By name.
pub(super) fn summed_by_connection(pods: &[&PodAnnouncement]) -> Vec<PooledConnection> {
    let mut sums: BTreeMap<&str, (u8, PooledConnection)> = BTreeMap::new();
    for (pod, name, of) in
        pods.iter().flat_map(|pod| pod.connections.iter().map(|(name, of)| (&pod.pod, name, of)))
    {
        let (worst, sum) = sums.entry(name).or_default();
        if of.error.is_some() && (sum.error.is_none() || of.severity() > *worst) {
            sum.error.clone_from(&of.error);
        }
        *worst = of.severity().max(*worst);
        sum.deferred += of.deferred;
        sum.pods_down += u64::from(of.severity() > 0);
        sum.tasks += of.tasks;
        sum.sessions += of.sessions;
        sum.tasks_per_second += of.tasks_per_second;
        if let (Some(total), Some(granted)) = (of.max_sessions_total, of.granted) {
            sum.max_sessions_total = Some(sum.max_sessions_total.map_or(total, |least| least.min(total)));
            sum.granted = Some(sum.granted.unwrap_or(0) + granted);
            let holder = SessionHolder { pod: pod.clone(), granted, sessions: of.open_sessions() };
            if holder.granted > 0 || holder.sessions > 0 {
                sum.holders.push(holder);
            }
        }
    }
    let finished = |(name, (worst, mut sum)): (&str, (u8, PooledConnection))| {
        name.clone_into(&mut sum.name);
        sum.breaker = match worst {
            0 => "closed",
            1 => "half-open",
            _ => "open",
        };
        sum.holders.sort_by(|a, b| a.pod.cmp(&b.pod));
        sum
    };
    sums.into_iter().map(finished).collect()
}
