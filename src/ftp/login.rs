//! Connect, greeting, USER, PASS, TYPE I.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use suppaftp::FtpError;
use suppaftp::tokio::AsyncRustlsFtpStream;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::FtpConnection;
use crate::failure::TryError;

use super::ahead::{Ahead, Manners};
use super::classify::{At, classify};
use super::connect;
use super::fault::{CONTROL, Fault, Step, Wait, reply_or_fault, within};
use super::reply::Reply;
use super::session::{Session, is_sendable};

// suppaftp logs PASS with its argument at trace level: no build may contain that statement.
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Debug as usize);

/// The greeting and all replies of the login together may take this many times what one may take.
const LOGIN_TIMES: u32 = 2;

/// Opens a session; the error says which step failed.
pub(super) async fn open(connection: &FtpConnection, manners: Manners) -> Result<Session, TryError> {
    let server = format!("{}:{}", connection.host, connection.port);
    let mut login = Login { connection, manners, deadline: None };
    let opened = login.run().await;
    opened.map_err(|(step, fault)| classify(At { step, server: &server, path: None, stale: false }, &fault))
}

struct Login<'a> {
    connection: &'a FtpConnection,
    manners: Manners,
    /// Of greeting and login together; runs from the moment the control connection stands.
    deadline: Option<Instant>,
}

impl Login<'_> {
    async fn run(&mut self) -> Result<Session, (Step, Fault)> {
        let stream = connect::control(self.connection).await.map_err(at(Step::Connect))?;
        let peer = stream
            .peer_addr()
            .map_err(|error| (Step::Connect, Fault::Broken { what: CONTROL.to_owned(), error }))?;
        self.deadline = Some(Instant::now() + self.connection.timeouts.login * LOGIN_TIMES);
        let mut ftp = self.greet(stream).await.map_err(at(Step::Greeting))?;
        self.log_in(&mut ftp).await.map_err(at(Step::Login))?;
        let begun = Instant::now();
        self.binary(&mut ftp).await.map_err(at(Step::Type))?;
        let ahead = Ahead::new(self.manners.clone(), begun.elapsed());
        Ok(Session::new(ftp, Arc::new(self.connection.clone()), peer, ahead))
    }

    async fn greet(&self, stream: TcpStream) -> Result<AsyncRustlsFtpStream, Fault> {
        let greeting = AsyncRustlsFtpStream::connect_with_stream(stream);
        let greeted = within(Wait::Login, self.limit(), || "the greeting".to_owned(), greeting).await?;
        greeted.map_err(|error| self.fault(error))
    }

    async fn log_in(&self, ftp: &mut AsyncRustlsFtpStream) -> Result<(), Fault> {
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

    async fn binary(&self, ftp: &mut AsyncRustlsFtpStream) -> Result<(), Fault> {
        let typed = ftp.custom_command("TYPE I", &[]);
        match within(Wait::Login, self.limit(), || "the reply to TYPE I".to_owned(), typed).await? {
            Ok(_) => Ok(()),
            Err(error) => match reply_or_fault(error, self.connection.pass.expose_secret())? {
                reply if reply.is_done() => Ok(()),
                reply => Err(Fault::Reply(reply)),
            },
        }
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
