//! Real frps and frpc, and services to lead to.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "in a test a panic is the answer"
)]

pub mod command;
#[path = "../../../../tests/support/ports.rs"]
mod ports;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use frp_tunnels::client::{ClientSettings, Timing, TunnelClient};
use frp_tunnels::process::{FrpProcess, exec_child};
use frp_tunnels::server_settings::{SecretSource, ServerAddress, ServerSettings};
pub use ports::free_port;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for a busy machine; nothing waits for it unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const TOKEN: &str = "a-token-{{ .Envs.HOME }}-that-is-hidden";

/// Where `scripts/install-deps.sh` puts frp.
pub fn program(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let deps = std::env::var_os("FTP_POOLER_DEPS").map_or_else(|| root.join(".deps"), PathBuf::from);
    let path = deps.join("frp").join(name);
    assert!(path.exists(), "{} is missing: run scripts/install-deps.sh", path.display());
    path
}

/// The product's binary is the step between fork and exec.
pub fn prepare() {
    exec_child::use_helper(PathBuf::from(env!("CARGO_BIN_EXE_frp-tunnels")));
}

/// A server with the token above; vhost ports are open.
pub struct Frps {
    pub port: u16,
    pub vhost_port: u16,
    pub web_port: u16,
    pub directory: TempDir,
    pub process: Option<i32>,
    running: Option<tokio::task::JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<rustix::process::Signal>>,
}

impl Frps {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With further TOML.
    pub async fn start_with(further: &str) -> Self {
        Self::start_on("127.0.0.1", further).await
    }

    /// At another address of this machine.
    pub async fn start_on(bind: &str, further: &str) -> Self {
        prepare();
        // another process may take a port before frps does: then once more
        for _ in 0..5 {
            let (port, vhost_port, web_port) = (free_port(), free_port(), free_port());
            let directory = tempfile::tempdir().unwrap();
            let mut text = format!(
                "bindAddr = \"{bind}\"\nbindPort = {port}\nproxyBindAddr = \"127.0.0.1\"\nvhostHTTPPort = {vhost_port}\nwebServer.port = {web_port}\nwebServer.addr = \"127.0.0.1\"\n"
            );
            std::fs::write(directory.path().join("token"), TOKEN).unwrap();
            let token = directory.path().join("token");
            writeln!(text, "auth.tokenSource = {{ type = \"file\", file = {{ path = \"{}\" }} }}\nlog.disablePrintColor = true\n{further}", token.display()).unwrap();
            std::fs::write(directory.path().join("frps.toml"), text).unwrap();
            let mut frps =
                Self { port, vhost_port, web_port, directory, process: None, running: None, stop: None };
            if frps.run().await {
                return frps;
            }
        }
        panic!("frps does not start");
    }

    /// Starts it, once more on the same ports; `false`: it ended at once.
    pub async fn run(&mut self) -> bool {
        let config = self.directory.path().join("frps.toml");
        let arguments = vec!["-c".into(), config.into_os_string()];
        let mut process = FrpProcess::start(program("frps"), arguments, None).await.unwrap();
        let mut lines = Vec::new();
        loop {
            match process.next_line().await {
                Some(line) if line.contains("frps started successfully") => break,
                Some(line) => lines.push(line),
                None if lines.iter().any(|line: &String| line.contains("address already in use")) => {
                    return false;
                }
                None => panic!("frps: {lines:#?}"),
            }
        }
        self.process = Some(process.pid());
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let log = self.directory.path().join("frps.log");
        self.stop = Some(stop);
        self.running = Some(tokio::spawn(async move {
            use std::io::Write as _;
            let mut log = std::fs::File::options().append(true).create(true).open(log).unwrap();
            loop {
                tokio::select! {
                    line = process.next_line() => match line {
                        Some(line) => writeln!(log, "{line}").unwrap(),
                        None => break,
                    },
                    signal = &mut stopped => {
                        process.signal(signal.unwrap_or(rustix::process::Signal::KILL));
                        while process.next_line().await.is_some() {}
                        break;
                    }
                }
            }
            process.ended().await;
        }));
        true
    }

    pub async fn kill(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(rustix::process::Signal::KILL);
        }
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.process.unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn address(&self) -> ServerAddress {
        ServerAddress { host: "127.0.0.1".into(), port: self.port }
    }

    pub fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    pub fn settings(&self, user: &str) -> ClientSettings {
        let server = ServerSettings::new(self.address()).with_user(user);
        let server = server.with_token(SecretSource::File(self.token_file()));
        let mut settings = ClientSettings::new(server);
        settings.frpc = Some(program("frpc"));
        settings.timing = Timing { connect_deadline: Duration::from_secs(30), ..Timing::default() };
        settings
    }

    pub async fn client(&self, user: &str) -> TunnelClient {
        TunnelClient::start(self.settings(user)).await.unwrap()
    }
}

/// Echoes, and counts its connections; says `greeting` first.
pub struct Service {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    pub async fn start(greeting: &'static str) -> Self {
        Self::start_at(0, greeting).await
    }

    pub async fn start_at(port: u16, greeting: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    stream.write_all(greeting.as_bytes()).await?;
                    let (mut reader, mut writer) = stream.split();
                    tokio::io::copy(&mut reader, &mut writer).await
                });
            }
        });
        Self { port, connections, task }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that is echoed.
pub struct Echo(pub TcpStream);

impl Echo {
    pub async fn connect(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub async fn round_trip(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        let mut got = vec![0; text.len()];
        tokio::time::timeout(PATIENCE, self.0.read_exact(&mut got)).await.expect("an echo in time").unwrap();
        assert_eq!(String::from_utf8_lossy(&got), text);
    }
}

/// Waits until it holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // a zombie is dead
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
