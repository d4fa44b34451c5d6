//! A tunnel in the hand of the one who opened it.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::Shared;
use super::driver::ClientCommand;
use crate::failure::{Failure, FailureClass};
use crate::state::{TunnelState, TunnelStatus};

/// One tunnel as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelSnapshot {
    pub name: String,
    pub kind: &'static str,
    /// The service behind it, `host:port` or the plugin's name; a visitor's far tunnel.
    pub target: String,
    /// Its address: `host:port`, a URL, or a visitor's address.
    pub address: Option<String>,
    pub status: TunnelStatus,
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// A tunnel: closing or dropping it removes it. Connections running through it continue.
#[derive(Debug)]
pub struct Tunnel {
    name: String,
    status: watch::Receiver<TunnelView>,
    shared: Arc<Shared>,
    is_closed: bool,
}

/// What the driver sends to the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TunnelView {
    pub(super) status: TunnelStatus,
    pub(super) address: Option<String>,
}

impl Tunnel {
    pub(super) fn new(name: String, status: watch::Receiver<TunnelView>, shared: Arc<Shared>) -> Self {
        Self { name, status, shared, is_closed: false }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn status(&self) -> TunnelStatus {
        self.status.borrow().status.clone()
    }

    /// Its address, as far as frps has reported it: `host:port`, `http://host/path`, or a visitor's address.
    pub fn address(&self) -> Option<String> {
        self.status.borrow().address.clone()
    }

    /// Waits for the next change of its status. Cancel-safe.
    pub async fn changed(&mut self) -> TunnelStatus {
        if self.status.changed().await.is_err() {
            // the client is gone, and nothing changes any more
            std::future::pending::<()>().await;
        }
        self.status()
    }

    /// Waits until it is connected, or until it is known that it is not: then the reason. It is tried further.
    pub async fn connected(&mut self) -> Result<(), Failure> {
        let found = self.status.wait_for(|view| {
            matches!(view.status.state, TunnelState::Connected | TunnelState::Failed(_) | TunnelState::Closed)
        });
        let state = found.await.map(|view| view.status.state.clone());
        match state {
            Ok(TunnelState::Connected) => Ok(()),
            Ok(TunnelState::Failed(failure)) => Err(failure),
            _ => Err(Failure::new(FailureClass::ProcessEnded, "the client has been shut down")),
        }
    }

    /// Closes it, and returns when frpc has been reconfigured. `false`: the client is gone, and the tunnel with it.
    pub async fn close(mut self) -> bool {
        self.is_closed = true;
        let (answer, answered) = oneshot::channel();
        let command = ClientCommand::Close { tunnel: self.name.clone(), answer };
        self.shared.commands.send(command).await.is_ok() && answered.await.is_ok()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if !self.is_closed {
            self.shared.dropped.add(std::mem::take(&mut self.name));
        }
    }
}

/// Tunnels that build on each other: closed in the reverse order of their opening.
#[derive(Debug, Default)]
pub struct TunnelStack {
    tunnels: Vec<Tunnel>,
}

impl TunnelStack {
    pub fn push(&mut self, tunnel: Tunnel) {
        self.tunnels.push(tunnel);
    }

    pub fn tunnels(&self) -> &[Tunnel] {
        &self.tunnels
    }

    /// Closes each, last first, whatever became of the others; gives those that could not be closed properly.
    pub async fn close_all(mut self) -> Vec<String> {
        let mut failed = Vec::new();
        while let Some(tunnel) = self.tunnels.pop() {
            let name = tunnel.name().to_owned();
            if !tunnel.close().await {
                failed.push(name);
            }
        }
        failed
    }
}

impl Drop for TunnelStack {
    fn drop(&mut self) {
        // a vector drops from its front
        while self.tunnels.pop().is_some() {}
    }
}
