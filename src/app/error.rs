//! Why a pod could not start, or could not continue, and the matching exit code.

use crate::kafka::{CommitError, KafkaError};
use service_kit::http::BindError;

/// Why a pod ended other than on request.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("connections.ini: [{connection}] {reason}")]
    Storage { connection: String, reason: String },
    #[error("connections.ini has tunnels (type = frp), and frpc cannot be used: {0}")]
    Tunnels(String),
    #[error("Kafka: {0}")]
    Kafka(KafkaError),
    #[error("Kafka: {0}")]
    Publish(CommitError),
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    #[error("the {0} thread ended unexpectedly")]
    Ended(&'static str),
    /// Stopped on request, except for these calls.
    #[error("stopped while a file system did not answer: {0}")]
    Hanging(String),
    #[error("aborted by a second signal")]
    Aborted,
}

impl AppError {
    /// The exit code that tells a supervisor the kind of end (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            AppError::Storage { .. } | AppError::Tunnels(_) => 78, // EX_CONFIG
            AppError::Bind(_) => 69,                               // EX_UNAVAILABLE
            AppError::Hanging(_) => 74,                            // EX_IOERR
            AppError::Aborted => 130,                              // as a shell reports SIGINT
            AppError::Kafka(_)
            | AppError::Publish(_)
            | AppError::Start(_)
            | AppError::Random(_)
            | AppError::Ended(_) => 1,
        }
    }
}
