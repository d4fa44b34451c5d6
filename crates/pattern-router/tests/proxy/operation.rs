//! Running it: TLS, reloads, health, metrics, the resolver of Kubernetes, mistakes in the configuration.

use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Client, Pod, RouterProcess, get, until};

/// A certificate for these names and its key, as files beside the configuration.
fn certificate(directory: &std::path::Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(directory.join(format!("{file}.pem")), made.cert.pem()).unwrap();
    std::fs::write(directory.join(format!("{file}.key")), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// Speaks TLS with the router; the certificate that it showed, and the answer to a GET.
async fn over_tls(
    router: &RouterProcess,
    sni: &str,
    host: &str,
    trust: &CertificateDer<'static>,
) -> Option<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trust.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = tokio::net::TcpStream::connect(router.address).await.unwrap();
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    Some(String::from_utf8_lossy(&answer).to_lowercase())
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_reloaded_without_touching_open_streams() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let first = certificate(&path, "a", &["*.pool.test"]);
    let other = certificate(&path, "b", &["*.other.test", "other.test"]);
    let list = |name: &str| format!("[{0}/a.{name}, {0}/b.{name}]", path.display());
    let config = format!("tls_cert: {}\ntls_key: {}\nreload_every: 1s\n", list("pem"), list("key"));
    let router = RouterProcess::start_in(directory, &config, &[]);
    let pod = Pod::echo().await;
    let seen = over_tls(&router, &pod.host(), &pod.host(), &first).await.unwrap();
    assert!(seen.contains("200 ok") && seen.contains("x-forwarded-proto: https"), "{seen}");
    assert!(seen.contains("x-forwarded-port: 443"), "{seen}");
    let seen = over_tls(&router, "x.other.test", &pod.host(), &other).await.unwrap();
    assert!(seen.contains("200 ok"), "{seen}");
    assert!(over_tls(&router, "a.b.other.test", &pod.host(), &other).await.is_none(), "a star is one label");
    assert!(
        over_tls(&router, "evil.test", &pod.host(), &first).await.is_none(),
        "no certificate for other names"
    );
    let second = certificate(&path, "a", &["*.pool.test"]);
    until("the new certificate is shown", async || {
        over_tls(&router, &pod.host(), &pod.host(), &second).await.is_some()
    })
    .await;
    // A broken file is refused, and the last good one stays.
    std::fs::write(path.join("a.pem"), "broken").unwrap();
    until("the broken file is reported", async || {
        router.log().iter().any(|line| line.contains("not reloaded"))
    })
    .await;
    assert!(over_tls(&router, &pod.host(), &pod.host(), &second).await.is_some());
}

#[tokio::test]
async fn a_reload_applies_to_the_next_request_and_mistakes_change_nothing() {
    let router = RouterProcess::start("");
    let pod = Pod::echo().await;
    let mut client = Client::connect(router.address).await;
    assert_eq!(client.get(&pod.host(), "/", "").await.status, 200);
    router.rewrite_config("ports: 1-2\nmax_hed: 5\nrate: many\n");
    router.signal("-HUP");
    until("the mistakes are reported", async || {
        let log = router.log().join("\n");
        log.contains("did you mean max_head") && log.contains("rate: expected a number")
    })
    .await;
    assert_eq!(client.get(&pod.host(), "/", "").await.status, 200, "what was read before stays in use");
    router.rewrite_config("ports: 1024-1025\n");
    router.signal("-HUP");
    until("the new list of ports holds on an open connection", async || {
        client.get(&pod.host(), "/", "").await.error() == "port_closed"
    })
    .await;
}

#[tokio::test]
async fn health_metrics_and_the_status_page_are_served_apart() {
    let router = RouterProcess::start("admin_host: 127.0.0.1\nadmin_port: 0\nadmin_token: s3cret-token\n");
    let admin = router.admin.unwrap();
    let pod = Pod::echo().await;
    for _ in 0..3 {
        get(router.address, &pod.host(), "/").await;
    }
    get(router.address, "3000-ws9.pool.test", "/").await;
    let mut client = Client::connect(admin).await;
    for path in ["/health", "/ready", "/"] {
        assert_eq!(client.get("localhost", path, "").await.status, 200, "{path}");
    }
    for path in ["/metrics", "/api/status"] {
        assert_eq!(client.get("localhost", path, "").await.status, 401, "{path}");
    }
    let token = "Authorization: Bearer s3cret-token\r\n";
    let metrics = client.get("localhost", "/metrics", token).await.text();
    for line in [
        "pattern_router_requests_total{class=\"2xx\",proto=\"http1\"} 3",
        "pattern_router_refused_total{code=\"no_such_pod\"} 1",
        "pattern_router_pod_connects_total{outcome=\"connected\"} 1",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(!metrics.contains("ws1") && !metrics.contains("ws9"), "no label holds an id");
    let status = client.get("localhost", "/api/status", token).await.text();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["requests"], 4);
    assert_eq!(status["refused"][0]["code"], "no_such_pod");
    until("the names are counted", async || {
        let status = client.get("localhost", "/api/status", token).await.text();
        status.contains(&format!("{}-ws1", pod.port))
    })
    .await;
    assert!(!router.log().join("\n").contains("s3cret"));
}

#[tokio::test]
async fn the_access_log_says_what_failed_without_the_query() {
    let router = RouterProcess::start("access_log: all\n");
    let pod = Pod::echo().await;
    let mut client = Client::connect(router.address).await;
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let seen = client.get(&pod.host(), "/path?token=hidden", trace).await.text();
    assert!(seen.contains("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736"), "{seen}");
    client.get("3000-ws9.pool.test", "/gone", "").await;
    until("both requests are logged", async || {
        let log = router.log().join("\n");
        log.contains("\"path\":\"/path\"") && log.contains("\"error\":\"no_such_pod\"")
    })
    .await;
    let log = router.log().join("\n");
    assert!(!log.contains("hidden") && log.contains("00-4bf92f3577b34da6a3ce929d0e0e4736"), "{log}");
}

/// An API server that lists one pod, and then reports what it is told to.
async fn api_server(events: Arc<tokio::sync::Mutex<tokio::sync::mpsc::Receiver<String>>>) -> Pod {
    Pod::start(move |mut connection| {
        let events = Arc::clone(&events);
        async move {
            while let Some(head) = connection.head().await {
                assert!(head.to_lowercase().contains("authorization: bearer of-the-account"), "{head}");
                assert!(
                    head.contains("/api/v1/namespaces/code/pods?labelSelector=app%3Dworkspace"),
                    "{head}"
                );
                if !head.contains("watch=1") {
                    let list = format!(
                        r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#,
                        object("ws1", 1, "")
                    );
                    connection.answer("200 OK", "Content-Type: application/json\r\n", &list).await;
                    continue;
                }
                connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                while let Some(event) = events.lock().await.recv().await {
                    let line = format!("{event}\n");
                    connection.write(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await;
                }
                return;
            }
        }
    })
    .await
}

fn object(id: &str, version: u32, spec: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"pod-{id}","resourceVersion":"{version}","labels":{{"workspace":"{id}"}}}},"spec":{{{spec}}},"status":{{"phase":"Running","podIP":"127.0.0.1"}}}}"#
    )
}

#[tokio::test]
async fn pods_of_kubernetes_come_and_go_by_the_watch() {
    let (tell, told) = tokio::sync::mpsc::channel(8);
    let api = api_server(Arc::new(tokio::sync::Mutex::new(told))).await;
    let directory = tempfile::tempdir().unwrap();
    let account = directory.path().join("account");
    std::fs::create_dir(&account).unwrap();
    std::fs::write(account.join("token"), "of-the-account\n").unwrap();
    std::fs::write(account.join("namespace"), "code\n").unwrap();
    let port = api.port.to_string();
    let environment = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", port.as_str()),
        ("PATTERN_ROUTER_KUBERNETES_SCHEME", "http"),
        ("PATTERN_ROUTER_SERVICE_ACCOUNT", account.to_str().unwrap()),
    ];
    let config = "pods: kubernetes\nselector: app=workspace\nid_label: workspace\nadmin_port: 0\nadmin_host: 127.0.0.1\n";
    let router = RouterProcess::start_in(directory, config, &environment);
    let admin = router.admin.unwrap();
    until("the pods are listed", async || get(admin, "localhost", "/ready").await.status == 200).await;
    let pod = Pod::echo().await;
    let status = async |id: &str| get(router.address, &pod.host_of(id), "/").await.error();
    assert_eq!(status("ws1").await, "");
    assert_eq!(status("ws2").await, "no_such_pod");
    let event = |kind: &str, object: String| format!(r#"{{"type":"{kind}","object":{object}}}"#);
    tell.send(event("ADDED", object("ws2", 2, ""))).await.unwrap();
    until("the new pod is found", async || status("ws2").await.is_empty()).await;
    tell.send(event("MODIFIED", object("ws2", 3, r#""hostNetwork":true"#))).await.unwrap();
    until("a pod on its node's network is not", async || status("ws2").await == "no_such_pod").await;
    tell.send(event("DELETED", object("ws1", 4, ""))).await.unwrap();
    until("a deleted pod is gone", async || status("ws1").await == "no_such_pod").await;
}

#[test]
fn every_mistake_is_named_at_once_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("router.yaml");
    let text = "domian: pool.test\nport: 70000\nports: 3000-2000\nnetworks: 10.0.0.0/40\nauth: session\n\
                head_timeout: soon\ntls_cert: /none.pem\npods: dns\nname: ws.{id}\nmax_head: 1\naccess_log: loud\n\
                proxy_protocol: true\nrate: 5\nrate: 6\n";
    std::fs::write(&path, text).unwrap();
    let run = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_pattern-router"))
            .arg(command)
            .arg("--config")
            .arg(&path)
            .output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    for command in ["run", "check"] {
        let (code, text) = run(command);
        assert_eq!(code, Some(78), "{text}");
        for part in [
            "router.yaml:1: domian: unknown key; did you mean domain?",
            "domain: is required",
            "router.yaml:2: port: expected a number from 0 to 65535",
            "router.yaml:3: ports: '3000-2000' ends before it begins",
            "router.yaml:4: networks: '10.0.0.0/40' is not a network",
            "secret_file: auth: session needs secret or secret_file",
            "router.yaml:6: head_timeout: expected a duration",
            "router.yaml:7: tls_cert: /none.pem",
            "tls_key: 1 certificates and 0 keys",
            "router.yaml:9: name: expected {id} in the first label",
            "router.yaml:10: max_head: expected 8Ki to 1Mi",
            "router.yaml:11: access_log: expected",
            "router.yaml:12: proxy_protocol: needs trusted",
            "router.yaml:14: rate: is set twice",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}

#[tokio::test]
async fn check_tells_what_works_here() {
    let pod = Pod::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("router.yaml");
    std::fs::write(&path, crate::support::router::config("")).unwrap();
    let run = async |name: String| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            let output = Command::new(env!("CARGO_BIN_EXE_pattern-router"))
                .args(["check", "--config"])
                .arg(&path)
                .arg(name)
                .output()
                .unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        })
        .await
        .unwrap()
    };
    let (code, text) = run(format!("{}-ws1", pod.port)).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("and connects") && text.contains("warn  addresses: allow_loopback"), "{text}");
    let (code, text) = run("22-ws1".into()).await;
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("FAIL  name: port 22 is not in ports"), "{text}");
}

#[test]
fn variables_override_the_file_and_a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("router.yaml");
    std::fs::write(&path, crate::support::router::config("")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pattern-router"))
        .args(["run", "--config"])
        .arg(&path)
        .env("PATTERN_ROUTER__PORT", &port)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{text}");
}
