//! Ctrl-C and SIGTERM, for commands that have something to say before they end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::EXIT_INTERRUPTED;

/// Whether the user has had enough. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct InterruptFlag(Arc<AtomicBool>);

impl InterruptFlag {
    /// Listens from now on, on its own thread. A second signal ends the process at once.
    ///
    /// # Errors
    /// Creating the thread or listening for signals failed.
    pub fn listen() -> io::Result<InterruptFlag> {
        use tokio::signal::unix::{SignalKind, signal};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let interrupt = InterruptFlag::default();
        let told = interrupt.clone();
        let (mut ctrl_c, mut terminate) = {
            let _within = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let listen = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = ctrl_c.recv() => {}, _ = terminate.recv() => {} }
                    if told.0.swap(true, Ordering::Relaxed) {
                        std::process::exit(EXIT_INTERRUPTED.into());
                    }
                }
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
        Ok(interrupt)
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
