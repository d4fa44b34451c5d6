//! The one table: which fault at which step → the contract's code, and how the try may be repeated.
//!
//! Pure. The reply texts in the tests are those of vsftpd 3.0.3, `ProFTPD` 1.3.8,
//! Pure-FTPd 1.0.50, `FileZilla` Server and IIS.

use std::io;

use rustix::io::Errno;

use crate::failure::{Code, Failure, Remedy, TryError};
use crate::text::shown;

use super::command::Step;
use super::fault::Fault;
use super::reply::{Reply, ReplyHints};

/// Where a fault happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorContext<'a> {
    pub step: Step,
    /// `host:port`, for the messages of the steps that have no path.
    pub server: &'a str,
    pub path: Option<&'a str>,
    /// The session has served an earlier task and has had no reply since: the server may have closed it long ago.
    pub stale: bool,
    /// A new session can help with a TLS failure: this one has already had TLS on a data connection, or the next one
    /// will use an older version.
    pub renewable: bool,
}

/// The error of a try that ended with `fault`.
pub(super) fn classify(at: ErrorContext<'_>, fault: &Fault) -> TryError {
    let (code, remedy) = verdict(at, fault);
    let ftp_code = match fault {
        Fault::Reply(reply) => Some(reply.code),
        _ => None,
    };
    let message = format!("{}: {}", subject(at), describe(at, fault));
    TryError { failure: Failure { code, message, ftp_code }, remedy }
}

fn verdict(at: ErrorContext<'_>, fault: &Fault) -> (Code, Remedy) {
    let unusable = if at.step.is_opening() { Remedy::OpenBreaker } else { Remedy::Wait };
    match fault {
        Fault::Reply(reply) if at.stale && matches!(reply.code, 421 | 530) => {
            (Code::ProtocolError, Remedy::FreshSession)
        }
        Fault::Reply(reply) if at.step.is_opening() => at_login(at.step, reply.code, reply.hints(None)),
        Fault::Reply(reply) if at.renewable && matches!(reply.code, 425 | 522) => {
            (Code::TlsFailed, Remedy::FreshSession)
        }
        Fault::Reply(reply) => after_login(at.step, reply.code, reply.hints(at.path)),
        Fault::Tls(_) | Fault::NotTls if at.step.is_opening() => (Code::TlsFailed, Remedy::OpenBreaker),
        Fault::Tls(_) | Fault::NotTls if at.renewable => (Code::TlsFailed, Remedy::FreshSession),
        Fault::Tls(_) | Fault::NotTls => (Code::TlsFailed, Remedy::GiveUp),
        Fault::TimedOut { .. } if at.step == Step::DataConnect => (Code::Timeout, Remedy::OpenBreaker),
        Fault::TimedOut { .. } => (Code::Timeout, unusable),
        Fault::Broken { error, .. } if is_local_error(error) => (Code::Internal, Remedy::Wait),
        Fault::Broken { .. } if at.step.is_opening() || at.step == Step::DataConnect => {
            (Code::ConnectFailed, Remedy::OpenBreaker)
        }
        Fault::Broken { .. } if at.stale => (Code::ProtocolError, Remedy::FreshSession),
        Fault::Broken { .. } => (Code::ProtocolError, Remedy::Wait),
        // Not the task's fault: the next session will send one command at a time.
        Fault::PipeliningRejected(_) => (Code::ProtocolError, Remedy::FreshSession),
        Fault::Garbled => (Code::ProtocolError, unusable),
        Fault::Unsendable if at.step.is_opening() => (Code::AuthFailed, Remedy::OpenBreaker),
        Fault::Unsendable => (Code::PathNotAllowed, Remedy::GiveUp),
    }
}

/// Replies to the connect itself, AUTH, USER, PASS and TYPE. They apply to every task of the connection.
fn at_login(step: Step, code: u16, hints: ReplyHints) -> (Code, Remedy) {
    match code {
        400..=599 if hints.tls => (Code::TlsFailed, Remedy::OpenBreaker),
        522 | 533 | 534 | 536 => (Code::TlsFailed, Remedy::OpenBreaker),
        421 => (Code::ServerBusy, Remedy::LowerLimit),
        400..=599 if hints.too_many => (Code::ServerBusy, Remedy::LowerLimit),
        400..=599 if matches!(step, Step::Auth | Step::Pbsz | Step::Prot) => {
            (Code::TlsFailed, Remedy::OpenBreaker)
        }
        331 | 332 | 430 | 530..=532 => (Code::AuthFailed, Remedy::OpenBreaker),
        120 | 400..=599 => (Code::ConnectFailed, Remedy::OpenBreaker),
        _ => (Code::ProtocolError, Remedy::OpenBreaker),
    }
}

fn after_login(step: Step, code: u16, hints: ReplyHints) -> (Code, Remedy) {
    match code {
        400..=499 if hints.too_many => (Code::ServerBusy, Remedy::LowerLimit),
        // FileZilla replies 450.
        425 | 450 if hints.tls => (Code::TlsFailed, Remedy::GiveUp),
        425 => (Code::ConnectFailed, Remedy::Wait),
        450 if step == Step::Retr && hints.missing => (Code::SourceNotFound, Remedy::GiveUp),
        452 => (Code::StorageFull, Remedy::Wait),
        400..=499 if hints.full => (Code::StorageFull, Remedy::Wait),
        // Pure-FTPd, for a rename.
        451 if step == Step::Rnto && hints.denied => (Code::PermissionDenied, Remedy::GiveUp),
        450 => (Code::ServerBusy, Remedy::Wait),
        500 if hints.oops => (Code::ProtocolError, Remedy::Wait),
        501 if hints.bad_name => (Code::PathNotAllowed, Remedy::GiveUp),
        // Servers built on a runtime's streams report any stream error this way, including a cut data connection.
        551 if matches!(step, Step::Retr | Step::Receiving) => (Code::ProtocolError, Remedy::Wait),
        500..=504 | 551 => (Code::Unsupported, Remedy::GiveUp),
        522 | 533 | 534 | 536 => (Code::TlsFailed, Remedy::GiveUp),
        530 | 532 => (Code::PermissionDenied, Remedy::GiveUp),
        552 => (Code::StorageFull, Remedy::GiveUp),
        550..=559 if hints.full => (Code::StorageFull, Remedy::Wait),
        550 | 553 if hints.in_use => (Code::ServerBusy, Remedy::Wait),
        550 | 553 => file_refused(step, hints),
        500..=599 => (Code::ProtocolError, Remedy::GiveUp),
        _ => (Code::ProtocolError, Remedy::Wait),
    }
}

/// 550 and 553: about this one file, and by far the most overloaded replies.
fn file_refused(step: Step, hints: ReplyHints) -> (Code, Remedy) {
    match step {
        // Bytes have already flowed: the cause is the server's disk or network, not the file's name.
        Step::Receiving => (Code::ProtocolError, Remedy::Wait),
        Step::Stor | Step::Rnto | Step::Mkd if hints.bad_name => (Code::PathNotAllowed, Remedy::GiveUp),
        _ if hints.denied && !hints.missing => (Code::PermissionDenied, Remedy::GiveUp),
        Step::Size | Step::Mdtm | Step::Retr | Step::Cwd | Step::Mlsd | Step::List => {
            (Code::SourceNotFound, Remedy::GiveUp)
        }
        // The temp file that STOR created a moment ago is gone.
        Step::Rnfr => (Code::ProtocolError, Remedy::Wait),
        Step::Rnto if hints.exists => (Code::Unsupported, Remedy::GiveUp),
        _ => (Code::PermissionDenied, Remedy::GiveUp),
    }
}

/// Out of file descriptors or ports: a problem of this pod, not of the server.
fn is_local_error(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::ADDRINUSE | Errno::ADDRNOTAVAIL | Errno::NOBUFS)
    )
}

fn subject(at: ErrorContext<'_>) -> String {
    match at.path {
        Some(path) => format!("{} {}", at.step.verb(), shown(path)),
        None => format!("{} ({})", at.step.verb(), at.server),
    }
}

fn describe(at: ErrorContext<'_>, fault: &Fault) -> String {
    match fault {
        Fault::Reply(reply) if reply.is_refusal() && wants_tls(at.step, reply) => {
            format!("the server said {reply} (it wants TLS: explicit_tls = true)")
        }
        Fault::Reply(reply) if reply.is_refusal() => format!("the server said {reply}"),
        Fault::Reply(reply) => format!("the reply does not fit: {reply}"),
        Fault::PipeliningRejected(how) => how.clone(),
        Fault::TimedOut { waiting_for, wait, limit } => {
            format!("timed out after {limit:?} waiting for {waiting_for} ({wait})")
        }
        Fault::Broken { what, error } if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the server closed {what}")
        }
        Fault::Broken { what, error } => format!("{what} failed: {error}"),
        Fault::Tls(problem) => problem.clone(),
        Fault::NotTls => {
            "what the server sent is no TLS (a server that begins in plain text needs explicit_tls)"
                .to_owned()
        }
        Fault::Garbled => "what the server sent is no FTP reply".to_owned(),
        Fault::Unsendable if at.step.is_opening() => {
            "user and password may not hold NUL, CR or LF".to_owned()
        }
        Fault::Unsendable => {
            "an FTP path may not hold NUL, CR or LF, nor what the connection's charset lacks".to_owned()
        }
    }
}

/// A login that was refused because it was in plain text.
fn wants_tls(step: Step, reply: &Reply) -> bool {
    step == Step::Login && (reply.hints(None).tls || matches!(reply.code, 522 | 533 | 534))
}

#[cfg(test)]
mod tests;
