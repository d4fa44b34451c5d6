//! Every mistake at once, each with its place and what would be right.

use std::path::Path;

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
config.yaml:17: metrics: is a section; expected keys below it
config.yaml:18: colour: unknown key; the sections are kafka, retry, pool, api, metrics, shutdown, reload, sweep, traces, pod, transfer, tunnels
connections.ini:1: [remote-ftp] host: is missing; expected a host's name or address
connections.ini:3: [remote-ftp] hots: unknown key; did you mean host?
connections.ini:6: [remote-ftp] pass_file: pass is set as well; expected one of them
connections.ini:7: [remote-ftp] passive: a server cannot open connections through a proxy; expected true
connections.ini:9: [remote-ftp] port: found `twenty-one`; expected a number from 1 to 65535
connections.ini:10: [remote-ftp] stall_timeout: found `0`; expected a duration from 1ms to 1h (such as 90, 1m30s or 300ms; a plain number is seconds)
connections.ini:11: is neither `[name]` nor `key = value`
connections.ini:13: [sftp] type: found `sftp`; expected ftp or local or frp
connections.ini:17: [local] base_path: is not an absolute path; expected one such as /data/storage
connections.ini:20: [gone] base_path: `/nonexistent/directory`: No such file or directory (os error 2); expected an existing directory
connections.ini:21: [remote_ftp] type: is missing; expected ftp or local or frp
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
    if Path::new("/etc/ftp-pooler").exists() {
        eprintln!("skipped: FTP Pooler is installed here");
        return;
    }
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
        let nor = if file == "config/config.yaml" { ", nor does /etc/ftp-pooler/config.yaml" } else { "" };
        let expected = format!(
            "{file}: does not exist{nor}; give its path with {flag} FILE, or write one with `ftp-pooler init`"
        );
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
            "connections.ini:2: [a] type: found `ftps`; expected ftp or local or frp; FTPS is `type = ftp` with",
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
fn b28_java_clients_properties_are_told_their_names_here() {
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
fn b30_a_secret_that_ends_with_a_line_break_is_refused_by_name_kafkas_too() {
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

const WRONG_TUNNELS: &str = "\
[plant]
type = frp
server = frps.example.com:70000
token_file = TOKEN
passive_ports = 50000-52000
user = a/b
protocol = kcp
[my plant]
type = frp
servers = frps.example.com, :7000
server = frps.example.com
token_file = EMPTY
secret_file = TOKEN
tls = false
tls_ca = TOKEN
tls_key = TOKEN
secret = hunter2
[one]
type = ftp
host = ftp.plant.local
user = u
pass = p
via = pant
passive = false
pasv_address = server
socks_proxy = proxy:1080
source_address = 192.0.2.1
[two]
type = ftp
host = ftp.plant.local
user = u
pass = p
via = local
[three]
type = ftp
host = ftp.plant.local
user = u
pass = p
via = nothing-like-it
";

const EVERY_MISTAKE_WITH_TUNNELS: &str = "\
config.yaml:1: tunnels.frpc: found `frpc`; expected an absolute path such as /usr/local/bin/frpc
config.yaml:1: tunnels.addresses: found `10.0.0.0/8`; expected a range of loopback addresses such as 127.77.0.0/16, of 16 to 65,536
connections.ini:1: [plant] secret_file: is missing; expected an absolute path
connections.ini:3: [plant] server: found `frps.example.com:70000`; expected host:port, such as frps.example.com:7000
connections.ini:5: [plant] passive_ports: has 2001 ports; expected 1000 at most: each is a tunnel, and a server needs no more than twice its sessions
connections.ini:6: [plant] user: found `a/b`; expected letters, digits, `.`, `_` and `-`
connections.ini:7: [plant] protocol: found `kcp`; expected tcp or quic or websocket or wss
connections.ini:9: [my plant] type: a tunnel's name has letters, digits, `.`, `_` and `-` only
connections.ini:10: [my plant] servers: server is set as well; expected one of them
connections.ini:12: [my plant] token_file: `EMPTY` is empty
connections.ini:15: [my plant] tls_ca: `TOKEN` has nothing in PEM (-----BEGIN …)
connections.ini:15: [my plant] tls_ca: has no effect without TLS; expected tls = true
connections.ini:16: [my plant] tls_key: `TOKEN` has nothing in PEM (-----BEGIN …)
connections.ini:16: [my plant] tls_key: needs tls_certificate as well
connections.ini:17: [my plant] secret: unknown key; expected one of type, server, servers, token_file, user, target_user, secret_file, passive_ports, protocol, tls, tls_ca, tls_name, tls_certificate, tls_key, keepalive, up_within
connections.ini:23: [one] via: no section is named [pant]; did you mean [plant]?
connections.ini:24: [one] passive: a server cannot open connections through a proxy; expected true
connections.ini:24: [one] passive: a server cannot open connections through a tunnel (via); expected true
connections.ini:25: [one] pasv_address: the server's own address leads nowhere through a tunnel (via); expected control
connections.ini:26: [one] socks_proxy: goes together with no tunnel; expected either it or via
connections.ini:27: [one] source_address: goes together with no tunnel; expected either it or via
connections.ini:33: [two] via: [local] is not a tunnel; expected a section with `type = frp`
connections.ini:39: [three] via: no section is named [nothing-like-it]; expected one with `type = frp`";

#[test]
fn every_mistake_about_tunnels_is_reported_at_once() {
    let directory = TempDir::new().unwrap();
    let (token, empty) = (directory.path().join("token"), directory.path().join("empty"));
    std::fs::write(&token, "hunter2\n").unwrap();
    std::fs::write(&empty, "\n").unwrap();
    let filled = |text: &str| {
        let paths = (token.display().to_string(), empty.display().to_string());
        text.replace("TOKEN", &paths.0).replace("EMPTY", &paths.1)
    };
    let ini = format!("{}{}", filled(WRONG_TUNNELS), "[local]\ntype = local\nbase_path = /\n");
    let yaml = "tunnels: {frpc: frpc, addresses: 10.0.0.0/8}\n";
    let found = mistakes(yaml, &ini, &[]);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&found), sorted(&filled(EVERY_MISTAKE_WITH_TUNNELS)));
    assert!(!found.contains("hunter2"), "{found}");
}

/// What works, and is not safe or not enough, is said at the start and by `check`.
#[test]
fn what_is_risky_about_a_tunnel_is_a_warning() {
    let directory = TempDir::new().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let tunnel = |name: &str, more: &str| {
        let secret = secret.display();
        format!(
            "[{name}]\ntype = frp\nserver = frps.test\ntoken_file = {secret}\nsecret_file = {secret}\n{more}"
        )
    };
    let ini = format!(
        "{}{}{}[a]\ntype = ftp\nhost = h\nuser = u\npass = p\nvia = plant\n[local]\ntype = local\nbase_path = /\n",
        tunnel("plant", "passive_ports = 50000-50009\n"),
        tunnel("open", "tls = false\n"),
        tunnel("idle", ""),
    );
    let files = Files::new("", &ini);
    let config = files.load(&[]).unwrap();
    let warnings = config.warnings(&files.sources(&[])).join("\n");
    for expected in [
        "[plant]: without tls_ca the server's certificate is not checked",
        "[plant]: passive_ports are 10, and its connections may have 10 sessions a pod; twice as many",
        "[a]: without explicit_tls or tls the frp server reads the password and all files",
        "[open]: without tls the token and all data can be read on the way",
        "[idle]: no connection names it in via",
    ] {
        assert!(warnings.contains(expected), "{expected}\n{warnings}");
    }
    let through = &config.connections.ftp["a"];
    assert_eq!(through.timeouts.close.as_secs(), 600, "megabytes may lie in the tunnel");
    assert_eq!(through.timeouts.stall.as_secs(), 300);
}
