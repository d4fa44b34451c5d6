//! What can go wrong with a local file, and what the task's answer reports.

use rustix::io::Errno;

use crate::failure::{Code, Failure, Remedy, TryError};

/// One operation's error. The text names the operation, the path as the task wrote it, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The path cannot be a file's path, leads out of `base_path`, or does not lead to a regular file.
    #[error("{0}")]
    PathNotAllowed(String),
    #[error("{0}")]
    SourceNotFound(String),
    /// The source has another size or time than when it was opened.
    #[error("{0}")]
    SourceChanged(String),
    #[error("{0}")]
    DestinationExists(String),
    #[error("{0}")]
    PermissionDenied(String),
    /// No free space, or no quota.
    #[error("{0}")]
    Full(String),
    /// Larger than the file system or the process's limits allow.
    #[error("{0}")]
    TooLarge(String),
    /// The file system did not answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// The file system is read-only, or `base_path` does not exist (any more).
    #[error("{0}")]
    Unavailable(String),
    /// The file system can neither rename without replacing nor make hard links.
    #[error("{0}")]
    Unsupported(String),
    /// Any other error of the operating system.
    #[error("{0}")]
    Io(String),
    /// A bug in the pooler.
    #[error("{0}")]
    Fault(String),
    /// The task no longer belonged to this pod when its file was about to be published; nothing was published. The
    /// outcome must be dropped.
    #[error("the task's partition left this pod before its file was published")]
    LeaseEnded,
}

/// The local file's role in the task: the same errno means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathRole {
    Source,
    Destination,
    /// `base_path` itself, which no task names.
    Base,
}

impl PathRole {
    /// The task's field that contains the path.
    fn field(self) -> &'static str {
        match self {
            PathRole::Source => "source.path: ",
            PathRole::Destination => "destination.path: ",
            PathRole::Base => "",
        }
    }
}

/// The operation and its path: the start of every message.
#[derive(Clone, Debug)]
pub(super) struct OperationContext<'a> {
    pub what: &'static str,
    pub path: &'a str,
    pub side: PathRole,
}

impl OperationContext<'_> {
    /// The start of a message: `write "/a/b": `, then `reason`.
    pub fn says(&self, reason: impl std::fmt::Display) -> String {
        format!("{} {:?}: {reason}", self.what, self.path)
    }

    /// The path is not one that a task may name: the task is wrong, so its field is named.
    pub fn refuses(&self, reason: impl std::fmt::Display) -> StorageError {
        StorageError::PathNotAllowed(format!("{}{}", self.side.field(), self.says(reason)))
    }

    /// Classifies an error of the operating system.
    pub fn failed(&self, errno: Errno) -> StorageError {
        let source = self.side == PathRole::Source;
        match errno {
            Errno::NOENT | Errno::NOTDIR if source => StorageError::SourceNotFound(self.says(errno)),
            Errno::NOTDIR => self.refuses("a part of the path is not a directory"),
            Errno::ISDIR => self.refuses("it is a directory"),
            Errno::NXIO | Errno::NODEV if source => self.refuses("it is not a regular file"),
            Errno::XDEV => self.refuses("it leads out of base_path"),
            Errno::LOOP => self.refuses("a symlink in it leads nowhere, or in a circle"),
            Errno::NAMETOOLONG => self.refuses(errno),
            Errno::NOSPC | Errno::DQUOT => StorageError::Full(self.says(errno)),
            Errno::FBIG => StorageError::TooLarge(self.says(errno)),
            Errno::ROFS => StorageError::Unavailable(self.says(errno)),
            Errno::ACCESS | Errno::PERM => StorageError::PermissionDenied(self.says(errno)),
            Errno::STALE => {
                StorageError::Unavailable(self.says("base_path, or a part of the path, does not exist"))
            }
            _ => StorageError::Io(self.says(errno)),
        }
    }
}

impl StorageError {
    /// The contract's code, and whether another try can help.
    #[must_use]
    pub const fn class(&self) -> (Code, Remedy) {
        match self {
            StorageError::PathNotAllowed(_) => (Code::PathNotAllowed, Remedy::GiveUp),
            StorageError::SourceNotFound(_) => (Code::SourceNotFound, Remedy::GiveUp),
            StorageError::SourceChanged(_) => (Code::SourceChanged, Remedy::Wait),
            StorageError::DestinationExists(_) => (Code::DestinationExists, Remedy::GiveUp),
            StorageError::PermissionDenied(_) => (Code::PermissionDenied, Remedy::GiveUp),
            StorageError::Full(_) => (Code::StorageFull, Remedy::LocalOutage),
            StorageError::TooLarge(_) => (Code::FileTooLarge, Remedy::GiveUp),
            StorageError::TimedOut(_) => (Code::Timeout, Remedy::LocalOutage),
            StorageError::Unavailable(_) => (Code::LocalIo, Remedy::LocalOutage),
            StorageError::Unsupported(_) => (Code::Unsupported, Remedy::GiveUp),
            StorageError::Io(_) => (Code::LocalIo, Remedy::Wait),
            StorageError::Fault(_) => (Code::Internal, Remedy::Wait),
            StorageError::LeaseEnded => (Code::Internal, Remedy::GiveUp),
        }
    }

    /// Names the local connection, if the error is about its file system as a whole.
    pub(super) fn of_connection(self, connection: &str) -> StorageError {
        let named = |text| format!("local connection {connection}: {text}");
        match self {
            StorageError::Full(text) => StorageError::Full(named(text)),
            StorageError::TimedOut(text) => StorageError::TimedOut(named(text)),
            StorageError::Unavailable(text) => StorageError::Unavailable(named(text)),
            other => other,
        }
    }
}

impl From<StorageError> for TryError {
    fn from(error: StorageError) -> Self {
        let (code, remedy) = error.class();
        TryError { failure: Failure::new(code, error.to_string()), remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(errno: Errno, side: PathRole) -> (Code, Remedy) {
        OperationContext { what: "open", path: "/a", side }.failed(errno).class()
    }

    #[test]
    fn a_full_or_read_only_disk_is_waited_for_and_a_forbidden_one_is_not() {
        assert_eq!(class(Errno::NOSPC, PathRole::Destination), (Code::StorageFull, Remedy::LocalOutage));
        assert_eq!(class(Errno::DQUOT, PathRole::Destination), (Code::StorageFull, Remedy::LocalOutage));
        assert_eq!(class(Errno::ROFS, PathRole::Destination), (Code::LocalIo, Remedy::LocalOutage));
        assert_eq!(class(Errno::ACCESS, PathRole::Source), (Code::PermissionDenied, Remedy::GiveUp));
        assert_eq!(class(Errno::IO, PathRole::Source), (Code::LocalIo, Remedy::Wait));
        assert_eq!(class(Errno::MFILE, PathRole::Destination), (Code::LocalIo, Remedy::Wait));
    }

    #[test]
    fn a_missing_source_is_final_but_a_directory_that_vanished_is_not() {
        assert_eq!(class(Errno::NOENT, PathRole::Source), (Code::SourceNotFound, Remedy::GiveUp));
        assert_eq!(class(Errno::NOENT, PathRole::Destination), (Code::LocalIo, Remedy::Wait));
    }

    #[test]
    fn a_path_that_a_task_may_not_name_is_told_with_its_field() {
        let error =
            |side| OperationContext { what: "open", path: "/a", side }.failed(Errno::XDEV).to_string();
        assert_eq!(error(PathRole::Source), "source.path: open \"/a\": it leads out of base_path");
        assert_eq!(error(PathRole::Destination), "destination.path: open \"/a\": it leads out of base_path");
    }

    #[test]
    fn a_message_names_operation_path_and_reason_and_no_reply_code() {
        let doing = OperationContext { what: "write", path: "/ä b", side: PathRole::Destination };
        let error = TryError::from(doing.failed(Errno::NOSPC));
        assert_eq!(error.failure.message, "write \"/ä b\": No space left on device (os error 28)");
        assert_eq!(error.failure.ftp_code, None);
    }
}
