//! A configuration that changes under a running pod: what is taken, and what needs a restart.

use std::fs;

use ftp_pooler::config::{Config, ConfigSources, ConnectionChange};
use secrecy::ExposeSecret;

use crate::files::{Files, RIGHT_CONNECTIONS, loaded};

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
    let mut expected = [files.config(), files.connections(), pass_file.clone()];
    expected.sort();
    assert_eq!(reread.files, expected);
    let after = reread.config.unwrap();
    let changes = before.changes_to(&after);
    assert_eq!(
        (changes.names(ConnectionChange::Added), changes.names(ConnectionChange::Changed)),
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
    assert_eq!(rotated.names(ConnectionChange::Changed), ["remote-ftp"]);
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
    assert!(
        errors.contains("connections.ini:6: [remote-ftp] hots: unknown key; did you mean host?"),
        "{errors}"
    );
    assert!(
        errors.contains("connections.ini:11: ") && errors.contains("missing` cannot be read"),
        "{errors}"
    );
    assert!(reread.files.contains(&missing) && reread.files.contains(&files.connections()));
    fs::remove_file(files.connections()).unwrap();
    let reread = before.reread(&sources);
    assert!(reread.config.is_err() && reread.files == [files.config(), files.connections()]);
}

#[test]
fn feeds_are_read_again_with_the_connections_that_there_are_then() {
    let files = Files::new("", &format!("{RIGHT_CONNECTIONS}\n[local]\ntype = local\nbase_path = /\n"));
    let sources = files.sources(&[]);
    let before = Config::load(&sources).unwrap();
    let feed =
        |to: &str| format!("feeds:\n  - {{name: in, from: 'remote-ftp:/out/', to: '{to}', every: 1m}}\n");
    fs::write(files.config(), feed("local:/in/")).unwrap();
    let after = before.reread(&sources).config.unwrap();
    assert_eq!(after.feeds.len(), 1);
    let changes = before.changes_to(&after);
    assert_eq!(changes.feeds.get("in"), Some(&ConnectionChange::Added));
    assert!(after.changes_to(&after.reread(&sources).config.unwrap()).is_empty());
    fs::write(files.config(), feed("locl:/in/")).unwrap();
    let errors = after.reread(&sources).config.unwrap_err().to_string();
    assert!(
        errors.contains("config.yaml:2: [feed in] to: there is no connection 'locl', did you mean 'local'?"),
        "{errors}"
    );
}

/// A connection of the environment's own: with it the file need not be there, at the start.
fn with_variables(files: &Files) -> ConfigSources {
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
        assert_eq!(reread.files, [files.config(), files.connections()], "what may mend it is looked at");
        reread.config.expect_err("nothing is taken over").to_string()
    };
    fs::remove_file(&file).unwrap();
    let path = file.display();
    assert_eq!(refused(), format!("{path}: does not exist, but had connections when it was last read"));
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
        (changes.names(ConnectionChange::Added), changes.names(ConnectionChange::Removed)),
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
        assert_eq!(before.changes_to(&after).names(ConnectionChange::Added), ["remote-ftp"]);
        fs::remove_file(&file).unwrap();
        assert!(after.reread(&sources).config.is_err());
    }
}

#[test]
fn the_keys_of_config_yaml_that_differ_are_named_and_their_values_are_not() {
    let loaded = |yaml: &str| loaded(yaml, RIGHT_CONNECTIONS, &[]);
    let before = loaded(
        "kafka: {properties: {sasl.password: hunter2, client.rack: a}}\napi: {token: hunter2-hunter2-hunter2}\n",
    );
    assert_eq!(before.differing_keys(&before), Vec::<String>::new());
    let after = loaded(
        "kafka: {input_topic: other, properties: {sasl.password: hunter3, linger.ms: 5}}\n\
         api: {token: hunter3-hunter3-hunter3, port: 8081}\nreload: {every: 1m}\n",
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
