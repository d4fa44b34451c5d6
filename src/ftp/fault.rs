//! What can go wrong on the wire, and the deadlines that every wait has.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use suppaftp::{FtpError, ReplyTooLarge};
use tokio::time::timeout;

use super::command::Step;
use super::reply::Reply;

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A complete reply that does not satisfy the step.
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
    /// TLS could not be negotiated, or the certificate was rejected; says why.
    Tls(String),
    /// The server rejects pipelining; says how that showed.
    PipeliningRejected(String),
    /// The server answered the handshake with something other than TLS.
    NotTls,
    /// The received bytes are not a reply, or one without end.
    Garbled,
    /// The path (or user, or password) contains a NUL, CR or LF: nothing was sent.
    Unsendable,
}

/// A fault, and the step that it ended.
#[derive(Debug)]
pub(super) struct StepFault {
    pub step: Step,
    pub fault: Fault,
    /// The server's reply after its data connection was gone, if it explains nothing more.
    pub afterwards: Option<Reply>,
}

impl StepFault {
    pub fn new(step: Step, fault: Fault) -> StepFault {
        StepFault { step, fault, afterwards: None }
    }
}

/// The name of the control connection in messages.
pub(super) const CONTROL: &str = "the control connection";

/// What suppaftp's error means if it is not a reply.
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
    /// Bytes arrived, but too few.
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

/// Waits for `work` no longer than `limit`; the fault names what was awaited and which key sets the limit.
pub(super) async fn within<T>(
    wait: Wait,
    limit: Duration,
    waiting_for: impl FnOnce() -> String,
    work: impl Future<Output = T>,
) -> Result<T, Fault> {
    timeout(limit, work).await.map_err(|_| Fault::TimedOut { waiting_for: waiting_for(), wait, limit })
}
