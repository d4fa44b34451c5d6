//! Sessions without a server, counted as a server would count them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;

use super::SessionConnector;
use crate::config::{self, FtpConnection, SessionTimeouts};
use crate::failure::{Code, Failure, Remedy, TryError};

/// What a login does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FakeLogin {
    Accept,
    /// The server accepts the connection and never replies.
    Hang,
    Refuse(TryError),
    Panic,
}

/// All servers, one for each connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeServers {
    state: Arc<Mutex<FakeState>>,
}

#[derive(Debug, Default)]
struct FakeState {
    servers: HashMap<String, FakeServer>,
    open: usize,
    peak: usize,
    goodbye: Duration,
}

#[derive(Debug, Default)]
struct FakeServer {
    login: Option<FakeLogin>,
    connects: usize,
    logins: usize,
    open: usize,
    peak: usize,
    alive: Vec<Arc<AtomicBool>>,
}

impl FakeServers {
    pub fn on_login(&self, connection: &str, login: FakeLogin) {
        self.server(connection, |server| server.login = Some(login));
    }

    /// How long a session takes to close.
    pub fn goodbye_takes(&self, goodbye: Duration) {
        self.state.lock().unwrap().goodbye = goodbye;
    }

    /// The server sends 421 to all sessions that are open now.
    pub fn end_all(&self, connection: &str) {
        self.server(connection, |server| {
            server.alive.iter().for_each(|alive| alive.store(false, Ordering::SeqCst));
        });
    }

    pub fn connects(&self, connection: &str) -> usize {
        self.server(connection, |server| server.connects)
    }

    pub fn logins(&self, connection: &str) -> usize {
        self.server(connection, |server| server.logins)
    }

    pub fn open(&self, connection: &str) -> usize {
        self.server(connection, |server| server.open)
    }

    pub fn peak(&self, connection: &str) -> usize {
        self.server(connection, |server| server.peak)
    }

    /// The peak of simultaneously open sockets, over all connections.
    pub fn pod_peak(&self) -> usize {
        self.state.lock().unwrap().peak
    }

    fn server<R>(&self, connection: &str, f: impl FnOnce(&mut FakeServer) -> R) -> R {
        f(self.state.lock().unwrap().servers.entry(connection.to_owned()).or_default())
    }

    fn connector(&self, connection: &str) -> (FakeSocket, FakeLogin) {
        let mut state = self.state.lock().unwrap();
        state.open += 1;
        state.peak = state.peak.max(state.open);
        let server = state.servers.entry(connection.to_owned()).or_default();
        server.connects += 1;
        server.open += 1;
        server.peak = server.peak.max(server.open);
        let login = server.login.clone().unwrap_or(FakeLogin::Accept);
        (FakeSocket { connection: connection.to_owned(), servers: self.clone() }, login)
    }
}

/// Open until dropped.
#[derive(Debug)]
struct FakeSocket {
    connection: String,
    servers: FakeServers,
}

impl Drop for FakeSocket {
    fn drop(&mut self) {
        self.servers.server(&self.connection, |server| server.open -= 1);
        self.servers.state.lock().unwrap().open -= 1;
    }
}

#[derive(Debug)]
pub(crate) struct FakeSession {
    /// The ordinal number of this login on its connection, from 1.
    pub number: usize,
    pub sound: bool,
    pub expired: bool,
    /// The user that it was logged in as.
    pub user: String,
    /// The numbers of all sessions that were opened with the same settings.
    pub server_profile: Arc<Mutex<Vec<usize>>>,
    alive: Arc<AtomicBool>,
    _socket: FakeSocket,
}

impl SessionConnector for FakeServers {
    type Session = FakeSession;
    type ServerProfile = Mutex<Vec<usize>>;

    async fn open(
        &self,
        connection: &FtpConnection,
        server_profile: &Arc<Mutex<Vec<usize>>>,
    ) -> Result<FakeSession, TryError> {
        let (socket, login) = self.connector(&connection.name);
        tokio::time::sleep(Duration::from_millis(10)).await;
        match login {
            FakeLogin::Accept => {}
            FakeLogin::Panic => panic!("a bug in open"),
            FakeLogin::Refuse(error) => return Err(error),
            FakeLogin::Hang => {
                tokio::time::sleep(connection.timeouts.login).await;
                return Err(try_error(Code::Timeout, Remedy::OpenBreaker));
            }
        }
        let alive = Arc::new(AtomicBool::new(true));
        let number = self.server(&connection.name, |server| {
            server.alive.push(Arc::clone(&alive));
            server.logins += 1;
            server.logins
        });
        server_profile.lock().unwrap().push(number);
        let (user, server_profile) = (connection.user.clone(), Arc::clone(server_profile));
        Ok(FakeSession { number, sound: true, expired: false, user, server_profile, alive, _socket: socket })
    }

    fn is_usable(&self, session: &FakeSession) -> bool {
        session.sound
    }

    fn is_alive(&self, session: &FakeSession) -> bool {
        session.alive.load(Ordering::SeqCst)
    }

    fn is_expired(&self, session: &FakeSession) -> bool {
        session.expired
    }

    async fn close(&self, session: FakeSession) {
        let goodbye = self.state.lock().unwrap().goodbye;
        tokio::time::sleep(goodbye).await;
        drop(session);
    }
}

pub(crate) fn try_error(code: Code, remedy: Remedy) -> TryError {
    TryError { failure: Failure::new(code, format!("a fake {code}")), remedy }
}

pub(crate) fn connection(name: &str, max_sessions: usize) -> Arc<FtpConnection> {
    let second = Duration::from_secs(1);
    let timeouts = SessionTimeouts { login: 20 * second, ..SessionTimeouts::all(second) };
    Arc::new(FtpConnection {
        name: name.to_owned(),
        host: "ftp.example.com".to_owned(),
        port: 21,
        user: "user".to_owned(),
        pass: SecretString::from("secret"),
        max_sessions,
        timeouts,
        ..FtpConnection::default()
    })
}

pub(crate) fn limits(max_sessions_per_pod: usize) -> config::PoolConfig {
    config::PoolConfig {
        max_sessions_per_pod,
        max_waiting_bytes: 1 << 20,
        ..config::Config::with_defaults().pool
    }
}
