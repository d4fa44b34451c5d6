use super::super::{BalancingGroup, BandwidthLimit, HealthCheck, HolePunching, XtcpVisitor};
use super::*;

fn tcp() -> TunnelSpec {
    TunnelSpec::tcp(LocalService::port(80), Some(6000)).named("t")
}

fn http() -> (TunnelSpec, HttpTunnel) {
    let tunnel = HttpTunnel::new(LocalService::port(80), vec!["a.test".into()]);
    (TunnelSpec::new(TunnelKind::Http(tunnel.clone())).named("t"), tunnel)
}

/// The keys that are named, in their order.
fn keys(spec: &TunnelSpec) -> Vec<&'static str> {
    mistakes(spec).into_iter().map(|mistake| mistake.key).collect()
}

fn with(change: impl FnOnce(&mut TunnelSpec)) -> Vec<&'static str> {
    let mut spec = tcp();
    change(&mut spec);
    keys(&spec)
}

fn with_http(change: impl FnOnce(&mut HttpTunnel)) -> Vec<&'static str> {
    let mut tunnel = http().1;
    change(&mut tunnel);
    keys(&TunnelSpec::new(TunnelKind::Http(tunnel)).named("t"))
}

#[test]
fn right_tunnels_have_no_mistake() {
    assert_eq!(keys(&tcp()), [""; 0]);
    assert_eq!(keys(&http().0), [""; 0]);
    let visitor = TunnelSpec::stcp_visitor("far", "key".into(), "127.0.0.1:21".parse().unwrap());
    assert_eq!(keys(&visitor), [""; 0]);
}

#[test]
fn each_mistake_names_its_key() {
    assert_eq!(with(|spec| spec.name = Some("a/b".into())), ["name"]);
    assert_eq!(with(|spec| spec.name = Some("{{ .Envs.HOME }}".into())), ["name"]);
    assert_eq!(
        with(|spec| spec.kind = TunnelSpec::tcp(LocalService::port(80), Some(0)).kind),
        ["remote_port"]
    );
    assert_eq!(with(|spec| spec.kind = TunnelSpec::tcp(LocalService::port(0), None).kind), ["local"]);
    assert_eq!(
        with(|spec| spec.kind = TunnelSpec::tcp(LocalService::address("a b", 1), None).kind),
        ["local"]
    );
    let no_rate = BandwidthLimit { kib_per_second: 0, at_server: false };
    assert_eq!(with(|spec| spec.transport.bandwidth_limit = Some(no_rate)), ["bandwidth_limit"]);
    assert_eq!(with(|spec| drop(spec.metadata.insert(String::new(), "x".into()))), ["metadata"]);
    assert_eq!(with(|spec| drop(spec.metadata.insert("k".into(), "x".repeat(20_000)))), ["metadata"]);
    assert_eq!(with(|spec| spec.probe = Some(Probe::Http { path: "x".into(), status: None })), ["probe"]);
    assert_eq!(with(|spec| spec.probe = Some(Probe::Greeting("2\n".into()))), ["probe"]);
}

#[test]
fn a_web_tunnels_mistakes_name_their_keys() {
    assert_eq!(with_http(|http| http.domains.clear()), ["domains"]);
    assert_eq!(with_http(|http| http.domains = vec!["a..b".into(), "x*.y".into()]), ["domains", "domains"]);
    assert_eq!(with_http(|http| http.subdomain = Some("a.b".into())), ["subdomain"]);
    assert_eq!(with_http(|http| http.paths = vec!["app".into(), "/x*".into()]), ["paths", "paths"]);
    assert_eq!(with_http(|http| http.strip_path = true), ["strip_path"]);
    assert_eq!(with_http(|http| drop(http.request_headers.insert("a b".into(), "x".into()))), ["headers"]);
    let plugin = LocalService::Plugin(ClientPlugin::UnixSocket("/run/x".into()));
    assert_eq!(
        with_http(|http| {
            http.local = plugin;
            http.paths = vec!["/api/*".into()];
        }),
        ["paths"]
    );
}

#[test]
fn keys_groups_and_checks_are_validated() {
    let stcp = TunnelSpec::stcp(LocalService::port(21), String::new().into()).named("t");
    assert_eq!(keys(&stcp), ["secret_key"]);
    let group = BalancingGroup { name: "g".into(), key: "k".into() };
    let mut grouped = TunnelSpec::stcp(LocalService::port(21), "k".to_owned().into());
    grouped.group = Some(group);
    assert_eq!(keys(&grouped), ["group"]);
    let health = |kind, seconds| HealthCheck {
        kind,
        timeout: Duration::from_secs(seconds),
        interval: Duration::from_secs(10),
        max_failed: 1,
    };
    assert_eq!(with(|spec| spec.health_check = Some(health(HealthCheckKind::Tcp, 0))), ["health_check"]);
    assert_eq!(
        with(|spec| spec.health_check = Some(health(HealthCheckKind::Http("x".into()), 1))),
        ["health_check"]
    );
    let visitor = Visitor {
        server_name: "a/b".into(),
        server_user: Some(String::new()),
        secret_key: "k".into(),
        bind: "127.0.0.1:0".parse().unwrap(),
    };
    let xtcp = XtcpVisitor {
        visitor,
        protocol: HolePunching::Kcp,
        keep_open: false,
        fallback: Some(("?".into(), Duration::ZERO)),
    };
    let found = keys(&TunnelSpec::new(TunnelKind::XtcpVisitor(xtcp)));
    assert_eq!(found, ["server_name", "server_user", "bind", "fallback", "fallback_after"]);
}

#[test]
fn the_mistakes_of_all_tunnels_are_reported_at_once() {
    let mut wrong = tcp();
    wrong.name = Some("a/b".into());
    let found = mistakes_of_all(&[wrong, tcp(), tcp()]);
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[0].starts_with("a/b: name: "), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "t: conflict: the name t is taken already by t"), "{lines:#?}");
}

#[test]
fn a_mistake_never_holds_a_secret() {
    let secret = TunnelSpec::stcp(LocalService::port(21), "hidden\u{7}key".to_owned().into());
    let found = format!("{:?} {secret:?}", mistakes(&secret));
    assert!(!found.contains("hidden"), "{found}");
}
