//! Calls into librdkafka that may outlast every timeout they are given: `rd_kafka_send_offsets_to_transaction` ignores
//! its own where the group's coordinator dies (librdkafka issues 5456 and 5511). Each is made on a thread of the
//! producer's, and waited for with a deadline of ours. A producer whose call is overdue is abandoned with its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::kafka::CommitError;

/// Between two checks of a call that is under way: delivery reports are taken, and the loop beats.
const WAIT: Duration = Duration::from_millis(10);
/// Producers with a call that has not returned, at one time. With one more the pod ends: its next process begins with none.
pub(super) const MAX_ABANDONED: usize = 8;

type Call = Box<dyn FnOnce() + Send>;

/// A call that did not return in time, or a thread that cannot be had.
#[derive(Debug)]
pub(super) struct CallOverdue;

impl From<CallOverdue> for CommitError {
    fn from(CallOverdue: CallOverdue) -> Self {
        let why = "a call of its client library's did not return in time";
        CommitError::Broken { why, error: KafkaError::Global(RDKafkaErrorCode::OperationTimedOut) }
    }
}

/// The thread on which a producer's calls are made, one at a time.
#[derive(Debug)]
pub(super) struct CallThread {
    calls: SyncSender<Call>,
}

/// How many threads of producers that were given up have not come back.
#[derive(Clone, Debug, Default)]
pub(super) struct AbandonedCalls(Arc<AtomicUsize>);

impl AbandonedCalls {
    pub fn is_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_ABANDONED
    }

    /// Drops something that may hang doing so, on a thread of its own. What cannot be dropped so is left.
    pub fn drop_elsewhere<T: Send + 'static>(&self, old: T) {
        let count = Arc::clone(&self.0);
        count.fetch_add(1, Ordering::Relaxed);
        let dropped = std::thread::Builder::new().name("producer-drop".into()).spawn(move || {
            drop(old);
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = dropped {
            tracing::warn!(
                event = "producer_drop_failed", %error,
                "cannot start a thread to drop the old producer"
            );
        }
    }
}

impl CallThread {
    pub fn start() -> std::io::Result<CallThread> {
        let (calls, to_make) = sync_channel::<Call>(1);
        std::thread::Builder::new().name("publish-calls".into()).spawn(move || {
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
            let _ = tell.send(call()); // nobody waits for it after the deadline
        });
        self.calls.try_send(call).map_err(|_| CallOverdue)?;
        let begun = Instant::now();
        loop {
            match told.recv_timeout(WAIT) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(CallOverdue),
                Err(RecvTimeoutError::Timeout) => meanwhile(),
            }
            if begun.elapsed() >= deadline {
                return Err(CallOverdue);
            }
        }
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
        let begun = Instant::now();
        while abandoned.is_too_many() {
            assert!(begun.elapsed() < LONG);
            std::thread::sleep(WAIT);
        }
    }
}
