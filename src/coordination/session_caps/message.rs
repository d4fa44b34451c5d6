//! What pods and the coordinator write to the coordination topic: JSON values under keys that name the writer.
//!
//! ```text
//! report/<pod>/<incarnation>   a pod's sessions, by connection; written by that pod
//! grants/<connection>          what each pod may have; written by the coordinator, in transactions
//! ```
//!
//! A compacted topic keeps the last value of each key, so each value says all that its reader needs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

const REPORT: &str = "report/";
const GRANTS: &str = "grants/";

/// One process of a pod: its name, and an id that distinguishes it from predecessors of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PodIncarnation(Arc<str>);

impl From<String> for PodIncarnation {
    fn from(name: String) -> Self {
        PodIncarnation(name.into())
    }
}

impl From<PodIncarnation> for String {
    fn from(pod: PodIncarnation) -> Self {
        pod.0.as_ref().to_owned()
    }
}

impl PodIncarnation {
    #[must_use]
    pub fn new(pod: &str, incarnation: &str) -> Self {
        PodIncarnation(format!("{pod}/{incarnation}").into())
    }

    /// The pod's name.
    #[must_use]
    pub fn pod(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(pod, _)| pod)
    }
}

impl fmt::Display for PodIncarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pod's sessions with one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// `max_sessions_total`, as this pod is configured; none if it has no such limit (any more).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// How many sessions it could use now.
    pub wants: usize,
    /// How many it has open, in whatever state.
    pub open: usize,
    /// The version of the connection's grants that it is based on.
    pub seen: u64,
}

/// What a pod reports: every connection of which it has, wants or has ever been granted a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReport {
    /// Raised with each report.
    pub number: u64,
    /// Its last report: all its sessions are closed, and it opens no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaves: bool,
    pub connections: BTreeMap<String, SessionReport>,
}

/// What a pod is granted of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodGrant {
    /// How many sessions it may have.
    pub granted: usize,
    /// How many it may still have open, by grants that it may not have seen replaced.
    pub bound: usize,
    /// The version of the grants in which `granted` last changed.
    pub version: u64,
}

/// All grants of one connection. The sum of the bounds never exceeds the total.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionGrants {
    /// Raised with each record, over all coordinators.
    pub version: u64,
    pub pods: BTreeMap<PodIncarnation, PodGrant>,
}

/// A record of the coordination topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapRecord {
    Report(PodIncarnation, PodReport),
    /// The coordinator has forgotten the pod.
    Forgotten(PodIncarnation),
    Grants(String, ConnectionGrants),
}

impl CapRecord {
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            CapRecord::Report(pod, _) | CapRecord::Forgotten(pod) => format!("{REPORT}{pod}"),
            CapRecord::Grants(connection, _) => format!("{GRANTS}{connection}"),
        }
    }

    /// `None` is a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            CapRecord::Report(_, report) => serde_json::to_vec(report).ok(),
            CapRecord::Forgotten(_) => None,
            CapRecord::Grants(_, grants) => serde_json::to_vec(grants).ok(),
        }
    }

    /// `None` if the record is not one of these: a later version's, or a stranger's.
    #[must_use]
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Option<CapRecord> {
        let key = std::str::from_utf8(key).ok()?;
        if let Some(pod) = key.strip_prefix(REPORT) {
            let pod = PodIncarnation(pod.into());
            return Some(match value {
                None => CapRecord::Forgotten(pod),
                Some(value) => CapRecord::Report(pod, serde_json::from_slice(value).ok()?),
            });
        }
        let connection = key.strip_prefix(GRANTS)?;
        Some(CapRecord::Grants(connection.into(), serde_json::from_slice(value?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let pod = PodIncarnation::new("pods/a", "7f");
        assert_eq!(pod.pod(), "pods/a");
        let session = SessionReport { total: Some(5), wants: 3, open: 2, seen: 9 };
        let connections = BTreeMap::from([("remote-ftp".into(), session)]);
        let report = PodReport { number: 4, leaves: true, connections };
        let grant = PodGrant { granted: 1, bound: 2, version: 8 };
        let grants = ConnectionGrants { version: 9, pods: BTreeMap::from([(pod.clone(), grant)]) };
        for record in [
            CapRecord::Report(pod.clone(), report),
            CapRecord::Forgotten(pod),
            CapRecord::Grants("a/b".into(), grants),
        ] {
            let (key, value) = (record.key(), record.value());
            assert_eq!(CapRecord::decode(key.as_bytes(), value.as_deref()), Some(record));
        }
    }

    #[test]
    fn a_strangers_record_is_none_of_ours() {
        for (key, value) in [
            (&b"\xff"[..], Some(&b"{}"[..])),
            (b"other", Some(b"{}")),
            (b"report/a/1", Some(b"{")),
            (b"grants/a", None),
        ] {
            assert_eq!(CapRecord::decode(key, value), None, "{key:?}");
        }
    }
}
