//! A tunnel's present state.

use jiff::Timestamp;
use serde::Serialize;

/// A tunnel that connections name in `via`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelReport {
    pub name: String,
    /// frps, `host:port` each.
    pub servers: Vec<String>,
    /// `pending`, `connecting`, `connected`, `disconnected` or `error`. Connected means that a greeting came through.
    pub state: &'static str,
    #[serde(serialize_with = "super::time::serialize")]
    pub since: Timestamp,
    /// The address of its entrance in the pod.
    pub address: Option<String>,
    /// `ports` or `proxy`: each passive port is a tunnel, or one tunnel leads to a proxy next to the server.
    pub leads_to: &'static str,
    /// How often it has become connected.
    pub connects: u64,
    /// The connections that use it.
    pub connections: Vec<String>,
    pub error: Option<TunnelErrorReport>,
}

/// Why a tunnel is not connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelErrorReport {
    /// `server_unreachable`, `authentication_failed`, …: docs/tunnels/TROUBLESHOOTING.md.
    pub class: &'static str,
    pub message: String,
    /// What the user should do about it.
    pub advice: &'static str,
}
