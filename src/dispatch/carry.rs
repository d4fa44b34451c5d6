//! One try at one task, as the dispatcher sees it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use tokio_util::sync::CancellationToken;

use crate::failure::{Code, Failure, Remedy, TryError};
use crate::ftp::Session;
use crate::insight::ProgressGauge;
use crate::task::Task;
use crate::transfer::{Errand, Files, Kept, Neighbours, Progress, Row, Stopped, Transfer};

/// Carries out tasks on sessions of type `S`. The dispatcher knows transfers only through this.
pub trait Carry<S>: Send + Sync + 'static {
    /// What stands open on a session from one task to the next.
    type Row: Default + Send;

    /// One try, which goes on from what the one before has left in `kept`, and the task before on the same session
    /// in `row`, and tells its gauge how far it is. Cancelled by `cancel`, upon which it undoes what it began and returns soon; or by dropping it, upon
    /// which the session is thrown away.
    fn carry(
        &self,
        session: &mut S,
        row: &mut Self::Row,
        errand: (Errand<'_>, &ProgressGauge),
        kept: &mut Kept,
        beside: &mut dyn Neighbours,
        cancel: &CancellationToken,
    ) -> impl Future<Output = Result<Progress, Stopped>> + Send;

    /// A local connection's files as they lie now.
    fn files(&self, local: &str) -> Files;

    /// The failure of a task that cannot be carried out rightly here, whatever its server says.
    fn unsupported(&self, _task: &Task) -> Option<Failure> {
        None
    }

    /// Does one thing on a session that no task needs, in seconds; false where there is nothing to do. Dropping
    /// it puts the session in doubt.
    fn tidy(&self, _session: &mut S) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// The same with what must not wait for that.
    fn tidy_at_once(&self, _session: &mut S) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// The connection is no more.
    fn forget(&self, _connection: &str) {}

    /// Whether [`Carry::tidy`] has something to do on this connection's server.
    fn is_untidy(&self, _connection: &str) -> bool {
        false
    }
}

impl Carry<Session> for Transfer {
    type Row = Row;

    async fn carry(
        &self,
        session: &mut Session,
        row: &mut Row,
        errand: (Errand<'_>, &ProgressGauge),
        kept: &mut Kept,
        beside: &mut dyn Neighbours,
        cancel: &CancellationToken,
    ) -> Result<Progress, Stopped> {
        self.run_in_row(session, row, errand, kept, beside, cancel).await
    }

    fn files(&self, local: &str) -> Files {
        Transfer::files(self, local)
    }

    fn unsupported(&self, task: &Task) -> Option<Failure> {
        Transfer::unsupported(self, task)
    }

    async fn tidy(&self, session: &mut Session) -> bool {
        Transfer::tidy(self, session).await
    }

    async fn tidy_at_once(&self, session: &mut Session) -> bool {
        Transfer::tidy_at_once(self, session).await
    }

    fn forget(&self, connection: &str) {
        Transfer::forget(self, connection);
    }

    fn is_untidy(&self, connection: &str) -> bool {
        Transfer::is_untidy(self, connection)
    }
}

/// Awaits `future`; a panic in it becomes the failure of this one try. What it worked on is in doubt then.
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
