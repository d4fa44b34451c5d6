//! What happens to tunnels and to the process that carries them, as it happens.

use jiff::Timestamp;

use crate::failure::Failure;
use crate::state::TunnelState;

/// Events that a slow reader may lag behind before it misses some.
pub const MAX_WAITING_EVENTS: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelEvent {
    pub at: Timestamp,
    pub kind: TunnelEventKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelEventKind {
    Created {
        tunnel: String,
        kind: &'static str,
    },
    StateChanged {
        tunnel: String,
        from: TunnelState,
        to: TunnelState,
    },
    /// Gone for good, its name is free.
    Removed {
        tunnel: String,
    },
    ProcessStarted {
        pid: i32,
        server: String,
    },
    ProcessStopped {
        reason: String,
        failure: Option<Failure>,
    },
    SessionEstablished,
    SessionLost,
    /// frpc took a changed configuration while it ran.
    Reloaded,
    /// frpc refused it; what ran before runs on.
    ConfigurationRefused {
        message: String,
    },
}

impl TunnelEventKind {
    /// The word for it in output.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::StateChanged { .. } => "state_changed",
            Self::Removed { .. } => "removed",
            Self::ProcessStarted { .. } => "process_started",
            Self::ProcessStopped { .. } => "process_stopped",
            Self::SessionEstablished => "session_established",
            Self::SessionLost => "session_lost",
            Self::Reloaded => "reloaded",
            Self::ConfigurationRefused { .. } => "configuration_refused",
        }
    }
}
