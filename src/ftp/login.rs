//! Connect, greeting, AUTH TLS, USER, PASS, TYPE I, and FEAT on the first session.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use suppaftp::FtpError;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::config::{FtpConnection, TlsMode};
use crate::failure::TryError;

use super::classify::{At, classify};
use super::connect;
use super::control::Control;
use super::fault::{CONTROL, Fault, Step, Wait, reply_or_fault, within};
use super::features::Features;
use super::known::Known;
use super::names;
use super::reply::Reply;
use super::session::{Opened, Session, is_sendable};
use super::tls::{Secured, SessionTls};

// suppaftp logs PASS with its argument at trace level: no build may contain that statement.
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Debug as usize);

/// The greeting and all replies of the login together may take this many times what one may take.
const LOGIN_TIMES: u32 = 2;

/// How long a server that answered the TLS handshake with something else is listened to.
const LISTEN_WITHIN: Duration = Duration::from_secs(2);

/// Opens a session; the error says which step failed.
pub(super) async fn open(connection: &FtpConnection, known: &Arc<Known>) -> Result<Session, TryError> {
    let server = format!("{}:{}", connection.host, connection.port);
    let mut login = Login { connection, known, deadline: None };
    let opened = login.run().await;
    opened.map_err(|(step, fault)| {
        classify(At { step, server: &server, path: None, stale: false, renewable: false }, &fault)
    })
}

struct Login<'a> {
    connection: &'a FtpConnection,
    known: &'a Arc<Known>,
    /// Of greeting and login together; runs from the moment the control connection stands.
    deadline: Option<Instant>,
}

impl Login<'_> {
    async fn run(&mut self) -> Result<Session, (Step, Fault)> {
        let tls = SessionTls::new(self.connection, self.known).map_err(at(Step::Tls))?;
        let stream = connect::control(self.connection).await.map_err(at(Step::Connect))?;
        let peer = stream
            .peer_addr()
            .map_err(|error| (Step::Connect, Fault::Broken { what: CONTROL.to_owned(), error }))?;
        let timeouts = &self.connection.timeouts;
        self.deadline = Some(Instant::now() + timeouts.greeting + timeouts.login * LOGIN_TIMES);
        let mut ftp = self.greet(stream, tls.as_ref()).await?;
        names::write_in(&mut ftp, self.connection.charset).await;
        self.log_in(&mut ftp).await.map_err(at(Step::Login))?;
        if self.connection.tls.mode == TlsMode::Implicit {
            for line in ["PBSZ 0", "PROT P"] {
                self.command(&mut ftp, line).await.map_err(at(Step::Auth))?;
            }
        }
        let begun = Instant::now();
        self.command(&mut ftp, "TYPE I").await.map_err(at(Step::Type))?;
        let round_trip = begun.elapsed();
        let features = match self.known.features() {
            Some(features) => features,
            None => self.features(&mut ftp).await.map_err(at(Step::Feat))?,
        };
        Ok(Session::new(Opened { ftp, peer, tls, features, round_trip }, self.connection, self.known))
    }

    /// The greeting, and TLS where the connection has it.
    async fn greet(&self, stream: TcpStream, tls: Option<&SessionTls>) -> Result<Control, (Step, Fault)> {
        let waiting = || "the greeting".to_owned();
        if let (Some(tls), TlsMode::Implicit) = (tls, self.connection.tls.mode) {
            let waiting = || "the TLS handshake and the greeting".to_owned();
            let greeted = within(Wait::Login, self.limit(), waiting, tls.greet(stream)).await;
            return match greeted.map_err(at(Step::Tls))? {
                Err(Secured::Fault(Fault::NotTls)) => Err(self.plain_greeting().await),
                greeted => greeted.map_err(|error| self.not_secured(error, Step::Greeting)),
            };
        }
        let greeting = Control::connect_with_stream(stream);
        let greeted = within(Wait::Greeting, self.connection.timeouts.greeting, waiting, greeting).await;
        let ftp = greeted.and_then(|greeted| greeted.map_err(|error| self.fault(error)));
        let ftp = ftp.map_err(at(Step::Greeting))?;
        let Some(tls) = tls else { return Ok(ftp) };
        let waiting = || "AUTH TLS and the TLS handshake".to_owned();
        let secured = within(Wait::Login, self.limit(), waiting, tls.secure(ftp)).await;
        secured.map_err(at(Step::Tls))?.map_err(|error| self.not_secured(error, Step::Auth))
    }

    /// A full vsftpd says its 421 in plain text, also where TLS is expected from the first byte. rustls has
    /// swallowed it; so the server is asked a second time, and listened to.
    async fn plain_greeting(&self) -> (Step, Fault) {
        let listen = async {
            let stream = connect::control(self.connection).await.ok()?;
            Control::connect_with_stream(stream).await.err()
        };
        match timeout(self.limit().min(LISTEN_WITHIN), listen).await.ok().flatten() {
            Some(error @ FtpError::UnexpectedResponse(_)) => (Step::Greeting, self.fault(error)),
            _ => (Step::Tls, Fault::NotTls),
        }
    }

    fn not_secured(&self, error: Secured, step: Step) -> (Step, Fault) {
        match error {
            Secured::Fault(fault) => (Step::Tls, fault),
            Secured::Command(error) => (step, self.fault(error)),
        }
    }

    async fn log_in(&self, ftp: &mut Control) -> Result<(), Fault> {
        let (user, pass) = (self.connection.user.as_str(), self.connection.pass.expose_secret());
        if !is_sendable(user) || !is_sendable(pass) {
            return Err(Fault::Unsendable);
        }
        let login =
            within(Wait::Login, self.limit(), || "the login".to_owned(), ftp.login(user, pass)).await?;
        match login {
            Ok(()) => Ok(()),
            // 202: PASS was superfluous; 232: logged in, but for something this session does not need.
            Err(error) => match reply_or_fault(error, pass)? {
                reply if reply.is_done() => Ok(()),
                reply => Err(Fault::Reply(reply)),
            },
        }
    }

    /// A command that must be done.
    async fn command(&self, ftp: &mut Control, line: &str) -> Result<(), Fault> {
        let sent = ftp.custom_command(line, &[]);
        match within(Wait::Login, self.limit(), || format!("the reply to {line}"), sent).await? {
            Ok(_) => Ok(()),
            Err(error) => match reply_or_fault(error, self.connection.pass.expose_secret())? {
                reply if reply.is_done() => Ok(()),
                reply => Err(Fault::Reply(reply)),
            },
        }
    }

    /// Asks for the server's features, which are known from then on, also where it has none or does not know
    /// the command. Where it says nothing at all, this login fails, and no other asks.
    async fn features(&self, ftp: &mut Control) -> Result<Arc<Features>, Fault> {
        let waiting = || "the reply to FEAT".to_owned();
        let limit = self.limit();
        // suppaftp's own feat() waits for ever for the end of a reply of one line.
        let features = match within(Wait::Login, limit, waiting, ftp.custom_command("FEAT", &[])).await {
            Err(silent) => {
                self.known.told_features(None);
                return Err(silent);
            }
            Ok(Err(FtpError::UnexpectedResponse(reply))) => {
                let code = Reply::parse(&reply.body, "").ok_or(Fault::Garbled)?;
                match code.code {
                    421 => return Err(Fault::Reply(code)),
                    211 => Features::parse(&reply.body),
                    _ => Features::default(),
                }
            }
            Ok(Err(error)) => return Err(self.fault(error)),
            Ok(Ok(_)) => Features::default(),
        };
        let features = Arc::new(features);
        self.known.told_features(Some(Arc::clone(&features)));
        Ok(features)
    }

    fn limit(&self) -> Duration {
        let one = self.connection.timeouts.login;
        self.deadline.map_or(one, |deadline| one.min(deadline.saturating_duration_since(Instant::now())))
    }

    fn fault(&self, error: FtpError) -> Fault {
        let reply: Result<Reply, Fault> = reply_or_fault(error, self.connection.pass.expose_secret());
        reply.map_or_else(|fault| fault, Fault::Reply)
    }
}

fn at(step: Step) -> impl FnOnce(Fault) -> (Step, Fault) {
    move |fault| (step, fault)
}
