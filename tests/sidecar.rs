//! The sidecar over real sockets: what a probe, a scraper, a browser and a bad client see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

#[path = "sidecar/api.rs"]
mod api;
#[path = "sidecar/clients.rs"]
mod clients;
#[path = "sidecar/inside.rs"]
mod inside;
#[path = "sidecar/silent.rs"]
mod silent;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ftp_pooler::config::{ApiToken, ListenAddress};
use ftp_pooler::health::PodHealth;
use ftp_pooler::metrics::Metrics;
use ftp_pooler::sidecar::{MAX_STREAMS, PodView, Sidecar};
use inside::Inside;
use serde_json::{Value, json};
use service_kit::health::{HealthReport, ReportHealth};
use service_kit::http::{GRACE, HEAD_DEADLINE, MAX_CONNECTIONS, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// No step of these tests takes nearly as long.
const LONG: Duration = Duration::from_secs(20);

/// A pod's health as it will be reported some time ahead.
#[derive(Debug)]
struct Later {
    health: Arc<PodHealth>,
    /// Milliseconds.
    ahead: Arc<AtomicU64>,
}

impl ReportHealth for Later {
    fn report(&self, now: Instant) -> HealthReport {
        self.health.report(now + Duration::from_millis(self.ahead.load(Ordering::SeqCst)))
    }
}

/// A pod's sidecar on ports of the system's choice.
struct Pod {
    health: Arc<PodHealth>,
    metrics: Metrics,
    inside: Arc<Inside>,
    api: SocketAddr,
    metrics_api: SocketAddr,
    /// Milliseconds by which its clock is ahead.
    ahead: Arc<AtomicU64>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Pod {
    async fn start() -> Pod {
        Pod::with_token(None).await
    }

    /// One that shows itself to those who have this token.
    async fn with_token(token: Option<&str>) -> Pod {
        let sidecar = Sidecar::bind(&listen(0), &listen(0)).await.expect("the system has ports");
        let token = token.map(|token| Arc::new(ApiToken::new(token.into()).expect("a token")));
        Pod::run_guarded(sidecar, token)
    }

    fn run(sidecar: Sidecar) -> Pod {
        Pod::run_guarded(sidecar, None)
    }

    fn run_guarded(sidecar: Sidecar, token: Option<Arc<ApiToken>>) -> Pod {
        let (health, metrics) = (PodHealth::new(), Metrics::new(["far", "near"]));
        let ahead = Arc::new(AtomicU64::new(0));
        let inside = Arc::new(Inside::default());
        let later = Later { health: Arc::clone(&health), ahead: Arc::clone(&ahead) };
        let view = PodView::new(Arc::new(later), metrics.clone(), inside.clone())
            .with_token(move || token.as_ref().map(|token| token.bearer()));
        let shutdown = CancellationToken::new();
        Pod {
            health,
            metrics,
            inside,
            api: sidecar.api_address().unwrap(),
            metrics_api: sidecar.metrics_address().unwrap(),
            ahead,
            running: tokio::spawn(sidecar.run(view, shutdown.clone())),
            shutdown,
        }
    }

    async fn get(&self, path: &str) -> Reply {
        ask(self.api, "GET", path).await
    }

    fn pass(&self, time: Duration) {
        self.ahead.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Asks it to stop, and tells how long that took.
    async fn stop(self) -> Duration {
        let begun = Instant::now();
        self.shutdown.cancel();
        timeout(LONG, self.running).await.expect("the sidecar stops").expect("and does not panic");
        begun.elapsed()
    }
}

fn listen(port: u16) -> ListenAddress {
    ListenAddress { host: "127.0.0.1".to_owned(), port }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

impl Reply {
    fn parse(text: &str) -> Reply {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Reply { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Reply {
    send(address, &format!("{method} {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")).await
}

/// Sends the text and reads until the server closes.
async fn send(address: SocketAddr, text: &str) -> Reply {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.expect("the sidecar accepts");
        socket.write_all(text.as_bytes()).await.expect("and reads");
        let mut reply = Vec::new();
        socket.read_to_end(&mut reply).await.expect("and answers");
        Reply::parse(&String::from_utf8(reply).expect("in UTF-8"))
    };
    timeout(LONG, exchange).await.expect("the sidecar answers in time")
}

#[tokio::test]
async fn a_pod_is_healthy_while_its_loops_beat_and_503_once_one_is_stuck() {
    let pod = Pod::start().await;
    assert_eq!(pod.get("/health").await.status, 200);

    pod.pass(Duration::from_secs(45));
    let reply = pod.get("/health").await;
    assert_eq!(reply.status, 503);
    let body = reply.json();
    assert_eq!((&body["status"], &body["stuck"]), (&json!("stuck"), &json!(["consume"])));
    let consume = &body["loops"][0];
    assert_eq!((&consume["name"], &consume["limit_seconds"]), (&json!("consume"), &json!(30.0)));
    assert!(consume["silent_seconds"].as_f64().unwrap() >= 45.0, "{body}");
    assert_eq!(body["loops"][1]["stuck"], json!(false), "publish may be silent for longer: {body}");

    pod.pass(Duration::from_secs(45));
    assert_eq!(pod.get("/health").await.json()["stuck"], json!(["consume", "publish"]));
}

#[tokio::test]
async fn a_pod_is_ready_once_it_has_joined_until_it_drains() {
    let pod = Pod::start().await;
    let reply = pod.get("/ready").await;
    assert_eq!((reply.status, &reply.json()["reasons"]), (503, &json!(["joining the group"])));

    pod.health.set_joined(true);
    let reply = pod.get("/ready").await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("ready")));

    pod.health.halt("partition ftp-tasks[3]", "offset out of range");
    let reply = pod.get("/ready").await;
    let reason = json!(["partition ftp-tasks[3] halted: offset out of range"]);
    assert_eq!((reply.status, &reply.json()["reasons"]), (503, &reason));

    pod.health.lift_halt("partition ftp-tasks[3]");
    pod.health.set_draining();
    let reply = pod.get("/ready").await;
    assert_eq!((reply.status, &reply.json()["reasons"]), (503, &json!(["draining"])));
    assert_eq!(pod.get("/health").await.status, 200, "a pod that drains is alive");
}

#[tokio::test]
async fn metrics_are_on_both_ports_and_nothing_else_is_on_theirs() {
    let pod = Pod::start().await;
    pod.metrics.session_opened("far");
    assert_ne!(pod.api.port(), pod.metrics_api.port());
    for address in [pod.api, pod.metrics_api] {
        let reply = ask(address, "GET", "/metrics").await;
        assert_eq!(reply.status, 200);
        assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{reply:?}");
        assert!(reply.body.contains("ftp_pooler_sessions_opened_total{connection=\"far\"} 1\n"));
        assert!(
            reply.body.contains("\nftp_pooler_healthy 1\n") && reply.body.contains("\nftp_pooler_ready 0\n")
        );
    }
    for path in ["/", "/health", "/api/v1/status"] {
        let reply = ask(pod.metrics_api, "GET", path).await;
        assert_eq!((reply.status, reply.body.as_str()), (404, "nothing here; known is /metrics\n"));
    }
}

#[tokio::test]
async fn the_health_metric_says_what_the_probe_says() {
    let pod = Pod::start().await;
    pod.health.set_joined(true);
    let body = pod.get("/metrics").await.body;
    assert!(body.contains("\nftp_pooler_healthy 1\n") && body.contains("\nftp_pooler_ready 1\n"));
    // The consume loop is silent, and Kafka has not been seen.
    pod.pass(Duration::from_secs(45));
    let body = pod.get("/metrics").await.body;
    assert!(body.contains("\nftp_pooler_healthy 0\n") && body.contains("\nftp_pooler_ready 0\n"));
}

#[tokio::test]
async fn the_status_has_the_figures_of_each_connection() {
    let pod = Pod::start().await;
    pod.metrics.answered("download", "far", None, Duration::from_millis(20));
    pod.metrics.answered("upload", "far", Some("timeout"), Duration::from_secs(2));
    pod.metrics.bytes("download", "far", 1_024);
    pod.metrics.sessions("far", 1, 2, 0);
    pod.metrics.tasks("near", 7, 0, 0);
    pod.metrics.held(7, 900);

    let reply = pod.get("/api/v1/status").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let status = reply.json();
    assert_eq!(status["version"], json!(env!("CARGO_PKG_VERSION")));
    assert_eq!((&status["healthy"], &status["ready"]), (&json!(true), &json!(false)));
    assert_eq!(status["held_tasks"], json!(7));
    assert_eq!(status["totals"]["completed"], json!(1));
    assert_eq!(status["tasks"]["waiting"], json!(7));
    let far = &status["connections"][0];
    assert_eq!(far["name"], json!("far"));
    assert_eq!(far["sessions"], json!({"idle": 1, "busy": 2, "connecting": 0}));
    assert_eq!(far["totals"]["downloaded_bytes"], json!(1_024));
    assert_eq!(far["totals"]["failed"], json!(1));
    assert_eq!(status["connections"][1]["name"], json!("near"));
}

#[tokio::test]
async fn the_page_is_self_contained_and_under_a_strict_policy() {
    let pod = Pod::start().await;
    let reply = pod.get("/").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = reply.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(reply.body.starts_with("<!doctype html>") && reply.body.contains("/api/v1/status"));
}

#[tokio::test]
async fn every_reply_is_for_this_moment_and_its_own_type() {
    let pod = Pod::start().await;
    for path in ["/", "/health", "/ready", "/metrics", "/api/v1/status", "/nowhere"] {
        let reply = pod.get(path).await;
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(reply.header("content-security-policy").is_some(), "{path}");
    }
}

#[tokio::test]
async fn head_gets_the_head_of_get() {
    let pod = Pod::start().await;
    for path in ["/", "/health", "/ready", "/metrics", "/api/v1/status"] {
        let (head, get) = (ask(pod.api, "HEAD", path).await, pod.get(path).await);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(head.header("content-length").is_some_and(|length| length != "0"), "{path}: {head:?}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_names_the_known_ones() {
    let pod = Pod::start().await;
    for path in ["/nowhere", "/health/", "/../etc/passwd", "/%00", "//"] {
        let reply = pod.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        for known in ["/health", "/ready", "/metrics", "/api/v1/status"] {
            assert!(reply.body.contains(known), "{path}: {}", reply.body);
        }
    }
}

#[tokio::test]
async fn other_methods_are_405() {
    let pod = Pod::start().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let reply = ask(pod.api, method, "/health").await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("get,head"), "{method}");
    }
}

/// One reply of a connection that stays open.
async fn read_reply(socket: &mut TcpStream) -> Reply {
    let mut text = String::new();
    let reading = async {
        loop {
            let mut piece = [0; 4_096];
            let read = socket.read(&mut piece).await.expect("a reply comes");
            assert_ne!(read, 0, "the server closed after {text:?}");
            text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
            if text.contains("\r\n\r\n") {
                let reply = Reply::parse(&text);
                let length: usize = reply.header("content-length").expect("a length").parse().unwrap();
                if reply.body.len() >= length {
                    return reply;
                }
            }
        }
    };
    timeout(LONG, reading).await.expect("the reply comes in time")
}

/// What `ftp-pooler health` says and ends with; it runs beside the sidecar, which has a runtime thread of its own.
async fn asked(arguments: Vec<String>) -> (Option<i32>, String) {
    let asking = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
        command.arg("health").args(arguments).output().unwrap()
    });
    let output = asking.await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn the_binary_itself_tells_whether_a_pod_is_well() {
    let pod = Pod::start().await;
    let url = |path: &str| vec!["--url".to_owned(), format!("http://{}{path}", pod.api)];
    let (code, said) = asked(url("")).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"healthy\""), "{said}");
    let (code, said) = asked(url("/ready")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("joining the group"), "{said}");
    pod.ahead.store(120_000, Ordering::SeqCst);
    let (code, said) = asked(url("/health")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\"stuck\""), "{said}");
}

#[tokio::test]
async fn a_pod_is_found_through_its_configuration() {
    let pod = Pod::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    let config = dir.path().join("config.yaml");
    let text = format!("api: {{host: 127.0.0.1, port: {}}}\npod: {{name: pod-0}}\n", pod.api.port());
    std::fs::write(&config, text).unwrap();
    std::fs::write(dir.path().join("connections.ini"), "[local]\ntype = local\nbase_path = /\n").unwrap();
    let with_config = |more: &[&str]| {
        let mut arguments = vec!["--config".to_owned(), config.display().to_string()];
        arguments.extend(more.iter().map(ToString::to_string));
        arguments
    };
    let (code, said) = asked(with_config(&[])).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = asked(with_config(&["--ready"])).await;
    assert_eq!(code, Some(1), "{said}");
    pod.health.set_joined(true);
    let (code, said) = asked(with_config(&["--ready"])).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn who_asks_where_nobody_is_hears_that() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, said) = asked(vec!["--url".into(), format!("http://127.0.0.1:{free}")]).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&format!("http://127.0.0.1:{free}/health does not answer")), "{said}");
}
