//! The documents and files that are made of the keys, or name them.

use std::fs;
use std::path::Path;

use ftp_pooler::config;
use secrecy::ExposeSecret;

use crate::files::{Files, RIGHT_CONNECTIONS, loaded};

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
        all.split_once("## config.yaml\n\n| Key | Default | Value | Meaning |\n|---|---|---|---|\n").unwrap();
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
