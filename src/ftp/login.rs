//! Connect, greeting, AUTH TLS, USER, PASS, PBSZ and PROT, TYPE I, and FEAT on the first session.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout};

use crate::config::{FtpConnection, TlsMode};
use crate::failure::{Code, Remedy, TryError};

use super::classify::{ErrorContext, classify};
use super::command::{Command, Step, is_sendable};
use super::connect;
use super::control::ControlConnection;
use super::fault::{CONTROL, Fault, Wait, within};
use super::features::ServerFeatures;
use super::reply::Reply;
use super::server_profile::ServerProfile;
use super::session::{LoggedIn, Session};
use super::tls::SessionTls;
use super::zos;

/// The greeting and all replies of the login together may take this many times the limit of one reply.
const LOGIN_TIMES: u32 = 2;

/// How long to read from a server that answered the TLS handshake with something else.
const PLAIN_GREETING_WITHIN: Duration = Duration::from_secs(2);

/// Opens a session; the error says which step failed.
pub(super) async fn open(
    connection: &FtpConnection,
    profile: &Arc<ServerProfile>,
) -> Result<Session, TryError> {
    let via = connection.network.via.as_ref().map(|via| format!(" through [{via}]")).unwrap_or_default();
    let server = format!("{}:{}{via}", connection.host, connection.port);
    let mut login = LoginSequence { connection, profile, deadline: None };
    let opened = login.run().await;
    opened.map_err(|(step, fault)| {
        let context = ErrorContext { step, server: &server, path: None, stale: false, renewable: false };
        let error = classify(context, &fault);
        if step == Step::Login && matches!(fault, Fault::Reply(_)) {
            busy_if_proven(error, profile)
        } else {
            error
        }
    })
}

/// A login that is refused while user and password are known to be right means too many sessions, whatever the reply's
/// text. Servers have dozens of texts for it, `Login incorrect` among them.
fn busy_if_proven(mut error: TryError, profile: &ServerProfile) -> TryError {
    if error.failure.code == Code::AuthFailed
        && let Some(proof) = profile.proof_of_account()
    {
        (error.failure.code, error.remedy) = (Code::ServerBusy, Remedy::LowerLimit);
        error.failure.message = format!("{} ({proof}: taken for a limit of sessions)", error.failure.message);
    }
    error
}

struct LoginSequence<'a> {
    connection: &'a FtpConnection,
    profile: &'a Arc<ServerProfile>,
    /// Of greeting and login together; starts when the control connection is established.
    deadline: Option<Instant>,
}

impl LoginSequence<'_> {
    async fn run(&mut self) -> Result<Session, (Step, Fault)> {
        let tls = SessionTls::new(self.connection, self.profile).map_err(at(Step::Tls))?;
        let stream =
            connect::control(self.connection, self.profile.reached()).await.map_err(at(Step::Connect))?;
        let peer = stream
            .peer_addr()
            .map_err(|error| (Step::Connect, Fault::Broken { what: CONTROL.to_owned(), error }))?;
        let timeouts = &self.connection.timeouts;
        self.deadline = Some(Instant::now() + timeouts.greeting + timeouts.login * LOGIN_TIMES);
        let is_explicit = self.connection.tls.mode == TlsMode::Explicit;
        let implicit = tls.as_ref().filter(|_| !is_explicit);
        let mut control = match self.take_over(stream, implicit).await {
            Err(Fault::NotTls) => return Err(self.plain_greeting().await),
            taken => taken.map_err(at(Step::Tls))?,
        };
        self.greeting(&mut control).await.map_err(at(Step::Greeting))?;
        if let Some(tls) = tls.as_ref().filter(|_| is_explicit) {
            self.command(&mut control, Command::plain(Step::Auth)).await?;
            let handshake = within(Wait::Login, self.limit(), handshake, control.start_tls(tls)).await;
            handshake.and_then(|done| done).map_err(at(Step::Tls))?;
            self.protect_data(&mut control).await?;
        }
        self.log_in(&mut control).await.map_err(at(Step::Login))?;
        if implicit.is_some() {
            self.protect_data(&mut control).await?;
        }
        self.command(&mut control, Command::with(Step::Type, "I").map_err(at(Step::Type))?).await?;
        let features = match self.profile.features() {
            Some(features) => features,
            None => self.features(&mut control).await.map_err(at(Step::Feat))?,
        };
        Ok(Session::new(LoggedIn { control, peer, tls, features }, self.connection, self.profile))
    }

    async fn take_over(
        &self,
        stream: tokio::net::TcpStream,
        tls: Option<&SessionTls>,
    ) -> Result<ControlConnection, Fault> {
        let taken = ControlConnection::over(stream, tls, self.connection);
        within(Wait::Login, self.limit(), handshake, taken).await?
    }

    async fn greeting(&self, control: &mut ControlConnection) -> Result<(), Fault> {
        let (limit, waiting) = (self.connection.timeouts.greeting, || "the greeting".to_owned());
        let greeting = within(Wait::Greeting, limit, waiting, control.final_reply()).await??;
        if zos::is_greeting_of_zos(&greeting.text) {
            self.profile.data_sets_seen();
        }
        done(greeting)
    }

    /// A full vsftpd sends its 421 in plain text, even if TLS is expected from the first byte. rustls has swallowed it,
    /// so a second connection is opened to read it.
    async fn plain_greeting(&self) -> (Step, Fault) {
        let listen = async {
            let stream = connect::control(self.connection, self.profile.reached()).await.ok()?;
            let mut control = ControlConnection::over(stream, None, self.connection).await.ok()?;
            control.final_reply().await.ok().filter(|greeting| !greeting.is_done())
        };
        match timeout(self.limit().min(PLAIN_GREETING_WITHIN), listen).await.ok().flatten() {
            Some(greeting) => (Step::Greeting, Fault::Reply(greeting)),
            None => (Step::Tls, Fault::NotTls),
        }
    }

    async fn log_in(&self, control: &mut ControlConnection) -> Result<(), Fault> {
        let (user, pass) = (self.connection.user.as_str(), self.connection.pass.expose_secret());
        if !is_sendable(user) || !is_sendable(pass) {
            return Err(Fault::Unsendable);
        }
        let login = control.log_in(user, pass);
        match within(Wait::Login, self.limit(), || "the login".to_owned(), login).await?? {
            None => Ok(()),
            // 202: PASS was superfluous; 232: logged in, but without something that this session does not need.
            Some(reply) => done(reply),
        }
    }

    /// TLS on data connections (RFC 4217, 9).
    async fn protect_data(&self, control: &mut ControlConnection) -> Result<(), (Step, Fault)> {
        for (step, argument) in [(Step::Pbsz, "0"), (Step::Prot, "P")] {
            self.command(control, Command::with(step, argument).map_err(at(step))?).await?;
        }
        Ok(())
    }

    /// A command that must succeed.
    async fn command(&self, control: &mut ControlConnection, command: Command) -> Result<(), (Step, Fault)> {
        let answered = control.exchange(&command, Wait::Login, self.limit()).await;
        answered.and_then(done).map_err(at(command.step))
    }

    /// Asks for the server's features, which are known from then on, even if it has none or does not know the command.
    /// If it does not reply at all, this login fails, and no later one asks.
    async fn features(&self, control: &mut ControlConnection) -> Result<Arc<ServerFeatures>, Fault> {
        let feat = Command::plain(Step::Feat);
        let answered = control.exchange_for_body(&feat, Wait::Login, self.limit()).await;
        if matches!(answered, Err(Fault::TimedOut { .. })) {
            self.profile.set_features(None);
        }
        let (reply, body) = answered?;
        let features = match reply.code {
            421 => return Err(Fault::Reply(reply)),
            211 => ServerFeatures::parse(&body),
            _ => ServerFeatures::default(),
        };
        let features = Arc::new(features);
        self.profile.set_features(Some(Arc::clone(&features)));
        Ok(features)
    }

    fn limit(&self) -> Duration {
        let one = self.connection.timeouts.login;
        self.deadline.map_or(one, |deadline| one.min(deadline.saturating_duration_since(Instant::now())))
    }
}

fn handshake() -> String {
    "the TLS handshake".to_owned()
}

fn done(reply: Reply) -> Result<(), Fault> {
    if reply.is_done() { Ok(()) } else { Err(Fault::Reply(reply)) }
}

fn at(step: Step) -> impl FnOnce(Fault) -> (Step, Fault) {
    move |fault| (step, fault)
}
