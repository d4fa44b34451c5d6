//! What the keys mean: their defaults, the environment over the files, secrets, and what is taken over from rclone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use ftp_pooler::config::{Config, ConfigSources, FilesInUse, RenameOver};
use secrecy::ExposeSecret;

use crate::files::{Files, RIGHT_CONNECTIONS, loaded, mistakes};

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
        set.map(|set| set.bearer().admits(format!("Bearer {token}").as_bytes()))
    };
    assert_eq!(admits(&loaded("", RIGHT_CONNECTIONS, &[]), ""), None);
    assert_eq!(admits(&loaded("api: {token: ''}", RIGHT_CONNECTIONS, &[]), ""), None);
    let set = loaded("api: {token: hunter2-hunter2-hunter2}", RIGHT_CONNECTIONS, &[]);
    assert_eq!(
        (admits(&set, "hunter2-hunter2-hunter2"), admits(&set, "hunter2-hunter2-hunter3")),
        (Some(true), Some(false))
    );
    assert!(set.to_yaml_redacted().contains("\n  token: (set)\n  token_file: null\n"));
    assert!(!format!("{set:?}").contains("hunter2") && !set.to_yaml_redacted().contains("hunter2"));

    let files = Files::new("", RIGHT_CONNECTIONS);
    let file = files.data().join("token");
    fs::write(&file, "s3cret-of-0123456789\n").unwrap();
    let file = file.to_str().unwrap();
    fs::write(files.config(), format!("api: {{token_file: {file}}}")).unwrap();
    let config = files.load(&[]).unwrap();
    assert_eq!(admits(&config, "s3cret-of-0123456789"), Some(true));
    assert!(config.to_yaml_redacted().contains(&format!("token_file: {file}")));
    let config = files.load(&[("FTP_POOLER__API__TOKEN", "another-0123456789")]).unwrap();
    assert_eq!(admits(&config, "another-0123456789"), Some(true), "the environment's overrides the file's");

    let wrong = mistakes("api: {token: a, token_file: /nonexistent}", RIGHT_CONNECTIONS, &[]);
    assert!(wrong.contains("api.token_file: api.token is set as well; expected one of them"), "{wrong}");
    for yaml in ["api: {token: 'hunter2 x'}", "api: {token: 'hunter2,'}"] {
        let wrong = mistakes(yaml, RIGHT_CONNECTIONS, &[]);
        assert!(
            wrong.contains("api.token: the token cannot be sent in a header") && !wrong.contains("hunter2"),
            "{wrong}"
        );
    }
    assert!(loaded("api: {token: hunter2-hunter2-}", RIGHT_CONNECTIONS, &[]).api_token.is_some());
    let wrong = mistakes("api: {token: hunter2-hunter2}", RIGHT_CONNECTIONS, &[]);
    assert!(wrong.contains("fewer than 16 characters") && !wrong.contains("hunter2"), "{wrong}");
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
        "a pod has no one to ask",
    ] {
        assert!(mistakes.contains(said), "{mistakes}");
    }
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
fn only_the_secrets_that_are_used_must_exist() {
    let ini = "[a]\ntype=ftp\nhost=h\nuser=u\npass_file=/nonexistent/a\n\
               [b]\ntype=ftp\nhost=h\nuser=u\npass_file=/nonexistent/b\ntls_ca=/nonexistent/ca\n\
               [local]\ntype=local\nbase_path=/nonexistent/data\n";
    let files = Files::new("api: {token_file: /nonexistent/token}", ini);
    let missing = |connections: &[&str], api_token: bool| {
        let connections = connections.iter().map(ToString::to_string).collect();
        let in_use = FilesInUse::Secrets { connections, api_token };
        let loaded = Config::load(&ConfigSources { files: in_use, ..files.sources(&[]) });
        loaded.err().map(|errors| errors.errors().iter().map(|error| error.key.clone()).collect::<Vec<_>>())
    };
    assert_eq!(missing(&[], false), None);
    assert_eq!(missing(&[], true), Some(vec!["api.token_file".to_owned()]));
    assert_eq!(
        missing(&["b", "local"], false),
        Some(vec!["[b] pass_file".to_owned(), "[b] tls_ca".to_owned()])
    );
    assert_eq!(files.load(&[]).unwrap_err().lines().count(), 5, "a pod needs all of them");
}

#[test]
fn passwords_that_others_can_read_are_warned_of() {
    let files = Files::new("", RIGHT_CONNECTIONS);
    let warnings = |environment: &[(&str, &str)]| {
        let sources = files.sources(environment);
        Config::load(&sources).unwrap().warnings(&sources)
    };
    let permit = |mode| fs::set_permissions(files.connections(), fs::Permissions::from_mode(mode)).unwrap();
    permit(0o640);
    assert_eq!(warnings(&[]), Vec::<String>::new());
    permit(0o644);
    assert!(warnings(&[])[0].contains("connections.ini: every user of this system can read its passwords"));
    permit(0o600);
    let parent = files.connections().parent().unwrap().display().to_string();
    let ini = format!(
        "{RIGHT_CONNECTIONS}[out]\ntype = local\nbase_path = {}\n[all]\ntype = local\nbase_path = {parent}\n",
        files.data().display()
    );
    fs::write(files.connections(), &ini).unwrap();
    let warned = warnings(&[]);
    assert!(warned.len() == 1 && warned[0].contains("lies under the base_path of [all]"), "{warned:?}");
    fs::write(files.connections(), ini.replace("pass = hunter2", "pass =")).unwrap();
    permit(0o644);
    assert_eq!(warnings(&[]), Vec::<String>::new(), "there is no password in it");
}
