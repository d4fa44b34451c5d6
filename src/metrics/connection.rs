//! One connection's series, looked up by label once and kept.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::snapshot::{Totals, sum};
use super::{Series, forget};

/// The label under which names are counted that are no connection's.
pub const UNKNOWN_CONNECTION: &str = "(unknown)";

/// Names an open set takes before further ones count as unknown.
const MAX_OPEN_SET: usize = 1_000;

/// Why a session was closed (label `reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Idle,
    Aged,
    MadeRoom,
    InDoubt,
    Dead,
    Replaced,
    Shutdown,
}

impl Closed {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Closed::Idle => "idle",
            Closed::Aged => "aged",
            Closed::MadeRoom => "made_room",
            Closed::InDoubt => "in_doubt",
            Closed::Dead => "dead",
            Closed::Replaced => "replaced",
            Closed::Shutdown => "shutdown",
        }
    }
}

/// All connections' series by name.
pub(super) struct Connections {
    known: RwLock<Known>,
    /// New names that may still be added by their first use.
    open: usize,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<String, Arc<Connection>>,
    /// What those that are no more had done.
    retired: Totals,
}

impl Connections {
    /// Names are added by [`Connections::introduce`] only.
    pub(super) fn closed() -> Self {
        Connections { known: RwLock::default(), open: 0 }
    }

    /// Names are added by their first use, up to [`MAX_OPEN_SET`].
    pub(super) fn open() -> Self {
        Connections { known: RwLock::default(), open: MAX_OPEN_SET }
    }

    pub(super) fn introduce(&self, name: &str, series: &Series) -> Arc<Connection> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let connection =
            known.by_name.entry(name.to_owned()).or_insert_with(|| Arc::new(Connection::new(name, series)));
        Arc::clone(connection)
    }

    /// Ends a connection's series, whatever their other labels. What it has done stays in the pod's totals.
    ///
    /// All under one lock: neither is it counted twice in between, nor does one of the same name that comes back find
    /// the old counters.
    pub(super) fn forget(&self, name: &str, series: &Series) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = known.by_name.remove(name) {
            known.retired += connection.totals();
        }
        forget::connection(series, name);
    }

    /// The connection's series, or those of [`UNKNOWN_CONNECTION`].
    pub(super) fn get(&self, name: &str, series: &Series) -> Arc<Connection> {
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

    /// All of them, by name, and what those that are no more had done.
    pub(super) fn sorted(&self) -> (Vec<Arc<Connection>>, Totals) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.by_name.values().map(Arc::clone).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        (all, known.retired)
    }
}

/// One connection's series.
pub(super) struct Connection {
    pub(super) name: String,
    pub(super) download: Direction,
    pub(super) upload: Direction,
    /// Failures of records whose operation could not be read.
    pub(super) invalid: IntCounter,
    pub(super) wait: Histogram,
    pub(super) sessions: Sessions,
    pub(super) tasks: Tasks,
    pub(super) breaker: IntGauge,
}

impl Connection {
    fn new(name: &str, series: &Series) -> Self {
        Connection {
            name: name.to_owned(),
            download: Direction::new("download", name, series),
            upload: Direction::new("upload", name, series),
            invalid: series.answered.with_label_values(&["invalid", name, "failed"]),
            wait: series.wait.with_label_values(&[name]),
            sessions: Sessions::new(name, series),
            tasks: Tasks::new(name, series),
            breaker: series.breaker.with_label_values(&[name]),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let (download, upload) = (&self.download, &self.upload);
        Totals {
            completed: sum([&download.completed, &upload.completed].map(IntCounter::get)),
            failed: sum([&download.failed, &upload.failed, &self.invalid].map(IntCounter::get)),
            downloaded_bytes: download.bytes.get(),
            uploaded_bytes: upload.bytes.get(),
            sessions_opened: self.sessions.opened.get(),
        }
    }

    /// Null where the operation is neither `download` nor `upload`.
    pub(super) fn direction(&self, operation: &str) -> Option<&Direction> {
        match operation {
            "download" => Some(&self.download),
            "upload" => Some(&self.upload),
            _ => None,
        }
    }
}

/// What a connection did one way.
pub(super) struct Direction {
    pub(super) completed: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) duration: Histogram,
    pub(super) bytes: IntCounter,
}

impl Direction {
    fn new(operation: &str, name: &str, series: &Series) -> Self {
        Direction {
            completed: series.answered.with_label_values(&[operation, name, "completed"]),
            failed: series.answered.with_label_values(&[operation, name, "failed"]),
            duration: series.duration.with_label_values(&[operation, name]),
            bytes: series.bytes.with_label_values(&[operation, name]),
        }
    }
}

pub(super) struct Sessions {
    pub(super) idle: IntGauge,
    pub(super) busy: IntGauge,
    pub(super) connecting: IntGauge,
    pub(super) limit: IntGauge,
    pub(super) opened: IntCounter,
}

impl Sessions {
    fn new(name: &str, series: &Series) -> Self {
        let state = |state| series.sessions.with_label_values(&[name, state]);
        Sessions {
            idle: state("idle"),
            busy: state("busy"),
            connecting: state("connecting"),
            limit: series.session_limit.with_label_values(&[name]),
            opened: series.sessions_opened.with_label_values(&[name]),
        }
    }
}

pub(super) struct Tasks {
    pub(super) waiting: IntGauge,
    pub(super) delayed: IntGauge,
    pub(super) in_flight: IntGauge,
}

impl Tasks {
    fn new(name: &str, series: &Series) -> Self {
        let state = |state| series.tasks.with_label_values(&[name, state]);
        Tasks { waiting: state("waiting"), delayed: state("delayed"), in_flight: state("in_flight") }
    }
}
