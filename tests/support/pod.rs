//! The product as its users run it: a child process with a configuration of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};

use super::http;
use super::kafka::{Kafka, Topics};
use super::process::{Process, Signal};
use super::scratch::Scratch;
use super::vsftpd::{PASSWORD, USER};
use super::wait::{try_wait_for, wait_until};

/// From the start until the pod is ready: a group's first join included.
const START: Duration = Duration::from_secs(30);

/// What a pod is told; written as `config.yaml` and `connections.ini`.
#[derive(Clone, Debug)]
pub struct PodConfig {
    yaml: Value,
    ini: String,
    environment: Vec<(String, String)>,
    /// What its command begins with to run elsewhere: `ip netns exec …`.
    enter: Vec<String>,
}

impl PodConfig {
    /// Defaults, but for ports given by the system and a group session short enough for a test to wait for.
    pub fn new(kafka: &Kafka, topics: &Topics) -> Self {
        let yaml = json!({
            "kafka": {
                "bootstrap_servers": kafka.bootstrap().split(',').collect::<Vec<_>>(),
                "consumer_group": topics.group,
                "input_topic": topics.tasks,
                "result_topic": topics.results,
                "fail_topic": topics.failures,
                "retry_topic": topics.retry,
                "control_topic": format!("{}-control", topics.tasks),
                "properties": {"session.timeout.ms": "6000", "heartbeat.interval.ms": "1000"},
            },
            "retry": {"delay": "2s"},
            "api": {"host": "127.0.0.1", "port": 0},
            "metrics": {"port": 0},
            "pod": {"name": "pod-0"},
        });
        PodConfig { yaml, ini: String::new(), environment: Vec::new(), enter: Vec::new() }
    }

    /// Sets a key of config.yaml: `("pool.max_sessions_per_pod", json!(5))`.
    ///
    /// # Panics
    /// Where the key leads through something that is no section.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        let place = key.split('.').fold(&mut self.yaml, |section, name| &mut section[name]);
        *place = value;
        self
    }

    /// The other mode of `kafka.delivery` than the default. Some suites run in it, so that both are seen whole.
    #[must_use]
    pub fn at_least_once(self) -> Self {
        self.set("kafka.delivery", json!("at_least_once"))
    }

    /// Adds an FTP connection with the test servers' account; `more` are further lines.
    #[must_use]
    pub fn ftp(self, name: &str, server: SocketAddr, more: &[(&str, &str)]) -> Self {
        let (host, port) = (server.ip().to_string(), server.port().to_string());
        let base = [("host", host.as_str()), ("port", &port), ("user", USER), ("pass", PASSWORD)];
        // A line of `more` takes the place of the one with its key: a key must not stand twice.
        let kept = base.iter().filter(|(key, _)| !more.iter().any(|(other, _)| other == key));
        let lines: Vec<_> = [("type", "ftp")].iter().chain(kept).chain(more).copied().collect();
        self.section(name, &lines)
    }

    /// Adds a local connection.
    #[must_use]
    pub fn local(self, name: &str, base_path: &Path) -> Self {
        let base_path = base_path.display().to_string();
        self.section(name, &[("type", "local"), ("base_path", &base_path)])
    }

    #[must_use]
    pub fn section(mut self, name: &str, lines: &[(&str, &str)]) -> Self {
        let _ = writeln!(self.ini, "[{name}]");
        for (key, value) in lines {
            let _ = writeln!(self.ini, "{key} = {value}");
        }
        self.ini.push('\n');
        self
    }

    /// What connections.ini says.
    #[must_use]
    pub fn connections(&self) -> &str {
        &self.ini
    }

    /// Writes both files into a directory; returns config.yaml's path.
    ///
    /// # Panics
    /// Where the directory refuses.
    pub fn write(&self, directory: &Path) -> PathBuf {
        let file = directory.join("config.yaml");
        // JSON is YAML.
        fs::write(&file, format!("{:#}\n", self.yaml)).expect("config.yaml");
        fs::write(directory.join("connections.ini"), &self.ini).expect("connections.ini");
        file
    }

    /// Runs it elsewhere, with a command such as `ip netns exec NAME`.
    #[must_use]
    pub fn entering(self, enter: Vec<String>) -> Self {
        PodConfig { enter, ..self }
    }

    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// A running pod. The process comes first: it must end before its files go.
#[derive(Debug)]
pub struct Pod {
    process: Process,
    scratch: Scratch,
}

impl Pod {
    /// Starts a pod and waits until it is ready.
    ///
    /// # Panics
    /// Where it does not become ready; the end of its log is in the message.
    #[track_caller]
    pub fn start(config: &PodConfig) -> Pod {
        let pod = Pod::spawn(config);
        let ready = try_wait_for(START, || {
            if !pod.process.is_running() {
                return Some(false);
            }
            pod.is_ready().then_some(true)
        });
        assert!(ready == Some(true), "the pod does not become ready\n{}", pod.process.log_tail(60));
        pod
    }

    /// Starts a pod and waits for nothing.
    ///
    /// # Panics
    /// Where the process cannot be started.
    pub fn spawn(config: &PodConfig) -> Pod {
        Pod::command(config, "run")
    }

    /// Starts another of the product's commands with this configuration, such as `check`.
    ///
    /// # Panics
    /// Where the process cannot be started.
    pub fn command(config: &PodConfig, subcommand: &str) -> Pod {
        let scratch = Scratch::new("pod");
        let file = config.write(scratch.path());
        let format: &[&str] = if subcommand == "run" { &["--log-format", "json"] } else { &[] };
        let args: Vec<String> = [&[subcommand, "--config", &file.display().to_string()], format]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let log = scratch.path().join("pod.log");
        let all = [&config.enter[..], &[binary().display().to_string()], &args].concat();
        let (program, args) = all.split_first().expect("a program");
        let process = Process::start(Path::new(program), args, &log, |command| {
            for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FTP_POOLER")) {
                command.env_remove(key);
            }
            command.envs(config.environment.iter().map(|(key, value)| (key, value)));
        });
        Pod { process, scratch }
    }

    /// Where the pod listens: `what` is `api` or `metrics`. `None` until its log says so.
    pub fn addr(&self, what: &str) -> Option<SocketAddr> {
        let event = self.events("listening").into_iter().find(|event| event["what"] == what)?;
        let addr: SocketAddr = event["addr"].as_str()?.parse().ok()?;
        let anywhere = addr.ip().is_unspecified();
        Some(if anywhere { (Ipv4Addr::LOCALHOST, addr.port()).into() } else { addr })
    }

    /// Status and body of a page of the API port; `None` where it does not answer.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        http::get(self.addr("api")?, path).ok()
    }

    pub fn is_ready(&self) -> bool {
        self.get("/ready").is_some_and(|(status, _)| status == 200)
    }

    pub fn is_healthy(&self) -> bool {
        self.get("/health").is_some_and(|(status, _)| status == 200)
    }

    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// The metrics now, by series as it is written: `ftp_pooler_x{connection="a"}`.
    pub fn metrics(&self) -> Metrics {
        let (_, page) = self.get("/metrics").unwrap_or_default();
        Metrics::parse(&page)
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGKILL: what a node's failure looks like.
    pub fn kill9(&self) {
        self.process.kill();
    }

    /// SIGTERM, and the end it leads to.
    ///
    /// # Panics
    /// Where the pod is not gone in time.
    #[track_caller]
    pub fn terminate(&self, within: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(within)
    }

    /// # Panics
    /// Where the pod is not gone in time.
    #[track_caller]
    pub fn wait_exit(&self, within: Duration) -> ExitStatus {
        let status = self.process.wait_exit(within);
        status.unwrap_or_else(|| panic!("the pod still runs\n{}", self.process.log_tail(60)))
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.process.status()
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Waits until the pod says that it is not ready any more.
    ///
    /// # Panics
    /// At the deadline.
    #[track_caller]
    pub fn wait_until_not_ready(&self, within: Duration) {
        wait_until("the pod to be not ready", within, || !self.is_ready());
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// The log's lines of this event (its field `event`): their fields, flat.
    pub fn events(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let fields =
            events.map(|mut event| if event["fields"].is_object() { event["fields"].take() } else { event });
        let is_wanted = |fields: &Value| fields["event"] == event;
        fields.filter(is_wanted).collect()
    }

    pub fn rss_bytes(&self) -> u64 {
        self.process.rss_bytes()
    }

    pub fn peak_rss_bytes(&self) -> u64 {
        self.process.peak_rss_bytes()
    }

    /// Writes other files in the place of those that the pod was started with.
    ///
    /// # Panics
    /// Where the directory refuses.
    pub fn rewrite(&self, config: &PodConfig) {
        config.write(self.scratch.path());
    }

    /// Writes another connections.ini, whatever is in it.
    ///
    /// # Panics
    /// Where the directory refuses.
    pub fn rewrite_connections(&self, ini: &str) {
        fs::write(self.scratch.path().join("connections.ini"), ini).expect("connections.ini");
    }

    pub fn config_file(&self) -> PathBuf {
        self.scratch.path().join("config.yaml")
    }
}

/// The binary that cargo built for this test, or the one that `FTP_POOLER_TEST_BINARY` names.
pub fn binary() -> PathBuf {
    std::env::var_os("FTP_POOLER_TEST_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_ftp-pooler").into(), PathBuf::from)
}

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    series: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads Prometheus' text format.
    pub fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Metrics { series: series.collect() }
    }

    /// One series, 0 where it is not there.
    pub fn get(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// The sum over all series of a metric whose labels contain all of `labels` (`connection="a"`).
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_metric = self.series.iter().filter(|(series, _)| series.split('{').next() == Some(name));
        of_metric
            .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
            .map(|(_, v)| v)
            .sum()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }
}
