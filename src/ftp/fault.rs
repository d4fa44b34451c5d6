//! What can go wrong on the wire, and the deadlines that every wait has.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use suppaftp::{FtpError, ReplyTooLarge};
use tokio::time::timeout;

use super::reply::Reply;

/// What the session was doing. The same reply means different things at different steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Greeting,
    /// AUTH TLS, PBSZ and PROT.
    Auth,
    /// The handshake on the control connection.
    Tls,
    Login,
    Type,
    Feat,
    Opts,
    Epsv,
    Pasv,
    Eprt,
    Port,
    /// Connecting the data connection.
    DataConnect,
    Size,
    Mdtm,
    /// Sets the time of a file's last change, with [`Step::Mdtm`]'s own command.
    SetMdtm,
    Mfmt,
    Mff,
    SiteUtime,
    /// The server's own hash of a file: HASH, or the command of the same purpose that it has.
    Hash,
    XHash(&'static str),
    OptsHash,
    Rest,
    Retr,
    /// RETR was accepted: bytes, then the final reply.
    Receiving,
    Stor,
    /// STOR was accepted: bytes, then the final reply.
    Sending,
    Mkd,
    Rnfr,
    Rnto,
    Dele,
    Pwd,
    Cwd,
    /// MLSD (RFC 3659, 7).
    Mlsd,
    List,
    Noop,
}

impl Step {
    /// The command, as it is sent and as messages name it.
    pub const fn verb(self) -> &'static str {
        match self {
            Step::Connect => "connect",
            Step::Greeting => "greeting",
            Step::Auth => "AUTH TLS",
            Step::Tls => "TLS",
            Step::Login => "login",
            Step::Type => "TYPE",
            Step::Feat => "FEAT",
            Step::Opts => "OPTS UTF8",
            Step::Epsv => "EPSV",
            Step::Pasv => "PASV",
            Step::Eprt => "EPRT",
            Step::Port => "PORT",
            Step::DataConnect => "data connection",
            Step::Size => "SIZE",
            Step::Mdtm | Step::SetMdtm => "MDTM",
            Step::Mfmt => "MFMT",
            Step::Mff => "MFF",
            Step::SiteUtime => "SITE UTIME",
            Step::Hash => "HASH",
            Step::XHash(command) => command,
            Step::OptsHash => "OPTS HASH",
            Step::Rest => "REST",
            Step::Retr | Step::Receiving => "RETR",
            Step::Stor | Step::Sending => "STOR",
            Step::Mkd => "MKD",
            Step::Rnfr => "RNFR",
            Step::Rnto => "RNTO",
            Step::Dele => "DELE",
            Step::Pwd => "PWD",
            Step::Cwd => "CWD",
            Step::Mlsd => "MLSD",
            Step::List => "LIST",
            Step::Noop => "NOOP",
        }
    }

    /// Before the session is logged in: what fails here fails for every task of the connection.
    pub const fn is_opening(self) -> bool {
        matches!(
            self,
            Step::Connect | Step::Greeting | Step::Auth | Step::Tls | Step::Login | Step::Type | Step::Feat
        )
    }
}

/// Why a step did not end as it should.
#[derive(Debug)]
pub(super) enum Fault {
    /// A complete reply that is not what the step needs.
    Reply(Reply),
    TimedOut {
        waiting_for: String,
        wait: Wait,
        limit: Duration,
    },
    /// The control connection, or a data connection, broke.
    Broken {
        what: String,
        error: io::Error,
    },
    /// TLS was not agreed on, or its certificate refused; says why.
    Tls(String),
    /// The server did not bear what was sent before its turn: says how it showed.
    TooHasty(String),
    /// The server answered the handshake with something else.
    NotTls,
    /// What came is no reply, or one without end.
    Garbled,
    /// The path (or user, or password) has a NUL, CR or LF: nothing was sent.
    Unsendable,
}

/// A fault and the step it ended.
#[derive(Debug)]
pub(super) struct StepFault {
    pub step: Step,
    pub fault: Fault,
    /// What the server said once its data connection was gone, where that explains nothing more.
    pub afterwards: Option<Reply>,
}

impl StepFault {
    pub fn new(step: Step, fault: Fault) -> StepFault {
        StepFault { step, fault, afterwards: None }
    }
}

/// The name of the control connection in messages.
pub(super) const CONTROL: &str = "the control connection";

/// Sorts suppaftp's error: with no reply expected, every complete reply arrives as `UnexpectedResponse`.
pub(super) fn reply_or_fault(error: FtpError, secret: &str) -> Result<Reply, Fault> {
    match error {
        FtpError::UnexpectedResponse(response) => Reply::parse(&response.body, secret).ok_or(Fault::Garbled),
        error => Err(fault(error)),
    }
}

/// What suppaftp's error means where it is no reply.
pub(super) fn fault(error: FtpError) -> Fault {
    match error {
        FtpError::ConnectionError(error) if error.kind() == io::ErrorKind::InvalidInput => Fault::Unsendable,
        FtpError::ConnectionError(error)
            if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<ReplyTooLarge>) =>
        {
            Fault::Garbled
        }
        FtpError::ConnectionError(error) => Fault::Broken { what: CONTROL.to_owned(), error },
        _ => Fault::Garbled,
    }
}

/// The waits of a session; each has a key in connections.ini.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Connect,
    Greeting,
    Login,
    Reply,
    FirstByte,
    Stall,
    /// Bytes came, and too few.
    Rate,
    Close,
    Hash,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wait::Connect => "connect_timeout",
            Wait::Greeting => "greeting_timeout",
            Wait::Login => "login_timeout",
            Wait::Reply => "reply_timeout",
            Wait::FirstByte => "first_byte_timeout",
            Wait::Stall => "stall_timeout",
            Wait::Rate => "min_rate",
            Wait::Close => "close_timeout",
            Wait::Hash => "hash_timeout",
        })
    }
}

/// Waits for `work` no longer than `limit`; the fault names what was waited for and which key sets the limit.
pub(super) async fn within<T>(
    wait: Wait,
    limit: Duration,
    waiting_for: impl FnOnce() -> String,
    work: impl Future<Output = T>,
) -> Result<T, Fault> {
    timeout(limit, work).await.map_err(|_| Fault::TimedOut { waiting_for: waiting_for(), wait, limit })
}
