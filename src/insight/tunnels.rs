//! One tunnel as it is now.

use jiff::Timestamp;
use serde::Serialize;

/// A tunnel that connections name in `via`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelReport {
    pub name: String,
    /// frps, `host:port` each.
    pub servers: Vec<String>,
    /// `pending`, `connecting`, `connected`, `disconnected` or `error`. Connected is one through which a greeting came.
    pub state: &'static str,
    #[serde(serialize_with = "super::time::serialize")]
    pub since: Timestamp,
    /// Where it begins in the pod.
    pub address: Option<String>,
    /// `ports` or `proxy`: each passive port is a tunnel, or one leads to a proxy beside the server.
    pub leads_to: &'static str,
    /// How often it has become connected.
    pub connects: u64,
    /// The connections that lead through it.
    pub connections: Vec<String>,
    pub error: Option<TunnelErrorReport>,
}

/// Why a tunnel is not connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelErrorReport {
    /// `server_unreachable`, `authentication_failed`, …: docs/tunnels/TROUBLESHOOTING.md.
    pub class: &'static str,
    pub message: String,
    /// What to do about it.
    pub advice: &'static str,
}
