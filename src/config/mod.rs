//! The configuration: `config.yaml` and `connections.ini`, overridden by the environment, validated as a whole.
//!
//! ```text
//! yaml          config.yaml: values and their lines ────┐
//! ini           connections.ini: likewise ──────────────┤
//! environment   FTP_POOLER__… variables ────────────────┼─→ tree ─→ section_reader ─→ Config, or every error at once
//! key           an entry of a key table ────────────────┘    merged by the `config` crate; each value knows its origin
//! kind          what a key accepts: ranges, syntax, error texts
//! settings      config.yaml's structs, and the table of its keys
//! connection    connections.ini's structs; connection_keys: the table of their keys; connections: reads the sections
//! tunnel        sections with `type = frp`, and the table of their keys
//! tls, network, password, encoding, bandwidth, time_offset, api_token, properties   options that are more than one key or more than one value
//! feeds         the list of feeds, and the table of their keys; feed_checks: conditions between them; file_patterns:
//! which
//!               files are selected; task_settings: options of their tasks; schedule: when they are due
//! duration, size, obscure, time_argument   values as rclone writes them
//! search        where config.yaml is looked for; names: of connections and feeds, for completions
//! load          from ConfigSources to Config; errors: where each error is; exposure: who else can read passwords;
//!               fuzz: any text as connections.ini
//! dump          the effective configuration, for `check`; docs: docs/CONFIGURATION.md; templates: the files of `init`
//! rclone_import FTP remotes of an rclone.conf; rclone_keys: rclone's keys without a counterpart
//! file_watcher  when to reload; reloadable: the reload; diff: differences; current: the configuration in force
//! ```
//!
//! A new option is a field and an entry of a table: `settings` for config.yaml, `connection` and `connection_keys` for
//! connections.ini (CONTRIBUTING.md, "A new option").

mod api_token;
mod bandwidth;
mod connection;
mod connection_keys;
mod connections;
mod current;
mod diff;
mod docs;
mod dump;
pub(crate) mod duration;
mod encoding;
mod environment;
mod errors;
mod exposure;
mod feed_checks;
mod feeds;
mod file_patterns;
mod file_watcher;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ini;
mod key;
mod kind;
mod load;
mod names;
mod network;
mod obscure;
mod password;
mod properties;
mod rclone_import;
mod rclone_keys;
mod reloadable;
mod schedule;
mod search;
mod section_reader;
mod settings;
mod size;
mod task_settings;
mod templates;
mod time_argument;
mod time_offset;
mod tls;
mod tree;
mod tunnel;
mod yaml;

pub use api_token::ApiToken;
pub use bandwidth::{BandwidthLimit, BandwidthTimetable};
pub use connection::{
    ChangeDirectory, ConfiguredConnections, FtpConnection, LocalConnection, MinRate, RenameOver,
    SessionTimeouts, TEMP_PREFIX, TEMP_SUFFIX, UploadMode,
};
pub use current::{CurrentConfig, LastReload, ReloadResult};
pub use diff::{ConfigDiff, ConnectionChange};
pub use docs::configuration_md;
pub use duration::{parse as parse_duration, show as show_duration};
pub use encoding::NameEncoding;
pub use errors::{ConfigError, ConfigErrors, SourceLocation};
pub use exposure::UNVERIFIED_THROUGH_TUNNEL;
pub use feeds::{ChangedFiles, FeedConfig, FeedPlace};
pub use file_patterns::{BadPattern, FileCriteria, FilePatterns};
pub use file_watcher::{FileWatcher, WatchDecision, WatchedFileVersions};
pub use load::{ConfigSources, FilesInUse};
pub use names::ConfiguredNames;
pub use network::{DataConnectionMode, NetworkOptions, ProxyKind, ProxyServer};
pub use obscure::{RevealError, reveal};
pub use rclone_import::{ImportError, RcloneImport, import_rclone, section_names};
pub use reloadable::ReloadedConfig;
pub use schedule::FeedSchedule;
pub use settings::{
    AddressRange, Config, DeliveryGuarantee, KafkaConfig, ListenAddress, PodConfig, PoolConfig, ReloadConfig,
    RetryConfig, ShutdownConfig, SweepConfig, TracesConfig, TransferConfig, TunnelsConfig,
};
pub use size::parse as parse_size;
pub use task_settings::{AfterTransfer, TaskSettings};
pub use templates::{config_yaml, connections_ini};
pub use time_argument::TimeArgument;
pub use tls::{CertificatePin, CertificateTrust, TlsMode, TlsOptions};
pub use tunnel::{FrpTunnel, PemFile};
