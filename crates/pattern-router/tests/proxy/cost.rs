//! What a request costs: instructions, which do not depend on how busy the machine is.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use pattern_router::ticket::{TicketClaims, TicketKey, TicketPort, TicketUse};

use crate::support::programs::source;
use crate::support::{Client, Pod, RouterProcess};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// User instructions a request, with a session, a rate, metrics and the access log's preparation; nginx needs 30,400 without.
const ALLOWED: u64 = 38_000;
/// Compilers and libraries differ by so many percent.
const MARGIN: u64 = 5;

/// The program as it is shipped: an unoptimized one says nothing.
fn optimized() -> PathBuf {
    if let Some(given) = std::env::var_os("PATTERN_ROUTER_OPTIMIZED") {
        return given.into();
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| source(".").join("target"), PathBuf::from);
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--locked",
        "-q",
        "--profile",
        "router",
        "-p",
        "pattern-router",
        "--bin",
        "pattern-router",
    ]);
    assert!(build.current_dir(source(".")).status().unwrap().success());
    target.join("router/pattern-router")
}

fn session(port: u16) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = TicketClaims {
        usage: TicketUse::Session,
        id: "ws1".into(),
        port: TicketPort::One(port),
        user: "alice".into(),
        roles: vec![],
        nonce: String::new(),
        expires: now + 3600,
    };
    TicketKey::new(SECRET.into()).unwrap().sign(&claims).unwrap()
}

/// All instructions of a router that has answered so many requests.
async fn instructions(program: &std::path::Path, requests: u32) -> u64 {
    let pod = Pod::start(|mut connection| async move {
        let body = "x".repeat(1024);
        while connection.head().await.is_some() {
            connection.answer("200 OK", "Content-Type: text/plain\r\nServer: pod\r\n", &body).await;
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let counts = directory.path().join("counts");
    let config = format!("auth: session\nsecret: {SECRET}\nrate: 1000000\nrate_burst: 1000000\ndrain: 0s\n");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["-q", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", counts.display()));
    valgrind.arg(program);
    let mut router = RouterProcess::start_program(valgrind, tempfile::tempdir().unwrap(), &config, &[]);
    let fields = format!(
        "User-Agent: test\r\nAccept: */*\r\nCookie: theme=dark; __Host-pattern-router={}; sid=abcdef\r\n",
        session(pod.port)
    );
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (address, host, fields) = (router.address, pod.host(), fields.clone());
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..requests / 16 {
                assert_eq!(client.get(&host, "/", &fields).await.status, 200);
            }
        });
    }
    clients.join_all().await;
    router.signal("-TERM");
    assert!(router.wait().success());
    let counts = std::fs::read_to_string(counts).unwrap();
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    total.trim().parse().unwrap()
}

#[tokio::test]
#[ignore = "needs valgrind, and builds the router as it is shipped: make router-cost"]
async fn a_request_with_a_session_takes_no_more_instructions_than_it_may() {
    let program = tokio::task::spawn_blocking(optimized).await.unwrap();
    // What a process and its connections take is in both.
    let (few, many) = (instructions(&program, 480).await, instructions(&program, 2_400).await);
    let each = (many - few) / (2_400 - 480);
    println!("{each} instructions a request");
    assert!(each > 10_000, "{each}: it did its work");
    assert!(each <= ALLOWED + ALLOWED * MARGIN / 100, "{each} instructions a request, {ALLOWED} are allowed");
}
