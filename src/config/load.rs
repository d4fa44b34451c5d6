//! Loads the configuration in layers: defaults, files, environment; and checks it whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::connections;
use super::entry::{Entry, Said};
use super::environment::{self, Environment};
use super::errors::{ConfigErrors, Mistakes};
use super::section_reader::Reading;
use super::{
    Config, ConfiguredConnections, DeliveryGuarantee, KafkaConfig, ListenAddress, PodConfig, PoolConfig,
    ReloadConfig, RetryConfig, ShutdownConfig, SweepConfig, TracesConfig, TransferConfig, api_token, keys,
    properties, yaml,
};
use crate::digest::Algorithm;

/// Bytes of a configuration file at most: thousands of connections fit.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The name of connections.ini where nobody says another.
const CONNECTIONS_FILE: &str = "connections.ini";

/// Where the configuration comes from.
#[derive(Clone)]
pub struct ConfigSources {
    /// config.yaml.
    pub config: PathBuf,
    /// connections.ini; beside config.yaml where `None`.
    pub connections: Option<PathBuf>,
    /// The environment's variables, in any order.
    pub environment: Vec<(OsString, OsString)>,
    /// What librdkafka finds wrong with one of its properties, given name and value; without the value, which
    /// may be a secret.
    pub property: fn(&str, &str) -> Option<&'static str>,
    /// Whether every `base_path` has to be a directory here; false where no file will be touched, as on the
    /// machine of somebody who only sends tasks.
    pub needs_directories: bool,
}

impl ConfigSources {
    /// These files and the process's environment.
    pub fn new(
        config: PathBuf,
        connections: Option<PathBuf>,
        property: fn(&str, &str) -> Option<&'static str>,
    ) -> Self {
        let environment = std::env::vars_os().collect();
        ConfigSources { config, connections, environment, property, needs_directories: true }
    }

    /// Where connections.ini is, or should be.
    pub(super) fn connections_file(&self) -> PathBuf {
        self.connections.clone().unwrap_or_else(|| self.config.with_file_name(CONNECTIONS_FILE))
    }

    /// For a process that touches no local file.
    #[must_use]
    pub fn elsewhere(self) -> Self {
        ConfigSources { needs_directories: false, ..self }
    }
}

impl std::fmt::Debug for ConfigSources {
    /// Without the environment, which holds passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("config", &self.config)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Loads and checks everything.
    ///
    /// # Errors
    /// Every mistake in the files and the environment, at once.
    pub fn load(sources: &ConfigSources) -> Result<Config, ConfigErrors> {
        let mut mistakes = Mistakes::default();
        let Environment { settings, connections } = environment::read(&sources.environment, &mut mistakes);
        let path = sources.config.display().to_string();
        let text = read_file(&sources.config, "--config", &mut mistakes);
        let mut entries = text.map(|text| yaml::read(&text, &path, &mut mistakes)).unwrap_or_default();
        entries.extend(settings);
        let host_name = host_name(&sources.environment);
        let reading = Reading { file: &path, connection: None, entries, mistakes: &mut mistakes };
        let mut config = settings_of(reading, host_name, sources.property);
        config.connections = read_connections(sources, connections, &config, &mut mistakes);
        mistakes.or(config)
    }
}

/// Everything but the connections.
fn settings_of(
    mut reading: Reading<'_>,
    host_name: String,
    property: fn(&str, &str) -> Option<&'static str>,
) -> Config {
    let lines = Lines::of(&reading.entries);
    let config = Config {
        kafka: KafkaConfig {
            bootstrap_servers: reading.list(&keys::BOOTSTRAP_SERVERS),
            consumer_group: reading.text(&keys::CONSUMER_GROUP),
            input_topic: reading.text(&keys::INPUT_TOPIC),
            result_topic: reading.text(&keys::RESULT_TOPIC),
            fail_topic: reading.text(&keys::FAIL_TOPIC),
            retry_topic: reading.text(&keys::RETRY_TOPIC),
            delivery: delivery(&mut reading),
            static_membership: reading.flag(&keys::STATIC_MEMBERSHIP),
            properties: properties::take(&mut reading, property),
        },
        retry: RetryConfig {
            enabled: reading.flag(&keys::RETRY_ENABLED),
            delay: reading.time(&keys::RETRY_DELAY),
            max_deferral: reading.time(&keys::MAX_DEFERRAL),
        },
        pool: PoolConfig {
            max_sessions_per_pod: reading.count(&keys::MAX_SESSIONS_PER_POD),
            max_sessions_per_connection: reading.count(&keys::MAX_SESSIONS_PER_CONNECTION),
            session_timeout: reading.time(&keys::SESSION_TIMEOUT),
            max_waiting_tasks: reading.count(&keys::MAX_WAITING_TASKS),
            max_waiting_bytes: reading.count(&keys::MAX_WAITING_BYTES),
            slow_task: reading.time(&keys::SLOW_TASK),
        },
        api: ListenAddress { host: reading.text(&keys::API_HOST), port: reading.port(&keys::API_PORT) },
        api_token: api_token::take(&mut reading).map(Arc::new),
        metrics: ListenAddress {
            host: reading.text(&keys::METRICS_HOST),
            port: reading.port(&keys::METRICS_PORT),
        },
        shutdown: ShutdownConfig { drain: reading.time(&keys::DRAIN) },
        reload: ReloadConfig {
            every: Some(reading.time(&keys::RELOAD_EVERY)).filter(|every| !every.is_zero()),
        },
        sweep: SweepConfig { every: reading.time(&keys::SWEEP_EVERY) },
        traces: TracesConfig {
            endpoint: reading.text_if_set(&keys::TRACES_ENDPOINT),
            percent: u8::try_from(reading.number(&keys::TRACES_PERCENT)).unwrap_or_default(),
        },
        pod: PodConfig { name: reading.text_if_set(&keys::POD_NAME).unwrap_or(host_name) },
        transfer: TransferConfig { hash: Algorithm::from_name(&reading.text(&keys::TRANSFER_HASH)) },
        connections: ConfiguredConnections::default(),
    };
    reading.refuse_the_rest(keys::ALL);
    check_together(&config, &lines, &mut reading);
    config
}

fn delivery(reading: &mut Reading<'_>) -> DeliveryGuarantee {
    match reading.text(&keys::DELIVERY).as_str() {
        "exactly_once" => DeliveryGuarantee::ExactlyOnce,
        _ => DeliveryGuarantee::AtLeastOnce, // the key's kind lets nothing else through
    }
}

/// Keys that are right alone may be wrong together.
fn check_together(config: &Config, lines: &Lines, reading: &mut Reading<'_>) {
    let kafka = &config.kafka;
    let topics = [
        (&keys::INPUT_TOPIC, &kafka.input_topic),
        (&keys::RESULT_TOPIC, &kafka.result_topic),
        (&keys::FAIL_TOPIC, &kafka.fail_topic),
        (&keys::RETRY_TOPIC, &kafka.retry_topic),
    ];
    for (n, (key, topic)) in topics.iter().enumerate() {
        let first = topics.iter().take(n).find(|(_, other)| other == topic && !topic.is_empty());
        if let Some((first, _)) = first {
            let problem = format!("is the same topic as {}; each needs its own", first.path);
            reading.wrong(key.path, lines.get(key.path), problem);
        }
    }
    if overlap(&config.api, &config.metrics) {
        let problem = format!("{} is the port of api.port as well; each needs its own", config.metrics.port);
        reading.wrong(keys::METRICS_PORT.path, lines.get(keys::METRICS_PORT.path), problem);
    }
}

fn overlap(a: &ListenAddress, b: &ListenAddress) -> bool {
    let is_any = |host: &str| matches!(host, "0.0.0.0" | "::");
    a.port != 0 && a.port == b.port && (a.host == b.host || is_any(&a.host) || is_any(&b.host))
}

/// Where keys were set, for mistakes that are found after their values were taken.
struct Lines(BTreeMap<String, Entry>);

impl Lines {
    fn of(entries: &BTreeMap<String, Entry>) -> Self {
        let place = |entry: &Entry| Entry { said: Said::Nothing, at: entry.at.clone() };
        Lines(entries.iter().map(|(key, entry)| (key.clone(), place(entry))).collect())
    }

    fn get(&self, key: &str) -> Option<&Entry> {
        self.0.get(key)
    }
}

/// `config` is what holds: nothing yet at the start, and what was read last whenever it is read again.
pub(super) fn read_connections(
    sources: &ConfigSources,
    variables: Vec<environment::ConnectionVariable>,
    config: &Config,
    mistakes: &mut Mistakes,
) -> ConfiguredConnections {
    let path = sources.connections_file();
    let had_connections = config.connections.in_file;
    let may_be_missing = sources.connections.is_none() && !variables.is_empty() && !had_connections;
    mistakes.reads(&path);
    let shown = path.display().to_string();
    let text = match read_bounded(&path) {
        Ok(text) => Some(text),
        // Nothing else is taken for a file that is not there: a mount that hiccups has others' reasons.
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_missing => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound && had_connections => {
            mistakes.in_file(&shown, None, "is not there, and had connections when it was last read");
            None
        }
        Err(error) => {
            cannot_be_read(&path, "--connections", &error, mistakes);
            None
        }
    };
    let needs_directories = sources.needs_directories;
    let file = connections::File { path: &shown, text: text.as_deref(), had_connections, needs_directories };
    connections::read(&file, variables, config.pool.max_sessions_per_connection, mistakes)
}

fn read_file(path: &Path, flag: &str, mistakes: &mut Mistakes) -> Option<String> {
    match read_bounded(path) {
        Ok(text) => Some(text),
        Err(error) => {
            cannot_be_read(path, flag, &error, mistakes);
            None
        }
    }
}

fn cannot_be_read(path: &Path, flag: &str, error: &io::Error, mistakes: &mut Mistakes) {
    let problem = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("is not there; {flag} FILE says where it is, `ftp-pooler init` writes one")
        }
        _ => format!("cannot be read: {error}"),
    };
    mistakes.in_file(&path.display().to_string(), None, problem);
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

/// HOSTNAME, which Kubernetes sets to the pod's name; else what the kernel calls the host.
fn host_name(variables: &[(OsString, OsString)]) -> String {
    let hostname =
        variables.iter().find(|(name, _)| name == "HOSTNAME").and_then(|(_, value)| value.to_str());
    match hostname.filter(|name| keys::POD_NAME.kind.read(name).is_ok()) {
        Some(name) => name.to_owned(),
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}
