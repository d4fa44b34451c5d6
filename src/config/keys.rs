//! Every key of config.yaml, declared once: reading, checking, documentation and the default file come from
//! this table. The keys of connections.ini are in `connection_keys`.

use std::time::Duration;

use super::kind::Kind;

/// One key, of config.yaml or of a section of connections.ini.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `kafka.input_topic`; in connections.ini the key alone.
    pub path: &'static str,
    pub kind: Kind,
    pub standard: Standard,
    pub doc: &'static str,
    /// rclone's FTP backend has an option of this name that means the same.
    pub is_rclones: bool,
}

/// What holds where nobody sets the key.
#[derive(Debug, Clone, Copy)]
pub enum Standard {
    /// The key must be set.
    Required,
    Is(&'static str),
    /// No fixed value; the text says which.
    Told(&'static str),
}

use Standard::{Is, Told};

pub(super) const fn key(path: &'static str, kind: Kind, standard: Standard, doc: &'static str) -> Key {
    Key { path, kind, standard, doc, is_rclones: false }
}

impl Key {
    /// The key's name within its section.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The section of config.yaml that the key stands in; empty in connections.ini.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }
}

const SESSIONS: Kind = Kind::Number { min: 1, max: 10_000 };
const DAY: Duration = Duration::from_secs(86_400);
const PORT_OR_ANY: Kind = Kind::Number { min: 0, max: 65_535 };

pub const BOOTSTRAP_SERVERS: Key = key(
    "kafka.bootstrap_servers",
    Kind::Servers,
    Is("kafka:9092"),
    "Brokers to begin with; the others are found through them.",
);
pub const CONSUMER_GROUP: Key = key(
    "kafka.consumer_group",
    Kind::Text,
    Is("ftp-pooler"),
    "The group that all pods share. A new group starts at the earliest record.",
);
pub const INPUT_TOPIC: Key =
    key("kafka.input_topic", Kind::Topic, Is("ftp-tasks"), "Where the tasks come from.");
pub const RESULT_TOPIC: Key =
    key("kafka.result_topic", Kind::Topic, Is("ftp-results"), "Where the results go.");
pub const FAIL_TOPIC: Key =
    key("kafka.fail_topic", Kind::Topic, Is("ftp-failures"), "Where the failures go.");
pub const RETRY_TOPIC: Key = key(
    "kafka.retry_topic",
    Kind::Topic,
    Is("ftp-tasks-retry"),
    "Where tasks wait that cannot go on for now. It is made, with the input topic's partitions, where it is \
     missing and may be made.",
);
pub const DELIVERY: Key = key(
    "kafka.delivery",
    Kind::Choice { known: &["exactly_once", "at_least_once"], later: &[] },
    Is("exactly_once"),
    "How an answer and its task's offset are tied: exactly_once puts both into one KafkaConfig transaction, so that a \
     consumer with isolation.level read_committed sees each answer once, whatever dies; at_least_once, for brokers \
     without transactions, commits the offset once the brokers have acknowledged the answer.",
);
pub const STATIC_MEMBERSHIP: Key = key(
    "kafka.static_membership",
    Kind::Flag,
    Is("false"),
    "A pod that restarts within the session's timeout (`session.timeout.ms` in kafka.properties, 15 s unless set) \
     keeps its partitions, and no other pod notices; one that goes for good leaves its partitions without an \
     owner for that long. The group knows it as `<kafka.consumer_group>-<pod.name>`, so pod.name must be \
     another one for each pod, and the same after a restart: a StatefulSet's.",
);
pub const RETRY_ENABLED: Key = key(
    "retry.enabled",
    Kind::Flag,
    Is("true"),
    "Tasks of a server that is away, and retries that must wait for long, go to kafka.retry_topic meanwhile. \
     With false they wait in the pod, for 10 minutes at most.",
);
pub const RETRY_DELAY: Key = key(
    "retry.delay",
    Kind::Time { min: Duration::from_secs(1), max: Duration::from_secs(3_600) },
    Is("30s"),
    "How long a task stays in kafka.retry_topic before it is looked at again.",
);
pub const MAX_DEFERRAL: Key = key(
    "retry.max_deferral",
    Kind::Time { min: Duration::from_secs(1), max: Duration::from_secs(30 * 86_400) },
    Is("24h"),
    "A task that is sent there for longer is answered with `connection_unavailable`. The topic must keep its \
     records for longer than this.",
);
pub const MAX_SESSIONS_PER_POD: Key = key(
    "pool.max_sessions_per_pod",
    SESSIONS,
    Is("100"),
    "Open sessions of one pod at most, idle or busy, over all connections.",
);
pub const MAX_SESSIONS_PER_CONNECTION: Key = key(
    "pool.max_sessions_per_connection",
    SESSIONS,
    Is("10"),
    "Open sessions of one pod with one connection at most, idle or busy, where its section does not say.",
);
pub const SESSION_TIMEOUT: Key = key(
    "pool.session_timeout_seconds",
    Kind::Time { min: Duration::from_secs(1), max: DAY },
    Is("300"),
    "An idle session is closed after this time; after 10 s while its server has said that it bears no more, since \
     another pod may want it.",
);
pub const MAX_WAITING_TASKS: Key = key(
    "pool.max_waiting_tasks",
    Kind::Number { min: 1, max: 1_000_000 },
    Is("20000"),
    "Decoded tasks that a pod holds at most; above it reading pauses.",
);
pub const MAX_WAITING_BYTES: Key = key(
    "pool.max_waiting_bytes",
    Kind::Size { min: 1 << 20, max: 1 << 40 },
    Is("64Mi"),
    "Bytes of the records of these tasks at most; above it reading pauses.",
);
pub const SLOW_TASK: Key = key(
    "pool.slow_task",
    Kind::Time { min: Duration::from_secs(1), max: DAY },
    Is("5m"),
    "A task that a pod has held for longer is logged as a warning, with what it waits for: of each partition the \
     oldest one, and again each time as much time has passed.",
);
pub const API_HOST: Key = key(
    "api.host",
    Kind::Host,
    Is("0.0.0.0"),
    "The address that the page, its API (docs/API.md), `/health`, `/ready` and `/metrics` are served on.",
);
pub const API_PORT: Key =
    key("api.port", PORT_OR_ANY, Is("8080"), "Its port; 0 takes a free one, which the log names.");
pub const API_TOKEN: Key = key(
    "api.token",
    Kind::Secret,
    Told("none: everybody may"),
    "Who sends it (`Authorization: Bearer …`) may look at `/api/v1/…` and `/metrics` on this port; nobody else may, \
     where it is set. `/health`, `/ready` and the page's frame stay open, and so does `metrics.port`. Letters, digits \
     and `-._~+/`, then `=` if at all; `openssl rand -hex 32` makes one.",
);
pub const API_TOKEN_FILE: Key = key(
    "api.token_file",
    Kind::Path,
    Told("none"),
    "The same in a file, such as a mounted secret; one line break at its end is not part of it.",
);
pub const METRICS_HOST: Key =
    key("metrics.host", Kind::Host, Is("0.0.0.0"), "The address that `/metrics` is served on as well.");
pub const METRICS_PORT: Key =
    key("metrics.port", PORT_OR_ANY, Is("9090"), "Its port; 0 takes a free one, which the log names.");
pub const DRAIN: Key = key(
    "shutdown.drain_seconds",
    Kind::Time { min: Duration::ZERO, max: Duration::from_secs(3600) },
    Is("10"),
    "How long transfers in flight may go on after SIGTERM.",
);
pub const RELOAD_EVERY: Key = key(
    "reload.every",
    Kind::Time { min: Duration::ZERO, max: Duration::from_secs(3600) },
    Is("2s"),
    "How often connections.ini and the secrets in files of their own (`pass_file`, `tls_ca`, `api.token_file`) are looked \
     at for changes. What has changed is taken over without a restart once it has stood still for a second; a mistake changes nothing. 0 never \
     looks: then only SIGHUP has them read again.",
);
pub const SWEEP_EVERY: Key = key(
    "sweep.every",
    Kind::Time { min: Duration::from_secs(1), max: Duration::from_secs(86_400) },
    Is("1h"),
    "How often directories in which tasks work are looked at for temp files of pods that died. Any value is safe: \
     a file is removed only when nobody can still need it.",
);
pub const TRACES_ENDPOINT: Key = key(
    "traces.endpoint",
    Kind::Collector,
    Told("none"),
    "Where traces are sent, by OTLP over HTTP with protobuf; without a path it is /v1/traces. A record's `traceparent` \
     header joins its task to the producer's trace. Nothing is traced where this is not set.",
);
pub const TRACES_PERCENT: Key = key(
    "traces.percent",
    Kind::Number { min: 0, max: 100 },
    Is("100"),
    "How many of a hundred tasks are traced whose records have no `traceparent`. One that has says so itself.",
);
pub const POD_NAME: Key = key(
    "pod.name",
    Kind::Text,
    Told("the environment's HOSTNAME, else the host's name"),
    "The pod's name: different for each pod, the same after a restart.",
);

pub const TRANSFER_HASH: Key = key(
    "transfer.hash",
    Kind::Choice { known: &["none", "sha256", "xxh3"], later: &[] },
    Is("none"),
    "The hash of each file, computed on its way, that its result carries. sha256 costs CPU; xxh3 (64 bits) next to \
     none, and tells only accidents. `verify: hash` computes what it needs by itself.",
);

/// Where librdkafka's properties stand: not a key, but a section of keys that librdkafka knows.
pub const PROPERTIES: &str = "kafka.properties";

/// Every key of config.yaml, in the order of the documentation.
pub const ALL: &[&Key] = &[
    &BOOTSTRAP_SERVERS,
    &CONSUMER_GROUP,
    &INPUT_TOPIC,
    &RESULT_TOPIC,
    &FAIL_TOPIC,
    &RETRY_TOPIC,
    &DELIVERY,
    &STATIC_MEMBERSHIP,
    &RETRY_ENABLED,
    &RETRY_DELAY,
    &MAX_DEFERRAL,
    &MAX_SESSIONS_PER_POD,
    &MAX_SESSIONS_PER_CONNECTION,
    &SESSION_TIMEOUT,
    &MAX_WAITING_TASKS,
    &MAX_WAITING_BYTES,
    &SLOW_TASK,
    &API_HOST,
    &API_PORT,
    &API_TOKEN,
    &API_TOKEN_FILE,
    &METRICS_HOST,
    &METRICS_PORT,
    &DRAIN,
    &RELOAD_EVERY,
    &SWEEP_EVERY,
    &TRACES_ENDPOINT,
    &TRACES_PERCENT,
    &POD_NAME,
    &TRANSFER_HASH,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_fits_its_own_kind() {
        for key in ALL {
            if let Is(text) = key.standard {
                assert!(key.kind.read(text).is_ok(), "{} = {text}", key.path);
            }
        }
    }

    #[test]
    fn no_key_is_declared_twice_and_each_stands_in_a_section() {
        let mut paths: Vec<_> = ALL.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), ALL.len());
        assert!(ALL.iter().all(|key| !key.section().is_empty()));
    }
}
