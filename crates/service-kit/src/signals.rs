//! The signals that a process handles, and its run: start, work, drain. The first SIGTERM or SIGINT drains, a second
//! one aborts, SIGHUP reloads the configuration.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches SIGTERM, SIGINT and SIGHUP from its creation on: none of them ends the process any more.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

/// What a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalRequest {
    /// SIGTERM or SIGINT: drain and exit; a second time, exit at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

impl Signals {
    /// # Errors
    /// The system's error if it cannot catch a signal. Must be called within a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves at the next signal.
    pub async fn next(&mut self) -> SignalRequest {
        let (name, request) = tokio::select! {
            _ = self.term.recv() => ("SIGTERM", SignalRequest::Stop),
            _ = self.int.recv() => ("SIGINT", SignalRequest::Stop),
            _ = self.hup.recv() => ("SIGHUP", SignalRequest::Reload),
        };
        tracing::info!(event = "signal_received", signal = name, "received {name}");
        request
    }

    /// Resolves at the next signal that stops the process; a reload is ignored.
    pub async fn stop(&mut self) {
        while self.next().await != SignalRequest::Stop {
            tracing::info!(event = "reload_ignored", "reload ignored: the process is starting or stopping");
        }
    }
}

/// A running process.
pub trait Service: Sized {
    type Error;

    /// SIGHUP: read the configuration again. Must not block.
    fn reload(&self);

    /// Resolves when the process cannot continue; it is then stopped. Called again after each signal, so it must be
    /// cancel-safe.
    fn failed(&mut self) -> impl Future<Output = Self::Error>;

    /// Drains and closes everything, within its own time limits.
    fn stop(self) -> impl Future<Output = ()>;
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum RunEnd<E> {
    /// A signal requested it: drained, or stopped before it had started.
    Stopped,
    /// It could not start, or could not continue; everything that had started is drained.
    Failed(E),
    /// A second signal ended the drain.
    Aborted,
}

/// Starts a service and runs it until a signal or its own failure stops it, then drains it.
pub async fn run_until_stopped<S: Service>(
    signals: &mut Signals,
    start: impl Future<Output = Result<S, S::Error>>,
) -> RunEnd<S::Error> {
    let mut service = tokio::select! {
        started = start => match started {
            Ok(service) => service,
            Err(error) => return RunEnd::Failed(error),
        },
        () = signals.stop() => return RunEnd::Stopped,
    };
    let end = loop {
        tokio::select! {
            request = signals.next() => match request {
                SignalRequest::Stop => break RunEnd::Stopped,
                SignalRequest::Reload => service.reload(),
            },
            error = service.failed() => break RunEnd::Failed(error),
        }
    };
    tokio::select! {
        () = service.stop() => end,
        () = signals.stop() => {
            tracing::warn!(event = "drain_aborted", "second signal: drain aborted");
            RunEnd::Aborted
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;

    use rustix::process::{Signal as Kill, getpid, kill_process};
    use tokio::sync::Notify;

    use super::*;

    /// A service that fails on request, and drains at once or never.
    struct Probe {
        reloaded: Arc<Notify>,
        fails: Option<&'static str>,
        drains: bool,
    }

    impl Service for Probe {
        type Error = &'static str;

        fn reload(&self) {
            self.reloaded.notify_one();
        }

        async fn failed(&mut self) -> &'static str {
            match self.fails {
                Some(error) => error,
                None => pending().await,
            }
        }

        async fn stop(self) {
            if !self.drains {
                kill_process(getpid(), Kill::TERM).unwrap();
                pending::<()>().await;
            }
        }
    }

    fn probe(fails: Option<&'static str>, drains: bool) -> (Probe, Arc<Notify>) {
        let reloaded = Arc::new(Notify::new());
        (Probe { reloaded: Arc::clone(&reloaded), fails, drains }, reloaded)
    }

    // A single test, since signals affect the whole process.
    #[tokio::test]
    async fn a_run_ends_by_signal_by_failure_or_by_a_second_signal() {
        let mut signals = Signals::listen().unwrap();

        let failed: Result<Probe, _> = Err("no port");
        assert_eq!(run_until_stopped(&mut signals, ready(failed)).await, RunEnd::Failed("no port"));

        let (service, _) = probe(Some("broken"), true);
        assert_eq!(run_until_stopped(&mut signals, ready(Ok(service))).await, RunEnd::Failed("broken"));

        let (service, reloaded) = probe(None, true);
        let asking = async {
            kill_process(getpid(), Kill::HUP).unwrap();
            reloaded.notified().await;
            kill_process(getpid(), Kill::INT).unwrap();
        };
        let (end, ()) = tokio::join!(run_until_stopped(&mut signals, ready(Ok(service))), asking);
        assert_eq!(end, RunEnd::Stopped);

        let (service, _) = probe(Some("broken"), false);
        assert_eq!(run_until_stopped(&mut signals, ready(Ok(service))).await, RunEnd::Aborted);

        kill_process(getpid(), Kill::HUP).unwrap();
        kill_process(getpid(), Kill::TERM).unwrap();
        let never = pending::<Result<Probe, _>>();
        assert_eq!(run_until_stopped(&mut signals, never).await, RunEnd::Stopped);
    }
}
