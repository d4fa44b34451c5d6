//! The demo never hangs: whatever it waits for, it gives up at a deadline and says what it waited for.

use std::io::{self, Write as _};
use std::process;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Ends the process when a stage takes too long. Has its own thread: it works while everything else hangs.
#[derive(Clone, Debug)]
pub struct Watchdog {
    shared: Arc<(Mutex<Stage>, Condvar)>,
}

#[derive(Debug)]
struct Stage {
    name: String,
    deadline: Option<Instant>,
}

impl Watchdog {
    /// Starts the thread; nothing is watched until [`Watchdog::stage`].
    ///
    /// # Errors
    /// No thread.
    pub fn start() -> io::Result<Watchdog> {
        let stage = Stage { name: String::new(), deadline: None };
        let watchdog = Watchdog { shared: Arc::new((Mutex::new(stage), Condvar::new())) };
        let watching = watchdog.clone();
        thread::Builder::new().name("demo-watchdog".to_owned()).spawn(move || {
            let name = watching.wait_until_late();
            let _ = writeln!(io::stderr(), "\nftp-pooler demo: gave up waiting: {name} took too long");
            process::exit(1);
        })?;
        Ok(watchdog)
    }

    /// A stage begins, and may take this long.
    pub fn stage(&self, name: impl Into<String>, limit: Duration) {
        self.set(Stage { name: name.into(), deadline: Some(Instant::now() + limit) });
    }

    /// From now on it may take as long as the user likes.
    pub fn rest(&self) {
        self.set(Stage { name: String::new(), deadline: None });
    }

    fn set(&self, stage: Stage) {
        let (current, changed) = &*self.shared;
        *current.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        changed.notify_one();
    }

    /// Returns the name of the stage that took too long.
    fn wait_until_late(&self) -> String {
        let (current, changed) = &*self.shared;
        let mut stage = current.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = stage.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => return stage.name.clone(),
                Some(left) => {
                    stage = changed.wait_timeout(stage, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => stage = changed.wait(stage).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_that_took_too_long_is_named() {
        let stage = Stage { name: String::new(), deadline: None };
        let watchdog = Watchdog { shared: Arc::new((Mutex::new(stage), Condvar::new())) };
        let watching = watchdog.clone();
        let late = thread::spawn(move || watching.wait_until_late());
        watchdog.stage("first", Duration::from_secs(600));
        watchdog.rest();
        watchdog.stage("second", Duration::from_millis(1));
        assert_eq!(late.join().unwrap(), "second");
    }
}
