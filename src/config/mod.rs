//! The configuration: `config.yaml` and `connections.ini`, overridden by the environment, validated whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

/// Everything a pod needs to know, validated.
#[derive(Debug, Clone)]
pub struct Config {
    pub kafka: Kafka,
    pub pool: Pool,
    pub api: Listen,
    pub metrics: Listen,
    pub shutdown: Shutdown,
    pub pod: Pod,
    pub connections: Connections,
}

#[derive(Debug, Clone)]
pub struct Kafka {
    pub bootstrap_servers: Vec<String>,
    pub consumer_group: String,
    pub input_topic: String,
    pub result_topic: String,
    pub fail_topic: String,
    pub delivery: Delivery,
    /// Passed through to librdkafka; values may be secrets (`sasl.password`), so all are.
    pub properties: BTreeMap<String, SecretString>,
}

/// How an answer and its task's offset are tied together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The answer is acknowledged by the broker before the offset is committed.
    AtLeastOnce,
    /// Answer and offset are one transaction.
    ExactlyOnce,
}

#[derive(Debug, Clone)]
pub struct Pool {
    pub max_sessions_per_pod: usize,
    pub max_sessions_per_connection: usize,
    /// An idle session is closed after this time.
    pub session_timeout: Duration,
    /// Decoded tasks the pod holds at most; above it the partitions are paused.
    pub max_waiting_tasks: usize,
}

#[derive(Debug, Clone)]
pub struct Listen {
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone)]
pub struct Shutdown {
    /// How long transfers in flight may go on after SIGTERM.
    pub drain: Duration,
}

#[derive(Debug, Clone)]
pub struct Pod {
    pub name: String,
}

/// The sections of connections.ini, by name.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    pub ftp: BTreeMap<String, Arc<FtpConnection>>,
    pub local: BTreeMap<String, Arc<LocalConnection>>,
}

/// An FTP server and the account on it.
#[derive(Debug, Clone)]
pub struct FtpConnection {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub pass: SecretString,
    /// Sessions at most, idle or busy; `pool.max_sessions_per_connection` where the section does not say.
    pub max_sessions: usize,
    /// Go straight to PASV: the server answers EPSV wrongly (rclone's key).
    pub disable_epsv: bool,
    pub rename_over: RenameOver,
    pub timeouts: Timeouts,
}

/// What an upload does where the server does not rename over an existing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameOver {
    /// RNTO replaces the file in one step.
    Auto,
    /// DELE first, then RNTO: a reader may see no file for a moment.
    DeleteFirst,
}

/// The deadlines of one session. Each wait has one of these.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// TCP connect, control and data.
    pub connect: Duration,
    /// The greeting and each reply of the login.
    pub login: Duration,
    /// Any other reply.
    pub reply: Duration,
    /// A data connection without a byte for this long has stalled.
    pub stall: Duration,
    /// The reply that ends a transfer (226), counted from the end of the data (rclone's key).
    pub close: Duration,
}

/// A directory on a file system that all pods share.
#[derive(Debug, Clone)]
pub struct LocalConnection {
    pub name: String,
    pub base_path: PathBuf,
}
