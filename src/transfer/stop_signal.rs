//! What ends a try from outside: its lease, or its caller.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::failure::TryError;
use crate::ftp::RenameOutcome;
use crate::lease::Lease;

use super::TransferError;

/// How long a step that must not be interrupted may still take once the try is to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Signals that a try is to stop, and why.
pub(super) struct StopSignal<'a> {
    lease: &'a Lease,
    cancel: &'a CancellationToken,
}

impl<'a> StopSignal<'a> {
    pub fn new(lease: &'a Lease, cancel: &'a CancellationToken) -> StopSignal<'a> {
        StopSignal { lease, cancel }
    }

    pub fn check(&self) -> Result<(), TransferError> {
        match () {
            () if !self.lease.is_live() => Err(TransferError::LeaseEnded),
            () if self.cancel.is_cancelled() => Err(TransferError::Cancelled),
            () => Ok(()),
        }
    }

    /// Whether the caller has cancelled, regardless of the lease.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// [`StopSignal::check`] as a closure for another thread.
    pub fn may_continue(&self) -> impl Fn() -> bool + Send + use<> {
        let (lease, cancel) = (self.lease.clone(), self.cancel.clone());
        move || lease.is_live() && !cancel.is_cancelled()
    }

    /// Why the server refused the new name of a rename, if it did; an error where the try ended before RNTO.
    pub fn rename_refusal(&self, outcome: RenameOutcome) -> Result<Option<TryError>, TransferError> {
        match outcome {
            RenameOutcome::Done => Ok(None),
            RenameOutcome::TargetRefused(error) => Ok(Some(error)),
            RenameOutcome::Abandoned => Err(self.check().err().unwrap_or(TransferError::Cancelled)),
        }
    }

    /// Resolves when the try is to stop.
    pub async fn requested(&self) -> TransferError {
        tokio::select! {
            biased;
            () = self.lease.ended() => TransferError::LeaseEnded,
            () = self.cancel.cancelled() => TransferError::Cancelled,
        }
    }

    /// Runs `work`, dropped as soon as the try is to stop.
    pub async fn or<T, E: Into<TransferError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, TransferError> {
        tokio::select! {
            biased;
            stopped = self.requested() => Err(stopped),
            done = work => done.map_err(Into::into),
        }
    }

    /// Runs `work`, with a moment more to finish: a session in the midst of a command can undo nothing.
    pub async fn or_soon<T, E: Into<TransferError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, TransferError> {
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
