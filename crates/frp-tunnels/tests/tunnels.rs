//! Tunnels through a real frps by a real frpc.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

mod support;

use frp_tunnels::client::{OpenError, TunnelStack};
use frp_tunnels::failure::FailureClass;
use frp_tunnels::spec::{LocalService, Probe, TunnelSpec};
use frp_tunnels::state::TunnelState;
use support::{Echo, Frps, Service, free_port, loopback, until};

fn class(error: OpenError) -> FailureClass {
    match error {
        OpenError::NotConnected { failure, .. } => failure.class,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_tcp_tunnel_carries_bytes_and_ends_with_its_guard() {
    let frps = Frps::start().await;
    let service = Service::start("").await;
    let client = frps.client("alice").await;
    let tunnel = client.open(TunnelSpec::tcp(LocalService::port(service.port), None)).await.unwrap();
    assert_eq!(tunnel.name(), format!("tcp-{}", service.port));
    let address = tunnel.address().unwrap();
    Echo::connect(&address).await.round_trip("hello").await;
    assert_eq!(tunnel.status().connections, 1);
    drop(tunnel);
    until("the port is closed", async || tokio::net::TcpStream::connect(&address).await.is_err()).await;
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn live_connections_survive_changes_of_other_tunnels_and_of_their_own() {
    let frps = Frps::start().await;
    let service = Service::start("").await;
    let client = frps.client("alice").await;
    let local = || LocalService::port(service.port);
    let first = client.open(TunnelSpec::tcp(local(), None).named("first")).await.unwrap();
    let mut live = Echo::connect(&first.address().unwrap()).await;
    live.round_trip("before").await;
    let mut stack = TunnelStack::default();
    for at in 0..5 {
        let tunnel = client.open(TunnelSpec::tcp(local(), None).named(format!("t{at}"))).await.unwrap();
        Echo::connect(&tunnel.address().unwrap()).await.round_trip("through").await;
        live.round_trip("meanwhile").await;
        stack.push(tunnel);
    }
    let mut events = client.events();
    assert_eq!(stack.close_all().await, [""; 0]);
    live.round_trip("after the others").await;
    first.close().await;
    live.round_trip("after its own end").await;
    let mut removed = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let frp_tunnels::events::TunnelEventKind::Removed { tunnel } = event.kind {
            removed.push(tunnel);
        }
    }
    assert_eq!(removed, ["t4", "t3", "t2", "t1", "t0", "first"]);
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_visitor_is_connected_when_the_greeting_has_come() {
    let frps = Frps::start().await;
    let service = Service::start("220 ready\r\n").await;
    let far = frps.client("plant").await;
    let near = frps.client("pool").await;
    let port = free_port();
    let visitor = || {
        let mut spec = TunnelSpec::stcp_visitor("ftp", "a-long-key".into(), loopback(port)).named("plant");
        if let frp_tunnels::spec::TunnelKind::StcpVisitor(visitor) = &mut spec.kind {
            visitor.server_user = Some("plant".into());
        }
        spec.probed_by(Probe::Greeting("220".into()))
    };
    // nobody offers it yet
    let mut tunnel = near.add(visitor()).await.unwrap();
    assert_eq!(tunnel.connected().await.unwrap_err().class, FailureClass::FarSideMissing);
    let offer = |key: &'static str, users: &[&str]| {
        let mut spec = TunnelSpec::stcp(LocalService::port(service.port), key.into()).named("ftp");
        if let frp_tunnels::spec::TunnelKind::Stcp(secret) = &mut spec.kind {
            secret.allow_users = users.iter().map(|&user| user.to_owned()).collect();
        }
        spec
    };
    let wrong_user = far.open(offer("a-long-key", &["somebody"])).await.unwrap();
    while tunnel.status().state.failure().map(|failure| failure.class) != Some(FailureClass::UserNotAllowed) {
        tunnel.changed().await;
    }
    wrong_user.close().await;
    let wrong_key = far.open(offer("another-key", &["pool"])).await.unwrap();
    while tunnel.status().state.failure().map(|failure| failure.class) != Some(FailureClass::SecretKeyWrong) {
        tunnel.changed().await;
    }
    wrong_key.close().await;
    let _right = far.open(offer("a-long-key", &["pool"])).await.unwrap();
    while tunnel.status().state != TunnelState::Connected {
        tunnel.changed().await;
    }
    near.shutdown().await;
    far.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn every_refusal_of_frps_has_its_class() {
    let (open, closed) = (free_port(), free_port());
    let frps = Frps::start_with(&format!(
        "allowPorts = [{{ single = {open} }}, {{ start = 40000, end = 40100 }}]\nmaxPortsPerClient = 3"
    ))
    .await;
    let service = Service::start("").await;
    let client = frps.client("alice").await;
    let at = |port| TunnelSpec::tcp(LocalService::port(service.port), Some(port));
    let error = client.open(at(closed)).await.unwrap_err();
    assert_eq!(class(error), FailureClass::PortNotAllowed);
    // a process of the machine has the port
    let taken = std::net::TcpListener::bind(("127.0.0.1", open)).unwrap();
    let error = client.open(at(open)).await.unwrap_err();
    assert_eq!(class(error), FailureClass::PortTaken);
    drop(taken);
    let tunnel = client.open(at(open).named("own")).await.unwrap();
    // another client wants the same port, and the same name
    let other = frps.client("bob").await;
    assert_eq!(class(other.open(at(open)).await.unwrap_err()), FailureClass::PortTaken);
    let same_user = frps.client("alice").await;
    let error = same_user
        .open(TunnelSpec::tcp(LocalService::port(service.port), None).named("own"))
        .await
        .unwrap_err();
    assert_eq!(class(error), FailureClass::NameTaken);
    drop(tunnel);
    for shut in [client, other, same_user] {
        shut.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_local_service_that_is_away_is_said_to_be() {
    let frps = Frps::start().await;
    let client = frps.client("alice").await;
    let port = free_port();
    let mut tunnel = client.add(TunnelSpec::tcp(LocalService::port(port), None)).await.unwrap();
    assert_eq!(tunnel.connected().await.unwrap_err().class, FailureClass::LocalServiceDown);
    let _service = Service::start_at(port, "").await;
    while tunnel.status().state != TunnelState::Connected {
        tunnel.changed().await;
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn the_session_failures_have_their_class_and_pass() {
    let mut frps = Frps::start().await;
    let service = Service::start("").await;
    let spec = || TunnelSpec::tcp(LocalService::port(service.port), None);
    // a wrong token, put right while the client waits
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "wrong").unwrap();
    let mut settings = frps.settings("alice");
    settings.server =
        settings.server.with_token(frp_tunnels::server_settings::SecretSource::File(token.clone()));
    settings.timing.restart_longest = std::time::Duration::from_secs(1);
    let client = frp_tunnels::client::TunnelClient::start(settings).await.unwrap();
    let mut tunnel = client.add(spec()).await.unwrap();
    assert_eq!(tunnel.connected().await.unwrap_err().class, FailureClass::AuthenticationFailed);
    std::fs::write(&token, support::TOKEN).unwrap();
    while tunnel.status().state != TunnelState::Connected {
        tunnel.changed().await;
    }
    // the server goes, and comes back
    frps.kill().await;
    while tunnel.status().state == TunnelState::Connected {
        tunnel.changed().await;
    }
    assert_eq!(tunnel.status().state.label(), "disconnected");
    assert!(frps.run().await);
    while tunnel.status().state != TunnelState::Connected {
        tunnel.changed().await;
    }
    assert_eq!(tunnel.status().connections, 2);
    client.shutdown().await;
    // names and ports that lead nowhere
    for (server, expected) in [
        ("nowhere.invalid:7000".to_owned(), FailureClass::ServerNameUnknown),
        (format!("127.0.0.1:{}", free_port()), FailureClass::ServerUnreachable),
    ] {
        let mut settings = frps.settings("alice");
        settings.server.servers = vec![server.parse().unwrap()];
        settings.timing.connect_deadline = std::time::Duration::from_secs(5);
        let client = frp_tunnels::client::TunnelClient::start(settings).await.unwrap();
        assert_eq!(class(client.open(spec()).await.unwrap_err()), expected, "{server}");
        client.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_visitors_taken_address_has_its_class() {
    let frps = Frps::start().await;
    let service = Service::start("").await;
    let client = frps.client("alice").await;
    let taken = TunnelSpec::stcp_visitor("far", "key".into(), loopback(service.port));
    assert_eq!(class(client.open(taken).await.unwrap_err()), FailureClass::BindAddressTaken);
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_hundred_tunnels_are_made_and_ended_under_traffic() {
    let frps = Frps::start().await;
    let service = Service::start("").await;
    let client = frps.client("alice").await;
    let local = || LocalService::port(service.port);
    let steady = client.open(TunnelSpec::tcp(local(), None).named("steady")).await.unwrap();
    let address = steady.address().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let traffic = tokio::spawn(async move {
        let mut live = Echo::connect(&address).await;
        let mut rounds = 0_u64;
        while !*stopped.borrow() {
            live.round_trip("traffic that goes on while tunnels come and go").await;
            rounds += 1;
        }
        rounds
    });
    let opened = (0..100).map(|at| client.open(TunnelSpec::tcp(local(), None).named(format!("t{at}"))));
    let opened: Vec<_> = futures_join(opened).await;
    let names: std::collections::BTreeSet<_> =
        opened.iter().map(|tunnel| tunnel.address().unwrap()).collect();
    assert_eq!(names.len(), 100);
    assert_eq!(client.tunnels().await.len(), 101);
    for tunnel in opened {
        assert!(tunnel.close().await);
    }
    assert_eq!(client.tunnels().await.len(), 1);
    stop.send(true).unwrap();
    assert!(traffic.await.unwrap() > 0);
    // one frpc, started once
    assert_eq!(steady.status().connections, 1);
    client.shutdown().await;
}

/// All at once, in their order.
async fn futures_join<F, E>(futures: impl Iterator<Item = F>) -> Vec<frp_tunnels::client::Tunnel>
where
    F: Future<Output = Result<frp_tunnels::client::Tunnel, E>>,
    E: std::fmt::Display,
{
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_ready = true;
        for (future, result) in &mut waiting {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(found) => *result = Some(found),
                    std::task::Poll::Pending => is_ready = false,
                }
            }
        }
        if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().map(|(_, result)| result.unwrap().unwrap_or_else(|error| panic!("{error}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_client_fails_over_to_the_next_server() {
    let mut first = Frps::start().await;
    let second = Frps::start().await;
    let service = Service::start("").await;
    let mut settings = first.settings("alice");
    settings.server.servers.push(second.address());
    settings.timing.session_loss_limit = std::time::Duration::from_secs(1);
    let client = frp_tunnels::client::TunnelClient::start(settings).await.unwrap();
    let mut tunnel = client.open(TunnelSpec::tcp(LocalService::port(service.port), None)).await.unwrap();
    let before = tunnel.address().unwrap();
    first.kill().await;
    while tunnel.status().connections < 2 {
        tunnel.changed().await;
    }
    let after = tunnel.address().unwrap();
    assert_ne!(before, after);
    Echo::connect(&after).await.round_trip("through the second").await;
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn frpc_takes_every_kind_with_every_setting() {
    support::prepare();
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "{{ .Envs.HOME }} \\ \" ü {{{").unwrap();
    let secret = secret.display();
    let common = format!("secret_file = \"{secret}\"\n");
    let proxy = "bandwidth_kib = 64\nbandwidth_at_server = true\nencryption = true\ncompression = true\nproxy_protocol = \"v2\"\nmetadata = { a = \"{{b\" }\n";
    let group = format!("group = \"g\"\ngroup_key_file = \"{secret}\"\nhealth_check = \"/x\"\n");
    let auth = format!("user = \"u\"\npassword_file = \"{secret}\"\n");
    let tunnels = [
        format!("type = \"tcp\"\nlocal = \"1\"\nremote_port = 2\n{proxy}{group}"),
        format!("type = \"udp\"\nlocal = \"1\"\n{proxy}"),
        format!(
            "type = \"http\"\nlocal = \"1\"\ndomains = \"a.test\"\nsubdomain = \"x\"\npaths = [\"/{{{{a\", \"/b\"]\nhost_header = \"h\"\nrequest_headers = {{ a = \"b\" }}\nresponse_headers = {{ a = \"b\" }}\nroute_by_user = \"r\"\n{auth}{proxy}"
        ),
        "type = \"https\"\nlocal = \"1\"\ndomains = \"*.b.test\"\n".to_owned(),
        format!("type = \"tcpmux\"\nlocal = \"1\"\ndomains = \"c.test\"\n{auth}"),
        format!("type = \"stcp\"\nplugin = \"http_proxy\"\nallow_users = [\"*\"]\n{common}{auth}"),
        format!("type = \"sudp\"\nlocal = \"1\"\n{common}"),
        format!("type = \"xtcp\"\nplugin = \"socks5\"\n{common}{auth}"),
        format!(
            "type = \"stcp\"\nplugin = \"static_files\"\ndirectory = \"/\"\nstrip_prefix = \"x\"\n{common}{auth}"
        ),
        format!("type = \"stcp\"\nlocal = \"unix:/run/x\"\n{common}"),
        format!(
            "type = \"stcp-visitor\"\nserver_name = \"x\"\nserver_user = \"u\"\nbind = \"127.0.0.1:1\"\n{common}"
        ),
        format!("type = \"sudp-visitor\"\nserver_name = \"x\"\nbind = \"127.0.0.1:2\"\n{common}"),
        format!(
            "type = \"xtcp-visitor\"\nserver_name = \"x\"\nbind = \"[::1]:3\"\nkeep_open = true\nfallback = \"t10\"\n{common}"
        ),
    ];
    let mut text = format!(
        "[server]\naddress = \"127.0.0.1\"\ntoken_file = \"{secret}\"\nuser = \"u\"\nprotocol = \"wss\"\nmetadata = {{ m = \"n\" }}\nstun_server = \"s.test:3478\"\n"
    );
    for (at, tunnel) in tunnels.iter().enumerate() {
        text += "[[tunnel]]\nname = \"t";
        text += &at.to_string();
        text += "\"\n";
        text += tunnel;
    }
    let file =
        frp_tunnels::tunnel_file::parse_tunnel_file(&text).unwrap_or_else(|found| panic!("{found:#?}"));
    let rendered: Vec<_> = file
        .tunnels
        .iter()
        .map(|spec| frp_tunnels::render::RenderedTunnel {
            name: spec.name.as_deref().unwrap(),
            spec,
            attempt: 3,
            rewriting: None,
        })
        .collect();
    let config = frp_tunnels::render::render_for_frpc(&file.client.server, &rendered).unwrap();
    let config = frp_tunnels::render::escape_templates(&config.to_string());
    let config = frp_tunnels::process::ConfigFile::new(&config.into()).unwrap();
    let run = frp_tunnels::process::ProgramRun {
        program: support::program("frpc"),
        arguments: vec!["verify".into()],
        deadline: support::PATIENCE,
    };
    let output = frp_tunnels::process::run_to_end(run, Some(&config)).await.unwrap();
    assert!(output.is_success, "{}", output.text);
}
