//! The demo's FTP server: libunftp on a port of the system's choice, one account, its root a directory.
//! Counts sessions on its own account, so that the pool's word need not be taken for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use libunftp::ServerBuilder;
use libunftp::options::Binder;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use unftp_core::auth::{AuthenticationError, Authenticator, Credentials, Principal};
use unftp_sbe_fs::Filesystem;

pub const USER: &str = "demo";
pub const PASSWORD: &str = "let me in #1"; // a blank and a hash: both are right in connections.ini

/// libunftp's task ends a moment after a session's socket is closed: for this long an ended session may still be
/// counted, beside its successor.
const SETTLE: Duration = Duration::from_millis(200);
/// After an accept that failed (no file descriptors): the next one would fail as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Sessions, as the server sees them: logged-in ones.
#[derive(Debug, Default)]
pub struct Sessions {
    opened: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Sessions {
    /// Logged in since the start.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// The most that were open together.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Counts a session that has logged in.
    fn enter(self: &Arc<Self>) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        let sessions = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(SETTLE).await;
            sessions.most.fetch_max(sessions.open.load(Ordering::Relaxed), Ordering::Relaxed);
        });
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub struct FtpServer {
    address: SocketAddr,
    sessions: Arc<Sessions>,
    accepting: JoinHandle<()>,
    /// Bound, and never listening: connections to it are refused.
    nobody: TcpSocket,
}

impl FtpServer {
    /// Serves the files beneath `root`.
    pub async fn start(root: PathBuf) -> Result<FtpServer> {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(nowhere).await.context("cannot start the FTP server")?;
        let address = listener.local_addr()?;
        let nobody = TcpSocket::new_v4()?;
        nobody.bind(nowhere)?;
        let sessions = Arc::new(Sessions::default());
        let accepting = tokio::spawn(accept(listener, root, Arc::clone(&sessions)));
        Ok(FtpServer { address, sessions, accepting, nobody })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections are refused, for the lifetime of this server.
    pub fn nobody(&self) -> io::Result<SocketAddr> {
        self.nobody.local_addr()
    }

    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}

impl Drop for FtpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, root: PathBuf, sessions: Arc<Sessions>) {
    loop {
        match listener.accept().await {
            Ok((control, _)) => drop(tokio::spawn(serve(control, root.clone(), Arc::clone(&sessions)))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One session, from greeting to end.
async fn serve(control: TcpStream, root: PathBuf, sessions: Arc<Sessions>) {
    let account = Arc::new(Account { has_entered: AtomicBool::new(false), sessions });
    if let Err(error) = session(control, root, Arc::clone(&account)).await {
        tracing::warn!(event = "demo_server_error", error, "error in the demo's FTP server");
    }
    if account.has_entered.load(Ordering::Relaxed) {
        account.sessions.leave();
    }
}

async fn session(control: TcpStream, root: PathBuf, account: Arc<Account>) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    control.set_nodelay(true).map_err(|error| said(&error))?;
    #[expect(
        clippy::expect_used,
        reason = "libunftp lets this not fail; a panic would end this session only"
    )]
    let files = move || Filesystem::new(root.clone()).expect("the demo has made this directory");
    let server =
        ServerBuilder::with_authenticator(Box::new(files), account).greeting("The demo's FTP server");
    let server = server.binder(AnyPort).build().map_err(|error| said(&error))?;
    server.service(control).await.map_err(|error| said(&error))
}

/// The account, as one session sees it.
#[derive(Debug)]
struct Account {
    has_entered: AtomicBool,
    sessions: Arc<Sessions>,
}

#[async_trait]
impl Authenticator for Account {
    async fn authenticate(
        &self,
        user: &str,
        credentials: &Credentials,
    ) -> Result<Principal, AuthenticationError> {
        if user != USER {
            return Err(AuthenticationError::BadUser);
        }
        if credentials.password.as_deref() != Some(PASSWORD) {
            return Err(AuthenticationError::BadPassword);
        }
        if !self.has_entered.swap(true, Ordering::Relaxed) {
            self.sessions.enter();
        }
        Ok(Principal { username: user.to_owned() })
    }
}

/// Data connections on ports of the system's choice; libunftp's own way is to guess one in a range, nine times.
#[derive(Debug)]
struct AnyPort;

#[async_trait]
impl Binder for AnyPort {
    async fn bind(&mut self, address: IpAddr, _: RangeInclusive<u16>) -> io::Result<TcpSocket> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(address, 0))?;
        Ok(socket)
    }
}
