//! docker-compose.yml: what it says about the pooler, its files and its topics must be so.

use std::fs;
use std::process::Command;

use ftp_pooler::config::{Config, ConfigSources, FilesInUse};
use serde_json::Value;
use tempfile::TempDir;

use crate::files::{documents, read, root, text};

fn services() -> Value {
    documents("docker-compose.yml").remove(0)["services"].take()
}

/// The configuration that a service of the image has: its variables over config/.
fn loaded(service: &Value) -> Config {
    let dir = TempDir::new().unwrap();
    for name in ["config.yaml", "connections.ini"] {
        let content = read(&format!("config/{name}"));
        let content = content.replace("/data/storage", &dir.path().display().to_string());
        fs::write(dir.path().join(name), content).unwrap();
    }
    let variables = service["environment"].as_object().unwrap().iter();
    let variables = variables.filter(|(name, _)| name.starts_with("FTP_POOLER__"));
    let value = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let sources = ConfigSources {
        config: dir.path().join("config.yaml"),
        connections: None,
        environment: variables.map(|(name, given)| (name.into(), value(given).into())).collect(),
        property: |_, _| None,
        files: FilesInUse::All,
        also_searched: None,
    };
    Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn both_pods_understand_their_configuration_and_have_names_of_their_own() {
    let services = services();
    let names: Vec<_> =
        ["pooler-0", "pooler-1"].iter().map(|name| loaded(&services[*name]).pod.name).collect();
    assert_eq!(names, ["pooler-0", "pooler-1"]);
    let config = loaded(&services["pooler-0"]);
    let server = &config.connections.ftp["remote-ftp"];
    assert_eq!((server.host.as_str(), server.port), ("ftp", 2121));
    assert_eq!(config.kafka.bootstrap_servers, ["kafka:9092"]);
}

#[test]
fn every_service_that_another_one_waits_for_is_there_and_can_be_waited_for() {
    let services = services();
    for (name, service) in services.as_object().unwrap() {
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other = &services[needed];
            assert!(other.is_object(), "{name} waits for {needed}, which is not there");
            let can = match text(&how["condition"]) {
                "service_healthy" => other["healthcheck"].is_object() || needed.starts_with("pooler"),
                "service_completed_successfully" => other["restart"].is_null(),
                _ => true,
            };
            assert!(can, "{name} waits for {needed}, which never gets there");
        }
    }
}

#[test]
fn every_file_that_is_mounted_is_there() {
    let services = services();
    for (name, service) in services.as_object().unwrap() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = text(volume).split(':').next().unwrap();
            if source.starts_with('.') {
                assert!(root().join(source).exists(), "{name} mounts {source}");
            }
        }
    }
}

#[test]
fn the_image_runs_as_somebody_unprivileged_and_asks_itself_how_it_is() {
    let dockerfile = read("Dockerfile");
    let last = dockerfile.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("\nUSER 65532:65532\n"));
    assert!(last.contains("\nHEALTHCHECK ") && last.contains("\"/usr/local/bin/ftp-pooler\", \"health\""));
    assert!(!last.contains("RUN "), "the final image has no shell to run anything with");
    assert!(
        last.contains("\nENTRYPOINT [\"/usr/local/bin/ftp-pooler\"]\n"),
        "no shell between it and SIGTERM"
    );
}

/// `1.89` as numbers.
fn version(text: &str) -> Vec<u64> {
    text.split('.').map(|part| part.parse().unwrap()).collect()
}

#[test]
fn the_rust_that_is_asked_for_is_new_enough_for_every_crate() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("rust-version = \"").unwrap();
    let wanted = rest.split('"').next().unwrap();
    assert!(read("Dockerfile").contains(&format!("FROM rust:{wanted}-")));
    assert!(read("README.md").contains(&format!("Rust {wanted} or newer")));
    assert!(read("scripts/install-deps.sh").contains(&format!("version {wanted} or newer")));
    // Of this platform: crates that only others need were never fetched on a fresh machine.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let Some(needed) = package["rust_version"].as_str() else { continue };
        let (mut needed, name) = (version(needed), text(&package["name"]));
        needed.truncate(2);
        assert!(needed <= version(wanted), "{name} needs Rust {needed:?}, and {wanted} is asked for");
    }
}

#[test]
fn all_that_the_build_needs_is_let_into_it() {
    let ignored = read(".dockerignore");
    let manifest = read("Cargo.toml");
    assert!(
        manifest.contains("[[bench]]") && !ignored.lines().any(|line| line == "benches" || line == "src")
    );
}
