//! Every mistake at once, each with its place and what would be right.

use tempfile::TempDir;

use crate::files::{Files, RIGHT_CONNECTIONS, mistakes, program};

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
config.yaml:2: kafka.bootstrap_server: unknown key; did you mean bootstrap_servers?
config.yaml:3: kafka.delivery: found `sometimes`; expected exactly_once or at_least_once
config.yaml:4: kafka.result_topic: is the same topic as kafka.input_topic; each needs its own
config.yaml:6: kafka.properties.isolation.level: may not be set: tasks of aborted transactions would be carried out
config.yaml:7: kafka.properties.topic.acks: may not be set: an answer counts when every in-sync replica has it
config.yaml:10: pool.max_sessions_per_pod: found `lots`; expected a number from 1 to 10000
config.yaml:11: pool.session_timeout_seconds: found `2d`; expected a duration from 1s to 24h (such as 90, 1m30s or 300ms; a plain number is seconds)
config.yaml:12: pool.max_waiting_bytes: found `64Q`; expected a size from 1Mi to 1Ti (such as 64Mi; a plain number is bytes)
config.yaml:13: pool.max_sessions_per_pod: is set twice
config.yaml:15: api.port: found `70000`; expected a number from 0 to 65535
config.yaml:16: api.host: has no value; expected a host's name or address
config.yaml:17: metrics: is a section; expected keys beneath it
config.yaml:18: colour: unknown key; the sections are kafka, retry, pool, api, metrics, shutdown, reload, sweep, traces, pod, transfer
connections.ini:1: [remote-ftp] host: is missing; expected a host's name or address
connections.ini:3: [remote-ftp] hots: unknown key; did you mean host?
connections.ini:6: [remote-ftp] pass_file: pass is set as well; expected one of them
connections.ini:7: [remote-ftp] passive: a server cannot open connections through a proxy; expected true
connections.ini:9: [remote-ftp] port: found `twenty-one`; expected a number from 1 to 65535
connections.ini:10: [remote-ftp] stall_timeout: found `0`; expected a duration from 1ms to 1h (such as 90, 1m30s or 300ms; a plain number is seconds)
connections.ini:11: is neither `[name]` nor `key = value`
connections.ini:13: [sftp] type: found `sftp`; expected ftp or local
connections.ini:17: [local] base_path: is not an absolute path; expected one such as /data/storage
connections.ini:20: [gone] base_path: `/nonexistent/directory`: No such file or directory (os error 2); expected an existing directory
connections.ini:21: [remote_ftp] type: is missing; expected ftp or local
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
        ("kafak: {properties: {acks: 1}}", "did you mean the section kafka?"),
        ("kafak: 1", "did you mean the section kafka?"),
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
    assert!(text.starts_with("config.yaml:3: is not valid YAML: "), "{text}");
}

#[test]
fn a_file_without_a_connection_is_a_mistake() {
    assert_eq!(
        mistakes("", "# nothing yet\n", &[]),
        "connections.ini: has no connection; expected sections such as [remote-ftp]"
    );
}

#[test]
fn what_is_often_meant_is_told() {
    for (ini, expected) in [
        (
            "[a]\ntype = ftps\n",
            "connections.ini:2: [a] type: found `ftps`; expected ftp or local; FTPS is `type = ftp` with",
        ),
        (
            "[a]\ntype = local\nbase_path = ~/data\n",
            "connections.ini:3: [a] base_path: `~` is not expanded here",
        ),
    ] {
        let text = mistakes("", ini, &[]);
        assert!(text.contains(expected), "{text}");
    }
}

/// As a Java client has it.
const JAVA: &str = r#"
kafka:
  bootstrap_servers: kafka:9093
  properties:
    security.protocol: SASL_SSL
    sasl.mechanism: SCRAM-SHA-256
    ssl.truststore.location: /etc/kafka/client.truststore.jks
    ssl.truststore.password: changeit
    ssl.endpoint.identification.algorithm: ""
    sasl.jaas.config: org.apache.kafka.common.security.scram.ScramLoginModule required username="u" password="p";
"#;

#[test]
fn java_clients_properties_are_told_their_names_here() {
    let text = mistakes(JAVA, RIGHT_CONNECTIONS, &[]);
    for expected in [
        "config.yaml:7: kafka.properties.ssl.truststore.location: is a property of Java clients; here: ssl.ca.location",
        "config.yaml:8: kafka.properties.ssl.truststore.password: is a property of Java clients; here: not needed",
        "config.yaml:9: kafka.properties.ssl.endpoint.identification.algorithm: is empty, which disables the check",
        "config.yaml:10: kafka.properties.sasl.jaas.config: is a property of Java clients; here: sasl.username and sasl.password",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(text.lines().count() == 4 && !text.contains("changeit"), "{text}");
}

#[test]
fn a_secret_that_ends_with_a_line_break_is_refused_by_name_kafkas_too() {
    let environment = [
        ("FTP_POOLER__KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2\n"),
        ("FTP_POOLER__CONNECTIONS__REMOTE_FTP__PASS", "hunter2\n"),
        ("FTP_POOLER__API__TOKEN", "hunter2-hunter2-hunter2\n"),
    ];
    let text = mistakes("", RIGHT_CONNECTIONS, &environment);
    for (name, _) in environment {
        assert!(text.contains(&format!("environment: {name}: ends with a line break")), "{text}");
    }
    assert!(text.lines().count() == 3 && !text.contains("hunter2"), "{text}");
}
