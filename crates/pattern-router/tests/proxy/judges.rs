//! Outsiders that judge the router: h2spec, Autobahn's WebSocket cases, slowhttptest. `make deps` has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::programs::{Program, deps, free_port, listening, python, source};
use crate::support::{Pod, RouterProcess, get, until};

/// What a program wrote, without its colours.
async fn output_of(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let mut plain = String::new();
    let mut parts = text.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

/// A command that sees `127.0.0.1` behind a name, where root may arrange that.
fn with_name(directory: &std::path::Path, name: &str, program: &std::path::Path) -> Option<Command> {
    let hosts = directory.join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost {name}\n")).unwrap();
    let script = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.display());
    let may = Command::new("unshare").args(["-m", "sh", "-c", &script, "true"]).status();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).arg(program);
    may.is_ok_and(|status| status.success()).then_some(command)
}

#[tokio::test]
#[ignore = "needs h2spec: make test"]
async fn h2spec_finds_nothing_but_that_other_bytes_are_answered_as_http11() {
    let pod = Pod::echo().await;
    let router = RouterProcess::start("max_connections_per_client: 8192\n");
    let directory = tempfile::tempdir().unwrap();
    let h2spec = deps("h2spec/h2spec");
    let port = router.address.port().to_string();
    // Without root the name cannot be resolved: the router's own answers are judged then.
    let named = with_name(directory.path(), &pod.host(), &h2spec);
    let host = if named.is_some() { pod.host() } else { "127.0.0.1".to_owned() };
    let mut command = named.unwrap_or_else(|| Command::new(h2spec));
    command.args(["-h", &host, "-p", &port, "-o", "5"]);
    let said = output_of(command).await;
    let failed: Vec<_> = said.lines().map(str::trim).filter(|line| line.starts_with('×')).collect();
    let only_the_preface = failed.iter().all(|line| line.contains("Sends invalid connection preface"));
    assert!(only_the_preface && failed.len() <= 2, "{failed:?}\n{said}");
    let (_, counted) = said.split_once(" tests, ").expect("h2spec has run");
    let passed: u32 = counted.split(' ').next().unwrap().parse().unwrap();
    assert!(passed >= 144, "{counted}");
}

/// Sends what comes to `address` on to the router under a pod's name: Autobahn's client names the address it connects to.
async fn named_door(router: SocketAddr, host: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let host = host.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.ok()?);
                }
                let head = String::from_utf8_lossy(&head).replace(&door.to_string(), &host);
                let mut router = TcpStream::connect(router).await.ok()?;
                router.write_all(head.as_bytes()).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut router).await.ok()
            });
        }
    });
    door
}

/// How each of Autobahn's cases ended: behaviour, the close's, and its code.
async fn cases(address: SocketAddr, directory: &std::path::Path) -> BTreeMap<String, String> {
    let mut command = Command::new(deps("judges/bin/kosoku"));
    // 9 measures, 12 and 13 compress: they depend on no proxy, and take minutes.
    command.args(["-p", "4", "-x", "9.*", "-x", "12.*", "-x", "13.*", "-o"]).arg(directory);
    command.arg(address.to_string());
    let said = output_of(command).await;
    let index = std::fs::read_to_string(directory.join("index.json")).unwrap_or_else(|_| panic!("{said}"));
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let cases = index.as_object().unwrap().values().next().unwrap().as_object().unwrap();
    let told = |case: &serde_json::Value| {
        format!("{} {} {}", case["behavior"], case["behaviorClose"], case["remoteCloseCode"])
    };
    cases.iter().map(|(id, case)| (id.clone(), told(case))).collect()
}

#[tokio::test]
#[ignore = "needs Python: make test"]
async fn autobahns_cases_end_as_without_the_router() {
    let port = free_port();
    let echo = source("crates/pattern-router/tests/judges/websocket_echo.py");
    let _echo = Program::start(python().arg(echo).arg(port.to_string()));
    listening(port).await;
    let router = RouterProcess::start("");
    let door = named_door(router.address, format!("{port}-ws1.pool.test")).await;
    let directory = tempfile::tempdir().unwrap();
    // How a broken frame's last bytes are timed differs now and then, with and without the router: both are run again
    // where they differ, and each end that was seen without the router counts.
    let (mut direct, mut differ) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeMap::new());
    for attempt in 0..3 {
        let place = |way: &str| directory.path().join(format!("{way}-{attempt}"));
        for (id, end) in cases(([127, 0, 0, 1], port).into(), &place("direct")).await {
            direct.entry(id).or_default().insert(end);
        }
        assert!(direct.len() > 240, "{} cases", direct.len());
        let routed = cases(door, &place("routed")).await;
        differ = direct
            .iter()
            .filter(|(id, ends)| !routed.get(*id).is_some_and(|end| ends.contains(end)))
            .map(|(id, ends)| (id.clone(), (ends.clone(), routed.get(id).cloned())))
            .collect();
        if differ.is_empty() {
            return;
        }
    }
    panic!("{differ:?}");
}

#[tokio::test]
#[ignore = "needs slowhttptest: make test"]
async fn slow_clients_of_every_kind_leave_the_router_to_the_others() {
    let pod = Pod::echo().await;
    let limits = "head_timeout: 1s\nbody_timeout: 1s\nsend_timeout: 1s\nidle_timeout: 1s\n";
    let router = RouterProcess::start(&format!("{limits}max_connections_per_client: 8192\n"));
    let before = router.sockets();
    let mut running = tokio::task::JoinSet::new();
    for (kind, what) in [("-H", "heads"), ("-B", "bodies"), ("-X", "reads")] {
        let mut command = Command::new("slowhttptest");
        command.args([kind, "-c", "200", "-r", "200", "-i", "5", "-l", "5", "-p", "5"]);
        command.args(["-d", &router.address.to_string(), "-u", &format!("http://{}/", pod.host())]);
        running.spawn(async move { (what, output_of(command).await) });
    }
    // Meanwhile everybody else is served.
    let mut served = 0;
    while let Some((what, said)) = tokio::select! {
        ended = running.join_next() => ended.map(Result::unwrap),
        () = async {
            loop {
                assert_eq!(get(router.address, &pod.host(), "/").await.status, 200);
                served += 1;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        } => None,
    } {
        assert!(
            said.contains("service available:") && !said.contains("service available:   NO"),
            "{what}: {said}"
        );
    }
    assert!(served > 0);
    until("every slow connection is gone", async || router.sockets() <= before).await;
}
