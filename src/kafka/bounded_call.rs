//! Calls into librdkafka that may exceed every timeout they are given: `rd_kafka_send_offsets_to_transaction` ignores
//! its own if the group's coordinator dies (librdkafka issues 5456 and 5511), others have none. Each is made on a
//! separate thread, and awaited with our own deadline. A thread whose call is overdue is abandoned.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::CommitError;

/// Between two checks of a call that is under way: delivery reports are taken, and the loop beats.
const WAIT: Duration = Duration::from_millis(10);
/// Clients, or calls, that were given up and have not returned, at one time.
const MAX_ABANDONED: usize = 8;

type Call = Box<dyn FnOnce() + Send>;

/// A call that did not return in time, or a thread that cannot be had.
#[derive(Debug)]
pub(crate) struct CallOverdue;

impl From<CallOverdue> for CommitError {
    fn from(CallOverdue: CallOverdue) -> Self {
        let why = "a call of its client library's did not return in time";
        CommitError::Broken { why, error: CallOverdue.into() }
    }
}

impl From<CallOverdue> for KafkaError {
    fn from(CallOverdue: CallOverdue) -> Self {
        KafkaError::Global(RDKafkaErrorCode::OperationTimedOut)
    }
}

/// The thread on which a client's calls are made, one at a time. Unusable once a call was overdue.
#[derive(Debug)]
pub(crate) struct CallThread {
    calls: SyncSender<Call>,
}

/// How many clients that were given up have not ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct AbandonedCalls(Arc<AtomicUsize>);

impl AbandonedCalls {
    pub fn is_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_ABANDONED
    }

    /// Drops a value whose drop may hang on a separate thread. If that is impossible, it is leaked.
    pub fn drop_elsewhere<T: Send + 'static>(&self, old: T) {
        let count = Arc::clone(&self.0);
        count.fetch_add(1, Ordering::Relaxed);
        let dropped = std::thread::Builder::new().name("kafka-drop".into()).spawn(move || {
            drop(old);
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = dropped {
            tracing::warn!(
                event = "client_drop_failed", %error,
                "cannot start a thread to drop an old Kafka client"
            );
        }
    }
}

impl CallThread {
    pub fn start() -> std::io::Result<CallThread> {
        let (calls, to_make) = sync_channel::<Call>(1);
        std::thread::Builder::new().name("kafka-calls".into()).spawn(move || {
            for call in to_make {
                call();
            }
        })?;
        Ok(CallThread { calls })
    }

    /// Makes a call and waits for `deadline` at most; `meanwhile` is called now and then.
    pub fn call<R: Send + 'static>(
        &self,
        deadline: Duration,
        meanwhile: impl Fn(),
        call: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, CallOverdue> {
        let (tell, told) = sync_channel(1);
        let call = Box::new(move || {
            let _ = tell.send(call()); // no longer awaited after the deadline
        });
        self.calls.try_send(call).map_err(|_| CallOverdue)?;
        let started = Instant::now();
        loop {
            match told.recv_timeout(WAIT) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(CallOverdue),
                Err(RecvTimeoutError::Timeout) => meanwhile(),
            }
            if started.elapsed() >= deadline {
                return Err(CallOverdue);
            }
        }
    }
}

/// Calls from any thread, one at a time. If one is overdue, its thread is abandoned, and replaced by another.
#[derive(Debug, Default)]
pub(crate) struct BoundedCalls {
    thread: Mutex<Option<CallThread>>,
    under_way: Arc<AtomicUsize>,
}

/// A call that has not returned.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl BoundedCalls {
    /// Makes a call and waits for `deadline` at most, and as long for the calls of other threads.
    pub fn call<R: Send + 'static>(
        &self,
        deadline: Duration,
        call: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, CallOverdue> {
        if self.under_way.load(Ordering::Relaxed) > MAX_ABANDONED {
            return Err(CallOverdue);
        }
        let mut slot = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = match slot.take() {
            Some(thread) => thread,
            None => CallThread::start().map_err(|_| CallOverdue)?,
        };
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(Arc::clone(&self.under_way));
        let result = thread.call(
            deadline,
            || (),
            move || {
                let result = call();
                drop(under_way);
                result
            },
        )?;
        *slot = Some(thread);
        drop(slot);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::channel;

    use super::*;

    /// Only there so that a failure ends.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_call_that_returns_is_waited_for() {
        let thread = CallThread::start().unwrap();
        let polled = Cell::new(0);
        let slow = || std::thread::sleep(3 * WAIT);
        assert!(thread.call(LONG, || polled.set(polled.get() + 1), slow).is_ok());
        assert!(polled.get() > 0, "reports are taken meanwhile");
        assert_eq!(thread.call(LONG, || (), || 7).unwrap(), 7);
    }

    #[test]
    fn a_call_that_does_not_return_is_given_up_and_so_is_its_thread() {
        let thread = CallThread::start().unwrap();
        let (go_on, waits) = channel::<()>();
        let hang = move || {
            let _ = waits.recv();
        };
        assert!(thread.call(WAIT, || (), hang).is_err());
        assert!(thread.call(WAIT, || (), || ()).is_err(), "the thread is still in the other call");
        drop(go_on);
    }

    #[test]
    fn a_call_that_hangs_holds_up_no_other_and_their_number_is_bounded() {
        let calls = BoundedCalls::default();
        let (go_on, waits) = channel::<()>();
        let waits = Arc::new(Mutex::new(waits));
        for _ in 0..=MAX_ABANDONED {
            let waits = Arc::clone(&waits);
            assert_eq!(calls.call(LONG, || 7).unwrap(), 7);
            let hang = move || drop(waits.lock().map(|waits| waits.recv()));
            assert!(calls.call(WAIT, hang).is_err());
        }
        assert!(calls.call(LONG, || 7).is_err(), "too many of them hang");
        drop(go_on);
        let started = Instant::now();
        while calls.call(LONG, || ()).is_err() {
            assert!(started.elapsed() < LONG);
            std::thread::sleep(WAIT);
        }
    }

    #[test]
    fn what_hangs_while_it_is_dropped_is_counted_until_it_comes_back() {
        struct Hangs(std::sync::mpsc::Receiver<()>);
        impl Drop for Hangs {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        let abandoned = AbandonedCalls::default();
        let mut let_go = Vec::new();
        for _ in 0..=MAX_ABANDONED {
            assert!(!abandoned.is_too_many());
            let (go_on, waits) = channel();
            let_go.push(go_on);
            abandoned.drop_elsewhere(Hangs(waits));
        }
        assert!(abandoned.is_too_many());
        drop(let_go);
        let started = Instant::now();
        while abandoned.is_too_many() {
            assert!(started.elapsed() < LONG);
            std::thread::sleep(WAIT);
        }
    }
}
