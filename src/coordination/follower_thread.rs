//! A part of the pod that follows the coordination topic, on a thread of its own: it begins again whenever the topic cannot
//! be followed, until it is stopped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::kafka::{KafkaError, LogThrottle};

/// So often a pause looks whether it is to end.
const POLL: Duration = Duration::from_millis(50);

/// Whether the thread is asked to end.
#[derive(Clone, Debug, Default)]
pub(super) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Waits for `time`, or until it is set.
    fn pause(&self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time && !self.is_set() {
            std::thread::sleep(POLL.min(time));
        }
    }
}

/// What such a thread does.
pub(super) trait TopicFollower: Send + 'static {
    /// The thread's name.
    const THREAD: &'static str;
    /// Between two attempts to follow the topic.
    const AGAIN: Duration;

    /// Follows the topic until `stop` is set, then says so to the other pods.
    ///
    /// # Errors
    /// The topic cannot be followed, or not any longer.
    fn follow(&self, stop: &StopFlag) -> Result<(), KafkaError>;

    /// The topic cannot be followed; it is tried again.
    fn set_unavailable(&self, error: &KafkaError);

    /// The same for the log, where it has not been told lately; `untold` is how often it has not.
    fn log_unavailable(&self, error: &KafkaError, untold: u64);
}

/// A running thread.
#[derive(Debug)]
pub struct FollowerHandle {
    stop: StopFlag,
    /// Resolves when the other pods have been told, and the thread has ended.
    pub ended: oneshot::Receiver<()>,
}

impl FollowerHandle {
    /// Tells the other pods, and ends.
    pub fn stop(&self) {
        self.stop.set();
    }
}

/// Starts the thread, which runs until it is stopped.
///
/// # Errors
/// There is no thread.
pub(super) fn spawn<F: TopicFollower>(follower: F) -> io::Result<FollowerHandle> {
    let (stop, (left, ended)) = (StopFlag::default(), oneshot::channel());
    let stopped = stop.clone();
    std::thread::Builder::new().name(F::THREAD.into()).spawn(move || {
        let throttle = LogThrottle::default();
        while !stopped.is_set() {
            let Err(error) = follower.follow(&stopped) else { break };
            follower.set_unavailable(&error);
            if let Some(untold) = throttle.admit(&error.to_string(), Instant::now()) {
                follower.log_unavailable(&error, untold);
            }
            stopped.pause(F::AGAIN);
        }
        let _ = left.send(()); // nobody waits for it after the shutdown deadline
    })?;
    Ok(FollowerHandle { stop, ended })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Fails so often, then follows until it is stopped.
    struct Fails<const AGAIN_MS: u64> {
        times: usize,
        did: Arc<Mutex<Vec<&'static str>>>,
    }

    impl<const AGAIN_MS: u64> TopicFollower for Fails<AGAIN_MS> {
        const THREAD: &'static str = "fails";
        const AGAIN: Duration = Duration::from_millis(AGAIN_MS);

        fn follow(&self, stop: &StopFlag) -> Result<(), KafkaError> {
            let mut did = self.did.lock().unwrap();
            did.push("follow");
            if did.iter().filter(|did| **did == "follow").count() <= self.times {
                return Err(KafkaError::Canceled);
            }
            drop(did);
            while !stop.is_set() {
                std::thread::sleep(POLL);
            }
            self.did.lock().unwrap().push("farewell");
            Ok(())
        }

        fn set_unavailable(&self, _error: &KafkaError) {
            self.did.lock().unwrap().push("unavailable");
        }

        fn log_unavailable(&self, _error: &KafkaError, _untold: u64) {
            self.did.lock().unwrap().push("log");
        }
    }

    fn run<const AGAIN_MS: u64>(times: usize, stop_after: usize) -> Vec<&'static str> {
        let did = Arc::default();
        let handle = spawn(Fails::<AGAIN_MS> { times, did: Arc::clone(&did) }).unwrap();
        while did.lock().unwrap().len() < stop_after {
            std::thread::sleep(POLL);
        }
        handle.stop();
        handle.ended.blocking_recv().unwrap();
        did.lock().unwrap().clone()
    }

    #[test]
    fn what_cannot_be_followed_is_tried_again_and_told_once() {
        let did = run::<1>(2, 6);
        assert_eq!(did, ["follow", "unavailable", "log", "follow", "unavailable", "follow", "farewell"]);
    }

    #[test]
    fn a_pause_ends_when_the_thread_is_stopped() {
        let did = run::<3_600_000>(1, 3);
        assert_eq!(did, ["follow", "unavailable", "log"]);
    }
}
