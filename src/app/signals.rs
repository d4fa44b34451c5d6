//! The signals that a pod listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, caught from the moment this is made: none of them ends the process by itself.
#[derive(Debug)]
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM or SIGINT: drain and end; a second time, end at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves at the next one.
    pub async fn next(&mut self) -> Asked {
        let (name, asked) = tokio::select! {
            _ = self.term.recv() => ("SIGTERM", Asked::Stop),
            _ = self.int.recv() => ("SIGINT", Asked::Stop),
            _ = self.hup.recv() => ("SIGHUP", Asked::Reload),
        };
        tracing::info!("{name}");
        asked
    }

    /// Resolves at the next one that asks for the end, at a time when nothing can be reloaded.
    pub async fn stop(&mut self) {
        while self.next().await != Asked::Stop {
            tracing::info!("not now: the pod starts or stops");
        }
    }
}
