//! Blocking calls into the file system: off the runtime's threads, bounded in number, each with a deadline.
//!
//! A call cannot be cancelled. It owns what it works on while it runs; if its result is no longer awaited, it is
//! dropped (a temp file then removes itself), never on a thread of the runtime.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::call_watch::CallWatch;
use super::error::{OperationContext, PathRole, StorageError};
use super::target::LocalTarget;
use crate::config::LocalConnection;

/// How many calls of one storage may be in progress. A file system that hangs must not take all of the runtime's
/// blocking threads (512) with it; more than the sessions of a pod, so that calls into a healthy one never wait.
pub(super) const CALLS: usize = 128;
/// How long a call may take, including the wait for its slot.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Runs the calls of one storage. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct DiskExecutor {
    /// The local connection's name and `base_path`, for messages.
    connection: Arc<str>,
    calls: Arc<Semaphore>,
    deadline: Duration,
    /// Every call, and every removal of what a cancelled task left.
    under_way: TaskTracker,
    running: Arc<RunningCalls>,
    /// The monitor of the task that the calls are made for.
    watch: Option<Arc<CallWatch>>,
}

/// The calls that are in the file system, in the order in which they entered it.
#[derive(Debug, Default)]
struct RunningCalls(Mutex<CallTable>);

#[derive(Debug, Default)]
struct CallTable {
    last: u64,
    running: BTreeMap<u64, (Instant, DiskOperation)>,
}

/// Removes its call from the table, even if its work panics.
struct EnteredCall(Arc<RunningCalls>, u64);

impl DiskExecutor {
    pub fn new(connection: &LocalConnection, calls: usize, deadline: Duration) -> DiskExecutor {
        let connection = format!("{} ({})", connection.name, connection.base_path.display()).into();
        DiskExecutor {
            connection,
            calls: Arc::new(Semaphore::new(calls)),
            deadline,
            under_way: TaskTracker::new(),
            running: Arc::default(),
            watch: None,
        }
    }

    /// The same executor, with waits for its calls monitored by `watch`.
    pub fn watched_by(&self, watch: &Arc<CallWatch>) -> DiskExecutor {
        DiskExecutor { watch: Some(Arc::clone(watch)), ..self.clone() }
    }

    /// The call that has been in the file system for longest, if there is one: its description and duration.
    pub fn longest_call(&self, now: Instant) -> Option<(String, Duration)> {
        let calls = self.running.lock();
        let (entered, operation) = calls.running.values().next()?;
        let what = format!("{} {:?}", operation.what, operation.target.as_written());
        Some((what, now.saturating_duration_since(*entered)))
    }

    /// Runs `work` on a blocking thread and waits for it.
    pub async fn call<T, W>(&self, operation: DiskOperation, work: W) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: FnOnce(&IsAbandoned<'_>) -> Result<T, StorageError> + Send + 'static,
    {
        let slot = self.acquire_slot(&operation).await?;
        self.start(slot, operation, work).wait().await
    }

    /// Waits for a slot for one call.
    pub async fn acquire_slot(&self, operation: &DiskOperation) -> Result<CallSlot, StorageError> {
        let until = Instant::now() + self.deadline;
        let _waits = self.watch.as_deref().map(CallWatch::enter);
        match tokio::time::timeout_at(until, Arc::clone(&self.calls).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(CallSlot { permit, until }),
            Ok(Err(_)) => {
                Err(StorageError::Fault(operation.doing().says("the storage's semaphore is closed")))
            }
            Err(_) => Err(operation.timed_out(self.deadline).of_connection(&self.connection)),
        }
    }

    /// A slot for one call, if one is free now.
    pub fn try_acquire_slot(&self) -> Option<CallSlot> {
        let permit = Arc::clone(&self.calls).try_acquire_owned().ok()?;
        Some(CallSlot { permit, until: Instant::now() + self.deadline })
    }

    /// Starts `work`; it runs whether awaited or not, unless the [`PendingCall`] is dropped before it starts.
    pub fn start<T, W>(&self, slot: CallSlot, operation: DiskOperation, work: W) -> PendingCall<T>
    where
        T: Send + 'static,
        W: FnOnce(&IsAbandoned<'_>) -> Result<T, StorageError> + Send + 'static,
    {
        let CallSlot { permit, until } = slot;
        let (give, outcome) = oneshot::channel();
        let (running, entering) = (Arc::clone(&self.running), operation.clone());
        drop(self.under_way.spawn_blocking(move || {
            let _permit = permit;
            if !give.is_closed() {
                let _entered = RunningCalls::enter(running, entering);
                let outcome = work(&|| give.is_closed());
                // Returned if it is no longer awaited, and dropped here.
                drop(give.send(outcome));
            }
        }));
        PendingCall { outcome: Some(outcome), until, operation, disk: self.clone() }
    }

    /// Drops `thing` where it may block.
    pub fn dispose<T: Send + 'static>(&self, thing: T) {
        match Handle::try_current() {
            Ok(runtime) => drop(self.under_way.spawn_blocking_on(move || drop(thing), &runtime)),
            Err(_) => drop(thing),
        }
    }

    /// Whether no call is in progress, nor any removal.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// True once no call is in progress, including removals; false if that takes longer than `within`.
    pub async fn settled(&self, within: Duration) -> bool {
        self.under_way.close();
        tokio::time::timeout(within, self.under_way.wait()).await.is_ok()
    }
}

impl RunningCalls {
    fn enter(calls: Arc<RunningCalls>, operation: DiskOperation) -> EnteredCall {
        let number = {
            let mut table = calls.lock();
            table.last += 1;
            let number = table.last;
            table.running.insert(number, (Instant::now(), operation));
            number
        };
        EnteredCall(calls, number)
    }

    fn lock(&self) -> MutexGuard<'_, CallTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EnteredCall {
    fn drop(&mut self) {
        self.0.lock().running.remove(&self.1);
    }
}

/// What a call does to which target.
#[derive(Clone, Debug)]
pub(super) struct DiskOperation {
    pub what: &'static str,
    pub target: LocalTarget,
    pub side: PathRole,
}

impl DiskOperation {
    pub fn doing(&self) -> OperationContext<'_> {
        OperationContext { what: self.what, path: self.target.as_written(), side: self.side }
    }

    fn timed_out(&self, deadline: Duration) -> StorageError {
        let reason = format!("the local file system did not answer within {} s", deadline.as_secs());
        StorageError::TimedOut(self.doing().says(reason))
    }
}

/// A slot for one call, held until its work has returned.
#[derive(Debug)]
pub(super) struct CallSlot {
    permit: OwnedSemaphorePermit,
    until: Instant,
}

/// Tells a call's work whether its result is no longer awaited.
pub(super) type IsAbandoned<'a> = dyn Fn() -> bool + 'a;

/// A call in progress. If it is dropped, it is abandoned: its work runs to its end, and its outcome is dropped.
#[derive(Debug)]
pub(super) struct PendingCall<T: Send + 'static> {
    outcome: Option<oneshot::Receiver<Result<T, StorageError>>>,
    until: Instant,
    operation: DiskOperation,
    disk: DiskExecutor,
}

impl<T: Send + 'static> PendingCall<T> {
    /// The work's outcome. Cancel-safe: after being dropped, it can be awaited again.
    pub async fn wait(&mut self) -> Result<T, StorageError> {
        let fault = |why: &str| Err(StorageError::Fault(self.operation.doing().says(why)));
        let Some(outcome) = &mut self.outcome else { return fault("waited for twice") };
        let _waits = self.disk.watch.as_deref().map(CallWatch::enter);
        let Ok(ended) = tokio::time::timeout_at(self.until, outcome).await else {
            return Err(self.operation.timed_out(self.disk.deadline).of_connection(&self.disk.connection));
        };
        self.outcome = None;
        let ended = ended.unwrap_or_else(|_| fault("ended without an outcome"));
        ended.map_err(|error| error.of_connection(&self.disk.connection))
    }
}

impl<T: Send + 'static> Drop for PendingCall<T> {
    fn drop(&mut self) {
        let Some(mut outcome) = self.outcome.take() else { return };
        outcome.close();
        // The work may have ended just now: then its outcome is dropped with the receiver.
        self.disk.dispose(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn operation() -> DiskOperation {
        let target = LocalTarget::resolve(Path::new("/base"), "/x").unwrap();
        DiskOperation { what: "write", target, side: PathRole::Destination }
    }

    fn executor(calls: usize, deadline: Duration) -> DiskExecutor {
        let connection = LocalConnection { name: "local".into(), base_path: "/base".into() };
        DiskExecutor::new(&connection, calls, deadline)
    }

    /// Reports that it was dropped, and on which thread.
    struct DropReporter(mpsc::Sender<std::thread::ThreadId>);

    impl Drop for DropReporter {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().id());
        }
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_is_an_error_and_keeps_its_turn_until_it_answers() {
        let disk = executor(1, Duration::from_millis(50));
        let (answer, hangs) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let hung = disk.call(operation(), move |abandoned| {
            let _ = hangs.recv();
            assert!(abandoned());
            Ok(DropReporter(tell))
        });
        let error = hung.await.err().unwrap();
        assert!(matches!(&error, StorageError::TimedOut(text) if text.contains("/x")), "{error}");
        let (what, since) = disk.longest_call(Instant::now()).unwrap();
        assert!(what == "write \"/x\"" && since > Duration::ZERO, "{what} for {since:?}");

        // No other call takes a thread meanwhile.
        let next = disk.call(operation(), |_| Ok(())).await;
        assert!(matches!(next, Err(StorageError::TimedOut(_))));

        answer.send(()).unwrap();
        assert!(disk.settled(LONG).await);
        assert_eq!(disk.longest_call(Instant::now()), None);
        assert_ne!(told.try_recv().unwrap(), std::thread::current().id());
        disk.call(operation(), |_| Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_call_had_ready_when_it_was_dropped_is_dropped_off_the_runtimes_threads() {
        let disk = executor(4, LONG);
        let (tell, told) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let slot = disk.acquire_slot(&operation()).await.unwrap();
        let call = disk.start(slot, operation(), move |_| {
            ready.send(()).unwrap();
            Ok(DropReporter(tell))
        });
        is_ready.recv().unwrap();
        drop(call);
        assert!(disk.settled(LONG).await);
        assert_ne!(told.try_recv().unwrap(), std::thread::current().id());
    }

    #[tokio::test]
    async fn work_that_panics_is_a_fault_and_gives_its_turn_back() {
        let disk = executor(1, LONG);
        let fault = disk.call(operation(), |_| -> Result<(), _> { panic!("on purpose") }).await;
        assert!(matches!(fault, Err(StorageError::Fault(_))));
        disk.call(operation(), |_| Ok(())).await.unwrap();
    }
}
