//! All tunnels to one server, through one frpc: opened, watched and closed while it runs.
//!
//! ```text
//! core     the decisions, pure: events and time go in, actions come out
//! driver   carries the actions out, and reports what happens
//! running  one running frpc: its process, its configuration, its administration API
//! tunnel   a tunnel, as its opener sees it
//! limits   how many tunnels there may be, and how many callers may wait for one to end
//! ```

mod core;
pub(crate) use self::core::Tracked;
mod driver;
mod limits;
mod running;
mod tunnel;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

pub use self::core::Timing;
pub use self::tunnel::{Tunnel, TunnelSnapshot, TunnelStack};

use self::driver::{ClientCommand, Driver};
use self::limits::{LimitError, TunnelLimits};
use crate::binary::{BinaryError, FrpBinary, FrpProgram, find_binary};
use crate::events::{MAX_WAITING_EVENTS, TunnelEvent};
use crate::failure::Failure;
use crate::server_settings::ServerSettings;
use crate::spec::{IdStrategy, Mistake, TunnelSpec, mistakes};

/// Requests that wait for the driver.
const MAX_WAITING_COMMANDS: usize = 256;
/// For everything that ends at a shutdown: frpc's own, SIGTERM, SIGKILL.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    pub server: ServerSettings,
    /// `None`: searched for.
    pub frpc: Option<PathBuf>,
    pub timing: Timing,
    /// Tunnels at a time.
    pub max_tunnels: usize,
    /// Further ones that may wait until another is closed.
    pub max_queued: usize,
    /// How long they wait.
    pub queue_wait: Duration,
    pub id_strategy: IdStrategy,
    /// The name under which others reach frps' ports; `None`: the server's host.
    pub public_host: Option<String>,
    /// Each tunnel's life is logged. Who reports of many tunnels as of one turns it off.
    pub logs_tunnels: bool,
}

impl ClientSettings {
    pub fn new(server: ServerSettings) -> Self {
        Self {
            server,
            frpc: None,
            timing: Timing::default(),
            max_tunnels: 200,
            max_queued: 100,
            queue_wait: Duration::from_secs(30),
            id_strategy: IdStrategy::default(),
            public_host: None,
            logs_tunnels: true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Binary(#[from] BinaryError),
    #[error("the server's settings are wrong:\n  {}", .0.join("\n  "))]
    Settings(Vec<String>),
}

/// Why a tunnel was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}", lines(.0))]
    Invalid(Vec<Mistake>),
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error("cannot prepare the rewriting proxy: {0}")]
    Rewriting(#[source] std::io::Error),
    #[error("{tunnel}: {failure}")]
    NotConnected { tunnel: String, failure: Failure },
    #[error("the client has been shut down")]
    ShutDown,
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What the guards and the client share. The driver ends when the last of them is gone.
#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<ClientCommand>,
    dropped: Arc<DroppedTunnels>,
}

/// Guards that were dropped without a close: each is in here once, so its bound is that of the tunnels.
#[derive(Debug, Default)]
struct DroppedTunnels {
    names: Mutex<Vec<String>>,
    is_there: Notify,
}

impl DroppedTunnels {
    fn add(&self, name: String) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        self.is_there.notify_one();
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All tunnels to one server. frpc ends when this and its last tunnel are dropped; [`Self::shutdown`] ends all and waits.
#[derive(Debug)]
pub struct TunnelClient {
    shared: Arc<Shared>,
    limits: TunnelLimits,
    binary: FrpBinary,
    events: broadcast::Sender<TunnelEvent>,
    driver: JoinHandle<()>,
}

impl TunnelClient {
    /// Finds frpc and checks the settings; frpc is started with the first tunnel.
    pub async fn start(settings: ClientSettings) -> Result<Self, ClientError> {
        let mistakes = settings.server.mistakes();
        if !mistakes.is_empty() {
            return Err(ClientError::Settings(mistakes));
        }
        let binary = find_binary(FrpProgram::Client, settings.frpc.as_deref()).await?;
        for warning in settings.server.warnings() {
            tracing::warn!(event = "tunnel_settings_warning", server = %settings.server.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), "{warning}");
        }
        let (commands, receiver) = mpsc::channel(MAX_WAITING_COMMANDS);
        let (events, _) = broadcast::channel(MAX_WAITING_EVENTS);
        let dropped = Arc::new(DroppedTunnels::default());
        let shared = Arc::new(Shared { commands, dropped: dropped.clone() });
        let limits = TunnelLimits::new(settings.max_tunnels, settings.max_queued, settings.queue_wait);
        let driver = Driver::new(settings, binary.clone(), dropped, receiver, events.clone());
        let driver = tokio::spawn(driver.run());
        Ok(Self { shared, limits, binary, events, driver })
    }

    /// The frpc that is used.
    pub fn binary(&self) -> &FrpBinary {
        &self.binary
    }

    /// Events from now on. A slow reader misses the oldest, and learns how many.
    pub fn events(&self) -> broadcast::Receiver<TunnelEvent> {
        self.events.subscribe()
    }

    /// Opens a tunnel and waits until its probe has succeeded; one that does not connect within
    /// [`Timing::connect_deadline`] is closed again, and the error says why.
    pub async fn open(&self, spec: TunnelSpec) -> Result<Tunnel, OpenError> {
        let mut tunnel = self.add(spec).await?;
        match tunnel.connected().await {
            Ok(()) => Ok(tunnel),
            Err(failure) => {
                let name = tunnel.name().to_owned();
                tunnel.close().await;
                Err(OpenError::NotConnected { tunnel: name, failure })
            }
        }
    }

    /// Opens a tunnel and does not wait for it: it is tried until it is closed.
    pub async fn add(&self, spec: TunnelSpec) -> Result<Tunnel, OpenError> {
        let found = mistakes(&spec);
        if !found.is_empty() {
            return Err(OpenError::Invalid(found));
        }
        let permit = self.limits.acquire().await?;
        let (answer, answered) = oneshot::channel();
        let command = ClientCommand::Add { spec: Box::new(spec), permit, answer };
        self.shared.commands.send(command).await.map_err(|_| OpenError::ShutDown)?;
        let (name, status) = answered.await.map_err(|_| OpenError::ShutDown)??;
        Ok(Tunnel::new(name, status, self.shared.clone()))
    }

    /// All tunnels as they are now, by name.
    pub async fn tunnels(&self) -> Vec<TunnelSnapshot> {
        let (answer, answered) = oneshot::channel();
        let sent = self.shared.commands.send(ClientCommand::Snapshot { answer }).await;
        if sent.is_err() {
            return Vec::new();
        }
        answered.await.unwrap_or_default()
    }

    /// Restarts frpc with the current contents of the secrets' files; its tunnels are down for that time.
    pub async fn restart(&self) {
        let _ = self.shared.commands.send(ClientCommand::Restart).await;
    }

    /// Ends every tunnel and frpc, and waits for it.
    pub async fn shutdown(self) {
        let _ = self.shared.commands.send(ClientCommand::Shutdown).await;
        if tokio::time::timeout(SHUTDOWN_DEADLINE, self.driver).await.is_err() {
            tracing::warn!(event = "frpc_stop_timed_out", "frpc did not exit in time");
        }
    }
}
