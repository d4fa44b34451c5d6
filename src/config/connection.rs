//! The content of connections.ini: FTP servers and local directories. The table of their keys is in `connection_keys`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::bandwidth::BandwidthTimetable;
use super::connection_keys::FTP_KEYS;
use super::key::set_defaults;
use super::tunnel::FrpTunnel;
use super::{NameEncoding, NetworkOptions, ProxyKind, ProxyServer, TlsOptions};
use crate::tunnel::{EntranceKind, TunnelEntrance};

/// The sections of connections.ini, by name.
#[derive(Debug, Clone, Default)]
pub struct ConfiguredConnections {
    pub ftp: BTreeMap<String, Arc<FtpConnection>>,
    pub local: BTreeMap<String, Arc<LocalConnection>>,
    /// The tunnels that connections use with `via`.
    pub tunnels: BTreeMap<String, Arc<FrpTunnel>>,
    /// Some of them are in the file; otherwise the environment defines them all.
    pub in_file: bool,
}

impl ConfiguredConnections {
    /// Whether the sessions of some server are counted over all pods.
    #[must_use]
    pub fn share_sessions(&self) -> bool {
        self.ftp.values().any(|ftp| ftp.max_sessions_total.is_some())
    }
}

/// Declares the struct, and a function that creates one with every field empty, for the keys to fill.
macro_rules! with_unset {
    ($(#[$attribute:meta])* pub struct $name:ident {
        $($(#[$field_attribute:meta])* pub $field:ident: $type:ty,)*
    }) => {
        $(#[$attribute])*
        pub struct $name {
            $($(#[$field_attribute])* pub $field: $type,)*
        }

        impl $name {
            fn unset() -> Self {
                $name { $($field: Default::default(),)* }
            }
        }
    };
}

with_unset! {
    /// An FTP server and the account on it.
    #[derive(Debug, Clone)]
    pub struct FtpConnection {
        pub name: String,
        pub host: String,
        pub port: u16,
        pub user: String,
        pub pass: SecretString,
        /// Maximum number of sessions, idle or busy; `pool.max_sessions_per_connection` unless the section sets it.
        pub max_sessions: usize,
        /// Maximum number of sessions over all pods; `pool.max_sessions_total` unless the section sets it.
        pub max_sessions_total: Option<usize>,
        /// An older session is closed as soon as it has no transfer.
        pub max_session_age: Option<Duration>,
        /// Maximum number of tasks that one session serves.
        pub max_session_transfers: Option<u64>,
        pub tls: TlsOptions,
        pub network: NetworkOptions,
        /// The directory on the server under which all remote paths lie, without a slash at its end.
        pub path_root: Option<String>,
        /// Go straight to PASV: the server answers EPSV wrongly (rclone's key).
        pub disable_epsv: bool,
        /// Do not send OPTS UTF8 ON (rclone's key).
        pub disable_utf8: bool,
        /// The charset of names on the server; `None` is UTF-8.
        pub charset: Option<&'static encoding_rs::Encoding>,
        /// The offset of the server's clock from UTC; `None` if it is to be learned.
        pub time_offset: Option<jiff::tz::Offset>,
        /// The characters replaced in names on the server; `None` is none (rclone's key).
        pub encoding: Option<NameEncoding>,
        /// Set times by MDTM, and by nothing else (rclone's key).
        pub writing_mdtm: bool,
        /// An idle session is closed after this time; zero is never, `None` is `pool.session_timeout_seconds`
        /// (rclone's key).
        pub idle_timeout: Option<Duration>,
        pub rename_over: RenameOver,
        pub upload: UploadMode,
        /// Nothing is checked about an uploaded file (rclone's key).
        pub no_check_upload: bool,
        /// The prefix and suffix of a temp file's name on the server.
        pub temp_prefix: String,
        pub temp_suffix: String,
        /// The directory of temp files; `None` is the file's own.
        pub temp_dir: Option<String>,
        pub change_directory: ChangeDirectory,
        /// An interrupted transfer continues where it stopped.
        pub resume: bool,
        /// In bytes.
        pub max_file_size: u64,
        /// How many bytes a second all its sessions may move, and when (rclone's `--bwlimit`).
        pub bandwidth: BandwidthTimetable,
        pub min_rate: MinRate,
        pub timeouts: SessionTimeouts,
    }
}

impl Default for FtpConnection {
    /// A connection to nowhere, with every key's default.
    fn default() -> Self {
        // the default of max_sessions is a setting of the pool; this is the default of that setting
        let mut connection = FtpConnection { max_sessions: 10, ..FtpConnection::unset() };
        set_defaults(FTP_KEYS, &mut connection);
        connection
    }
}

impl FtpConnection {
    /// A remote path as it is sent to the server: encoded, and under `path_root` if there is one, including absolute
    /// paths. `None` if it would lead up: a decoded task contains no such path, but an encoding may create one.
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

    /// A temp file's name on the server, where `name` is its usual one.
    #[must_use]
    pub fn temp_name_on_server(&self, name: &str) -> String {
        let core = name.strip_prefix(TEMP_PREFIX).and_then(|rest| rest.strip_suffix(TEMP_SUFFIX));
        match core {
            Some(core) => format!("{}{core}{}", self.temp_prefix, self.temp_suffix),
            None => name.to_owned(),
        }
    }

    /// The usual name of a possible temp file on the server.
    #[must_use]
    pub fn usual_temp_name(&self, on_server: &str) -> Option<String> {
        let core =
            on_server.strip_prefix(self.temp_prefix.as_str())?.strip_suffix(self.temp_suffix.as_str())?;
        Some(format!("{TEMP_PREFIX}{core}{TEMP_SUFFIX}"))
    }

    /// The same connection, opened through the entrance of the tunnel to its server.
    #[must_use]
    pub fn entering(&self, entrance: TunnelEntrance) -> FtpConnection {
        let mut entering = self.clone();
        if let EntranceKind::Proxy(address) = entrance.kind {
            let (host, port) = (address.ip().to_string(), address.port());
            entering.network.proxy = Some(ProxyServer { kind: ProxyKind::Http, host, port, user: None });
        }
        entering.network.entrance = Some(entrance);
        entering
    }

    /// Why a file of this size is not transferred, if so.
    #[must_use]
    pub fn too_large(&self, bytes: u64) -> Option<String> {
        let most = self.max_file_size;
        (bytes > most).then(|| format!("{bytes} bytes are more than max_file_size allows, {most}"))
    }

    /// Whether the same path names the same file on both, according to their keys.
    #[must_use]
    pub fn has_the_files_of(&self, other: &FtpConnection) -> bool {
        FTP_KEYS.iter().filter(|key| key.selects_files).all(|key| key.is_same(self, other))
    }
}

impl PartialEq for FtpConnection {
    fn eq(&self, other: &FtpConnection) -> bool {
        self.name == other.name && FTP_KEYS.iter().all(|key| key.is_same(self, other))
    }
}

impl Eq for FtpConnection {}

/// What an upload does if the server does not rename over an existing file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RenameOver {
    /// RNTO replaces the file in one step.
    #[default]
    Auto,
    /// DELE first, then RNTO: a reader may see no file for a moment.
    DeleteFirst,
}

/// Under which name an upload is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UploadMode {
    /// Under a temp name, and renamed once it is whole and verified.
    #[default]
    TempName,
    /// Under its own name from the first byte on.
    InPlace,
}

/// Whether a file's directory is made the current one before a command names the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChangeDirectory {
    /// If the server refuses a path, but not the same file's name in its directory.
    #[default]
    WhenRefused,
    Always,
}

/// The default prefix and suffix of temp files' names.
pub const TEMP_PREFIX: &str = ".ftp-pooler-";
pub const TEMP_SUFFIX: &str = ".tmp";

/// The lowest acceptable rate of a data connection, so that a server which trickles does not occupy a session for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MinRate {
    /// 0 accepts any rate.
    pub bytes_per_second: u64,
    /// Measured over this much time of waiting for the data connection.
    pub window: Duration,
}

/// The deadlines of one session. One of them applies to each wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionTimeouts {
    /// TCP connect, control and data.
    pub connect: Duration,
    /// The greeting.
    pub greeting: Duration,
    /// The TLS handshake and each reply of the login; all of them together may take twice as long.
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

impl SessionTimeouts {
    /// The same deadline for every wait.
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalConnection {
    pub name: String,
    pub base_path: PathBuf,
}
