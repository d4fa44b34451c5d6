//! The server's side: templates, a supervised frps, its status, its plugin.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use support::command::{Running, run};
use support::{Echo, Service, free_port, is_alive, until};

fn certificate(directory: &Path) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into(), "frps.test".into()]).unwrap();
    fs::write(directory.join("tls.crt"), pair.cert.pem()).unwrap();
    fs::write(directory.join("tls.key"), pair.signing_key.serialize_pem()).unwrap();
    pair
}

/// frps.toml by `server init`, its API at a free port.
fn init(directory: &Path, port: u16, more: &[&str]) -> String {
    let (directory_text, port_text) = (directory.to_str().unwrap(), port.to_string());
    let mut arguments = vec!["server", "init", "--directory", directory_text, "--port", &port_text];
    arguments.extend(more);
    let (code, text, error) = run(&arguments);
    assert_eq!(code, 0, "{text}{error}");
    let config = directory.join("frps.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("webServer.port = 7500", &format!("webServer.port = {}", free_port()));
    fs::write(&config, text.replace("bindAddr = \"0.0.0.0\"", "bindAddr = \"127.0.0.1\"")).unwrap();
    config.display().to_string()
}

fn tcp(service: u16, port: u16, directory: &Path, more: &[&str]) -> Running {
    let (local, server) = (service.to_string(), format!("127.0.0.1:{port}"));
    let token = directory.join("token").display().to_string();
    let mut arguments = vec!["tcp", &local, "--server", &server, "--token-file", &token];
    arguments.extend(more);
    Running::start(&arguments)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_production_server_renews_its_certificate_and_tells_its_state() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    certificate(directory);
    let (port, allowed) = (free_port(), free_port());
    let (crt, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    let allow = allowed.to_string();
    let config = init(
        directory,
        port,
        &[
            "--template",
            "production",
            "--certificate",
            crt.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
            "--allow-ports",
            &allow,
        ],
    );
    // secrets are for the owner only, and a second init touches nothing
    for file in ["token", "frps.toml"] {
        assert_eq!(fs::metadata(directory.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(run(&["server", "init", "--directory", directory.to_str().unwrap()]).0, 74);

    let mut server = Running::start(&["server", "run", "--config", &config]);
    until("frps listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    let service = Service::start("").await;
    let ca = crt.to_str().unwrap();
    let client = tcp(service.port, port, directory, &["--remote-port", &allow, "--tls-ca", ca]);
    client.says(": connected").await;
    Echo::connect(&format!("127.0.0.1:{allowed}")).await.round_trip("through").await;
    let (code, status, error) = run(&["server", "status", "--config", &config]);
    assert_eq!(code, 0, "{error}");
    assert!(
        status.contains("process: frps ") && status.contains("1 clients") && status.contains("online"),
        "{status}"
    );

    // a renewal: half of it is refused, the whole is taken over
    let frps = server.children()[0];
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    fs::write(&crt, pair.cert.pem()).unwrap();
    server.signal(Signal::HUP);
    server.says("does not go with its key").await;
    assert!(is_alive(frps));
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    server.signal(Signal::HUP);
    server.says_times("frps started", 2).await;
    until("the old frps is gone", async || !is_alive(frps)).await;
    // the client trusts the new certificate, which is in the same file
    client.says_times(": connected", 2).await;
    server.signal(Signal::TERM);
    assert!(server.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_plugin_gives_each_client_its_own_token_and_rules() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let write = |name: &str, text: &str| {
        fs::write(directory.join(name), text).unwrap();
        directory.join(name).display().to_string()
    };
    let (own, other) = (write("own", "own-secret\n"), write("other", "other-secret\n"));
    let (port, allowed, plugin_port) = (free_port(), free_port(), free_port());
    let clients = write(
        "clients.toml",
        &format!(
            "[[client]]\nuser = \"plant\"\ntoken_files = [\"{own}\"]\ntypes = [\"tcp\"]\nports = [\"{allowed}\"]\n"
        ),
    );
    let (listen, audit) = (format!("127.0.0.1:{plugin_port}"), directory.join("audit.jsonl"));
    let plugin = Running::start(&[
        "server",
        "plugin",
        "--clients",
        &clients,
        "--listen",
        &listen,
        "--audit-log",
        audit.to_str().unwrap(),
    ]);
    until("the plugin listens", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", plugin_port)).await.is_ok()
    })
    .await;
    let config = init(directory, port, &["--plugin", &listen]);
    let server = Running::start(&["server", "run", "--config", &config]);
    until("frps listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    let service = Service::start("").await;
    let remote = allowed.to_string();
    let client = |user: &'static str, token: &str, port_text: &str| {
        tcp(
            service.port,
            port,
            directory,
            &["--user", user, "--client-token-file", token, "--remote-port", port_text],
        )
    };
    let right = client("plant", &own, &remote);
    right.says(": connected").await;
    client("plant", &other, &remote)
        .says("refused by policy: the client's token is wrong or missing (rejected_by_server")
        .await;
    client("nobody", &own, &remote).says("refused by policy: the user \"nobody\" is unknown").await;
    drop(right);
    let elsewhere = free_port().to_string();
    client("plant", &own, &elsewhere).says("is not among those allowed (rejected_by_server").await;
    let log = fs::read_to_string(&audit).unwrap();
    assert!(log.contains("\"decision\":\"refused\"") && log.contains("\"decision\":\"allowed\""), "{log}");
    assert!(!log.contains("secret"), "{log}");
    assert!(!(plugin.said() + &server.said()).contains("own-secret"));
}
