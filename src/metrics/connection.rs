//! One connection's series, looked up by label once and cached.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::snapshot::{ConnectionTotals, sum};
use super::{PodSeries, forget};
use crate::failure::Code;

/// The label for names that are not a connection's.
pub const UNKNOWN_CONNECTION: &str = "(unknown)";

/// With more connections than this, they share their histograms, under [`ALL_CONNECTIONS`]: two hundred connections
/// with separate histograms would be a page of more than a megabyte.
pub const MAX_OWN_HISTOGRAMS: usize = 40;
/// The label of shared histograms.
const ALL_CONNECTIONS: &str = "(all)";

/// The codes for which alerts check each connection: they start at zero, so that the first failure shows as an
/// increase.
const CODES_AT_ZERO: [Code; 2] = [Code::AuthFailed, Code::IntegrityMismatch];

/// How many names an open set accepts before further ones count as unknown.
const MAX_OPEN_SET: usize = 1_000;

/// Why a session was closed (label `reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    Idle,
    Aged,
    MadeRoom,
    Uncertain,
    Dead,
    Replaced,
    Shutdown,
}

impl CloseReason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CloseReason::Idle => "idle",
            CloseReason::Aged => "aged",
            CloseReason::MadeRoom => "made_room",
            CloseReason::Uncertain => "in_doubt",
            CloseReason::Dead => "dead",
            CloseReason::Replaced => "replaced",
            CloseReason::Shutdown => "shutdown",
        }
    }
}

/// All connections' series by name.
pub(super) struct ConnectionSeriesMap {
    known: RwLock<SeriesSlots>,
    /// How many new names may still be added by their first use.
    open: usize,
    shares_histograms: bool,
}

#[derive(Default)]
struct SeriesSlots {
    by_name: HashMap<String, Arc<ConnectionSeries>>,
    /// The totals of removed connections.
    retired: ConnectionTotals,
}

impl ConnectionSeriesMap {
    /// Names are added only by [`ConnectionSeriesMap::introduce`].
    pub(super) fn closed(connections: usize) -> Self {
        let shares_histograms = connections > MAX_OWN_HISTOGRAMS;
        ConnectionSeriesMap { known: RwLock::default(), open: 0, shares_histograms }
    }

    /// Names are added by their first use, up to [`MAX_OPEN_SET`].
    pub(super) fn open() -> Self {
        ConnectionSeriesMap { known: RwLock::default(), open: MAX_OPEN_SET, shares_histograms: false }
    }

    pub(super) fn introduce(&self, name: &str, series: &PodSeries) -> Arc<ConnectionSeries> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Connections added at runtime have separate histograms while there are few.
        let is_shared = self.shares_histograms || known.by_name.len() >= MAX_OWN_HISTOGRAMS;
        let histograms = if is_shared { ALL_CONNECTIONS } else { name };
        let connection = known
            .by_name
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(ConnectionSeries::new(name, histograms, series)));
        Arc::clone(connection)
    }

    /// Removes a connection's series, whatever their other labels. Its numbers remain in the pod's totals.
    ///
    /// All under one lock: neither is it counted twice in between, nor does a connection of the same name that is added
    /// again find the old counters.
    pub(super) fn forget(&self, name: &str, series: &PodSeries) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = known.by_name.remove(name) {
            known.retired += connection.totals();
        }
        forget::connection(series, name);
    }

    /// The connection's series, or those of [`UNKNOWN_CONNECTION`].
    pub(super) fn get(&self, name: &str, series: &PodSeries) -> Arc<ConnectionSeries> {
        let (found, known) = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            (known.by_name.get(name).map(Arc::clone), known.by_name.len())
        };
        match found {
            Some(connection) => connection,
            None if known < self.open && !name.is_empty() => self.introduce(name, series),
            None => self.introduce(UNKNOWN_CONNECTION, series),
        }
    }

    /// All connections, by name, and the totals of removed ones.
    pub(super) fn sorted(&self) -> (Vec<Arc<ConnectionSeries>>, ConnectionTotals) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.by_name.values().map(Arc::clone).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        (all, known.retired)
    }
}

/// One connection's series.
pub(super) struct ConnectionSeries {
    pub(super) name: String,
    pub(super) download: DirectionSeries,
    pub(super) upload: DirectionSeries,
    /// Failures of records whose operation could not be read. Their series starts with the first one, which hardly ever
    /// belongs to a known connection.
    pub(super) invalid: AtomicU64,
    pub(super) wait: Histogram,
    pub(super) sessions: SessionSeries,
    pub(super) tasks: TaskSeries,
    pub(super) breaker: IntGauge,
}

impl ConnectionSeries {
    fn new(name: &str, histograms: &str, series: &PodSeries) -> Self {
        for code in CODES_AT_ZERO {
            series.failures.with_label_values(&[name, code.as_str()]);
        }
        ConnectionSeries {
            name: name.to_owned(),
            download: DirectionSeries::new("download", name, histograms, series),
            upload: DirectionSeries::new("upload", name, histograms, series),
            invalid: AtomicU64::new(0),
            wait: series.wait.with_label_values(&[histograms]),
            sessions: SessionSeries::new(name, series),
            tasks: TaskSeries::new(name, series),
            breaker: series.breaker.with_label_values(&[name]),
        }
    }

    pub(super) fn totals(&self) -> ConnectionTotals {
        let (download, upload) = (&self.download, &self.upload);
        ConnectionTotals {
            completed: sum([&download.completed, &upload.completed].map(IntCounter::get)),
            failed: sum([&download.failed, &upload.failed].map(IntCounter::get))
                + self.invalid.load(Ordering::Relaxed),
            downloaded_bytes: download.bytes.get(),
            uploaded_bytes: upload.bytes.get(),
            sessions_opened: self.sessions.opened.get(),
        }
    }

    /// `None` if the operation is neither `download` nor `upload`.
    pub(super) fn direction(&self, operation: &str) -> Option<&DirectionSeries> {
        match operation {
            "download" => Some(&self.download),
            "upload" => Some(&self.upload),
            _ => None,
        }
    }
}

/// A connection's series in one direction.
pub(super) struct DirectionSeries {
    pub(super) completed: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) duration: Histogram,
    pub(super) bytes: IntCounter,
}

impl DirectionSeries {
    fn new(operation: &str, name: &str, histograms: &str, series: &PodSeries) -> Self {
        DirectionSeries {
            completed: series.answered.with_label_values(&[operation, name, "completed"]),
            failed: series.answered.with_label_values(&[operation, name, "failed"]),
            duration: series.duration.with_label_values(&[operation, histograms]),
            bytes: series.bytes.with_label_values(&[operation, name]),
        }
    }
}

pub(super) struct SessionSeries {
    pub(super) idle: IntGauge,
    pub(super) busy: IntGauge,
    pub(super) connecting: IntGauge,
    pub(super) limit: IntGauge,
    pub(super) opened: IntCounter,
}

impl SessionSeries {
    fn new(name: &str, series: &PodSeries) -> Self {
        let state = |state| series.sessions.with_label_values(&[name, state]);
        SessionSeries {
            idle: state("idle"),
            busy: state("busy"),
            connecting: state("connecting"),
            limit: series.session_limit.with_label_values(&[name]),
            opened: series.sessions_opened.with_label_values(&[name]),
        }
    }
}

pub(super) struct TaskSeries {
    pub(super) waiting: IntGauge,
    pub(super) delayed: IntGauge,
    pub(super) in_flight: IntGauge,
}

impl TaskSeries {
    fn new(name: &str, series: &PodSeries) -> Self {
        let state = |state| series.tasks.with_label_values(&[name, state]);
        TaskSeries { waiting: state("waiting"), delayed: state("delayed"), in_flight: state("in_flight") }
    }
}
