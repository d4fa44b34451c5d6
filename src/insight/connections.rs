//! One FTP connection as configured, and what is known about its server.

use jiff::Timestamp;
use serde::Serialize;

use crate::config::TlsMode;
use crate::failure::{Code, Failure};

/// A connection's present state; its sessions and tasks are in the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionState {
    pub name: String,
    /// `ftp.example.com:21`.
    pub server: String,
    /// The tunnel that leads to the server.
    pub via: Option<String>,
    /// `off`, `explicit` or `implicit`.
    pub tls: &'static str,
    /// `closed`, `half-open` or `open`.
    pub breaker: &'static str,
    /// Until then the server is not tried.
    #[serde(serialize_with = "super::time::option::serialize")]
    pub breaker_until: Option<Timestamp>,
    pub last_error: Option<LastError>,
    /// How many sessions it may have at present: fewer than `max_sessions` if its server has refused some.
    pub limit: usize,
    pub max_sessions: usize,
    /// The limit over all pods; None if there is none.
    pub max_sessions_total: Option<usize>,
    /// How many of those this pod may have open now.
    pub granted: Option<usize>,
    /// Tasks that this pod has put into the retry topic and that are still there.
    pub deferred: u64,
}

/// The last failure that would have affected every task of the connection: of a login, or of its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    #[serde(serialize_with = "super::time::serialize")]
    pub at: Timestamp,
    pub code: &'static str,
    pub message: String,
}

impl LastError {
    #[must_use]
    pub fn new(at: Timestamp, failure: &Failure) -> Self {
        LastError { at, code: Code::as_str(failure.code), message: failure.message.clone() }
    }
}

/// The word that the API has for it.
#[must_use]
pub const fn tls_name(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Off => "off",
        TlsMode::Explicit => "explicit",
        TlsMode::Implicit => "implicit",
    }
}
