//! A logged-in session: its lifecycle, one command and its reply, and the effect of a failure on it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::config::{DataConnectionMode, FtpConnection};
use crate::digest::Algorithm;
use crate::failure::{Remedy, TryError};

use super::classify::{ErrorContext, classify};
use super::command::{Command, Step};
use super::control::ControlConnection;
use super::data_connection::DataSecurity;
use super::fault::{Fault, StepFault, Wait, within};
use super::features::ServerFeatures;
use super::hash;
use super::login;
use super::pipelining::Pipelining;
use super::reply::Reply;
use super::server_profile::{AccountLogin, EpsvPorts, ServerProfile};
use super::tls::SessionTls;

/// How long QUIT and waiting for the server to close the connection may take together.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How long an idle session's NOOP may take: a server that needs longer is slower than a new login.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// A logged-in session (TYPE I), owned by one task at a time.
pub struct Session {
    control: ControlConnection,
    connection: Arc<FtpConnection>,
    profile: Arc<ServerProfile>,
    features: Arc<ServerFeatures>,
    /// Commands that the server was found not to have; they are not sent again.
    missing: Vec<Step>,
    pipelining: Pipelining,
    data_security: DataSecurity,
    peer: SocketAddr,
    /// The server must be sent OPTS UTF8 before the first name that is not ASCII.
    must_announce_utf8: bool,
    /// The login directory, once it was asked for.
    pub(super) home: Option<String>,
    /// The current directory may differ from it.
    pub(super) has_left_home: bool,
    /// The directory that was entered last, as sent with CWD.
    pub(super) current: Option<String>,
    /// The algorithm of HASH; initially the one that FEAT marks.
    hash_algorithm: Option<Algorithm>,
    /// The path of the latest file that is empty according to SIZE.
    empty: Option<String>,
    tasks: u64,
    opened: Instant,
    /// Proves that user and password are right.
    _login: AccountLogin,
}

/// The state of a session right after login.
pub(super) struct LoggedIn {
    pub control: ControlConnection,
    pub peer: SocketAddr,
    pub tls: Option<SessionTls>,
    pub features: Arc<ServerFeatures>,
}

impl Session {
    /// Like [`Session::open_with`], for a single session.
    pub async fn open(connection: &FtpConnection) -> Result<Session, TryError> {
        login::open(connection, &Arc::default()).await
    }

    /// Connects, reads the greeting, negotiates TLS, logs in, sets TYPE I; each step has its deadline. What is learned
    /// about the server is kept in `profile` for the connection's next sessions.
    ///
    /// # Errors
    /// `connect_failed`, `timeout`, `auth_failed`, `tls_failed`, `server_busy`, `protocol_error`.
    pub async fn open_with(
        connection: &FtpConnection,
        profile: &Arc<ServerProfile>,
    ) -> Result<Session, TryError> {
        login::open(connection, profile).await
    }

    pub(super) fn new(
        logged_in: LoggedIn,
        connection: &FtpConnection,
        profile: &Arc<ServerProfile>,
    ) -> Session {
        let LoggedIn { control, peer, tls, features } = logged_in;
        let hash_algorithm = hash::current(&features);
        let missing = if connection.disable_epsv { vec![Step::Epsv, Step::Eprt] } else { Vec::new() };
        Session {
            control,
            missing,
            pipelining: Pipelining::default(),
            connection: Arc::new(connection.clone()),
            profile: Arc::clone(profile),
            must_announce_utf8: !connection.disable_utf8
                && connection.charset.is_none()
                && features.has("UTF8")
                && profile.accepts_opts_utf8(),
            features,
            peer,
            data_security: DataSecurity::new(tls),
            home: None,
            has_left_home: false,
            current: None,
            hash_algorithm,
            empty: None,
            tasks: 0,
            opened: Instant::now(),
            _login: profile.logged_in(),
        }
    }

    /// Whether the session is older than its connection's `max_session_age`, or has served `max_session_transfers`
    /// tasks. It still works, but should not get another task.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.connection.max_session_age.is_some_and(|age| self.opened.elapsed() >= age)
            || self.connection.max_session_transfers.is_some_and(|most| self.tasks >= most)
    }

    /// False while a reply is outstanding (even one whose wait timed out or was cancelled), and permanently after an
    /// unexpected reply: such a session is never used again. Costs no round trip.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.control.is_settled()
    }

    /// Whether the idle session's socket has nothing to read; otherwise the server has sent 421 or closed it. No round
    /// trip.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.is_usable() && self.control.is_quiet()
    }

    /// Checks whether the server still answers (NOOP, at most five seconds). For sessions that have been idle for so
    /// long that a firewall may have dropped them.
    pub async fn probe(&mut self) -> bool {
        let limit = PROBE_WITHIN.min(self.connection.timeouts.reply);
        match self.exchange_within(&Command::plain(Step::Noop), Wait::Reply, limit).await {
            Ok(reply) if reply.is_done() => true,
            // Refused, but answered: the session is alive.
            Ok(reply) => (500..=502).contains(&reply.code),
            Err(_) => false,
        }
    }

    /// Ends the session: sends QUIT if it is usable, then waits (at most two seconds) until the server has closed its
    /// end, so that the server no longer counts it. The socket is closed when this returns.
    pub async fn close(mut self) {
        if timeout(CLOSE_WITHIN, self.control.quit()).await.is_err() {
            tracing::debug!(
                event = "tls_close_timed_out",
                connection = self.connection.name,
                "server did not close the connection in time"
            );
        }
    }

    /// The connection's settings that this session was opened with.
    #[must_use]
    pub fn connection(&self) -> &FtpConnection {
        &self.connection
    }

    /// The same, shared.
    #[must_use]
    pub fn connection_handle(&self) -> Arc<FtpConnection> {
        Arc::clone(&self.connection)
    }

    /// The command beyond RFC 959 that establishes data connections, if one is used.
    #[must_use]
    pub fn data_command(&self) -> Option<&'static str> {
        match self.connection.network.data {
            DataConnectionMode::Passive => (!self.lacks(Step::Epsv)).then_some("EPSV"),
            DataConnectionMode::Active { .. } => (!self.lacks(Step::Eprt)).then_some("EPRT"),
        }
    }

    /// The server's address, or its proxy's.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// A task begins: until its first reply, a lost session is attributed to the time before (if there was any).
    pub(crate) fn begin_task(&mut self) {
        self.tasks += 1;
        self.empty = None;
        self.control.begin_task();
    }

    /// Sends a command and reads its reply. The reply may be a refusal: the caller decides.
    pub(super) async fn exchange(&mut self, command: &Command) -> Result<Reply, Fault> {
        self.exchange_within(command, Wait::Reply, self.connection.timeouts.reply).await
    }

    /// Like [`Session::exchange`], with another deadline.
    pub(super) async fn exchange_within(
        &mut self,
        command: &Command,
        wait: Wait,
        limit: Duration,
    ) -> Result<Reply, Fault> {
        self.announce_utf8(&command.line).await?;
        self.pipelining.next_command();
        self.control.exchange(command, wait, limit).await
    }

    /// A command about a path, and its reply.
    pub(super) async fn ask(&mut self, step: Step, path: &str) -> Result<Reply, TryError> {
        let answered = self.ask_about(step, path).await;
        answered.map_err(|fault| self.fail(step, Some(path), &fault))
    }

    async fn ask_about(&mut self, step: Step, path: &str) -> Result<Reply, Fault> {
        let is_of_file = matches!(step, Step::Size | Step::Mdtm | Step::Dele | Step::Rnfr);
        let argument = if is_of_file { self.name_of(path).await? } else { path.to_owned() };
        self.exchange(&Command::with(step, &argument)?).await
    }

    /// Writes commands in one burst. Their replies are then outstanding; [`Session::reply`] reads them.
    pub(super) async fn send_burst(&mut self, commands: &[Command]) -> Result<(), Fault> {
        self.pipelining.next_command();
        self.control.send(commands).await
    }

    /// The next reply to what was sent in a burst.
    pub(super) async fn reply(&mut self) -> Result<Reply, Fault> {
        self.control.reply().await
    }

    /// The next `count` replies, none after a 421. Has no deadline.
    pub(super) async fn replies(&mut self, count: usize) -> Result<Vec<Reply>, Fault> {
        let mut replies: Vec<Reply> = Vec::with_capacity(count);
        while replies.len() < count && replies.last().is_none_or(|reply| reply.code != 421) {
            replies.push(self.control.reply_untimed().await?);
        }
        Ok(replies)
    }

    /// The reply that ends a transfer.
    pub(super) async fn final_reply(&mut self, limit: Duration) -> Result<Reply, Fault> {
        let waiting = || "the reply that ends the transfer".to_owned();
        let reply = within(Wait::Close, limit, waiting, self.control.final_reply()).await??;
        if !reply.is_done() && !reply.is_refusal() {
            self.retire("a reply that ends no transfer");
        }
        Ok(reply)
    }

    /// Marks the session as not reusable, even if every command was answered.
    pub(super) fn retire(&mut self, why: &'static str) {
        self.control.violated(why);
    }

    /// This end's address of the control connection.
    pub(super) fn own_address(&self) -> std::io::Result<IpAddr> {
        self.control.own_address()
    }

    pub(super) fn profile(&self) -> &ServerProfile {
        &self.profile
    }

    pub(super) fn features(&self) -> &ServerFeatures {
        &self.features
    }

    /// Whether the server was found not to have this command.
    pub(super) fn lacks(&self, step: Step) -> bool {
        self.missing.contains(&step)
            || step == Step::Epsv && self.profile.epsv_ports() == EpsvPorts::Unreachable
    }

    pub(super) fn found_missing(&mut self, step: Step) {
        if !self.lacks(step) {
            self.missing.push(step);
        }
    }

    /// SIZE has reported how many bytes the file at `path` has.
    pub(super) fn has_bytes(&mut self, path: &str, bytes: u64) {
        self.empty = (bytes == 0).then(|| path.to_owned());
    }

    /// Whether the file at `path` is empty according to SIZE.
    pub(super) fn is_known_to_be_empty(&self, path: &str) -> bool {
        self.empty.as_deref() == Some(path)
    }

    /// Whether the server has replied 150 to the task's latest STOR, and not just a final reply.
    pub(crate) fn has_accepted_stor(&self) -> bool {
        self.control.has_accepted_stor()
    }

    /// Whether names on this server are those of data sets (z/OS), unless they begin with a slash.
    #[must_use]
    pub fn has_data_sets(&self) -> bool {
        self.profile.has_data_sets()
    }

    /// What was sent ahead on this session.
    pub(super) fn pipelining(&mut self) -> &mut Pipelining {
        &mut self.pipelining
    }

    pub(super) fn data_security(&mut self) -> &mut DataSecurity {
        &mut self.data_security
    }

    /// Whether RETR or STOR of this path was sent with the end of the previous file.
    pub(crate) fn has_started(&self, path: &str) -> bool {
        self.pipelining.has_started(path)
    }

    pub(super) fn hash_algorithm(&self) -> Option<Algorithm> {
        self.hash_algorithm
    }

    pub(super) fn set_hash_algorithm(&mut self, algorithm: Algorithm) {
        self.hash_algorithm = Some(algorithm);
    }

    /// Whether commands may be sent before the replies to earlier ones have arrived.
    pub(super) fn may_pipeline(&self) -> bool {
        self.profile.may_pipeline(self.control.round_trip()) && !self.enters_directories()
    }

    /// From now on no session of the connection sends commands ahead.
    pub(super) fn pipelining_rejected(&self, what: &str) {
        if self.profile.pipelining_rejected() {
            let connection = &self.connection.name;
            tracing::info!(
                event = "pipelining_rejected",
                connection,
                what,
                "server rejects pipelining; falling back to one command at a time"
            );
        }
    }

    /// A path with characters beyond ASCII follows: see [`Session::announce_utf8`].
    ///
    /// # Errors
    /// Those of any command.
    pub(crate) async fn announce_utf8_for(&mut self, path: &str) -> Result<(), TryError> {
        let announced = self.announce_utf8(path).await;
        announced.map_err(|fault| self.fail(Step::Opts, Some(path), &fault))
    }

    /// Whether a path can be sent without [`Session::announce_utf8_for`].
    pub(super) fn may_send_at_once(&self, path: &str) -> bool {
        path.is_ascii() || !self.must_announce_utf8
    }

    /// Before the first name that is not ASCII: `OPTS UTF8 ON`, without which IIS, for one, reads UTF-8 as its own code
    /// page. A server that refuses may well support UTF-8 all the same, and is not asked again.
    pub(super) async fn announce_utf8(&mut self, name: &str) -> Result<(), Fault> {
        if self.may_send_at_once(name) {
            return Ok(());
        }
        self.must_announce_utf8 = false;
        let opts = Command::with(Step::Opts, "ON")?;
        let clnt = Command::with(Step::Clnt, "ftp-pooler")?;
        self.pipelining.next_command();
        let limit = self.connection.timeouts.reply;
        if self.control.exchange(&opts, Wait::Reply, limit).await?.is_done() {
            return Ok(());
        }
        // Some require the client's name first.
        if self.features.has("CLNT") {
            self.control.exchange(&clnt, Wait::Reply, limit).await?;
            if self.control.exchange(&opts, Wait::Reply, limit).await?.is_done() {
                return Ok(());
            }
        }
        self.profile.opts_utf8_refused();
        Ok(())
    }

    /// The error of the step that failed.
    pub(super) fn fail(&mut self, step: Step, path: Option<&str>, fault: &Fault) -> TryError {
        match fault {
            Fault::Reply(reply) if !reply.is_refusal() => {
                self.retire("a reply that does not fit its command");
            }
            Fault::Garbled => self.retire("the data received is not an FTP reply"),
            _ => {}
        }
        let server = format!("{}:{}", self.connection.host, self.connection.port);
        let stale = self.tasks > 1 && !self.control.was_answered();
        let renewable = self.renews_tls(fault);
        let mut error = classify(ErrorContext { step, server: &server, path, stale, renewable }, fault);
        if self.pipelining.was_refused(step, fault) {
            self.pipelining_rejected(&error.failure.message);
            error.remedy = Remedy::FreshSession;
        }
        if error.remedy == Remedy::FreshSession {
            self.retire("an error that a fresh session may mend");
        }
        error
    }

    /// [`Session::fail`], with the server's reply after its data connection was gone.
    pub(super) fn fail_at(&mut self, path: &str, at: StepFault) -> TryError {
        let mut error = self.fail(at.step, Some(path), &at.fault);
        if let Some(reply) = at.afterwards {
            error.failure.ftp_code = Some(reply.code);
            error.failure.message = format!("{}; the server said {reply}", error.failure.message);
        }
        error
    }

    /// Whether a data connection failed for a TLS reason that a new session can solve: its TLS session is too old to be
    /// resumed, or the server does not resume TLS 1.3, which is remembered.
    fn renews_tls(&self, fault: &Fault) -> bool {
        let Some(is_13) = self.data_security.is_tls_fault(fault) else { return false };
        if is_13 && !self.profile.is_tls12_only() {
            let connection = &self.connection.name;
            tracing::info!(
                event = "tls13_resumption_failed",
                connection,
                "server does not resume TLS 1.3 sessions; falling back to TLS 1.2"
            );
            self.profile.use_only_tls12();
            return true;
        }
        self.data_security.was_secured()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("connection", &self.connection.name)
            .field("peer", &self.peer)
            .field("replies", &self.control.replies())
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}
