//! The configuration, through the built program: every mistake at once, and never a secret.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ftp_pooler::config::{self, Change, Config, RenameOver, Sources};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// A directory with both files, and a `data` directory for local connections.
struct Files {
    dir: TempDir,
}

const RIGHT_CONNECTIONS: &str =
    "[remote-ftp]\ntype = ftp\nhost = ftp.example.com\nuser = u\npass = hunter2\n";

impl Files {
    fn new(yaml: &str, ini: &str) -> Files {
        let dir = TempDir::new().unwrap();
        let files = Files { dir };
        fs::create_dir(files.data()).unwrap();
        fs::write(files.config(), yaml).unwrap();
        fs::write(files.connections(), ini).unwrap();
        files
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    fn connections(&self) -> PathBuf {
        self.dir.path().join("connections.ini")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn sources(&self, environment: &[(&str, &str)]) -> Sources {
        Sources {
            config: self.config(),
            connections: None,
            environment: environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
            property: |_, _| None,
            needs_directories: true,
        }
    }

    fn load(&self, environment: &[(&str, &str)]) -> Result<Config, String> {
        let sources = self.sources(environment);
        // Mistakes without the directory's name, which differs from run to run.
        let shorten = |text: String| text.replace(&format!("{}/", self.dir.path().display()), "");
        Config::load(&sources).map_err(|errors| shorten(errors.to_string()))
    }

    fn check(&self, environment: &[(&str, &str)]) -> Output {
        program()
            .args(["check", "--config"])
            .arg(self.config())
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
    command.env_clear().env("HOSTNAME", "pod-0");
    command
}

fn loaded(yaml: &str, ini: &str, environment: &[(&str, &str)]) -> Config {
    Files::new(yaml, ini).load(environment).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn mistakes(yaml: &str, ini: &str, environment: &[(&str, &str)]) -> String {
    Files::new(yaml, ini).load(environment).expect_err("this configuration is wrong")
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = loaded("", RIGHT_CONNECTIONS, &[("HOSTNAME", "pod-3")]);
    assert_eq!(config.kafka.bootstrap_servers, ["kafka:9092"]);
    assert_eq!(config.kafka.consumer_group, "ftp-pooler");
    assert_eq!(config.kafka.input_topic, "ftp-tasks");
    assert_eq!(config.kafka.result_topic, "ftp-results");
    assert_eq!(config.kafka.fail_topic, "ftp-failures");
    assert!(config.kafka.properties.is_empty());
    assert_eq!(config.pool.max_sessions_per_pod, 100);
    assert_eq!(config.pool.max_sessions_per_connection, 10);
    assert_eq!(config.pool.session_timeout, Duration::from_secs(300));
    assert_eq!(config.pool.max_waiting_tasks, 20_000);
    assert_eq!(config.pool.max_waiting_bytes, 64 << 20);
    assert_eq!((config.api.host.as_str(), config.api.port), ("0.0.0.0", 8080));
    assert_eq!((config.metrics.host.as_str(), config.metrics.port), ("0.0.0.0", 9090));
    assert_eq!(config.shutdown.drain, Duration::from_secs(10));
    assert_eq!(config.pod.name, "pod-3");
    let ftp = &config.connections.ftp["remote-ftp"];
    assert_eq!((ftp.host.as_str(), ftp.port, ftp.user.as_str()), ("ftp.example.com", 21, "u"));
    assert_eq!(ftp.pass.expose_secret(), "hunter2");
    assert_eq!((ftp.max_sessions, ftp.disable_epsv), (10, false));
    assert_eq!(ftp.rename_over, RenameOver::Auto);
    let seconds = [30, 30, 30, 60, 60].map(Duration::from_secs);
    let t = &ftp.timeouts;
    assert_eq!([t.connect, t.login, t.reply, t.stall, t.close], seconds);
}

#[test]
fn without_hostname_the_pod_has_the_hosts_name() {
    assert!(!loaded("", RIGHT_CONNECTIONS, &[]).pod.name.is_empty());
}

#[test]
fn the_environment_overrides_the_files() {
    let yaml = "kafka:\n  consumer_group: file\n  properties: {sasl.password: file, client.rack: r1}\n";
    let ini = format!("{RIGHT_CONNECTIONS}port = 2121\n");
    let config = loaded(
        yaml,
        &ini,
        &[
            ("FTP_POOLER__KAFKA__CONSUMER_GROUP", "env"),
            ("ftp_pooler__kafka__bootstrap_servers", "a:1, b:2"),
            ("FTP_POOLER__KAFKA__PROPERTIES__SASL_PASSWORD", "env"),
            ("FTP_POOLER__POOL__SESSION_TIMEOUT_SECONDS", "1m30s"),
            ("FTP_POOLER__API__PORT", "0"),
            ("FTP_POOLER__CONNECTIONS__REMOTE_FTP__PASS", "from env # \\"),
            ("FTP_POOLER__CONNECTIONS__REMOTE_FTP__DISABLE_EPSV", "true"),
            ("FTP_POOLER_PORT", "tcp://10.0.0.1:8080"),
            ("FTP_POOLER_SERVICE_HOST", "10.0.0.1"),
        ],
    );
    assert_eq!(config.kafka.consumer_group, "env");
    assert_eq!(config.kafka.bootstrap_servers, ["a:1", "b:2"]);
    assert_eq!(config.kafka.properties["sasl.password"].expose_secret(), "env");
    assert_eq!(config.kafka.properties["client.rack"].expose_secret(), "r1");
    assert_eq!(config.pool.session_timeout, Duration::from_secs(90));
    assert_eq!(config.api.port, 0);
    let ftp = &config.connections.ftp["remote-ftp"];
    assert_eq!((ftp.pass.expose_secret(), ftp.port, ftp.disable_epsv), ("from env # \\", 2121, true));
}

#[test]
fn the_environment_can_define_a_connection_of_its_own_without_a_file() {
    let files = Files::new("", "");
    fs::remove_file(files.connections()).unwrap();
    let data = files.data();
    let config = files
        .load(&[
            ("FTP_POOLER__CONNECTIONS__NEW_FTP__TYPE", "ftp"),
            ("FTP_POOLER__CONNECTIONS__NEW_FTP__HOST", "h"),
            ("FTP_POOLER__CONNECTIONS__NEW_FTP__USER", "u"),
            ("FTP_POOLER__CONNECTIONS__NEW_FTP__PASS", ""),
            ("FTP_POOLER__CONNECTIONS__LOCAL__TYPE", "local"),
            ("FTP_POOLER__CONNECTIONS__LOCAL__BASE_PATH", data.to_str().unwrap()),
        ])
        .unwrap();
    assert_eq!(config.connections.ftp["new-ftp"].name, "new-ftp");
    assert_eq!(config.connections.local["local"].base_path, data);
}

#[test]
fn a_password_from_the_environment_replaces_the_files_in_whichever_way_it_is_given() {
    let ini = "[a]\ntype = ftp\nhost = h\nuser = u\npass_file = /nonexistent\n";
    let config =
        loaded("", ini, &[("FTP_POOLER__CONNECTIONS__A__OBSCURED_PASS", "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ")]);
    assert_eq!(config.connections.ftp["a"].pass.expose_secret(), "potato");
}

#[test]
fn a_password_can_be_in_a_file_as_kubernetes_mounts_it() {
    let files = Files::new("", "");
    let pass = files.data().join("pass");
    fs::write(&pass, "s3cret\n").unwrap();
    let ini = format!("[a]\ntype=ftp\nhost=h\nuser=u\npass_file={}\n", pass.display());
    fs::write(files.connections(), ini).unwrap();
    assert_eq!(files.load(&[]).unwrap().connections.ftp["a"].pass.expose_secret(), "s3cret");
}

#[test]
fn the_apis_token_is_set_or_in_a_file_and_empty_is_none() {
    let admits = |config: &Config, token: &str| {
        let set = config.api_token.as_ref();
        set.map(|set| set.admits(format!("Bearer {token}").as_bytes()))
    };
    assert_eq!(admits(&loaded("", RIGHT_CONNECTIONS, &[]), ""), None);
    assert_eq!(admits(&loaded("api: {token: ''}", RIGHT_CONNECTIONS, &[]), ""), None);
    let set = loaded("api: {token: hunter2}", RIGHT_CONNECTIONS, &[]);
    assert_eq!((admits(&set, "hunter2"), admits(&set, "hunter3")), (Some(true), Some(false)));
    assert!(set.to_yaml_redacted().contains("\n  token: (set)\n  token_file: null\n"));
    assert!(!format!("{set:?}").contains("hunter2") && !set.to_yaml_redacted().contains("hunter2"));

    let files = Files::new("", RIGHT_CONNECTIONS);
    let file = files.data().join("token");
    fs::write(&file, "s3cret\n").unwrap();
    let file = file.to_str().unwrap();
    fs::write(files.config(), format!("api: {{token_file: {file}}}")).unwrap();
    let config = files.load(&[]).unwrap();
    assert_eq!(admits(&config, "s3cret"), Some(true));
    assert!(config.to_yaml_redacted().contains(&format!("token_file: {file}")));
    let config = files.load(&[("FTP_POOLER__API__TOKEN", "other")]).unwrap();
    assert_eq!(admits(&config, "other"), Some(true), "the environment's overrides the file's");

    let wrong = mistakes("api: {token: a, token_file: /nonexistent}", RIGHT_CONNECTIONS, &[]);
    assert!(wrong.contains("api.token_file: api.token is set as well; expected one of them"), "{wrong}");
    for yaml in ["api: {token: 'hunter2 x'}", "api: {token: 'hunter2,'}"] {
        let wrong = mistakes(yaml, RIGHT_CONNECTIONS, &[]);
        assert!(
            wrong.contains("api.token: the token is none that a header can carry")
                && !wrong.contains("hunter2"),
            "{wrong}"
        );
    }
    let wrong = mistakes("api: {token_file: /nonexistent}", RIGHT_CONNECTIONS, &[]);
    assert!(wrong.contains("api.token_file: `/nonexistent` cannot be read"), "{wrong}");
}

#[test]
fn concurrency_lowers_a_connections_sessions_and_max_sessions_sets_them() {
    for (keys, sessions) in [
        ("", 10),
        ("concurrency = 0", 10),
        ("concurrency = 4", 4),
        ("concurrency = 40", 10),
        ("max_sessions = 30", 30),
        ("max_sessions = 30\nconcurrency = 40", 30),
        ("max_sessions = 30\nconcurrency = 4", 4),
    ] {
        let config = loaded("", &format!("{RIGHT_CONNECTIONS}{keys}\n"), &[]);
        assert_eq!(config.connections.ftp["remote-ftp"].max_sessions, sessions, "{keys}");
    }
}

#[test]
fn an_rclone_section_is_taken_over_where_it_means_what_we_do() {
    let ini = "[r]\ntype = ftp\nhost = h\nuser = u\nobscured_pass = YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ\ntls = false\n\
        explicit_tls = false\ntls_cache_size = 64\nidle_timeout = 5m\ndescription = what = it is\nsocks_proxy =\n\
        shut_timeout = 1m0s\nclose_timeout = 2m\nencoding = None\ndisable_mlsd = true\n";
    let config = loaded("", ini, &[]);
    let ftp = &config.connections.ftp["r"];
    assert_eq!(ftp.timeouts.close, Duration::from_secs(60), "the shorter of close_timeout and shut_timeout");
    assert_eq!(ftp.idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(ftp.encoding.unwrap().names(), "None");
}

#[test]
fn rclones_keys_that_mean_something_here_are_taken() {
    let ini = format!(
        "{RIGHT_CONNECTIONS}writing_mdtm = true\nencoding = Slash,Del,Ctl,RightSpace,Dot\nhash_timeout = 1h\n"
    );
    let config = loaded("transfer: {hash: xxh3}", &ini, &[]);
    let ftp = &config.connections.ftp["remote-ftp"];
    assert!(ftp.writing_mdtm);
    assert_eq!(ftp.encoding.unwrap().names(), "Slash,Del,Ctl,RightSpace,Dot");
    assert_eq!((ftp.timeouts.hash, ftp.timeouts.close), (Duration::from_secs(3600), Duration::from_secs(60)));
    assert_eq!(ftp.on_server("/a /b").as_deref(), Some("/a␠/b"));
    assert_eq!(config.transfer.hash.unwrap().name(), "xxh3");

    let wrong = format!("{RIGHT_CONNECTIONS}encoding = Slash,Klingon\nask_password = true\n");
    let mistakes = Files::new("transfer: {hash: md5}", &wrong).load(&[]).unwrap_err();
    for said in [
        "transfer.hash: found `md5`; expected none or sha256 or xxh3",
        "[remote-ftp] encoding: found `Klingon`; expected None, Raw, Slash,",
        "[remote-ftp] ask_password: rclone's key ask_password is not supported",
        "a pod has nobody to ask",
    ] {
        assert!(mistakes.contains(said), "{mistakes}");
    }
}

const WRONG_YAML: &str = "\
kafka:
  bootstrap_server: [a:9092]
  delivery: sometimes
  result_topic: ftp-tasks
  properties:
    isolation.level: read_uncommitted
    topic.acks: 0
    sasl.password: hunter2
pool:
  max_sessions_per_pod: lots
  session_timeout_seconds: 2d
  max_waiting_bytes: 64Q
  max_sessions_per_pod: 7
api:
  port: 70000
  host:
metrics: 9090
colour: red
";

const WRONG_INI: &str = "\
[remote-ftp]
type = ftp
hots = ftp.example.com
user = u
pass = hunter2
pass_file = hunter2
passive = false
socks_proxy = proxy:1080
port = twenty-one
stall_timeout = 0
hunter2
[sftp]
type = sftp
pass = hunter2
[local]
type = local
base_path = data
[gone]
type = local
base_path = /nonexistent/directory
[remote_ftp]
host = x
";

const WRONG_ENVIRONMENT: [(&str, &str); 8] = [
    ("FTP_POOLER__KAFKA__CONSUMER_GRUOP", "g"),
    ("FTP_POOLER__POD__NAME", ""),
    ("FTP_POOLER__CONNECTIONS__REMOTE_FTP__PORT", "1"),
    ("FTP_POOLER__CONNECTIONS__LOCLA__BASE_PATH", "/x"),
    ("FTP_POOLER__CONNECTIONS__NEW__TYPE", "ftp"),
    ("FTP_POOLER__CONNECTIONS__NEW__PASS", "hunter2\r\nDELE x"),
    ("FTP_POOLER__CONNECTIONS__NEW__USER", "u"),
    ("FTP_POOLER__CONNECTIONS__LOCAL__BASE_PAHT", "/x"),
];

const EVERY_MISTAKE: &str = "\
config.yaml: kafka.bootstrap_server: unknown key; did you mean bootstrap_servers? (line 2)
config.yaml: kafka.delivery: found `sometimes`; expected exactly_once or at_least_once (line 3)
config.yaml: kafka.result_topic: is the same topic as kafka.input_topic; each needs its own (line 4)
config.yaml: kafka.properties.isolation.level: may not be set: tasks of aborted transactions would be carried out (line 6)
config.yaml: kafka.properties.topic.acks: may not be set: an answer counts when every in-sync replica has it (line 7)
config.yaml: pool.max_sessions_per_pod: found `lots`; expected a number from 1 to 10000 (line 10)
config.yaml: pool.session_timeout_seconds: found `2d`; expected a duration from 1s to 24h (such as 90, 1m30s or 300ms; a plain number is seconds) (line 11)
config.yaml: pool.max_waiting_bytes: found `64Q`; expected a size from 1Mi to 1Ti (such as 64Mi; a plain number is bytes) (line 12)
config.yaml: pool.max_sessions_per_pod: is set twice (line 13)
config.yaml: api.port: found `70000`; expected a number from 0 to 65535 (line 15)
config.yaml: api.host: has no value; expected a host's name or address (line 16)
config.yaml: metrics: is a section; expected keys beneath it (line 17)
config.yaml: colour: unknown key; the sections are kafka, retry, pool, api, metrics, shutdown, reload, sweep, traces, pod, transfer (line 18)
connections.ini: [remote-ftp] host: is missing; expected a host's name or address (line 1)
connections.ini: [remote-ftp] hots: unknown key; did you mean host? (line 3)
connections.ini: [remote-ftp] pass_file: pass is set as well; expected one of them (line 6)
connections.ini: [remote-ftp] passive: a server cannot open connections through a proxy; expected true (line 7)
connections.ini: [remote-ftp] port: found `twenty-one`; expected a number from 1 to 65535 (line 9)
connections.ini: [remote-ftp] stall_timeout: found `0`; expected a duration from 1ms to 1h (such as 90, 1m30s or 300ms; a plain number is seconds) (line 10)
connections.ini: is neither `[name]` nor `key = value` (line 11)
connections.ini: [sftp] type: found `sftp`; expected ftp or local (line 13)
connections.ini: [local] base_path: is not an absolute path; expected one such as /data/storage (line 17)
connections.ini: [gone] base_path: `/nonexistent/directory`: No such file or directory (os error 2); expected a directory that is there (line 20)
connections.ini: [remote_ftp] type: is missing; expected ftp or local (line 21)
environment: FTP_POOLER__CONNECTIONS__REMOTE_FTP__PORT: means [remote-ftp] as well as [remote_ftp]; rename one of them
environment: FTP_POOLER__KAFKA__CONSUMER_GRUOP: unknown key; did you mean FTP_POOLER__KAFKA__CONSUMER_GROUP?
environment: FTP_POOLER__POD__NAME: is empty
environment: FTP_POOLER__CONNECTIONS__LOCAL__BASE_PAHT: unknown key; did you mean FTP_POOLER__CONNECTIONS__LOCAL__BASE_PATH?
environment: FTP_POOLER__CONNECTIONS__LOCLA__BASE_PATH: no section has this name, and a new connection needs its TYPE; did you mean [local]?
environment: FTP_POOLER__CONNECTIONS__NEW__PASS: holds a line break
environment: FTP_POOLER__CONNECTIONS__NEW__HOST: is missing; expected a host's name or address";

#[test]
fn every_mistake_is_reported_at_once_each_with_its_place_and_what_would_be_right() {
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let files = Files::new(WRONG_YAML, WRONG_INI);
    assert_eq!(sorted(&files.load(&WRONG_ENVIRONMENT).unwrap_err()), sorted(EVERY_MISTAKE));

    for command in ["run", "check"] {
        let output = program()
            .args([command, "--config"])
            .arg(files.config())
            .envs(WRONG_ENVIRONMENT)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), EVERY_MISTAKE.lines().count(), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn mistakes_of_one_file_are_in_the_order_of_its_lines() {
    let text = mistakes("pool:\n  x: 1\n  a: 1\nkafka:\n  b: 1\n", RIGHT_CONNECTIONS, &[]);
    let lines: Vec<&str> = text.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(lines, ["pool.x:", "pool.a:", "kafka.b:"]);
}

#[test]
fn a_missing_file_is_named_with_the_flag_that_says_where_it_is() {
    let dir = TempDir::new().unwrap();
    for (args, file, flag) in [
        (vec!["run"], "config/config.yaml", "--config"),
        (vec!["run"], "config/connections.ini", "--connections"),
        (vec!["check", "--config", "a/b.yaml"], "a/b.yaml", "--config"),
        (vec!["check", "--config", "a/b.yaml"], "a/connections.ini", "--connections"),
        (vec!["check", "--connections", "c.ini"], "c.ini", "--connections"),
    ] {
        let output = program().current_dir(dir.path()).args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected =
            format!("{file}: is not there; {flag} FILE says where it is, `ftp-pooler init` writes one");
        assert!(said.lines().any(|line| line == expected), "{said}");
        assert_eq!(output.status.code(), Some(78));
    }
}

#[test]
fn an_unknown_key_tells_where_it_belongs() {
    for (yaml, expected) in [
        ("max_sessions_per_pod: 1", "did you mean pool.max_sessions_per_pod?"),
        ("kafak: {input_topic: a}", "did you mean kafka.input_topic?"),
        ("kafka: {properties: {}, drain_seconds: 1}", "did you mean shutdown.drain_seconds?"),
        ("api: {port: {number: 1}}", "api.port takes a number from 0 to 65535, not a section"),
        ("api: {address: x}", "expected one of host, port"),
        ("connections: {a: {type: ftp}}", "connections are in connections.ini"),
    ] {
        let text = mistakes(yaml, RIGHT_CONNECTIONS, &[]);
        assert!(text.contains("unknown key; ") && text.contains(expected), "{yaml}: {text}");
    }
    let text = mistakes("", RIGHT_CONNECTIONS, &[("FTP_POOLER__CONNECTIONS__PASS", "hunter2")]);
    assert_eq!(
        text,
        "environment: FTP_POOLER__CONNECTIONS__PASS: unknown key; expected FTP_POOLER__CONNECTIONS__NAME__KEY"
    );
}

#[test]
fn broken_yaml_is_named_with_its_line() {
    let text = mistakes("kafka:\n  consumer_group: [a\n", RIGHT_CONNECTIONS, &[]);
    assert!(text.starts_with("config.yaml: is no YAML here: ") && text.contains("(line "), "{text}");
}

#[test]
fn a_file_without_a_connection_is_a_mistake() {
    assert_eq!(
        mistakes("", "# nothing yet\n", &[]),
        "connections.ini: has no connection; expected sections such as [remote-ftp]"
    );
}

#[test]
fn a_command_line_that_is_wrong_ends_with_2_and_help_tells_the_exit_codes() {
    for args in [vec![], vec!["rnu"], vec!["run", "--log-level", "a=b=c"], vec!["run", "--log-format", "xml"]]
    {
        assert_eq!(program().args(args).output().unwrap().status.code(), Some(2));
    }
    let files = Files::new("", RIGHT_CONNECTIONS);
    assert_eq!(files.check(&[("RUST_LOG", "a=b=c")]).status.code(), Some(2));
    let help = program().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("78  the configuration is wrong"));
}

const EFFECTIVE: &str = "\
kafka:
  bootstrap_servers: [\"127.0.0.1:1\"]
  consumer_group: \"yes\"
  input_topic: ftp-tasks
  result_topic: ftp-results
  fail_topic: ftp-failures
  retry_topic: ftp-tasks-retry
  delivery: exactly_once
  static_membership: false
  properties:
    sasl.password: (set)
retry:
  enabled: true
  delay: 30s
  max_deferral: 24h
pool:
  max_sessions_per_pod: 100
  max_sessions_per_connection: 10
  session_timeout_seconds: 300
  max_waiting_tasks: 20000
  max_waiting_bytes: 64Mi
  slow_task: 5m
api:
  host: \"0.0.0.0\"
  port: 8181
  token: (empty)
  token_file: null
metrics:
  host: \"0.0.0.0\"
  port: 9090
shutdown:
  drain_seconds: 10
reload:
  every: 2s
sweep:
  every: 1h
traces:
  endpoint: null
  percent: 100
pod:
  name: pod-0
transfer:
  hash: none
connections:
  remote-ftp:
    type: ftp
    host: \"127.0.0.1\"
    port: 1
    user: u
    pass: (set)
    tls: false
    explicit_tls: false
    disable_tls13: false
    trusted: \"the system's authorities\"
    passive: true
    pasv_address: control
    socks_proxy: null
    http_proxy: null
    source_address: null
    keepalive: 1m
    path_root: null
    disable_epsv: false
    disable_utf8: false
    charset: utf-8
    encoding: null
    writing_mdtm: false
    max_sessions: 10
    idle_timeout: null
    max_session_age: null
    rename_over: auto
    max_session_transfers: 0
    resume: true
    max_file_size: 1Ti
    min_rate: 64
    min_rate_window: 2m
    connect_timeout: 30s
    greeting_timeout: 30s
    login_timeout: 30s
    reply_timeout: 30s
    first_byte_timeout: 1m
    stall_timeout: 1m
    close_timeout: 1m
    shut_timeout: 1m
    hash_timeout: 10m
";

#[test]
fn check_prints_what_holds_without_secrets() {
    // Nobody listens on port 1: what is tried fails, and the exit code says so.
    let yaml = "kafka:\n  bootstrap_servers: ['127.0.0.1:1']\n  consumer_group: 'yes'\n  \
                properties: {sasl.password: hunter2}\n";
    let output = Files::new(yaml, RIGHT_CONNECTIONS).check(&[
        ("FTP_POOLER__API__PORT", "8181"),
        ("FTP_POOLER__CONNECTIONS__REMOTE_FTP__HOST", "127.0.0.1"),
        ("FTP_POOLER__CONNECTIONS__REMOTE_FTP__PORT", "1"),
    ]);
    assert_eq!(output.status.code(), Some(69));
    let printed = String::from_utf8(output.stdout).unwrap();
    let table = printed.strip_prefix(EFFECTIVE).unwrap_or_else(|| panic!("{printed}"));
    let refused = "127.0.0.1:1  no broker answers (Connect to ipv4#127.0.0.1:1 failed: Connection refused)";
    assert!(table.contains(&format!("FAIL  kafka  {refused}")), "{table}");
    assert!(table.contains("FAIL  ftp    remote-ftp   connect_failed"), "{table}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn a_property_that_librdkafka_does_not_take_is_a_mistake_like_any_other_and_its_value_is_not_shown() {
    let yaml = "kafka: {properties: {sasl.pasword: hunter2, security.protocol: hunter2}}\nfoo: 1";
    let output = Files::new(yaml, RIGHT_CONNECTIONS).check(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for line in [
        "kafka.properties.sasl.pasword: is no property of librdkafka's",
        "kafka.properties.security.protocol: has a value that",
        "foo: unknown key",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn the_configurations_debug_form_shows_no_secret() {
    let yaml = "kafka: {properties: {sasl.password: hunter2}}";
    let config = loaded(yaml, RIGHT_CONNECTIONS, &[]);
    let mut shown = format!("{config:?}");
    let sources = Sources {
        config: "c".into(),
        connections: None,
        environment: vec![("K".into(), "hunter2".into())],
        property: |_, _| None,
        needs_directories: true,
    };
    write!(shown, "{sources:?}").unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_closed_stderr_changes_the_exit_code_of_nothing() {
    let files = Files::new("wrong: 1", RIGHT_CONNECTIONS);
    let mut child = program()
        .args(["run", "--config"])
        .arg(files.config())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(78));
}

/// Compares a file of this repository with what the tables of keys make of it; `UPDATE_GENERATED=1` writes it.
fn assert_current(path: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        current == generated,
        "{} is not current: UPDATE_GENERATED=1 cargo test --test config",
        path.display()
    );
}

#[test]
fn the_generated_files_are_current() {
    assert_current("docs/CONFIGURATION.md", &config::configuration_md());
    assert_current("config/config.yaml", &config::config_yaml());
    assert_current("config/connections.ini", &config::connections_ini());
}

#[test]
fn check_shows_every_key_of_config_yaml() {
    let shown = loaded("", RIGHT_CONNECTIONS, &[]).to_yaml_redacted();
    let all = config::configuration_md();
    let (_, table) =
        all.split_once("## config.yaml\n\n| Key | Default | Takes | Meaning |\n|---|---|---|---|\n").unwrap();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let (section, name) = row.split('`').nth(1).unwrap().split_once('.').unwrap();
        let mut lines = shown.lines().skip_while(|line| *line != format!("{section}:")).skip(1);
        let is_shown = lines
            .by_ref()
            .take_while(|line| line.starts_with(' '))
            .any(|line| line.starts_with(&format!("  {name}:")));
        assert!(is_shown, "{section}.{name}");
    }
}

#[test]
fn the_readmes_connections_can_be_copied() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```ini\n").unwrap();
    let (sample, _) = rest.split_once("```").unwrap();
    let files = Files::new("", "");
    fs::write(files.connections(), sample.replace("/data/storage", files.data().to_str().unwrap())).unwrap();
    let connections = files.load(&[]).unwrap().connections;
    assert_eq!(connections.ftp["remote-ftp"].pass.expose_secret(), "password");
    assert!(connections.local.contains_key("local"));
}

#[test]
fn the_readmes_table_has_the_keys_and_defaults_that_there_are() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, table) = readme.split_once("| Key | Default | Meaning |\n|---|---|---|\n").unwrap();
    let all = config::configuration_md();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let key_and_default: String = row.splitn(4, '|').take(3).flat_map(|cell| [cell, "|"]).collect();
        assert!(all.contains(&key_and_default) || row.contains("| none |"), "{row}");
    }
}

#[test]
fn the_files_of_a_new_installation_are_right_and_say_the_defaults() {
    let files = Files::new("", "");
    let local = config::connections_ini().replace("/data/storage", files.data().to_str().unwrap());
    fs::write(files.config(), config::config_yaml()).unwrap();
    fs::write(files.connections(), &local).unwrap();
    let seeded = files.load(&[("HOSTNAME", "pod-0")]).unwrap();
    fs::write(files.config(), "").unwrap();
    let standard = files.load(&[("HOSTNAME", "pod-0")]).unwrap();
    assert_eq!(seeded.to_yaml_redacted(), standard.to_yaml_redacted());
    // Every key that is a remark in the file is a key.
    let all = local
        .replace("\n# ", "\n")
        .lines()
        .filter(|l| l.contains(" = ") || l.starts_with('['))
        .fold(String::new(), |text, line| text + line + "\n");
    fs::write(files.connections(), all).unwrap();
    files.load(&[("HOSTNAME", "pod-0")]).unwrap();
}

#[test]
fn a_collectors_url_has_a_path_and_neither_tls_nor_a_password() {
    let read = |endpoint: &str| {
        let yaml = format!("traces: {{endpoint: '{endpoint}'}}\n");
        let config = Files::new(&yaml, RIGHT_CONNECTIONS).load(&[("HOSTNAME", "pod-0")]);
        config.map(|config| config.traces.endpoint.unwrap())
    };
    assert_eq!(read("http://collector:4318").unwrap(), "http://collector:4318/v1/traces");
    assert_eq!(read("http://collector:4318/").unwrap(), "http://collector:4318/v1/traces");
    assert_eq!(read("http://[::1]:4318/own/path").unwrap(), "http://[::1]:4318/own/path");
    for wrong in ["collector:4318", "https://collector:4318", "http://:4318", "http:///v1", "http://u:p@c:1"]
    {
        let mistakes = read(wrong).unwrap_err();
        assert!(mistakes.contains("expected http://host:port, such as http://collector:4318"), "{mistakes}");
        assert!(!mistakes.contains("u:p"), "{mistakes}");
    }
}

#[test]
fn what_may_change_is_read_again_and_nothing_else_is() {
    let files = Files::new("pool: {max_sessions_per_connection: 3}\n", RIGHT_CONNECTIONS);
    let environment = [("FTP_POOLER__CONNECTIONS__REMOTE_FTP__USER", "of-the-environment")];
    let sources = files.sources(&environment);
    let before = Config::load(&sources).unwrap();
    assert!(before.changes_to(&before.reread(&sources).config.unwrap()).is_empty());

    let pass_file = files.data().join("password");
    fs::write(&pass_file, "hunter3\n").unwrap();
    let ini =
        RIGHT_CONNECTIONS.replace("pass = hunter2", &format!("# better:\npass_file={}", pass_file.display()));
    fs::write(files.connections(), format!("{ini}[new]\ntype=ftp\nhost=h\nuser=u\npass=p\n")).unwrap();
    fs::write(files.config(), "pool: {max_sessions_per_connection: 9}\n").unwrap();
    let reread = before.reread(&sources);
    let mut expected = [files.connections(), pass_file.clone()];
    expected.sort();
    assert_eq!(reread.files, expected);
    let after = reread.config.unwrap();
    let changes = before.changes_to(&after);
    assert_eq!(
        (changes.names(Change::Added), changes.names(Change::Changed)),
        (vec!["new"], vec!["remote-ftp"])
    );
    let ftp = &after.connections.ftp["remote-ftp"];
    assert_eq!((ftp.pass.expose_secret(), ftp.user.as_str()), ("hunter3", "of-the-environment"));
    assert_eq!(
        (ftp.max_sessions, after.pool.max_sessions_per_connection),
        (3, 3),
        "config.yaml needs a restart"
    );

    // The same in other words, and then the secret alone.
    let respelt = fs::read_to_string(files.connections())
        .unwrap()
        .replace("[new]", "\n; other words\n[new]\nport = 21");
    fs::write(files.connections(), respelt).unwrap();
    assert!(after.changes_to(&after.reread(&sources).config.unwrap()).is_empty());
    fs::write(&pass_file, "hunter4\n").unwrap();
    let rotated = after.changes_to(&after.reread(&sources).config.unwrap());
    assert_eq!(rotated.names(Change::Changed), ["remote-ftp"]);
}

#[test]
fn what_is_wrong_when_it_is_read_again_has_its_line_and_the_files_that_may_mend_it() {
    let files = Files::new("", RIGHT_CONNECTIONS);
    let sources = files.sources(&[]);
    let before = Config::load(&sources).unwrap();
    let missing = files.data().join("missing");
    let ini = format!(
        "{RIGHT_CONNECTIONS}hots = x\n[b]\ntype=ftp\nhost=h\nuser=u\npass_file={}\n",
        missing.display()
    );
    fs::write(files.connections(), ini).unwrap();
    let reread = before.reread(&sources);
    let errors = reread.config.unwrap_err().to_string();
    assert!(errors.contains("[remote-ftp] hots: unknown key; did you mean host? (line 6)"), "{errors}");
    assert!(errors.contains("missing` cannot be read") && errors.contains("(line 11)"), "{errors}");
    assert!(reread.files.contains(&missing) && reread.files.contains(&files.connections()));
    fs::remove_file(files.connections()).unwrap();
    let reread = before.reread(&sources);
    assert!(reread.config.is_err() && reread.files == [files.connections()]);
}

/// A connection of the environment's own: with it the file need not be there, at the start.
fn with_variables(files: &Files) -> Sources {
    let data = files.data().display().to_string();
    files.sources(&[
        ("FTP_POOLER__CONNECTIONS__LOCAL__TYPE", "local"),
        ("FTP_POOLER__CONNECTIONS__LOCAL__BASE_PATH", &data),
    ])
}

#[test]
fn a_file_that_had_connections_must_have_some_whatever_the_environment_defines() {
    let files = Files::new("", RIGHT_CONNECTIONS);
    let (sources, file) = (with_variables(&files), files.connections());
    let before = Config::load(&sources).unwrap();
    let refused = || {
        let reread = before.reread(&sources);
        assert_eq!(reread.files, [files.connections()], "what may mend it is looked at");
        reread.config.expect_err("nothing is taken over").to_string()
    };
    fs::remove_file(&file).unwrap();
    let path = file.display();
    assert_eq!(refused(), format!("{path}: is not there, and had connections when it was last read"));
    for empty in ["", "\n", "# [remote-ftp]\n"] {
        fs::write(&file, empty).unwrap();
        let expected = format!("{path}: has no connection; expected sections such as [remote-ftp]");
        assert_eq!(refused(), expected, "{empty:?}");
    }
    // What nobody can look at, root included, as of a mount that does not work: no such thing as "not there".
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("connections.ini", &file).unwrap();
    let problem = refused();
    assert!(problem.starts_with(&format!("{path}: cannot be read: ")), "{problem}");
    assert_eq!(Config::load(&sources).unwrap_err().to_string(), problem, "neither at the start");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(refused().starts_with(&format!("{path}: cannot be read: ")));
    // Others, and others again.
    fs::remove_dir(&file).unwrap();
    fs::write(&file, RIGHT_CONNECTIONS.replace("remote-ftp", "other")).unwrap();
    let after = before.reread(&sources).config.unwrap();
    let changes = before.changes_to(&after);
    assert_eq!(
        (changes.names(Change::Added), changes.names(Change::Removed)),
        (vec!["other"], vec!["remote-ftp"])
    );
    fs::remove_file(&file).unwrap();
    assert!(after.reread(&sources).config.is_err());
}

#[test]
fn a_file_that_has_had_no_connection_need_not_be_there_until_it_has_one() {
    let files = Files::new("", "");
    let (sources, file) = (with_variables(&files), files.connections());
    for empty in [false, true] {
        if empty {
            fs::write(&file, "# none yet\n").unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
        let before = Config::load(&sources).unwrap();
        assert!(before.changes_to(&before.reread(&sources).config.unwrap()).is_empty());
        fs::write(&file, RIGHT_CONNECTIONS).unwrap();
        let after = before.reread(&sources).config.unwrap();
        assert_eq!(before.changes_to(&after).names(Change::Added), ["remote-ftp"]);
        fs::remove_file(&file).unwrap();
        assert!(after.reread(&sources).config.is_err());
    }
}

#[test]
fn the_keys_of_config_yaml_that_differ_are_named_and_their_values_are_not() {
    let loaded = |yaml: &str| loaded(yaml, RIGHT_CONNECTIONS, &[]);
    let before =
        loaded("kafka: {properties: {sasl.password: hunter2, client.rack: a}}\napi: {token: hunter2}\n");
    assert_eq!(before.differing_keys(&before), Vec::<String>::new());
    let after = loaded(
        "kafka: {input_topic: other, properties: {sasl.password: hunter3, linger.ms: 5}}\n\
         api: {token: hunter3, port: 8081}\nreload: {every: 1m}\n",
    );
    let expected = [
        "api.port",
        "api.token",
        "kafka.input_topic",
        "kafka.properties.client.rack",
        "kafka.properties.linger.ms",
        "kafka.properties.sasl.password",
        "reload.every",
    ];
    assert_eq!(before.differing_keys(&after), expected);
}
