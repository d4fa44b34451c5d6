//! The process: workers, a separate control thread, signals, drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use service_kit::health::Health;
use service_kit::http::BindError;
use service_kit::logging::{self, Filter, Format, Guard, Policy};
use service_kit::metrics::ProcessMetrics;
use service_kit::signals::{SignalRequest, Signals};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, RouterHealth, RouterMetrics, WORKER_SILENCE};
use crate::assemble::{AssembleError, assemble};
use crate::config::{self, ConfigErrors};
use crate::metrics::Metrics;
use crate::reload::Reloader;
use crate::router::Router;
use crate::server::{ListenError, bind, run_worker};
use crate::settings::{LogFormat, Settings};

/// After the drain: time for Close frames, then the process exits even if connections are open.
const CLOSE_STREAMS: Duration = Duration::from_secs(3);
/// The interval for removing unused rate limits.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Why the router cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    #[error("{0}")]
    Assemble(#[from] AssembleError),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("{0}")]
    Admin(#[from] BindError),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("log: {0}")]
    Log(String),
    #[error("no thread or runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Runs until SIGTERM or SIGINT, then drains. SIGHUP reloads.
pub fn run(path: &Path) -> Result<(), RunError> {
    let settings = config::load(path, std::env::vars())?;
    let _log = begin_log(&settings)?;
    let runtime =
        Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
    let guard = runtime.enter();
    let state = assemble(settings, None)?;
    let settings = state.settings.clone();
    let router = Arc::new(Router::new(state, Metrics::new()?));
    let health = Arc::new(Health::default());
    let process = ProcessMetrics::register(&router.metrics.registry)?;
    let (listen, threads) = start_workers(&settings, &router, &health)?;
    drop(guard);
    let control = Control { path: path.to_owned(), router, health, process, listen };
    let outcome = runtime.block_on(control.run(&settings));
    for thread in threads {
        let _ = thread.join();
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn begin_log(settings: &Settings) -> Result<Guard, RunError> {
    let format = match settings.log_format {
        LogFormat::Json => Format::Json,
        LogFormat::Human => Format::Human,
    };
    let filter = Filter::from_environment().map_err(|error| RunError::Log(error.to_string()))?;
    let policy = Policy { sealed: &[], batched: Some("pattern_router::access") };
    logging::init(Some(format), &filter, policy).map_err(|error| RunError::Log(error.to_string()))
}

/// Starts a thread with a runtime for each worker; returns the address that they share.
fn start_workers(
    settings: &Settings,
    router: &Arc<Router>,
    health: &Health,
) -> Result<(SocketAddr, Vec<JoinHandle<()>>), RunError> {
    // With port 0 the system chooses one: the others use the first one's.
    let first = bind(settings.sockets.listen)?;
    let listen = first.local_addr()?;
    let others = (1..settings.workers).map(|_| bind(listen));
    let listeners = std::iter::once(Ok(first)).chain(others).collect::<Result<Vec<_>, _>>()?;
    let mut threads = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let (router, drain) = (Arc::clone(router), settings.drain + CLOSE_STREAMS);
        let heartbeat = health.register_loop(format!("worker-{index}"), WORKER_SILENCE);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        threads.push(thread.spawn(move || {
            runtime.block_on(async {
                let beating = Arc::clone(&heartbeat);
                let beat = tokio::spawn(async move { beating.keep_beating().await });
                run_worker(listener, router, drain).await;
                beat.abort();
                heartbeat.finish();
            });
        })?);
    }
    Ok((listen, threads))
}

struct Control {
    path: PathBuf,
    router: Arc<Router>,
    health: Arc<Health>,
    process: ProcessMetrics,
    listen: SocketAddr,
}

impl Control {
    /// Serves the admin port and waits for signals; then shuts down in order.
    async fn run(self, settings: &Settings) -> Result<(), RunError> {
        let mut signals = Signals::listen()?;
        let stop_admin = CancellationToken::new();
        let health =
            Arc::new(RouterHealth { health: Arc::clone(&self.health), router: Arc::clone(&self.router) });
        let metrics = Arc::new(RouterMetrics { router: Arc::clone(&self.router), process: self.process });
        let admin = match settings.sockets.admin {
            Some(address) => {
                let host = address.ip().to_string();
                let listener = service_kit::http::bind("admin_port", &host, address.port()).await?;
                let bound = listener.local_addr()?;
                let routes = admin::routes(health, metrics);
                tokio::spawn(service_kit::http::serve(listener, routes, stop_admin.clone()));
                Some(bound)
            }
            None => None,
        };
        tracing::info!(
            event = "started",
            listen = %self.listen,
            admin = admin.map(|address| address.to_string()),
            domain = settings.domain.name(),
            workers = settings.workers,
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        let mut reloader = Reloader::new(self.path, Arc::clone(&self.router));
        let mut look = tokio::time::interval(settings.reload_every);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                request = signals.next() => match request {
                    SignalRequest::Stop => break,
                    SignalRequest::Reload => tokio::task::block_in_place(|| reloader.reload()),
                },
                _ = look.tick() => tokio::task::block_in_place(|| reloader.check()),
                _ = sweep.tick() => self.router.rates.sweep(self.router.nanos(Instant::now())),
            }
        }
        let drain = self.router.state().settings.drain;
        tracing::info!(event = "draining", seconds = drain.as_secs_f64(), "draining");
        self.health.set_draining();
        self.router.begin_drain();
        tokio::select! {
            () = drained(&self.router, drain) => {}
            () = signals.stop() => tracing::warn!(event = "drain_aborted", "second signal: drain aborted"),
        }
        self.router.close_streams.cancel();
        let _ = tokio::time::timeout(CLOSE_STREAMS, drained(&self.router, CLOSE_STREAMS)).await;
        stop_admin.cancel();
        Ok(())
    }
}

/// Resolves when no connection is left, or the time is over.
async fn drained(router: &Router, limit: Duration) {
    let end = Instant::now() + limit;
    while Instant::now() < end && (router.connections.open() > 0 || router.metrics.open.websocket.get() > 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
