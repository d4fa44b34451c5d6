//! What the program says of a configuration, and how it ends; and that no secret is in it.

use std::fmt::Write;
use std::process::{Command, Output, Stdio};

use ftp_pooler::config::{ConfigSources, FilesInUse};

use crate::files::{Files, RIGHT_CONNECTIONS, loaded, program};

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
  coordination_topic: ftp-pooler-sessions
  feeds_topic: ftp-pooler-feeds
  control_topic: ftp-control
  reply_topics: null
  delivery: exactly_once
  static_membership: false
  recreate_after: 1m
  transaction_timeout: 10s
  properties:
    sasl.password: (set)
retry:
  enabled: true
  delay: 30s
  max_deferral: 24h
pool:
  max_sessions_per_pod: 100
  max_sessions_per_connection: 10
  max_sessions_total: 0
  session_timeout_seconds: 300
  max_waiting_tasks: 20000
  max_waiting_bytes: 64Mi
  bandwidth: \"off\"
  slow_task: 5m
api:
  host: \"0.0.0.0\"
  port: 8181
  allowed_hosts: null
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
  core_dumps: false
transfer:
  hash: none
tunnels:
  frpc: null
  addresses: \"127.77.0.0/16\"
feeds: []
connections:
  remote-ftp:
    type: ftp
    host: \"127.0.0.1\"
    port: 1
    user: u
    pass: (set)
    tls: false
    explicit_tls: false
    no_check_certificate: false
    tls_ca: null
    tls_pin: null
    disable_tls13: false
    passive: true
    active_address: null
    active_ports: null
    pasv_address: control
    disable_epsv: false
    disable_utf8: false
    charset: utf-8
    time_offset: null
    encoding: null
    writing_mdtm: false
    path_root: null
    socks_proxy: null
    http_proxy: null
    source_address: null
    via: null
    keepalive: 15s
    max_sessions: 10
    max_sessions_total: 0
    max_session_age: null
    max_session_transfers: 0
    idle_timeout: null
    rename_over: auto
    upload: temp_name
    no_check_upload: false
    temp_prefix: \".ftp-pooler-\"
    temp_suffix: \".tmp\"
    temp_dir: null
    change_directory: when_refused
    resume: true
    max_file_size: 1Ti
    bandwidth: \"off\"
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
    assert!(table.ends_with("checks failed\n"), "{table}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn check_prints_its_table_alone_and_offline_says_that_nothing_was_tried() {
    let files = Files::new("kafka:\n  bootstrap_servers: ['127.0.0.1:1']\n", RIGHT_CONNECTIONS);
    let check = |options: &[&str]| {
        let output =
            program().arg("check").args(options).arg("--config").arg(files.config()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, offline) = check(&["--offline"]);
    assert_eq!(code, Some(0), "{offline}");
    assert!(
        offline.starts_with("the configuration is right: ") && offline.contains("not tried"),
        "{offline}"
    );
    assert!(check(&["--offline", "--show-config"]).1.starts_with("kafka:\n"));
    let (code, document) = check(&["--offline", "--output", "json"]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!((code, &document["offline"], &document["failed"]), (Some(0), &true.into(), &0.into()));
}

#[test]
fn a_property_that_librdkafka_does_not_take_is_a_mistake_like_any_other_and_its_value_is_not_shown() {
    let yaml = "kafka: {properties: {sasl.pasword: hunter2, security.protocol: hunter2}}\nfoo: 1";
    let output = Files::new(yaml, RIGHT_CONNECTIONS).check(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for line in [
        "kafka.properties.sasl.pasword: is not a librdkafka property",
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
    let sources = ConfigSources {
        config: "c".into(),
        connections: None,
        environment: vec![("K".into(), "hunter2".into())],
        property: |_, _| None,
        files: FilesInUse::All,
        also_searched: None,
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

#[test]
fn a_command_needs_only_the_secrets_that_it_uses() {
    let ini = "[a]\ntype = ftp\nhost = 127.0.0.1\nport = 1\nuser = u\npass_file = /nonexistent/a\n\
               [local]\ntype = local\nbase_path = /nonexistent/data\n";
    let files = Files::new("kafka: {bootstrap_servers: '127.0.0.1:1'}\napi: {port: 1}\n", ini);
    let tasks = files.data().join("tasks.jsonl");
    let task = r#"{"task_id":"1","operation":"download","source":{"connection_id":"a","path":"/x"},"destination":{"connection_id":"local","path":"x"}}"#;
    std::fs::write(&tasks, task).unwrap();
    let tasks = tasks.to_str().unwrap();
    for (args, code) in [
        (vec!["submit", tasks, "--dry-run"], 0),
        (vec!["submit", "a:/x", "local:/", "--dry-run"], 78),
        (vec!["health"], 69),
        (vec!["lag"], 69),
        (vec!["run"], 78),
    ] {
        let output = program().args(&args).arg("--config").arg(files.config()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert_eq!(
            said.contains("pass_file: `/nonexistent/a` cannot be read"),
            code == 78,
            "{args:?}: {said}"
        );
    }
}

/// With an `/etc` that nobody else sees: `false` where that is not allowed here.
fn run_with_own_etc(files: &Files, script: &str) -> Option<Output> {
    let script = format!("mount -t tmpfs none /etc && mkdir /etc/ftp-pooler && {script}");
    let run = |script: &str| Command::new("unshare").args(["-r", "-m", "sh", "-ec", script]).output();
    let is_allowed = run("mount -t tmpfs none /etc").is_ok_and(|ran| ran.status.success());
    if !is_allowed {
        eprintln!("skipped: no namespace of its own for a mount");
        return None;
    }
    let program = env!("CARGO_BIN_EXE_ftp-pooler");
    let place = files.config().parent().unwrap().display().to_string();
    let script = script.replace("PROGRAM", program).replace("PLACE", &place);
    Some(run(&script).unwrap())
}

#[test]
fn an_installed_configuration_is_found_from_anywhere_and_one_that_is_here_comes_first() {
    let files = Files::new("kafka: {consumer_group: installed}\n", RIGHT_CONNECTIONS);
    let script = "cp PLACE/config.yaml PLACE/connections.ini /etc/ftp-pooler; cd PLACE\n\
                  PROGRAM check --offline --show-config\n\
                  mkdir config; echo 'kafka: {consumer_group: here}' >config/config.yaml; cp connections.ini config\n\
                  PROGRAM check --offline --show-config\n\
                  PROGRAM check --offline --show-config --config config.yaml";
    let Some(ran) = run_with_own_etc(&files, script) else { return };
    let said = String::from_utf8(ran.stdout).unwrap();
    let groups: Vec<&str> =
        said.lines().filter(|line| line.contains("consumer_group")).map(str::trim).collect();
    let expected = ["installed", "here", "installed"].map(|group| format!("consumer_group: {group}"));
    assert_eq!(groups, expected, "{said}{}", String::from_utf8_lossy(&ran.stderr));
}
