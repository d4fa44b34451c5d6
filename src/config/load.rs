//! Loads the configuration from defaults, files and environment, and checks it as a whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::config::Value;

use super::connections::{self, ConnectionContext, ConnectionSources, ConnectionsFile};
use super::environment::{self, ConnectionVariable, EnvironmentValues};
use super::errors::{ConfigErrors, ErrorCollector};
use super::feed_checks::check_feeds;
use super::feeds::{self, FeedConfig, ReadFeed};
use super::kind::KeyKind;
use super::search::{HERE, INSTALLED, first_there};
use super::section_reader::SectionReader;
use super::settings::{Config, DeliveryGuarantee, ListenAddress, SETTINGS};
use super::tree::{ConfigTree, ValueOrigin, defaults};
use super::{properties, yaml};

/// The maximum size of a configuration file in bytes: enough for thousands of connections.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The default name of connections.ini.
const CONNECTIONS_FILE: &str = "connections.ini";

/// The sources of the configuration.
#[derive(Clone)]
pub struct ConfigSources {
    /// config.yaml.
    pub config: PathBuf,
    /// connections.ini; in config.yaml's directory if `None`.
    pub connections: Option<PathBuf>,
    /// The environment's variables, in any order.
    pub environment: Vec<(OsString, OsString)>,
    /// librdkafka's error for one of its properties, given name and value; without the value, which may be a secret.
    pub property: fn(&str, &str) -> Option<String>,
    pub files: FilesInUse,
    /// Where config.yaml was looked for besides, because nobody said where it is.
    pub also_searched: Option<&'static str>,
}

/// Which files and directories that values name are used, and therefore must exist: a mounted secret may be missing for
/// a command that only sends tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesInUse {
    /// For a pod: all of them.
    All,
    /// For a command that touches no local file: the secrets of these connections, and the API's token if it needs it.
    Secrets { connections: Vec<String>, api_token: bool },
}

impl FilesInUse {
    pub(super) fn needs_directories(&self) -> bool {
        *self == FilesInUse::All
    }

    /// Whether files that a connection's keys name are read; `None` stands for config.yaml.
    pub(super) fn needs_files_of(&self, connection: Option<&str>) -> bool {
        match self {
            FilesInUse::All => true,
            FilesInUse::Secrets { connections, api_token } => {
                connection.map_or(*api_token, |name| connections.iter().any(|one| one == name))
            }
        }
    }
}

impl ConfigSources {
    /// These files and the process's environment.
    pub fn new(
        config: PathBuf,
        connections: Option<PathBuf>,
        property: fn(&str, &str) -> Option<String>,
    ) -> Self {
        let environment = std::env::vars_os().collect();
        let files = FilesInUse::All;
        ConfigSources { config, connections, environment, property, files, also_searched: None }
    }

    /// The same, with config.yaml from the first place of two that has one: `config/` beneath the working directory,
    /// `/etc/ftp-pooler`.
    pub fn find(connections: Option<PathBuf>, property: fn(&str, &str) -> Option<String>) -> Self {
        let config = first_there(&[HERE, INSTALLED]).unwrap_or_default();
        ConfigSources { also_searched: Some(INSTALLED), ..Self::new(config, connections, property) }
    }

    /// The path of connections.ini, whether it exists or not.
    pub fn connections_file(&self) -> PathBuf {
        self.connections.clone().unwrap_or_else(|| self.config.with_file_name(CONNECTIONS_FILE))
    }
}

impl std::fmt::Debug for ConfigSources {
    /// Omits the environment, which contains passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSources")
            .field("config", &self.config)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Loads and checks everything.
    ///
    /// # Errors
    /// Every error in the files and the environment, at once.
    pub fn load(sources: &ConfigSources) -> Result<Config, ConfigErrors> {
        let mut errors = ErrorCollector::default();
        let EnvironmentValues { settings, connections } =
            environment::read(&sources.environment, &mut errors);
        let path = sources.config.display().to_string();
        let text = read_config(sources, &mut errors);
        let yaml = text.map(|text| yaml::read(&text, &path, &mut errors)).unwrap_or_default();
        let of_connections = collect_connections(sources, connections, false, &mut errors);
        let merged = ConfigTree::merge([
            ConfigTree { settings: defaults(SETTINGS), ..of_connections.defaults.clone() },
            ConfigTree { settings: yaml, ..ConfigTree::default() },
            of_connections.file.clone(),
            ConfigTree { settings, ..of_connections.environment.clone() },
        ]);
        let files = &sources.files;
        let mut reader = SectionReader {
            file: &path,
            connection: None,
            values: merged.settings,
            errors: &mut errors,
            files,
        };
        let read = feeds::take(&mut reader);
        let mut config = settings_of(reader, host_name(&sources.environment), sources.property);
        config.connections =
            typed_connections(sources, &of_connections, merged.connections, &config, &mut errors);
        config.feeds = checked(read, &config, &path, &mut errors);
        errors.or(config)
    }
}

/// The feeds, once everything else is known.
fn checked(
    read: Vec<ReadFeed>,
    config: &Config,
    path: &str,
    errors: &mut ErrorCollector,
) -> Vec<Arc<FeedConfig>> {
    check_feeds(&read, &config.connections, config.kafka.delivery, path, errors);
    read.into_iter().map(|read| Arc::new(read.feed)).collect()
}

/// Reads the feeds of config.yaml again, and nothing else. `now` has the connections that are in force with them.
pub(super) fn reread_feeds(
    sources: &ConfigSources,
    now: &Config,
    errors: &mut ErrorCollector,
) -> Vec<Arc<FeedConfig>> {
    let path = sources.config.display().to_string();
    errors.reads(&sources.config);
    let text = read_config(sources, errors);
    let values = text.map(|text| yaml::read(&text, &path, errors)).unwrap_or_default();
    let mut reader = SectionReader { file: &path, connection: None, values, errors, files: &sources.files };
    let read = feeds::take(&mut reader);
    checked(read, now, &path, errors)
}

/// Everything but the connections.
fn settings_of(
    mut reader: SectionReader<'_>,
    host_name: String,
    property: fn(&str, &str) -> Option<String>,
) -> Config {
    let origin = |(key, value): (&String, &Value)| (key.clone(), ValueOrigin::of(value));
    let origins = reader.values.iter().map(origin).collect();
    let mut config = Config::default();
    config.pod.name = host_name;
    config.kafka.properties = properties::take(&mut reader, property);
    reader.read(SETTINGS, &mut config);
    reader.refuse_the_rest(SETTINGS);
    check_together(&config, &origins, &mut reader);
    config
}

/// Checks keys that are valid alone but may be invalid together.
fn check_together(config: &Config, origins: &BTreeMap<String, ValueOrigin>, reader: &mut SectionReader<'_>) {
    let kafka = &config.kafka;
    let topics = [
        ("kafka.input_topic", &kafka.input_topic),
        ("kafka.result_topic", &kafka.result_topic),
        ("kafka.fail_topic", &kafka.fail_topic),
        ("kafka.retry_topic", &kafka.retry_topic),
        ("kafka.coordination_topic", &kafka.coordination_topic),
        ("kafka.feeds_topic", &kafka.feeds_topic),
        ("kafka.control_topic", &kafka.control_topic),
    ];
    for (n, (key, topic)) in topics.iter().enumerate() {
        let first = topics.iter().take(n).find(|(_, other)| other == topic && !topic.is_empty());
        if let Some((first, _)) = first {
            let problem = format!("is the same topic as {first}; each needs its own");
            reader.wrong(key, origins.get(*key), problem);
        }
    }
    if config.pool.max_sessions_total.is_some() && kafka.delivery == DeliveryGuarantee::AtLeastOnce {
        let key = "pool.max_sessions_total";
        reader.wrong(key, origins.get(key), connections::TOTAL_NEEDS_TRANSACTIONS.to_owned());
    }
    if overlap(&config.api, &config.metrics) {
        let problem = format!("{} is the port of api.port as well; each needs its own", config.metrics.port);
        reader.wrong("metrics.port", origins.get("metrics.port"), problem);
    }
}

fn overlap(a: &ListenAddress, b: &ListenAddress) -> bool {
    let is_any = |host: &str| matches!(host, "0.0.0.0" | "::");
    a.port != 0 && a.port == b.port && (a.host == b.host || is_any(&a.host) || is_any(&b.host))
}

/// Reads connections.ini and the environment's connections again. `now` is the configuration that was read last.
pub(super) fn reread_connections(
    sources: &ConfigSources,
    now: &Config,
    errors: &mut ErrorCollector,
) -> super::ConfiguredConnections {
    let variables = environment::read(&sources.environment, errors).connections;
    let read = collect_connections(sources, variables, now.connections.in_file, errors);
    let merged = ConfigTree::merge([read.defaults.clone(), read.file.clone(), read.environment.clone()]);
    typed_connections(sources, &read, merged.connections, now, errors)
}

pub(super) fn collect_connections(
    sources: &ConfigSources,
    variables: Vec<ConnectionVariable>,
    had_connections: bool,
    errors: &mut ErrorCollector,
) -> ConnectionSources {
    let path = sources.connections_file();
    let may_be_missing = sources.connections.is_none() && !variables.is_empty() && !had_connections;
    errors.reads(&path);
    let shown = path.display().to_string();
    let text = match read_bounded(&path) {
        Ok(text) => Some(text),
        // Only a file that does not exist may be missing: a mount that fails for a moment gives other errors.
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_missing => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound && had_connections => {
            errors.in_file(&shown, None, "does not exist, but had connections when it was last read");
            None
        }
        Err(error) => {
            cannot_be_read(&path, "--connections", "", &error, errors);
            None
        }
    };
    let file = ConnectionsFile { path: &shown, text: text.as_deref(), had_connections };
    connections::collect(&file, variables, errors)
}

fn typed_connections(
    sources: &ConfigSources,
    read: &ConnectionSources,
    merged: BTreeMap<String, BTreeMap<String, Value>>,
    config: &Config,
    errors: &mut ErrorCollector,
) -> super::ConfiguredConnections {
    let path = sources.connections_file().display().to_string();
    let context = ConnectionContext {
        path: &path,
        max_sessions: config.pool.max_sessions_per_connection,
        max_sessions_total: config.pool.max_sessions_total,
        delivery: config.kafka.delivery,
        files: &sources.files,
    };
    read.read(merged, &context, errors)
}

pub(super) fn read_config(sources: &ConfigSources, errors: &mut ErrorCollector) -> Option<String> {
    match read_bounded(&sources.config) {
        Ok(text) => Some(text),
        Err(error) => {
            let nor = sources.also_searched.map(|place| format!(", nor does {place}")).unwrap_or_default();
            cannot_be_read(&sources.config, "--config", &nor, &error, errors);
            None
        }
    }
}

/// `nor` says what else is not there.
fn cannot_be_read(path: &Path, flag: &str, nor: &str, error: &io::Error, errors: &mut ErrorCollector) {
    let problem = match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "does not exist{nor}; give its path with {flag} FILE, or write one with `ftp-pooler init`"
            )
        }
        _ => format!("cannot be read: {error}"),
    };
    errors.in_file(&path.display().to_string(), None, problem);
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

/// HOSTNAME, which Kubernetes sets to the pod's name; otherwise the kernel's name of the host.
fn host_name(variables: &[(OsString, OsString)]) -> String {
    let hostname =
        variables.iter().find(|(name, _)| name == "HOSTNAME").and_then(|(_, value)| value.to_str());
    match hostname.filter(|name| KeyKind::Text.read(name).is_ok()) {
        Some(name) => name.to_owned(),
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}
