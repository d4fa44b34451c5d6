//! The content of config.yaml: a struct for each section, and the table of its keys.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::api_token::{self, ApiToken};
use super::bandwidth::{self, BandwidthTimetable};
use super::connection::ConfiguredConnections;
use super::feeds::FeedConfig;
use super::key::KeyDefault::{Described, Is};
use super::key::{ConfigKey, FieldAccess, KeyField, KeyGroup, field, key, nonzero_field, set_defaults};
use super::kind::{KeyKind, KeyValue, MAX_SECRET_FILE_BYTES, quoted};
use crate::digest::Algorithm;

/// Everything a pod needs to know, validated.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub kafka: KafkaConfig,
    pub retry: RetryConfig,
    pub pool: PoolConfig,
    pub api: ListenAddress,
    /// Host names that requests may use besides those that are always accepted, separated by commas.
    pub api_allowed_hosts: Option<String>,
    /// If set, only requests that contain it are answered.
    pub api_token: Option<Arc<ApiToken>>,
    pub metrics: ListenAddress,
    pub shutdown: ShutdownConfig,
    pub reload: ReloadConfig,
    pub sweep: SweepConfig,
    pub traces: TracesConfig,
    pub pod: PodConfig,
    pub transfer: TransferConfig,
    pub tunnels: TunnelsConfig,
    /// Directories whose new files become tasks.
    pub feeds: Vec<Arc<FeedConfig>>,
    pub connections: ConfiguredConnections,
}

#[derive(Debug, Clone, Default)]
pub struct KafkaConfig {
    pub bootstrap_servers: Vec<String>,
    pub consumer_group: String,
    pub input_topic: String,
    pub result_topic: String,
    pub fail_topic: String,
    pub retry_topic: String,
    pub coordination_topic: String,
    pub feeds_topic: String,
    pub control_topic: String,
    /// Names, and patterns with `*`, of additional topics that answers may be sent to.
    pub reply_topics: Vec<String>,
    pub delivery: DeliveryGuarantee,
    /// The pod keeps its partitions over a restart within the session's timeout (KIP-345).
    pub static_membership: bool,
    /// How long the pod's clients may be without Kafka while another client reaches it.
    pub recreate_after: Duration,
    /// How long a transaction may be open; it is increased if the path to Kafka is slow.
    pub transaction_timeout: Duration,
    /// Passed to librdkafka; values may be secrets (`sasl.password`), so all are treated as such.
    pub properties: BTreeMap<String, SecretString>,
}

/// How tasks are deferred through `kafka.retry_topic`.
#[derive(Debug, Clone, Default)]
pub struct RetryConfig {
    pub enabled: bool,
    /// How long a task stays in the topic each time.
    pub delay: Duration,
    /// The maximum total time of a task's deferral, from its first time on.
    pub max_deferral: Duration,
}

/// How an answer and its task's offset are linked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeliveryGuarantee {
    /// The answer is acknowledged by the broker before the offset is committed.
    AtLeastOnce,
    /// Answer and offset are one transaction.
    #[default]
    ExactlyOnce,
}

#[derive(Debug, Clone, Default)]
pub struct PoolConfig {
    pub max_sessions_per_pod: usize,
    pub max_sessions_per_connection: usize,
    /// The limit over all pods for each connection that does not set its own; `None` is no limit.
    pub max_sessions_total: Option<usize>,
    /// An idle session is closed after this time.
    pub session_timeout: Duration,
    /// The maximum number of decoded tasks that the pod holds; above it the partitions are paused.
    pub max_waiting_tasks: usize,
    /// The maximum number of bytes of these tasks' records; above it the partitions are paused.
    pub max_waiting_bytes: usize,
    /// How many bytes a second all connections together may move, and when.
    pub bandwidth: BandwidthTimetable,
    /// A task held for longer is logged, with what it waits for.
    pub slow_task: Duration,
}

#[derive(Debug, Clone, Default)]
pub struct ListenAddress {
    /// A name or an address.
    pub host: String,
    /// 0 chooses a free port.
    pub port: u16,
}

#[derive(Debug, Clone, Default)]
pub struct ShutdownConfig {
    /// How long transfers in flight may continue after SIGTERM.
    pub drain: Duration,
}

/// How changes of connections.ini are detected.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReloadConfig {
    /// The interval at which its files are checked; `None` is never.
    pub every: Option<Duration>,
}

/// How orphaned temp files are found.
#[derive(Debug, Clone, Default)]
pub struct SweepConfig {
    /// The interval at which a directory is scanned.
    pub every: Duration,
}

/// Which traces are sent, and where to.
#[derive(Debug, Clone, Default)]
pub struct TracesConfig {
    /// The collector's URL, with a path; without one nothing is traced.
    pub endpoint: Option<String>,
    /// Percentage of the tasks whose records do not themselves specify whether they are traced.
    pub percent: u8,
}

/// Settings of every transfer.
#[derive(Debug, Clone, Copy, Default)]
pub struct TransferConfig {
    /// Computed over each file during its transfer, for its result.
    pub hash: Option<Algorithm>,
}

/// Settings common to all tunnels of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TunnelsConfig {
    /// The path of frpc; searched for if `None`.
    pub frpc: Option<String>,
    /// The loopback addresses that tunnels get.
    pub addresses: AddressRange,
}

/// A range of loopback addresses, as `127.77.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    pub first: Ipv4Addr,
    pub prefix: u8,
}

impl Default for AddressRange {
    fn default() -> Self {
        AddressRange { first: Ipv4Addr::LOCALHOST, prefix: 32 }
    }
}

#[derive(Debug, Clone, Default)]
pub struct PodConfig {
    pub name: String,
    /// The process may write a core file, and be traced by its user: both reveal its passwords.
    pub core_dumps: bool,
}

impl Config {
    /// The settings of an empty config.yaml; without connections, and without a pod's name.
    #[must_use]
    pub fn with_defaults() -> Config {
        let mut config = Config::default();
        set_defaults(SETTINGS, &mut config);
        config
    }
}

const PORT_OR_ANY: KeyKind = KeyKind::Number { min: 0, max: 65_535 };
const SESSIONS: KeyKind = KeyKind::Number { min: 1, max: 10_000 };
const DAY: u64 = 86_400;

const fn time(min_seconds: u64, max_seconds: u64) -> KeyKind {
    KeyKind::Time { min: Duration::from_secs(min_seconds), max: Duration::from_secs(max_seconds) }
}

/// Librdkafka's properties: not a key, but a section whose keys librdkafka knows.
pub(super) const PROPERTIES: &str = "kafka.properties";

pub(super) const API_TOKEN: &str = "api.token";
const TOKEN: KeyGroup = KeyGroup { keys: &[API_TOKEN, "api.token_file"], missing: None, ignores_empty: true };

/// Every key of config.yaml, in the order of the documentation.
#[rustfmt::skip] // one entry after the other, its text last
pub(super) const SETTINGS: &[ConfigKey<Config>] = &[
    key("kafka.bootstrap_servers", KeyKind::Servers, Is("kafka:9092"), field!(kafka.bootstrap_servers),
        "Brokers to connect to first; the others are discovered through them."),
    key("kafka.consumer_group", KeyKind::Text, Is("ftp-pooler"), field!(kafka.consumer_group),
        "The consumer group of all pods. A new group starts at the earliest record."),
    key("kafka.input_topic", KeyKind::Topic, Is("ftp-tasks"), field!(kafka.input_topic),
        "The topic that tasks are read from."),
    key("kafka.result_topic", KeyKind::Topic, Is("ftp-results"), field!(kafka.result_topic),
        "The topic that results are written to."),
    key("kafka.fail_topic", KeyKind::Topic, Is("ftp-failures"), field!(kafka.fail_topic),
        "The topic that failures are written to."),
    key("kafka.retry_topic", KeyKind::Topic, Is("ftp-tasks-retry"), field!(kafka.retry_topic),
        "The topic in which deferred tasks wait. If it is missing it is created, with as many partitions as the input \
         topic, provided that the pod may do so."),
    key("kafka.coordination_topic", KeyKind::Topic, Is("ftp-pooler-sessions"), field!(kafka.coordination_topic),
        "The topic through which pods announce themselves to each other, so that any pod's page shows all of them, and share \
         the sessions of connections with `max_sessions_total`. Compacted, with one partition. If it is missing it is \
         created, provided that the pod may do so; without it the page shows its own pod alone."),
    key("kafka.feeds_topic", KeyKind::Topic, Is("ftp-pooler-feeds"), field!(kafka.feeds_topic),
        "The topic that knows which files the feeds have made tasks of; not used without feeds. A compacted one with 5 \
         partitions. If it is missing it is created, provided that the pod may do so."),
    key("kafka.control_topic", KeyKind::Topic, Is("ftp-control"), field!(kafka.control_topic),
        "The compacted topic that says which batches of tasks there are, and which are cancelled. `ftp-pooler topics` makes \
         it; without it tasks are done as ever, and no batch can be cancelled."),
    key("kafka.reply_topics", KeyKind::TopicPatterns, Described("none"), REPLY_TOPICS,
        "Topics that answers may go to as well: a task's answer does, in the same transaction, if its record's header \
         `reply_to` names one of them. A list of names, in which `*` stands for anything. The pods need Write on them; none \
         is created (docs/PRODUCING.md)."),
    key("kafka.delivery", KeyKind::Choice(&["exactly_once", "at_least_once"]), Is("exactly_once"),
        field!(kafka.delivery),
        "How an answer and its task's offset are tied together: `exactly_once` puts both into one Kafka transaction, so \
         that a consumer with `isolation.level` `read_committed` sees each answer once, whatever crashes; \
         `at_least_once`, for brokers without transactions, commits the offset after the brokers have acknowledged the \
         answer."),
    key("kafka.static_membership", KeyKind::Flag, Is("false"), field!(kafka.static_membership),
        "A pod that restarts within the session timeout (`session.timeout.ms` in kafka.properties, 15 s unless set) \
         keeps its partitions, without a rebalance; a pod that never returns leaves its partitions without an owner for \
         that long. The group knows it as `<kafka.consumer_group>-<pod.name>`, so pod.name must differ for each pod and \
         stay the same over restarts, as in a StatefulSet."),
    key("kafka.recreate_after", time(1, DAY), Is("1m"), field!(kafka.recreate_after),
        "If the pod has been without a connected broker or without its place in the group, or has published none of its \
         answers, for this time, while a newly created client reaches Kafka, it recreates its clients, without a \
         restart. If that fails three times in a row, `/health` answers 503, so that the pod is restarted."),
    key("kafka.transaction_timeout", time(5, 600), Is("10s"), field!(kafka.transaction_timeout),
        "How long a transaction may take until its coordinator aborts it; also how long the open transaction of a pod that \
         died delays the next owner of its partitions. If ten requests to Kafka, as measured, take longer, it is raised \
         automatically, up to 2 minutes. With `kafka.delivery: exactly_once` only; not above the brokers' \
         `transaction.max.timeout.ms`."),
    key("retry.enabled", KeyKind::Flag, Is("true"), field!(retry.enabled),
        "Tasks whose server is down, and retries with a long delay, wait in kafka.retry_topic. If false they wait in \
         the pod's memory, for 10 minutes at most."),
    key("retry.delay", time(1, 3_600), Is("30s"), field!(retry.delay),
        "How long a task stays in kafka.retry_topic before it is tried again."),
    key("retry.max_deferral", time(1, 30 * DAY), Is("24h"), field!(retry.max_deferral),
        "A task that has been deferred for longer than this fails with `connection_unavailable`. The topic's retention \
         must be longer."),
    key("pool.max_sessions_per_pod", SESSIONS, Is("100"), field!(pool.max_sessions_per_pod),
        "Maximum number of open sessions of one pod, idle or busy, over all connections."),
    key("pool.max_sessions_per_connection", SESSIONS, Is("10"), field!(pool.max_sessions_per_connection),
        "Maximum number of open sessions of one pod with one connection, idle or busy, unless its section sets its own."),
    key("pool.max_sessions_total", KeyKind::Number { min: 0, max: 1_000_000 }, Is("0"),
        nonzero_field!(pool.max_sessions_total),
        "Maximum number of open sessions of all pods together with one connection, idle or busy, unless its section sets \
         its own; 0 is no limit. The pods share them through kafka.coordination_topic, which needs Kafka transactions \
         (docs/OPERATIONS.md)."),
    key("pool.session_timeout_seconds", time(1, DAY), Is("300"), field!(pool.session_timeout),
        "An idle session is closed after this time; after 10 s while the server reports too many connections, since \
         another pod may need it."),
    key("pool.max_waiting_tasks", KeyKind::Number { min: 1, max: 1_000_000 }, Is("20000"),
        field!(pool.max_waiting_tasks),
        "Maximum number of decoded tasks in a pod; above it consumption pauses."),
    key("pool.max_waiting_bytes", KeyKind::Size { min: 1 << 20, max: 1 << 40 }, Is("64Mi"),
        field!(pool.max_waiting_bytes),
        "Maximum size of these tasks' records in bytes; above it consumption pauses."),
    key("pool.bandwidth", KeyKind::Syntax(bandwidth::SYNTAX), Is("off"), bandwidth::OF_POD,
        "Bytes per second at most, of one pod over all its connections; written as a connection's own `bandwidth`, which holds \
         as well."),
    key("pool.slow_task", time(1, DAY), Is("5m"), field!(pool.slow_task),
        "A task that has been in the pod for longer is logged as a warning, with what it waits for: the oldest one of \
         each partition, and again each time this interval has passed."),
    key("api.host", KeyKind::Host, Is("0.0.0.0"), field!(api.host),
        "The address on which the page, its API (docs/API.md), `/health`, `/ready` and `/metrics` are served."),
    key("api.port", PORT_OR_ANY, Is("8080"), field!(api.port),
        "Its port; 0 selects a free one, which is logged."),
    key("api.allowed_hosts", KeyKind::Text, Described("none"), field!(api_allowed_hosts),
        "Host names by which this port and metrics.port may be addressed, separated by commas: `status.example.com`, or \
         `.example.com` for all names below. Others are refused (421), so that a web page cannot read the pod through DNS \
         rebinding. Addresses, names without a dot, `localhost`, `….svc`, `….cluster.local`, `….internal` and the \
         machine's own name are always accepted; `*` accepts any name."),
    key(API_TOKEN, KeyKind::Secret, Described("none: no authentication"), api_token::TEXT,
        "If it is set, `/api/v1/…` and `/metrics` on this port require it (`Authorization: Bearer …`). `/health`, \
         `/ready`, the page's static files and `metrics.port` stay open. At least 16 letters, digits and `-._~+/`, \
         optionally followed by `=`; `openssl rand -hex 32` makes one.").one_of(&TOKEN),
    key("api.token_file", KeyKind::File { max_bytes: MAX_SECRET_FILE_BYTES }, Described("none"), api_token::FILE,
        "The same in a file, such as a mounted secret; one line break at its end is removed.").one_of(&TOKEN),
    key("metrics.host", KeyKind::Host, Is("0.0.0.0"), field!(metrics.host),
        "The address on which `/metrics` is also served."),
    key("metrics.port", PORT_OR_ANY, Is("9090"), field!(metrics.port),
        "Its port; 0 selects a free one, which is logged."),
    key("shutdown.drain_seconds", time(0, 3_600), Is("10"), field!(shutdown.drain),
        "How long transfers in flight may continue after SIGTERM."),
    key("reload.every", time(0, 3_600), Is("2s"), nonzero_field!(reload.every),
        "How often connections.ini and the secrets in files of their own (`pass_file`, `tls_ca`, `api.token_file`) are \
         checked for changes. A change is applied without a restart once the file has been stable for a second; a file \
         with errors changes nothing. 0 disables the check: then only SIGHUP reloads them."),
    key("sweep.every", time(1, DAY), Is("1h"), field!(sweep.every),
        "How often the directories in which tasks work are scanned for orphaned temp files, which crashed pods leave \
         behind. Any value is safe: a file is removed only when no pod can still need it."),
    key("traces.endpoint", KeyKind::Collector, Described("none"), field!(traces.endpoint),
        "The collector that traces are sent to, by OTLP over HTTP with protobuf; the default path is /v1/traces. A \
         record's `traceparent` header joins its task to the producer's trace. Tracing is disabled unless this is set."),
    key("traces.percent", KeyKind::Number { min: 0, max: 100 }, Is("100"), field!(traces.percent),
        "Percentage of tasks that are traced, among those whose records have no `traceparent`. A `traceparent` decides \
         for its own task."),
    key("pod.name", KeyKind::Text, Described("the environment's HOSTNAME, else the host's name"), field!(pod.name),
        "The pod's name: different for each pod, the same after a restart."),
    key("pod.core_dumps", KeyKind::Flag, Is("false"), field!(pod.core_dumps),
        "Allow core dumps, and debuggers of the same user. Both see the passwords that the process has in its memory, so \
         that it is not dumpable (prctl(2), PR_SET_DUMPABLE) unless this is set."),
    key("transfer.hash", KeyKind::Choice(&["none", "sha256", "xxh3"]), Is("none"), field!(transfer.hash),
        "The hash of each file that its result carries, computed during the transfer. sha256 costs CPU; xxh3 (64 bits) \
         costs next to nothing, and detects accidental corruption only. `verify: hash` computes what it needs without \
         this."),
    key("tunnels.frpc", KeyKind::Text, Described("searched for in PATH, /usr/local/bin, /opt/frp, ~/bin"), FRPC,
        "The absolute path of frpc (0.61 or newer), which connections with `via` need."),
    key("tunnels.addresses", KeyKind::Syntax("a range of loopback addresses"), Is("127.77.0.0/16"), ADDRESSES,
        "Each tunnel listens on its own loopback address in this range, where only this machine, or this pod, \
         reaches it."),
];

const REPLY_TOPICS: FieldAccess<Config> = FieldAccess {
    set: |config, value| {
        config.kafka.reply_topics.store(value);
        Ok(())
    },
    get: |config| match config.kafka.reply_topics.as_slice() {
        [] => KeyValue::Unset,
        topics => KeyValue::List(topics.to_vec()),
    },
};

const FRPC: FieldAccess<Config> = FieldAccess {
    set: |config, value| {
        let path = value.into_text();
        if !path.starts_with('/') {
            return Err(format!(
                "found {}; expected an absolute path such as /usr/local/bin/frpc",
                quoted(&path)
            ));
        }
        config.tunnels.frpc = Some(path);
        Ok(())
    },
    get: |config| config.tunnels.frpc.clone().map_or(KeyValue::Unset, KeyValue::Text),
};

const ADDRESSES: FieldAccess<Config> = FieldAccess {
    set: |config, value| {
        let text = value.into_text();
        config.tunnels.addresses = AddressRange::parse(&text).ok_or_else(|| {
            format!(
                "found {}; expected a range of loopback addresses such as 127.77.0.0/16, of 16 to 65,536",
                quoted(&text)
            )
        })?;
        Ok(())
    },
    get: |config| KeyValue::Text(config.tunnels.addresses.to_string()),
};

impl AddressRange {
    fn parse(text: &str) -> Option<AddressRange> {
        let (first, prefix) = text.trim().split_once('/')?;
        let (first, prefix): (Ipv4Addr, u8) = (first.parse().ok()?, prefix.parse().ok()?);
        let range = AddressRange { first, prefix };
        let is_aligned = (16..=28).contains(&prefix) && u32::from(first).is_multiple_of(range.count());
        (first.is_loopback() && is_aligned).then_some(range)
    }

    /// How many addresses there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        1 << (32 - u32::from(self.prefix.clamp(16, 32)))
    }

    /// The address at this index of the range, modulo its size.
    #[must_use]
    pub fn nth(&self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + place % self.count())
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl KeyField for DeliveryGuarantee {
    fn store(&mut self, value: KeyValue) {
        *self = match value.into_text().as_str() {
            "at_least_once" => DeliveryGuarantee::AtLeastOnce,
            _ => DeliveryGuarantee::ExactlyOnce, // the key's kind accepts nothing else
        };
    }

    fn load(&self) -> KeyValue {
        let name = match self {
            DeliveryGuarantee::AtLeastOnce => "at_least_once",
            DeliveryGuarantee::ExactlyOnce => "exactly_once",
        };
        KeyValue::Text(name.to_owned())
    }
}

impl KeyField for Option<Algorithm> {
    fn store(&mut self, value: KeyValue) {
        *self = Algorithm::from_name(&value.into_text());
    }

    fn load(&self) -> KeyValue {
        KeyValue::Text(self.map_or("none", Algorithm::name).to_owned())
    }
}
