//! The control connection: commands, their replies, and which replies are outstanding. The only place where suppaftp's
//! gaps are worked around.
//!
//! suppaftp writes a command and reads its reply, in the connection's charset. What differs here:
//!
//! - The underlying stream is ours ([`ControlStream`]): it splits bytes into replies by RFC 959's rule, switches to TLS
//!   on request, and can be written to alongside suppaftp, so that several commands go out in one burst.
//! - suppaftp accepts such a stream only from its connector for implicit TLS, after it has connected a socket of its
//!   own. It gets a loopback socket for that ([`client_over`]), because our connections go through proxies, from chosen
//!   source addresses and within deadlines.
//! - It then reads the greeting, and drops a connection whose greeting is not 220. It gets one of ours, and the
//!   server's greeting is read like any other reply.
//! - It logs commands, including `PASS` with its argument at trace level. That level is compiled out (asserted below),
//!   and all of suppaftp's log lines are suppressed (`LOG_POLICY` in `lib.rs`).

use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::time::Duration;

use async_trait::async_trait;
use encoding_rs::Encoding as Charset;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use secrecy::{ExposeSecret, SecretString};
use socket2::SockRef;
use suppaftp::tokio::{AsyncTlsConnector, ImplAsyncFtpStream};
use suppaftp::types::Response;
use suppaftp::{FtpError, FtpResult};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::config::FtpConnection;

use super::charset;
use super::command::{Command, Step};
use super::control_stream::ControlStream;
use super::fault::{CONTROL, Fault, Wait, fault, within};
use super::reply::Reply;
use super::reply_queue::{ReplyQueue, ReplyRole};
use super::tls::SessionTls;

// No build may contain suppaftp's log statement that includes the password.
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Debug as usize);

/// What suppaftp reads instead of the server's greeting.
const OWN_GREETING: &[u8] = b"220 \r\n";

type SuppaftpClient = ImplAsyncFtpStream<ControlStream>;

/// One control connection.
pub(super) struct ControlConnection {
    client: SuppaftpClient,
    stream: ControlStream,
    replies: ReplyQueue,
    charset: Option<&'static Charset>,
    secret: SecretString,
    reply_timeout: Duration,
    /// The fastest reply so far.
    round_trip: Duration,
    /// A reply other than 421 has arrived since [`ControlConnection::begin_task`].
    was_answered: bool,
    /// The latest STOR has received its 150.
    has_accepted_stor: bool,
}

impl ControlConnection {
    /// Takes over the connection, with TLS from its first byte if `tls` is given. The greeting is still to come.
    pub async fn over(
        stream: TcpStream,
        tls: Option<&SessionTls>,
        connection: &FtpConnection,
    ) -> Result<ControlConnection, Fault> {
        let stream = ControlStream::plain(stream, OWN_GREETING);
        if let Some(tls) = tls {
            stream.start_tls(tls).await?;
        }
        let mut client = client_over(stream.clone()).await.map_err(fault)?;
        charset::write_in(&mut client, connection.charset).await;
        let mut replies = ReplyQueue::default();
        replies.expect(Step::Greeting);
        Ok(ControlConnection {
            client,
            stream,
            replies,
            charset: connection.charset,
            secret: connection.pass.clone(),
            reply_timeout: connection.timeouts.reply,
            round_trip: Duration::MAX,
            was_answered: true,
            has_accepted_stor: false,
        })
    }

    /// The handshake, after AUTH TLS was accepted.
    pub async fn start_tls(&mut self, tls: &SessionTls) -> Result<(), Fault> {
        if !self.stream.is_drained() {
            return Err(Fault::Tls("the server sent more than its reply to AUTH TLS".to_owned()));
        }
        self.stream.start_tls(tls).await
    }

    /// USER and, if the server asks for it, PASS. Returns the last reply if it is not 230.
    pub async fn log_in(&mut self, user: &str, pass: &str) -> Result<Option<Reply>, Fault> {
        self.replies.expect(Step::Login);
        match self.client.login(user, pass).await {
            Ok(()) => {
                self.replies.received(230);
                Ok(None)
            }
            Err(error) => self.received(Err(error)).map(|received| Some(received.reply)),
        }
    }

    /// Sends a command and reads its reply, which may be a refusal: the caller decides what it means.
    pub async fn exchange(&mut self, command: &Command, wait: Wait, limit: Duration) -> Result<Reply, Fault> {
        let waiting = || format!("the reply to {}", command.step.verb());
        within(wait, limit, waiting, self.exchange_untimed(command)).await?.map(|received| received.reply)
    }

    /// Like [`ControlConnection::exchange`], with the reply's lines as the server sent them.
    pub async fn exchange_for_body(
        &mut self,
        command: &Command,
        wait: Wait,
        limit: Duration,
    ) -> Result<(Reply, Vec<u8>), Fault> {
        let waiting = || format!("the reply to {}", command.step.verb());
        let received = within(wait, limit, waiting, self.exchange_untimed(command)).await??;
        Ok((received.reply, received.body))
    }

    async fn exchange_untimed(&mut self, command: &Command) -> Result<ReceivedReply, Fault> {
        self.replies.expect(command.step);
        let started = Instant::now();
        let answered = self.client.custom_command(&command.line, &[]).await;
        self.round_trip = self.round_trip.min(started.elapsed());
        self.received(answered)
    }

    /// Writes commands in one burst. [`ControlConnection::reply`] reads their replies.
    pub async fn send(&mut self, commands: &[Command]) -> Result<(), Fault> {
        let mut burst = Vec::new();
        for command in commands {
            burst.extend(charset::encode_line(self.charset, &command.line).map_err(|_| Fault::Unsendable)?);
            burst.extend_from_slice(b"\r\n");
        }
        for command in commands {
            self.replies.expect(command.step);
            self.has_accepted_stor &= command.step != Step::Stor;
        }
        let waiting = || "the server to take commands".to_owned();
        let written = within(Wait::Reply, self.reply_timeout, waiting, self.stream.write(&burst)).await?;
        written.map_err(|error| Fault::Broken { what: CONTROL.to_owned(), error })
    }

    /// Reads the next reply.
    pub async fn reply(&mut self) -> Result<Reply, Fault> {
        let verb = self.replies.next().map_or("a command", Step::verb);
        let (limit, waiting) = (self.reply_timeout, || format!("the reply to {verb}"));
        within(Wait::Reply, limit, waiting, self.reply_untimed()).await?
    }

    /// Reads the next reply without a deadline.
    pub async fn reply_untimed(&mut self) -> Result<Reply, Fault> {
        self.read().await.map(|received| received.reply)
    }

    /// The reply that ends a transfer, or the greeting; skips preliminary ones. Has no deadline.
    pub async fn final_reply(&mut self) -> Result<Reply, Fault> {
        loop {
            let received = self.read().await?;
            if received.role == ReplyRole::Final {
                return Ok(received.reply);
            }
        }
    }

    async fn read(&mut self) -> Result<ReceivedReply, Fault> {
        let read = self.client.read_response_in(&[]).await;
        self.received(read)
    }

    fn received(&mut self, read: FtpResult<Response>) -> Result<ReceivedReply, Fault> {
        let body = match read {
            Ok(response) | Err(FtpError::UnexpectedResponse(response)) => response.body,
            Err(error) => {
                let fault = fault(error);
                match fault {
                    Fault::Unsendable => self.replies.withdraw(),
                    Fault::Garbled => self.replies.violated("the data received is not an FTP reply"),
                    _ => self.replies.violated("the control connection broke"),
                }
                return Err(fault);
            }
        };
        let decoded = self.charset.map(|charset| charset::decode(charset, &body));
        let text = decoded.as_ref().map_or(body.as_slice(), String::as_bytes);
        let Some(reply) = Reply::parse(text, self.secret.expose_secret()) else {
            self.replies.violated("the data received is not an FTP reply");
            return Err(Fault::Garbled);
        };
        let answered = self.replies.next();
        let role = self.replies.received(reply.code);
        self.has_accepted_stor |= answered == Some(Step::Stor) && role == ReplyRole::Accepted;
        if reply.code != 421 {
            self.was_answered |= reply.code != 530;
        }
        Ok(ReceivedReply { reply, role, body })
    }

    /// Marks the session as not reusable, even though every command was answered.
    pub fn violated(&mut self, why: &'static str) {
        self.replies.violated(why);
    }

    /// Whether every command was answered, and nothing was violated. No round trip.
    pub fn is_settled(&self) -> bool {
        self.replies.is_settled()
    }

    /// What is outstanding, for `Debug`.
    pub fn replies(&self) -> &ReplyQueue {
        &self.replies
    }

    /// False if the idle socket is readable: the server has sent 421, or closed it. No round trip.
    pub fn is_quiet(&self) -> bool {
        let peeked = recv(self.stream.socket(), &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        self.stream.is_drained() && matches!(peeked, Err(Errno::AGAIN | Errno::INTR))
    }

    /// How long the fastest reply took.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Whether the latest STOR of the task was accepted before it ended: a server that says 226 alone has stored
    /// nothing.
    pub fn has_accepted_stor(&self) -> bool {
        self.has_accepted_stor
    }

    /// A new task's commands follow.
    pub fn begin_task(&mut self) {
        self.was_answered = false;
        self.has_accepted_stor = false;
    }

    /// Whether the task's commands have had a reply.
    pub fn was_answered(&self) -> bool {
        self.was_answered
    }

    /// This end's address.
    pub fn own_address(&self) -> std::io::Result<IpAddr> {
        self.stream.socket().local_addr().map(|address| address.ip())
    }

    /// Sends QUIT if the session is in order, then waits for the server to close its end.
    pub async fn quit(&mut self) {
        let quit = Command::plain(Step::Quit);
        if self.is_settled() && self.exchange_untimed(&quit).await.is_err() {
            return;
        }
        let socket = self.stream.socket();
        // Fails if the server has closed first, which is fine.
        let _ = SockRef::from(socket).shutdown(Shutdown::Write);
        let mut rest = [0_u8; 1024];
        while socket.readable().await.is_ok() {
            match socket.try_read(&mut rest) {
                Ok(1..) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// A reply that was read.
struct ReceivedReply {
    reply: Reply,
    role: ReplyRole,
    /// The bytes as received.
    body: Vec<u8>,
}

/// suppaftp's client over an already connected stream.
async fn client_over(stream: ControlStream) -> FtpResult<SuppaftpClient> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(FtpError::ConnectionError)?;
    let address = listener.local_addr().map_err(FtpError::ConnectionError)?;
    SuppaftpClient::connect_secure_implicit(address, StreamHandover(stream), "").await
}

/// Gives suppaftp our stream instead of the socket that it has connected.
#[derive(Debug)]
struct StreamHandover(ControlStream);

#[async_trait]
impl AsyncTlsConnector for StreamHandover {
    type Stream = ControlStream;

    async fn connect(&self, _: &str, _: TcpStream) -> FtpResult<ControlStream> {
        Ok(self.0.clone())
    }
}
