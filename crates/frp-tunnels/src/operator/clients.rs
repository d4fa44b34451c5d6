//! The running frpcs, brought to what is planned: a tunnel that changes is closed and opened, all others stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::plan::{ClientKey, Plan, PlannedClient, PlannedPart, PlannedServer};
use crate::client::{ClientError, ClientSettings, OpenError, Tunnel, TunnelClient, TunnelSnapshot};
use crate::exposition::Exposition;
use crate::server_settings::{Authentication, SecretSource, ServerSettings};

/// Within this frpc has taken a removal, or it is started anew.
const CLOSE_DEADLINE: Duration = Duration::from_secs(8);
/// Of all tunnels of one frpc: an FTP server has up to a thousand.
const MAX_TUNNELS: usize = 20_000;
/// Directories of memory for certificates, which frpc takes as files only.
const MEMORY_DIRECTORIES: [&str; 3] = ["/run/frp-tunnels", "/dev/shm", "/run"];

/// What went wrong with a Tunnel when the plan was carried out: reason and message.
pub(super) type Problems = BTreeMap<String, (&'static str, String)>;

#[derive(Debug)]
pub(super) struct RunningClients {
    clients: BTreeMap<ClientKey, RunningClient>,
    frpc: Option<PathBuf>,
    changed: Arc<Notify>,
    exposition: Arc<Exposition>,
    /// Clients that end.
    ending: JoinSet<()>,
}

#[derive(Debug)]
struct RunningClient {
    client: TunnelClient,
    print: [u8; 32],
    parts: BTreeMap<String, OpenPart>,
    /// Certificates; frpc reads them at its start.
    _files: Option<TempDir>,
    events: AbortHandle,
}

#[derive(Debug)]
struct OpenPart {
    owner: String,
    print: [u8; 32],
    tunnel: Tunnel,
}

/// What came of carrying a plan out.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) problems: Problems,
    /// Tunnels of which frpc did not confirm in time that they are closed.
    pub(super) unconfirmed: BTreeSet<String>,
}

impl RunningClients {
    pub(super) fn new(frpc: Option<PathBuf>, changed: Arc<Notify>, exposition: Arc<Exposition>) -> Self {
        Self { clients: BTreeMap::new(), frpc, changed, exposition, ending: JoinSet::new() }
    }

    pub(super) async fn apply(&mut self, plan: &Plan) -> Applied {
        let mut applied = Applied::default();
        while self.ending.try_join_next().is_some() {}
        let gone: Vec<ClientKey> =
            self.clients.keys().filter(|key| !plan.clients.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(running) = self.clients.remove(&key) {
                self.ending.spawn(running.end());
            }
        }
        for (key, planned) in &plan.clients {
            self.apply_client(key, planned, &mut applied).await;
        }
        applied
    }

    async fn apply_client(&mut self, key: &ClientKey, planned: &PlannedClient, applied: &mut Applied) {
        let print = planned.server.print();
        if self.clients.get(key).is_some_and(|running| running.print != print)
            && let Some(running) = self.clients.remove(key)
        {
            let (server, user) = key;
            tracing::info!(event = "client_restarting", server, user, "the server's settings have changed");
            running.end().await;
        }
        if !self.clients.contains_key(key) {
            match self.start(key, &planned.server, print).await {
                Ok(running) => {
                    self.clients.insert(key.clone(), running);
                }
                Err((reason, message)) => {
                    let owners = planned.parts.values().map(|part| part.owner.clone());
                    applied.problems.extend(owners.map(|owner| (owner, (reason, message.clone()))));
                    return;
                }
            }
        }
        if let Some(running) = self.clients.get_mut(key) {
            running.apply(&planned.parts, applied).await;
        }
    }

    async fn start(
        &self,
        key: &ClientKey,
        server: &PlannedServer,
        print: [u8; 32],
    ) -> Result<RunningClient, (&'static str, String)> {
        let (settings, files) =
            server_settings(key, server).map_err(|error| ("CertificateFiles", error.to_string()))?;
        let mut client = ClientSettings::new(settings);
        client.frpc.clone_from(&self.frpc);
        client.public_host.clone_from(&server.public_host);
        (client.max_tunnels, client.max_queued) = (MAX_TUNNELS, 0);
        let client = TunnelClient::start(client).await.map_err(|error| match error {
            ClientError::Binary(_) => ("BinaryUnusable", error.to_string()),
            ClientError::Settings(_) => ("Invalid", error.to_string()),
        })?;
        let (mut events, changed, exposition) =
            (client.events(), self.changed.clone(), self.exposition.clone());
        let following = tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => exposition.event(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
                changed.notify_one();
            }
        });
        let events = following.abort_handle();
        Ok(RunningClient { client, print, parts: BTreeMap::new(), _files: files, events })
    }

    /// All tunnels of each client.
    pub(super) async fn snapshots(&self) -> BTreeMap<ClientKey, Vec<TunnelSnapshot>> {
        let asked = self.clients.iter().map(|(key, running)| async move {
            let tunnels = timeout(CLOSE_DEADLINE, running.client.tunnels()).await.unwrap_or_default();
            (key.clone(), tunnels)
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Ends all of them and waits, each within its own deadline.
    pub(super) async fn shutdown(mut self) {
        let clients = std::mem::take(&mut self.clients);
        join_all(clients.into_values().map(RunningClient::end)).await;
        while self.ending.join_next().await.is_some() {}
    }
}

impl RunningClient {
    async fn apply(&mut self, wanted: &BTreeMap<String, PlannedPart>, applied: &mut Applied) {
        let gone: Vec<String> = self
            .parts
            .iter()
            .filter(|(name, open)| wanted.get(*name).is_none_or(|part| part.print != open.print))
            .map(|(name, _)| name.clone())
            .collect();
        let closing = gone.into_iter().filter_map(|name| self.parts.remove(&name)).map(|part| async move {
            (part.owner, timeout(CLOSE_DEADLINE, part.tunnel.close()).await.is_ok())
        });
        let closed = join_all(closing).await;
        let unconfirmed: Vec<String> =
            closed.into_iter().filter(|(_, is_closed)| !is_closed).map(|(owner, _)| owner).collect();
        if !unconfirmed.is_empty() {
            // the removal is queued; a frpc that does not take it is started anew without it
            self.client.restart().await;
            applied.unconfirmed.extend(unconfirmed);
        }
        let missing = wanted.iter().filter(|(name, _)| !self.parts.contains_key(*name));
        let client = &self.client;
        let opening =
            missing.map(|(name, part)| async move { (name, part, client.add(part.spec.clone()).await) });
        for (name, part, added) in join_all(opening).await {
            match added {
                Ok(tunnel) => {
                    let open = OpenPart { owner: part.owner.clone(), print: part.print, tunnel };
                    self.parts.insert(name.clone(), open);
                }
                Err(error) => {
                    let reason = match &error {
                        OpenError::Invalid(_) => "Invalid",
                        OpenError::Limit(_) => "TooManyTunnels",
                        OpenError::Rewriting(_) | OpenError::NotConnected { .. } | OpenError::ShutDown => {
                            "NotOpened"
                        }
                    };
                    applied.problems.insert(part.owner.clone(), (reason, error.to_string()));
                }
            }
        }
    }

    async fn end(self) {
        self.client.shutdown().await;
        self.events.abort();
    }
}

fn server_settings(
    key: &ClientKey,
    server: &PlannedServer,
) -> std::io::Result<(ServerSettings, Option<TempDir>)> {
    let Some(first) = server.addresses.first() else {
        return Err(std::io::Error::other("no address"));
    };
    let mut settings = ServerSettings::new(first.clone()).with_user(&key.1);
    settings.servers.clone_from(&server.addresses);
    if let Some(token) = &server.token {
        settings.authentication = Authentication::Token(SecretSource::Value(token.clone()));
    }
    settings.protocol = server.protocol;
    settings.tls.enabled = server.tls_enabled;
    settings.tls.server_name.clone_from(&server.tls_server_name);
    if server.ca.is_none() && server.certificate.is_none() {
        return Ok((settings, None));
    }
    let files = memory_directory()?;
    let write = |name: &str, content: &SecretString| -> std::io::Result<PathBuf> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = files.path().join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content.expose_secret().as_bytes())?;
        file.write_all(b"\n")?;
        Ok(path)
    };
    settings.tls.ca = server.ca.as_ref().map(|ca| write("ca.crt", ca)).transpose()?;
    if let Some((certificate, key)) = &server.certificate {
        settings.tls.certificate = Some(write("tls.crt", certificate)?);
        settings.tls.key = Some(write("tls.key", key)?);
    }
    Ok((settings, Some(files)))
}

/// 0700, removed when dropped.
fn memory_directory() -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("frp-tls-");
    let found = MEMORY_DIRECTORIES.iter().find_map(|directory| builder.tempdir_in(directory).ok());
    found.map_or_else(|| builder.tempdir(), Ok)
}
