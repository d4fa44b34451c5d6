//! Tunnels as the pool sees them: where one begins on this machine, and whether something comes through. What makes
//! them is behind [`Tunnels`]: in a pod it is `app`.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::failure::Failure;

/// Where a tunnel begins here. Connections through it keep it open, also when it has been replaced.
#[derive(Clone)]
pub struct TunnelEntrance {
    pub kind: EntranceKind,
    hold: Arc<dyn Any + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntranceKind {
    /// The server's control connections begin at this address, its data connections at the same IP address and the
    /// port that the server says.
    Ports(SocketAddr),
    /// A proxy listens at this address, and takes CONNECT to the server.
    Proxy(SocketAddr),
}

impl TunnelEntrance {
    /// `hold` is dropped with the last copy.
    pub fn new(kind: EntranceKind, hold: Arc<dyn Any + Send + Sync>) -> Self {
        TunnelEntrance { kind, hold }
    }

    /// How many hold it.
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

/// Whether a tunnel is out of order, when somebody has found that out.
pub type TunnelVerdict<'a> = Pin<Box<dyn Future<Output = Option<Failure>> + Send + 'a>>;

/// The tunnels that connections name in `via`.
pub trait Tunnels: fmt::Debug + Send + Sync {
    /// Where this tunnel begins.
    ///
    /// # Errors
    /// Why it cannot be used now.
    fn entrance(&self, tunnel: &str) -> Result<TunnelEntrance, Failure>;

    /// A connection through this tunnel has failed: finds out whether the tunnel is to blame, and why, within seconds.
    fn verdict<'a>(&'a self, tunnel: &'a str) -> TunnelVerdict<'a>;
}
