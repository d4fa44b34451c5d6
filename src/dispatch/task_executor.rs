//! One try at one task, from the dispatcher's point of view.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::hung_tries::HUNG_AFTER;
use super::{INTERRUPTED_BOUND, UNDO_BOUND};
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::ftp::Session;
use crate::insight::ProgressGauge;
use crate::lease::Lease;
use crate::task::Task;
use crate::transfer::{
    CallWatch, LocalFiles, NextTask, ResumeState, TransferError, TransferExecutor, TransferProgress,
    TransferRequest, UploadPipeline,
};

/// Executes tasks on sessions of type `S`. The dispatcher knows transfers only through this trait.
pub trait TaskExecutor<S>: Send + Sync + 'static {
    /// What is open on a session between two tasks: see `crate::transfer::upload_pipeline`.
    type Pipeline: Default + Send;

    /// One try, which resumes what the previous one has left in `resume_state`, and reports its progress to its gauge.
    /// `pipeline` is what the previous task has left open on the same session, `next_task` what may follow. If `cancel`
    /// is cancelled, the try undoes what it started and returns soon; if it is dropped, the session must be discarded.
    fn execute(
        &self,
        session: &mut S,
        pipeline: &mut Self::Pipeline,
        request: (TransferRequest<'_>, &ProgressGauge),
        resume_state: &mut ResumeState,
        next_task: &mut dyn NextTask,
        cancel: &CancellationToken,
    ) -> impl Future<Output = Result<TransferProgress, TransferError>> + Send;

    /// A local connection's current storage.
    fn files(&self, local: &str) -> LocalFiles;

    /// The failure of a task that cannot be done correctly here, regardless of its server.
    fn unsupported(&self, _task: &Task) -> Option<Failure> {
        None
    }

    /// Removes orphaned temp files on a session that no task needs: one step, in seconds; false if there is nothing to
    /// do. Dropping it makes the session unusable.
    fn clean_up(&self, _session: &mut S) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// Like [`TaskExecutor::clean_up`], but only what must not wait for an idle session.
    fn clean_up_at_once(&self, _session: &mut S) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// The connection was removed.
    fn forget(&self, _connection: &str) {}

    /// Whether [`TaskExecutor::clean_up`] has something to do on this connection's server.
    fn needs_cleanup(&self, _connection: &str) -> bool {
        false
    }
}

impl TaskExecutor<Session> for TransferExecutor {
    type Pipeline = UploadPipeline;

    async fn execute(
        &self,
        session: &mut Session,
        pipeline: &mut UploadPipeline,
        request: (TransferRequest<'_>, &ProgressGauge),
        resume_state: &mut ResumeState,
        next_task: &mut dyn NextTask,
        cancel: &CancellationToken,
    ) -> Result<TransferProgress, TransferError> {
        self.run_pipelined(session, pipeline, request, resume_state, next_task, cancel).await
    }

    fn files(&self, local: &str) -> LocalFiles {
        TransferExecutor::files(self, local)
    }

    fn unsupported(&self, task: &Task) -> Option<Failure> {
        TransferExecutor::unsupported(self, task)
    }

    async fn clean_up(&self, session: &mut Session) -> bool {
        TransferExecutor::clean_up(self, session).await
    }

    async fn clean_up_at_once(&self, session: &mut Session) -> bool {
        TransferExecutor::clean_up_at_once(self, session).await
    }

    fn forget(&self, connection: &str) {
        TransferExecutor::forget(self, connection);
    }

    fn needs_cleanup(&self, connection: &str) -> bool {
        TransferExecutor::needs_cleanup(self, connection)
    }
}

/// Awaits `future`; a panic in it becomes the failure of this one try. Its session is then unusable.
pub(super) async fn catch_panic<T, E: From<TryError>>(
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut future = pin!(future);
    poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic.as_ref()).into())))
    })
    .await
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> TryError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let failure = Failure::new(Code::Internal, format!("a fault of the pooler: {text}"));
    TryError { failure, remedy: Remedy::GiveUp }
}

/// How a try on a session ended.
pub(super) enum TryEnd<R> {
    Ended(R),
    Cancelled,
    /// It has hung for this long in a call into its file system, and its session is needed.
    Hung(Duration),
}

/// A cancelled transfer undoes what it started, and has some time for that; a hung one cannot.
pub(super) async fn until_cancelled<R>(
    cancelled: &CancellationToken,
    (lease, interrupted): (&Lease, &CancellationToken),
    watch: &CallWatch,
    work: impl Future<Output = R>,
) -> TryEnd<R> {
    let out_of_time = async {
        let bound = tokio::select! {
            () = cancelled.cancelled() => UNDO_BOUND,
            () = lease.ended() => UNDO_BOUND,
            () = interrupted.cancelled() => {
                cancelled.cancel();
                INTERRUPTED_BOUND
            }
        };
        sleep(bound).await;
    };
    tokio::select! {
        biased;
        result = work => TryEnd::Ended(result),
        () = out_of_time => TryEnd::Cancelled,
        longest = watch.given_up(HUNG_AFTER) => TryEnd::Hung(longest),
    }
}
