//! What ends a try from outside: its lease, or its caller.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::offsets::Lease;

use super::Stopped;

/// How long a step that must not be torn off may go on once the try is to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Tells that a try is to stop, and why.
pub(super) struct Stop<'a> {
    lease: &'a Lease,
    cancel: &'a CancellationToken,
}

impl<'a> Stop<'a> {
    pub fn new(lease: &'a Lease, cancel: &'a CancellationToken) -> Stop<'a> {
        Stop { lease, cancel }
    }

    pub fn check(&self) -> Result<(), Stopped> {
        match () {
            () if !self.lease.is_live() => Err(Stopped::LeaseEnded),
            () if self.cancel.is_cancelled() => Err(Stopped::Cancelled),
            () => Ok(()),
        }
    }

    /// Whether the caller has cancelled, whoever's lease it is.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// The same question, for another thread.
    pub fn still_ours(&self) -> impl FnOnce() -> bool + Send + use<> {
        let (lease, cancel) = (self.lease.clone(), self.cancel.clone());
        move || lease.is_live() && !cancel.is_cancelled()
    }

    /// Resolves when the try is to stop.
    pub async fn requested(&self) -> Stopped {
        tokio::select! {
            biased;
            () = self.lease.ended() => Stopped::LeaseEnded,
            () = self.cancel.cancelled() => Stopped::Cancelled,
        }
    }

    /// `work`, dropped as soon as the try is to stop.
    pub async fn or<T, E: Into<Stopped>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            stopped = self.requested() => Err(stopped),
            done = work => done.map_err(Into::into),
        }
    }

    /// `work`, which gets a moment more to end by itself: a session in the midst of a command can undo nothing.
    pub async fn or_soon<T, E: Into<Stopped>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Stopped> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done.map_err(Into::into),
            stopped = self.requested() => match timeout(GRACE, &mut work).await {
                Ok(done) => done.map_err(Into::into),
                Err(_) => Err(stopped),
            },
        }
    }
}
