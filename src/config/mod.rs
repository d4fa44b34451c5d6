//! The configuration: `config.yaml` and `connections.ini`, overridden by the environment, validated whole.
//!
//! ```text
//! config.yaml ─ yaml ──┐                      keys            ┐
//! environment ─────────┼─→ entries ─ reading ─ connection_keys ├─→ Config, or every mistake at once
//! connections.ini ─ ini┘                      properties      ┘
//! ```
//!
//! Both files and the environment are read as text with its place, and only the table of keys says what the
//! text means. That is why no general configuration crate merges them: it would give types to values before
//! their keys are known, forget lines and variables, and stop at the first mistake.

mod api_token;
mod connection_keys;
mod connections;
mod current;
mod diff;
mod docs;
mod dump;
pub(crate) mod duration;
mod encoding;
mod entry;
mod environment;
mod errors;
mod file_watcher;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ini;
mod keys;
mod kind;
mod load;
mod network;
mod obscure;
mod password;
mod properties;
mod rclone_import;
mod reloadable;
mod section_reader;
mod size;
mod templates;
mod tls;
mod yaml;

pub use api_token::ApiToken;
pub use current::{CurrentConfig, LastReload, ReloadResult};
pub use diff::{ConfigDiff, ConnectionChange};
pub use docs::configuration_md;
pub use duration::{parse as parse_duration, show as show_duration};
pub use encoding::NameEncoding;
pub use errors::{ConfigError, ConfigErrors, SourceLocation};
pub use file_watcher::{FileVersions, FileWatcher, WatchDecision};
pub use load::ConfigSources;
pub use network::{DataConnectionMode, NetworkOptions, ProxyKind, ProxyServer};
pub use obscure::{RevealError, reveal};
pub use rclone_import::{ImportError, RcloneImport, import_rclone, section_names};
pub use reloadable::ReloadedConfig;
pub use size::parse as parse_size;
pub use templates::{config_yaml, connections_ini};
pub use tls::{CertificatePin, CertificateTrust, TlsMode, TlsOptions};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::digest::Algorithm;

/// Everything a pod needs to know, validated.
#[derive(Debug, Clone)]
pub struct Config {
    pub kafka: KafkaConfig,
    pub retry: RetryConfig,
    pub pool: PoolConfig,
    pub api: ListenAddress,
    /// Where there is one, who looks at the API must have it.
    pub api_token: Option<Arc<ApiToken>>,
    pub metrics: ListenAddress,
    pub shutdown: ShutdownConfig,
    pub reload: ReloadConfig,
    pub sweep: SweepConfig,
    pub traces: TracesConfig,
    pub pod: PodConfig,
    pub transfer: TransferConfig,
    pub connections: ConfiguredConnections,
}

#[derive(Debug, Clone)]
pub struct KafkaConfig {
    pub bootstrap_servers: Vec<String>,
    pub consumer_group: String,
    pub input_topic: String,
    pub result_topic: String,
    pub fail_topic: String,
    pub retry_topic: String,
    pub delivery: DeliveryGuarantee,
    /// The pod keeps its partitions over a restart within the session's timeout (KIP-345).
    pub static_membership: bool,
    /// Passed through to librdkafka; values may be secrets (`sasl.password`), so all are.
    pub properties: BTreeMap<String, SecretString>,
}

/// How tasks are deferred through `kafka.retry_topic`.
#[derive(Debug, Clone)]
pub struct RetryConfig {
    pub enabled: bool,
    /// How long a task stays in the topic each time.
    pub delay: Duration,
    /// From its first time on, a task is deferred for this long at most.
    pub max_deferral: Duration,
}

/// How an answer and its task's offset are tied together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryGuarantee {
    /// The answer is acknowledged by the broker before the offset is committed.
    AtLeastOnce,
    /// Answer and offset are one transaction.
    ExactlyOnce,
}

#[derive(Debug, Clone)]
pub struct PoolConfig {
    pub max_sessions_per_pod: usize,
    pub max_sessions_per_connection: usize,
    /// An idle session is closed after this time.
    pub session_timeout: Duration,
    /// Decoded tasks the pod holds at most; above it the partitions are paused.
    pub max_waiting_tasks: usize,
    /// Bytes of these tasks' records at most; above it the partitions are paused.
    pub max_waiting_bytes: usize,
    /// A task held for longer is logged, with what it waits for.
    pub slow_task: Duration,
}

#[derive(Debug, Clone)]
pub struct ListenAddress {
    /// A name or an address.
    pub host: String,
    /// 0 takes a free port.
    pub port: u16,
}

#[derive(Debug, Clone)]
pub struct ShutdownConfig {
    /// How long transfers in flight may go on after SIGTERM.
    pub drain: Duration,
}

/// How changes of connections.ini are found.
#[derive(Debug, Clone, Copy)]
pub struct ReloadConfig {
    /// Its files are looked at after this time each; `None` is never.
    pub every: Option<Duration>,
}

/// How temp files of dead pods are found.
#[derive(Debug, Clone)]
pub struct SweepConfig {
    /// A directory is looked at again after this time.
    pub every: Duration,
}

/// What is told to a collector of traces.
#[derive(Debug, Clone)]
pub struct TracesConfig {
    /// Its URL, with a path; nothing is traced where there is none.
    pub endpoint: Option<String>,
    /// Of the tasks whose records do not say themselves whether they are traced.
    pub percent: u8,
}

/// What holds for every transfer.
#[derive(Debug, Clone, Copy, Default)]
pub struct TransferConfig {
    /// Computed over each file on its way, for its result.
    pub hash: Option<Algorithm>,
}

#[derive(Debug, Clone)]
pub struct PodConfig {
    pub name: String,
}

/// The sections of connections.ini, by name.
#[derive(Debug, Clone, Default)]
pub struct ConfiguredConnections {
    pub ftp: BTreeMap<String, Arc<FtpConnection>>,
    pub local: BTreeMap<String, Arc<LocalConnection>>,
    /// Some of them are of the file; else the environment has defined all.
    pub in_file: bool,
}

/// An FTP server and the account on it.
#[expect(clippy::struct_excessive_bools, reason = "they are keys, each with its own meaning")]
#[derive(Debug, Clone)]
pub struct FtpConnection {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub pass: SecretString,
    /// Sessions at most, idle or busy; `pool.max_sessions_per_connection` where the section does not say.
    pub max_sessions: usize,
    /// An older session is closed as soon as it has no transfer.
    pub max_session_age: Option<Duration>,
    /// Tasks that one session serves at most.
    pub max_session_transfers: Option<u64>,
    pub tls: TlsOptions,
    pub network: NetworkOptions,
    /// The directory on the server beneath which all remote paths lie, without a slash at its end.
    pub path_root: Option<String>,
    /// Go straight to PASV: the server answers EPSV wrongly (rclone's key).
    pub disable_epsv: bool,
    /// Do not send OPTS UTF8 ON (rclone's key).
    pub disable_utf8: bool,
    /// Of names on the server; `None` is UTF-8.
    pub charset: Option<&'static encoding_rs::Encoding>,
    /// The offset of the server's clock from UTC; `None` where it is not configured.
    pub time_offset: Option<jiff::tz::Offset>,
    /// What is replaced in names on the server; `None` is nothing (rclone's key).
    pub encoding: Option<NameEncoding>,
    /// Set times by MDTM, and by nothing else (rclone's key).
    pub writing_mdtm: bool,
    /// An idle session is closed after this time; zero is never, `None` is `pool.session_timeout_seconds`
    /// (rclone's key).
    pub idle_timeout: Option<Duration>,
    pub rename_over: RenameOver,
    /// A transfer that broke off goes on where it was.
    pub resume: bool,
    /// In bytes.
    pub max_file_size: u64,
    pub min_rate: MinRate,
    pub timeouts: SessionTimeouts,
}

impl FtpConnection {
    /// A remote path as the server gets it: encoded, and beneath `path_root` where there is one, absolute paths
    /// too. `None` where it would lead up: decoding a task lets no such path through, but an encoding may make one.
    #[must_use]
    pub fn on_server(&self, path: &str) -> Option<String> {
        let encoded = self.encoding.map(|encoding| encoding.on_server(path));
        let path = encoded.as_deref().unwrap_or(path);
        if path.split(['/', '\\']).any(|component| component == "..") {
            return None;
        }
        Some(match &self.path_root {
            Some(root) => format!("{}/{}", root.trim_end_matches('/'), path.trim_start_matches('/')),
            None => path.to_owned(),
        })
    }
}

impl FtpConnection {
    /// Why a file of so many bytes is not transferred, where that is so.
    #[must_use]
    pub fn too_large(&self, bytes: u64) -> Option<String> {
        let most = self.max_file_size;
        (bytes > most).then(|| format!("{bytes} bytes are more than max_file_size allows, {most}"))
    }
}

impl Default for FtpConnection {
    /// A connection to nowhere, with every key's default.
    fn default() -> Self {
        FtpConnection {
            name: String::new(),
            host: String::new(),
            port: 21,
            user: String::new(),
            pass: SecretString::default(),
            max_sessions: 10,
            max_session_age: None,
            max_session_transfers: None,
            tls: TlsOptions::default(),
            network: NetworkOptions::default(),
            path_root: None,
            disable_epsv: false,
            disable_utf8: false,
            charset: None,
            time_offset: None,
            encoding: None,
            writing_mdtm: false,
            idle_timeout: None,
            rename_over: RenameOver::Auto,
            resume: true,
            max_file_size: 1 << 40,
            min_rate: MinRate { bytes_per_second: 64, window: Duration::from_secs(120) },
            timeouts: SessionTimeouts::default(),
        }
    }
}

/// What an upload does where the server does not rename over an existing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameOver {
    /// RNTO replaces the file in one step.
    Auto,
    /// DELE first, then RNTO: a reader may see no file for a moment.
    DeleteFirst,
}

/// How fast a data connection must be, so that a server which drips does not hold a session for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinRate {
    /// 0 bears any rate.
    pub bytes_per_second: u64,
    /// Measured over so much time of waiting for the data connection.
    pub window: Duration,
}

/// The deadlines of one session. Each wait has one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTimeouts {
    /// TCP connect, control and data.
    pub connect: Duration,
    /// The greeting.
    pub greeting: Duration,
    /// The TLS handshake and each reply of the login; twice as long is for all of them together.
    pub login: Duration,
    /// Any other reply.
    pub reply: Duration,
    /// The first byte of a download.
    pub first_byte: Duration,
    /// A data connection without a byte for this long has stalled.
    pub stall: Duration,
    /// The reply that ends a transfer (226), counted from the end of the data (rclone's key).
    pub close: Duration,
    /// The reply to HASH and its like.
    pub hash: Duration,
}

impl Default for SessionTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        SessionTimeouts {
            connect: seconds(30),
            greeting: seconds(30),
            login: seconds(30),
            reply: seconds(30),
            first_byte: seconds(60),
            stall: seconds(60),
            close: seconds(60),
            hash: seconds(600),
        }
    }
}

impl SessionTimeouts {
    /// The same for every wait.
    #[must_use]
    pub const fn all(wait: Duration) -> SessionTimeouts {
        SessionTimeouts {
            connect: wait,
            greeting: wait,
            login: wait,
            reply: wait,
            first_byte: wait,
            stall: wait,
            close: wait,
            hash: wait,
        }
    }
}

/// A directory on a file system that all pods share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConnection {
    pub name: String,
    pub base_path: PathBuf,
}
