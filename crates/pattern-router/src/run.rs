//! The process: workers, a control thread beside them, signals, drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::assemble::{AssembleError, assemble};
use crate::config::{self, ConfigError};
use crate::metrics::Metrics;
use crate::router::Router;
use crate::server::{ListenError, bind, run_worker};

/// After the drain: time for Close frames, then the process ends whatever is open.
const CLOSE_STREAMS: Duration = Duration::from_secs(3);

/// Why the router does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Assemble(#[from] AssembleError),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("no thread or runtime: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("admin: {0}")]
    Admin(String),
}

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(path: &Path) -> Result<(), RunError> {
    let settings = config::load(path, std::env::vars())?;
    let runtime =
        Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
    let guard = runtime.enter();
    let state = assemble(settings, None)?;
    let settings = state.settings.clone();
    let router = Arc::new(Router::new(state, Metrics::new()?));
    // Port 0 is one that the system picks: the others share the first one's.
    let first = bind(settings.listen)?;
    let listen = first.local_addr()?;
    let others = (1..settings.workers).map(|_| bind(listen));
    let listeners = std::iter::once(Ok(first)).chain(others).collect::<Result<Vec<_>, _>>()?;
    let mut threads = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let (router, drain) = (Arc::clone(&router), settings.drain + CLOSE_STREAMS);
        let worker = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        threads.push(thread.spawn(move || worker.block_on(run_worker(listener, router, drain)))?);
    }
    drop(guard);
    let outcome = runtime.block_on(control(path.to_owned(), Arc::clone(&router), listen));
    for thread in threads {
        let _ = thread.join();
    }
    runtime.shutdown_background();
    outcome
}

/// Waits for the end, and makes it orderly.
async fn control(_path: PathBuf, router: Arc<Router>, listen: SocketAddr) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let state = router.state();
    tracing::info!(%listen, domain = state.settings.domain.name(), workers = state.settings.workers, "listening");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    router.begin_drain();
    tokio::time::sleep(state.settings.drain).await;
    router.close_streams.cancel();
    Ok(())
}
