//! Tunnels from the pool's point of view: where one begins on this machine, and whether it works. Their implementation
//! is behind [`Tunnels`]: in a pod it is in `app`.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::failure::Failure;

/// A tunnel's local entrance. Connections through it keep it open, even when it has been replaced.
#[derive(Clone)]
pub struct TunnelEntrance {
    pub kind: EntranceKind,
    hold: Arc<dyn Any + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntranceKind {
    /// The server's control connections start at this address, its data connections at the same IP address and the port
    /// that the server announces.
    Ports(SocketAddr),
    /// A proxy listens at this address, and accepts CONNECT to the server.
    Proxy(SocketAddr),
}

impl TunnelEntrance {
    /// `hold` is dropped with the last copy.
    pub fn new(kind: EntranceKind, hold: Arc<dyn Any + Send + Sync>) -> Self {
        TunnelEntrance { kind, hold }
    }

    /// How many references to it exist.
    #[must_use]
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.hold)
    }
}

impl fmt::Debug for TunnelEntrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// Resolves to a tunnel's failure, or `None` if it works.
pub type TunnelDiagnosis<'a> = Pin<Box<dyn Future<Output = Option<Failure>> + Send + 'a>>;

/// The tunnels that connections name in `via`.
pub trait Tunnels: fmt::Debug + Send + Sync {
    /// This tunnel's local entrance.
    ///
    /// # Errors
    /// Why it cannot be used now.
    fn entrance(&self, tunnel: &str) -> Result<TunnelEntrance, Failure>;

    /// A connection through this tunnel has failed: determines whether the tunnel is the cause, and why, within
    /// seconds.
    fn diagnose<'a>(&'a self, tunnel: &'a str) -> TunnelDiagnosis<'a>;
}
