//! Why a task failed: the contract's closed list of codes, and the remedy of a try's error.

use std::fmt;

use crate::text::shorten;

/// Declares the codes once: variant, name in the contract, whether sending the same task again can help, and what the
/// user should do, as printed in docs/ERRORS.md.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $retryable:literal, $advice:literal;)+) => {
        /// The closed list of `error.code`. docs/ERRORS.md says what a user should do about each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// Every code, in the contract's order.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The name in the contract.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name),+ }
            }

            /// Whether sending the same task again can help.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Code::$variant => $retryable),+ }
            }

            /// What a user should do about it, in a sentence or two.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Code::$variant => $advice),+ }
            }
        }
    };
}

codes! {
    /// The record is no task: the message names the field.
    InvalidTask = "invalid_task", false,
        "Correct the producer; task.schema.json describes a task.";
    /// No section of connections.ini has this name.
    UnknownConnection = "unknown_connection", false,
        "Correct the name, or add the connection, then send again.";
    /// The path leads out of its root, or cannot be a path.
    PathNotAllowed = "path_not_allowed", false,
        "Correct the path. Remove symlinks that lead out of base_path.";
    /// The source is not there.
    SourceNotFound = "source_not_found", false,
        "Check the path, and whether the file appears only after its task was sent.";
    /// The destination is there, and `overwrite` is false.
    DestinationExists = "destination_exists", false,
        "Delete it, choose another, or set overwrite.";
    /// The server or the file system forbids it.
    PermissionDenied = "permission_denied", false,
        "Give the account, or the pod's user, the right.";
    /// The server refused user or password.
    AuthFailed = "auth_failed", false,
        "Correct user or pass of the connection, then send again.";
    /// No control connection: name not found, refused, unreachable, closed before the greeting. Or no data
    /// connection.
    ConnectFailed = "connect_failed", true,
        "Check host, port, network and firewall (also for the server's passive ports); send again.";
    /// TLS could not be agreed on, or the certificate was refused.
    TlsFailed = "tls_failed", false,
        "Correct the certificate or the connection's TLS keys.";
    /// A wait ended at its deadline; the message names which.
    Timeout = "timeout", true,
        "Send again. If it happens often: the server is slow, a firewall drops data connections, or the volume hangs.";
    /// The server is full.
    ServerBusy = "server_busy", true,
        "Send again later; lower the connection's max_sessions if others need sessions there.";
    /// No room left, there or here.
    StorageFull = "storage_full", true,
        "Free space, then send again.";
    /// What arrived is not what was sent.
    IntegrityMismatch = "integrity_mismatch", true,
        "Send again. If it persists: something in between changes the data, or the server's SIZE is wrong (verify).";
    /// The source changed while it was transferred.
    SourceChanged = "source_changed", true,
        "Send again once the file is complete; have its writer rename it into place.";
    /// The server's reply did not fit, or the connection broke.
    ProtocolError = "protocol_error", true,
        "Send again. If it persists: the message has the reply; check the server's log.";
    /// The connection stayed unusable for longer than a task may wait.
    ConnectionUnavailable = "connection_unavailable", true,
        "Repair the connection, then send again.";
    /// The task's deadline was over before it was begun.
    DeadlineExceeded = "deadline_exceeded", false,
        "Send it with a later deadline, if it is still wanted.";
    /// Its batch was cancelled before it was begun.
    Cancelled = "cancelled", false,
        "Nothing, if it was intended; else submit it again.";
    /// Larger than the connection's `max_file_size`, the local file system or a limit of the process allows.
    FileTooLarge = "file_too_large", false,
        "Split the file, or raise the limit.";
    /// The server, or this version, cannot do what the task asks for.
    Unsupported = "unsupported", false,
        "Leave the option out, or use another value (verify: auto); where the server does not rename over a file, set \
         rename_over = delete_first.";
    /// The local file system failed.
    LocalIo = "local_io", true,
        "Check the message and the volume; send again.";
    /// A fault of the pooler.
    Internal = "internal", true,
        "Send again, and report the message with the log around it.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a task, or one try at it, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    pub code: Code,
    /// One sentence that names what is wrong and where (field, path, reply).
    pub message: String,
    /// The last decisive FTP reply code, if there was one.
    pub ftp_code: Option<u16>,
}

/// The maximum length of a failure's message in bytes: its replies and paths are external input.
pub const MAX_MESSAGE_BYTES: usize = 2048;

impl Failure {
    /// A failure that was not caused by a server's reply. The message is truncated to [`MAX_MESSAGE_BYTES`].
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        shorten(&mut message, MAX_MESSAGE_BYTES);
        Failure { code, message, ftp_code: None }
    }
}

/// What should happen after a failed try. The tables of replies and errors that lead here are in `ftp/` and `storage/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// The session died before the server did anything for this task (421 or EOF on a pooled session): try at once on a
    /// fresh one; does not count as an attempt.
    FreshSession,
    /// The server accepts no more sessions: the connection's limit is lowered; does not count as an attempt.
    LowerLimit,
    /// Transient: wait (backoff, jitter), then try again while `retry_count` allows.
    Wait,
    /// The server or the account is unusable for now: every task of the connection would fail the same way. Retried
    /// like `Wait`; the circuit breaker counts it.
    OpenBreaker,
    /// The local file system is unusable for now (full, read-only, hung, not mounted): every task of the local
    /// connection would fail the same way. Retried like `Wait`; the local connection's breaker counts it.
    LocalOutage,
    /// Trying again cannot help.
    GiveUp,
}

/// One try's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct TryError {
    pub failure: Failure,
    pub remedy: Remedy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_two_characters_and_says_so() {
        let failure = Failure::new(Code::Internal, "ü".repeat(MAX_MESSAGE_BYTES));
        assert!(failure.message.len() <= MAX_MESSAGE_BYTES && failure.message.len() > MAX_MESSAGE_BYTES - 5);
        assert!(failure.message.ends_with("ü…"));
        assert_eq!(Failure::new(Code::Internal, "short").message, "short");
    }
}
