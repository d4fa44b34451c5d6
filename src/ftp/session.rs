//! A logged-in session: one command and its reply at a time, and whether it can still be trusted.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use secrecy::ExposeSecret;
use socket2::SockRef;
use suppaftp::FtpError;
use tokio::time::{Instant, timeout};

use crate::config::{DataConnectionMode, FtpConnection};
use crate::digest::Algorithm;
use crate::failure::{Remedy, TryError};

use super::ahead::Ahead;
use super::classify::{At, classify};
use super::control::Control;
use super::fault::{Fault, Step, StepFault, Wait, fault, within};
use super::features::Features;
use super::hash;
use super::known::Known;
use super::login;
use super::names::decode;
use super::reply::Reply;
use super::tls::SessionTls;

/// How long QUIT and the server's end of the connection may take together.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How long an idle session's NOOP may take: a server that needs longer is slower than a new login.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// A logged-in session (TYPE I), owned by one task at a time.
#[expect(clippy::struct_excessive_bools, reason = "independent observations, not a state")]
pub struct Session {
    pub(super) ftp: Control,
    connection: Arc<FtpConnection>,
    pub(super) known: Arc<Known>,
    pub(super) features: Arc<Features>,
    /// The server has to be told that names are UTF-8, once one is not ASCII.
    pub(super) owes_utf8: bool,
    peer: SocketAddr,
    pub(super) tls: Option<SessionTls>,
    /// A data connection has had its TLS.
    pub(super) had_secure_data: bool,
    /// The latest data connection was connected, so that what was wrong with it was its TLS.
    pub(super) had_data_socket: bool,
    /// Set before a command is written, cleared when its last reply has been read and fits. A future that
    /// is dropped in between (timeout, cancellation) leaves it set.
    pub(super) unfinished: bool,
    pub(super) lacks: Lacks,
    pub(super) ahead: Ahead,
    /// The directory logged in to, once it was asked for.
    pub(super) home: Option<String>,
    /// The algorithm of HASH; at first the one that FEAT marks.
    pub(super) hash_algorithm: Option<Algorithm>,
    tasks: u64,
    /// A reply has come since the task began.
    heard: bool,
    idle_since: Instant,
    opened: Instant,
}

/// What a session begins with.
pub(super) struct Opened {
    pub ftp: Control,
    pub peer: SocketAddr,
    pub tls: Option<SessionTls>,
    pub features: Arc<Features>,
    /// How long the last reply took.
    pub round_trip: Duration,
}

/// What the server has been found not to have; it is not asked again on this session.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent observations, not a state")]
pub(super) struct Lacks {
    /// Refused, or answered wrongly: PASV from now on.
    pub epsv: bool,
    /// Refused: PORT from now on.
    pub eprt: bool,
    pub size: bool,
    pub mdtm: bool,
    pub hash: bool,
}

impl Session {
    /// [`Session::open_knowing`], for a single session.
    pub async fn open(connection: &FtpConnection) -> Result<Session, TryError> {
        login::open(connection, &Arc::default()).await
    }

    /// Connects, reads the greeting, agrees on TLS, logs in, sets TYPE I; each step has its deadline. What is
    /// found out about the server is kept in `known` for the connection's next sessions.
    ///
    /// # Errors
    /// `connect_failed`, `timeout`, `auth_failed`, `tls_failed`, `server_busy`, `protocol_error`.
    pub async fn open_knowing(connection: &FtpConnection, known: &Arc<Known>) -> Result<Session, TryError> {
        login::open(connection, known).await
    }

    pub(super) fn new(opened: Opened, connection: &FtpConnection, known: &Arc<Known>) -> Session {
        let now = Instant::now();
        Session {
            ftp: opened.ftp,
            ahead: Ahead::new(known, opened.round_trip),
            lacks: Lacks {
                epsv: connection.disable_epsv,
                eprt: connection.disable_epsv,
                size: false,
                mdtm: false,
                hash: false,
            },
            connection: Arc::new(connection.clone()),
            known: Arc::clone(known),
            owes_utf8: !connection.disable_utf8
                && connection.charset.is_none()
                && opened.features.has("UTF8")
                && known.takes_opts_utf8(),
            hash_algorithm: hash::current(&opened.features),
            features: opened.features,
            peer: opened.peer,
            tls: opened.tls,
            had_secure_data: false,
            had_data_socket: false,
            opened: now,
            unfinished: false,
            home: None,
            tasks: 0,
            heard: true,
            idle_since: now,
        }
    }

    /// Whether the session is older than its connection's `max_session_age`, or has served `max_session_transfers`
    /// tasks. It still works, and is not to be given another task.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.connection.max_session_age.is_some_and(|age| self.opened.elapsed() >= age)
            || self.connection.max_session_transfers.is_some_and(|most| self.tasks >= most)
    }

    /// False once an exchange was left unfinished (error, timeout, cancellation) or a reply did not fit:
    /// such a session is never used again. Costs no round trip.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.unfinished && self.ahead.owed == 0
    }

    /// Looks at the idle socket: readable means that the server has said 421 or closed it. No round trip.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // Nobody else holds the control connection's lock, so one poll is enough.
        let socket = pin!(tokio::task::unconstrained(self.ftp.get_ref()));
        let Poll::Ready(socket) = socket.poll(&mut Context::from_waker(Waker::noop())) else { return false };
        let looked = recv(&*socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        self.is_sound() && matches!(looked, Err(Errno::AGAIN | Errno::INTR))
    }

    /// Asks the server whether it is still there (NOOP, at most five seconds). For sessions that have been
    /// idle for so long that a firewall may have forgotten them.
    pub async fn probe(&mut self) -> bool {
        let limit = PROBE_WITHIN.min(self.connection.timeouts.reply);
        match self.exchange_within(Step::Noop, None, Wait::Reply, limit).await {
            Ok(reply) if reply.is_done() => true,
            // Refused, but answered: it lives.
            Ok(reply) => (500..=502).contains(&reply.code),
            Err(_) => false,
        }
    }

    /// Ends the session: QUIT where it is sound, then waits (two seconds at most) until the server has closed
    /// its end, so that the server counts it no more. The socket is closed when this returns.
    pub async fn close(mut self) {
        let ended = timeout(CLOSE_WITHIN, async {
            if self.is_sound() && self.exchange_line("QUIT").await.is_err() {
                return;
            }
            let socket = self.ftp.get_ref().await;
            // Fails where the server has closed first: all the better.
            let _ = SockRef::from(&*socket).shutdown(std::net::Shutdown::Write);
            let mut rest = [0_u8; 1024];
            while socket.readable().await.is_ok() {
                match socket.try_read(&mut rest) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => return,
                }
            }
        });
        if ended.await.is_err() {
            tracing::debug!(connection = self.connection.name, "the server did not close its end in time");
        }
    }

    /// The connection's settings that this session was opened with.
    #[must_use]
    pub fn connection(&self) -> &FtpConnection {
        &self.connection
    }

    /// The same, to be kept.
    #[must_use]
    pub fn connection_handle(&self) -> Arc<FtpConnection> {
        Arc::clone(&self.connection)
    }

    /// The command beyond RFC 959 by which data connections come about, where it is one.
    #[must_use]
    pub fn data_command(&self) -> Option<&'static str> {
        match self.connection.network.data {
            DataConnectionMode::Passive => (!self.lacks.epsv).then_some("EPSV"),
            DataConnectionMode::Active { .. } => (!self.lacks.eprt).then_some("EPRT"),
        }
    }

    /// The server's address, or its proxy's.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// When the last reply came.
    #[must_use]
    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// A task begins: until its first reply, a lost session is blamed on the time before (if there was any).
    pub(crate) fn begin_task(&mut self) {
        self.tasks += 1;
        self.heard = false;
    }

    /// Sends a command and reads its reply. The reply may be a refusal: the caller judges it.
    pub(super) async fn exchange(&mut self, step: Step, argument: Option<&str>) -> Result<Reply, Fault> {
        self.exchange_within(step, argument, Wait::Reply, self.connection.timeouts.reply).await
    }

    /// The same with a line that is made already.
    pub(super) async fn exchange_as(&mut self, step: Step, line: &str) -> Result<Reply, Fault> {
        let waiting = || format!("the reply to {}", step.verb());
        within(Wait::Reply, self.connection.timeouts.reply, waiting, self.exchange_line(line)).await?
    }

    /// The same with another deadline.
    pub(super) async fn exchange_within(
        &mut self,
        step: Step,
        argument: Option<&str>,
        wait: Wait,
        limit: Duration,
    ) -> Result<Reply, Fault> {
        let line = command_line(step, argument)?;
        let waiting = || format!("the reply to {}", step.verb());
        self.speak_utf8(&line).await?;
        within(wait, limit, waiting, self.exchange_line(&line)).await?
    }

    pub(super) async fn exchange_line(&mut self, line: &str) -> Result<Reply, Fault> {
        self.unfinished = true;
        self.ahead.command_goes_out();
        let begun = Instant::now();
        let sent = self.ftp.custom_command(line, &[]).await;
        self.ahead.took(begun.elapsed());
        self.heard_reply(sent)
    }

    /// Reads one more reply, the last of a transfer.
    pub(super) async fn final_reply(&mut self, limit: Duration) -> Result<Reply, Fault> {
        let waiting = || "the reply that ends the transfer".to_owned();
        loop {
            let read = within(Wait::Close, limit, waiting, self.ftp.read_response_in(&[])).await?;
            let reply = self.heard_reply(read)?;
            if !(reply.is_preliminary() && std::mem::take(&mut self.ahead.unaccepted)) {
                return Ok(reply);
            }
        }
    }

    /// [`Session::final_reply`], and `work` beside it, for `longer` after that at most.
    pub(super) async fn final_reply_beside(
        &mut self,
        limit: Duration,
        work: impl Future<Output = ()>,
        longer: Duration,
    ) -> Result<Reply, Fault> {
        let (mut work, mut reply) = (pin!(work), pin!(self.final_reply(limit)));
        tokio::select! {
            biased;
            () = &mut work => reply.await,
            reply = &mut reply => {
                let _ = timeout(longer, work).await;
                reply
            }
        }
    }

    /// Takes note of a reply. After a preliminary one the exchange goes on; after 421 the session is over.
    pub(super) fn heard_reply(
        &mut self,
        read: Result<suppaftp::types::Response, suppaftp::FtpError>,
    ) -> Result<Reply, Fault> {
        let parse = |body: Vec<u8>| match self.connection.charset {
            Some(charset) => Reply::parse(decode(charset, &body).as_bytes(), self.secret()),
            None => Reply::parse(&body, self.secret()),
        };
        let reply = match read {
            Ok(response) | Err(FtpError::UnexpectedResponse(response)) => {
                parse(response.body).ok_or(Fault::Garbled)?
            }
            Err(error) => {
                let fault = fault(error);
                // Nothing was sent.
                self.unfinished &= !matches!(fault, Fault::Unsendable);
                return Err(fault);
            }
        };
        self.unfinished = reply.is_preliminary() || reply.code == 421;
        if !reply.is_preliminary() {
            self.ahead.owed = self.ahead.owed.saturating_sub(1);
        }
        if reply.code != 421 {
            self.heard = self.heard || !matches!(reply.code, 530);
            self.idle_since = Instant::now();
        }
        Ok(reply)
    }

    /// The error of the step that failed. What was no refusal leaves the session in doubt.
    pub(super) fn fail(&mut self, step: Step, path: Option<&str>, fault: &Fault) -> TryError {
        match fault {
            Fault::Reply(reply) if reply.is_refusal() => {}
            Fault::Unsendable => {}
            _ => self.unfinished = true,
        }
        let server = format!("{}:{}", self.connection.host, self.connection.port);
        let stale = self.tasks > 1 && !self.heard;
        let renewable = self.renews_tls(fault);
        let mut error = classify(At { step, server: &server, path, stale, renewable }, fault);
        if self.refused_for_haste(step, fault) {
            self.objected(&error.failure.message);
            error.remedy = Remedy::FreshSession;
        }
        if error.remedy == Remedy::FreshSession {
            self.unfinished = true;
        }
        error
    }

    /// Whether a data connection failed for its TLS in a way that a new session can mend: where this one's has
    /// grown too old to be resumed, or where the server does not resume TLS 1.3, which is remembered.
    fn renews_tls(&self, fault: &Fault) -> bool {
        let Some(tls) = &self.tls else { return false };
        let is_about_tls = match fault {
            Fault::Reply(reply) => reply.code == 522 || reply.code == 425 && self.had_data_socket,
            Fault::Tls(_) | Fault::NotTls => true,
            _ => false,
        };
        if is_about_tls && tls.is_13() && !self.known.is_tls12_only() {
            let connection = &self.connection.name;
            tracing::info!(connection, "the server does not resume TLS 1.3 sessions: TLS 1.2 from now on");
            self.known.only_tls12();
            return true;
        }
        is_about_tls && self.had_secure_data
    }

    /// [`Session::fail`], and what the server said once its data connection was gone.
    pub(super) fn fail_at(&mut self, path: &str, at: StepFault) -> TryError {
        let mut error = self.fail(at.step, Some(path), &at.fault);
        if let Some(reply) = at.afterwards {
            // The data connection broke, but the control connection told the end of it.
            self.unfinished = !(reply.is_done() || reply.is_refusal() && reply.code != 421);
            error.failure.ftp_code = Some(reply.code);
            error.failure.message = format!("{}; the server said {reply}", error.failure.message);
        }
        error
    }

    fn secret(&self) -> &str {
        self.connection.pass.expose_secret()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("connection", &self.connection.name)
            .field("peer", &self.peer)
            .field("sound", &self.is_sound())
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// The line of a command, without its end. vsftpd turns NUL into a line feed, so NUL is refused too.
pub(super) fn command_line(step: Step, argument: Option<&str>) -> Result<String, Fault> {
    match argument {
        Some(argument) if !is_sendable(argument) => Err(Fault::Unsendable),
        Some(argument) => Ok(format!("{} {argument}", step.verb())),
        None => Ok(step.verb().to_owned()),
    }
}

pub(super) fn is_sendable(text: &str) -> bool {
    !text.contains(['\0', '\r', '\n'])
}
