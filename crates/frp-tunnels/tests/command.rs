//! The command, against a real frps.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

mod support;

use std::path::Path;

use rustix::process::Signal;
use support::command::{Running, proc_file, run};
use support::{Echo, Frps, Service, TOKEN, free_port, is_alive, until};

/// Under `tcp`, towards this server.
fn tcp<'a>(frps: &'a [String; 2], local: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["tcp", local, "--server", &frps[0], "--token-file", &frps[1], "--user", "alice"];
    arguments.extend(more);
    arguments
}

fn of(frps: &Frps) -> [String; 2] {
    [frps.address().to_string(), frps.token_file().display().to_string()]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn frpc_ends_whatever_ends_the_command() {
    let frps = Frps::start().await;
    let service = Service::start("").await;
    let (server, local) = (of(&frps), service.port.to_string());
    for signal in [Signal::TERM, Signal::INT, Signal::KILL, Signal::ABORT] {
        let mut running = Running::start(&tcp(&server, &local, &[]));
        running.says(": connected at 127.0.0.1:").await;
        let children = running.children();
        assert_eq!(children.len(), 1, "{children:?}");
        running.signal(signal);
        let status = running.ended().await;
        assert_eq!(status.success(), matches!(signal, Signal::TERM | Signal::INT), "{signal:?}: {status}");
        until("frpc has ended", async || !is_alive(children[0])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_killed_frpc_and_a_frozen_one_are_replaced() {
    let frps = Frps::start().await;
    let service = Service::start("").await;
    let (server, local) = (of(&frps), service.port.to_string());
    let port = free_port().to_string();
    let running = Running::start(&tcp(&server, &local, &["--remote-port", &port]));
    for (times, signal) in [(1, Signal::KILL), (2, Signal::STOP)] {
        running.says_times(": connected at 127.0.0.1:", times).await;
        let frpc = running.children()[0];
        rustix::process::kill_process(rustix::process::Pid::from_raw(frpc).unwrap(), signal).unwrap();
        running.says_times(": connected at 127.0.0.1:", times + 1).await;
        until("the old one is gone", async || !is_alive(frpc)).await;
        Echo::connect(&format!("127.0.0.1:{port}")).await.round_trip("again").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn secrets_are_nowhere_to_be_seen() {
    let frps = Frps::start().await;
    let service = Service::start("").await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key = file("key", "stcp-{{hidden}}-key");
    let password = file("password", "http-{{hidden}}-password");
    let api = format!("127.0.0.1:{}", free_port());
    let text = format!(
        "[server]\naddress = \"{}\"\ntoken_file = \"{}\"\nclient_token_file = \"{}\"\n[[tunnel]]\nname = \"s\"\ntype = \"stcp\"\nlocal = \"{port}\"\nsecret_file = \"{}\"\n[[tunnel]]\nname = \"h\"\ntype = \"http\"\nlocal = \"{port}\"\ndomains = \"a.test\"\nuser = \"u\"\npassword_file = \"{}\"\n",
        frps.address(),
        frps.token_file().display(),
        key.display(),
        key.display(),
        password.display(),
        port = service.port
    );
    let tunnels = file("tunnels.toml", &text);
    let tunnels = tunnels.to_str().unwrap();
    let running = Running::start(&["up", tunnels, "--listen", &api, "--log", "trace", "--output", "json"]);
    running.says_times("\"to\":\"connected\"", 2).await;
    let frpc = running.children()[0];
    let mut seen = running.said();
    for pid in [running.pid(), frpc] {
        seen += &proc_file(pid, "cmdline");
        seen += &proc_file(pid, "environ");
    }
    for path in ["/api/v1/tunnels", "/api/v1/events", "/metrics", "/ready", "/health"] {
        seen += &get(&api, path).await;
    }
    let (_, configuration, _) = run(&["config", tunnels]);
    seen += &configuration;
    for secret in ["hidden", TOKEN] {
        assert!(!seen.contains(secret), "{secret} is seen in\n{seen}");
    }
    // nor on a disk: frpc's configuration is its standard input, in memory
    let input = std::fs::read_link(format!("/proc/{frpc}/fd/0")).unwrap();
    assert!(input.to_string_lossy().starts_with("/memfd:"), "{}", input.display());
    for place in ["/tmp", "/dev/shm", "/run"] {
        let names = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name());
        let own: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("frp-")).collect();
        assert!(own.is_empty(), "{place}: {own:?}");
    }
}

async fn get(address: &str, path: &str) -> String {
    use frp_tunnels::http_request::{HttpQuestion, ask};
    let deadline = support::PATIENCE;
    let question =
        HttpQuestion { address, method: hyper::Method::GET, path, host: None, credentials: None, deadline };
    String::from_utf8_lossy(&ask(question).await.unwrap().body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn up_follows_its_file_and_shows_its_tunnels() {
    let frps = Frps::start().await;
    let service = Service::start("").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tunnels.toml");
    let write = |tunnels: &[(&str, u16)]| {
        let mut text = format!(
            "[server]\naddress = \"{}\"\ntoken_file = \"{}\"\n",
            frps.address(),
            frps.token_file().display()
        );
        for (name, port) in tunnels {
            let local = service.port;
            let tunnel = [
                "[[tunnel]]",
                &format!("name = \"{name}\""),
                "type = \"tcp\"",
                &format!("local = \"{local}\""),
                &format!("remote_port = {port}"),
            ];
            text += &tunnel.join("\n");
            text.push('\n');
        }
        std::fs::write(directory.path().join("new"), text).unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
    };
    let (first, second) = (free_port(), free_port());
    write(&[("first", first)]);
    let api = format!("127.0.0.1:{}", free_port());
    let file = path.to_str().unwrap();
    assert_eq!(run(&["up", file, "--check"]), (0, format!("{file}: 1 tunnels, valid\n"), String::new()));
    let mut running = Running::start(&["up", file, "--listen", &api]);
    running.says("first: connected").await;
    let mut live = Echo::connect(&format!("127.0.0.1:{first}")).await;
    live.round_trip("before").await;
    write(&[("first", first), ("second", second)]);
    running.says("second: connected").await;
    live.round_trip("after one more").await;
    // a mistake changes nothing, and is said
    write(&[("first", first), ("first", second)]);
    running.signal(Signal::HUP);
    running.says("tunnel file rejected").await;
    Echo::connect(&format!("127.0.0.1:{second}")).await.round_trip("still there").await;
    until("ready", async || get(&api, "/ready").await.contains("\"ready\"")).await;
    until("both are listed", async || {
        let (code, listed, _) = run(&["ls", "--api", &api]);
        code == 0 && listed.starts_with("NAME") && listed.matches("connected").count() == 2
    })
    .await;
    assert_eq!(run(&["status", "--once", "--api", &api, "--output", "json"]).0, 0);
    let metrics = get(&api, "/metrics").await;
    assert!(metrics.contains("frp_tunnel_up{tunnel=\"first\",type=\"tcp\"} 1"), "{metrics}");
    write(&[("second", second)]);
    running.says("first: closed").await;
    live.round_trip("after its end").await;
    running.signal(Signal::TERM);
    assert!(running.ended().await.success());
    let (code, _, error) = run(&["ls", "--api", &api]);
    assert_eq!(code, 69);
    assert!(error.contains("is `frp-tunnels up` running there?"), "{error}");
}

#[test]
#[ignore = "needs frpc: make test"]
fn mistakes_end_the_command_before_anything_starts() {
    let (code, _, error) = run(&["up", "/nowhere/tunnels.toml"]);
    assert_eq!((code, error.contains("/nowhere/tunnels.toml")), (78, true), "{error}");
    let (code, _, error) = run(&["tcp", "5432", "--server", "127.0.0.1:1", "--frpc", "/nowhere/frpc"]);
    assert_eq!((code, error.contains("is not an executable file")), (78, true), "{error}");
    let (code, _, error) = run(&["tcp", "0", "--server", "127.0.0.1:1"]);
    assert_eq!((code, error.contains("is not one of PORT")), (2, true), "{error}");
    let (code, _, error) = run(&["http", "80", "--server", "127.0.0.1:1", "--output", "json"]);
    assert_eq!((code, error.contains("at least one domain")), (78, true), "{error}");
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let command = |arguments: &[&str]| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_frp-tunnels")).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(command(&["completions", "bash"]).contains("--remote-port"));
    assert!(command(&["man"]).contains(".TH frp-tunnels"));
    let directory = tempfile::tempdir().unwrap();
    command(&["man", "--directory", directory.path().to_str().unwrap()]);
    assert!(Path::new(directory.path()).join("frp-tunnels-serve.1").exists());
}
