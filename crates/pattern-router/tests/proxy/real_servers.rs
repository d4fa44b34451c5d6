//! Real servers behind the router: uvicorn, Node, gRPC, Vite with its pages replaced in a real browser, and the pool's own
//! page. `make deps` has them.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::programs::{Program, deps, free_port, listening, python, source};
use crate::support::{Client, Pod, RouterProcess, get, until};

fn judge(file: &str) -> PathBuf {
    source("crates/pattern-router/tests/judges").join(file)
}

/// A WebSocket through the router, by a library that checks what it gets; what comes back of a text.
fn websocket_echo(router: std::net::SocketAddr, host: &str, text: &str) -> String {
    let stream = std::net::TcpStream::connect(router).unwrap();
    stream.set_read_timeout(Some(crate::support::router::PATIENCE)).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{host}/ws"), stream).unwrap();
    socket.send(tungstenite::Message::text(text)).unwrap();
    loop {
        if let tungstenite::Message::Text(text) = socket.read().unwrap() {
            return text.to_string();
        }
    }
}

#[tokio::test]
#[ignore = "needs Python: make test"]
async fn an_application_on_uvicorn_works_as_without_the_router() {
    let port = free_port();
    let _application = Program::start(python().arg(judge("application.py")).arg(port.to_string()));
    listening(port).await;
    let router = RouterProcess::start("");
    let host = format!("{port}-ws1.pool.test");
    let mut client = Client::connect(router.address).await;
    let page = client.get(&host, "/?a=b", "").await.text();
    assert!(page.contains(&format!("http://{host}/?a=b")), "{page}");
    let body = "x".repeat(300_000);
    let fields = format!("Content-Length: {}\r\n", body.len());
    assert_eq!(client.request("POST /upload", &host, &fields, &body).await.text(), r#"{"size":300000}"#);
    let events = client.get(&host, "/events", "Accept: text/event-stream\r\n").await;
    assert_eq!(events.text().matches("data: ").count(), 5, "{}", events.text());
    let address = router.address;
    let echoed = tokio::task::spawn_blocking(move || websocket_echo(address, &host, "héllo")).await.unwrap();
    assert_eq!(echoed, "héllo");
}

#[tokio::test]
#[ignore = "needs Node: make test"]
async fn nodes_early_closes_are_never_seen() {
    let port = free_port();
    let _server = Program::start(Command::new("node").arg(judge("node_server.mjs")).arg(port.to_string()));
    listening(port).await;
    let router = RouterProcess::start("");
    let host = format!("{port}-ws1.pool.test");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8u64 {
        let (address, host) = (router.address, host.clone());
        tasks.spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..40 {
                let answer = client.get(&host, "/", "").await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                // Around the 20 ms after which Node closes.
                tokio::time::sleep(Duration::from_millis(16 + number)).await;
            }
        });
    }
    tasks.join_all().await;
    let mut client = Client::connect(router.address).await;
    let posted =
        client.request("POST /", &host, "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n").await;
    assert!(posted.text().contains(r#""size":5"#), "{}", posted.text());
    let address = router.address;
    let opened = tokio::task::spawn_blocking(move || {
        let stream = std::net::TcpStream::connect(address).unwrap();
        tungstenite::client(format!("ws://{host}/ws"), stream).unwrap().1.status().as_u16()
    });
    assert_eq!(opened.await.unwrap(), 101);
}

#[tokio::test]
#[ignore = "needs Python: make test"]
async fn a_grpc_service_is_reached_by_its_own_client() {
    let port = free_port();
    let _server = Program::start(python().arg(judge("grpc_server.py")).arg(port.to_string()));
    listening(port).await;
    let router = RouterProcess::start(&format!("h2_ports: {port}\n"));
    let mut client = python();
    client.arg(judge("grpc_client.py")).arg(router.address.to_string()).arg(format!("{port}-ws1.pool.test"));
    let output = tokio::task::spawn_blocking(move || client.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("all right"), "{said}");
}

/// Debian's headless Chromium, without its shell script.
fn browser() -> PathBuf {
    let places = [
        "/usr/lib/chromium/chromium-headless-shell",
        "/usr/lib/chromium/chromium",
        "/usr/bin/chromium-headless-shell",
        "/usr/bin/chromium",
        "/usr/bin/google-chrome",
    ];
    let named = std::env::var_os("FTP_POOLER_TEST_BROWSER").map(PathBuf::from);
    named
        .or_else(|| places.iter().map(PathBuf::from).find(|place| place.exists()))
        .expect("no Chromium: make deps")
}

/// A page that reports each value of `value.js` to the test, and what happens to its WebSocket.
fn vite_project(directory: &Path, report: &str) {
    let write = |file: &str, text: &str| std::fs::write(directory.join(file), text).unwrap();
    write("index.html", "<!doctype html><title>x</title><script type=\"module\" src=\"/main.js\"></script>");
    write("value.js", "export const value = \"first\";\n");
    let loaded = "Math.random().toString(36).slice(2)";
    write(
        "main.js",
        &format!(
            "import {{ value }} from './value.js';\nconst page = {loaded};\n\
             const tell = (value) => fetch('{report}/' + value + '/' + page, {{ mode: 'no-cors' }});\ntell(value);\n\
             import.meta.hot.accept('./value.js', (module) => tell(module.value));\n"
        ),
    );
}

/// Vite 5.4 and later answer only hosts that they are told of; the router's name is one.
#[tokio::test]
#[ignore = "needs Vite and Chromium: make test"]
async fn vite_replaces_a_module_in_a_browser_that_looks_through_the_router() {
    let (seen, router) = (Pod::echo().await, RouterProcess::start(""));
    let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
    let at = |port: u16| format!("http://{port}-ws1.pool.test:{}", router.address.port());
    vite_project(directory.path(), &at(seen.port));
    let config = format!(
        "export default {{ cacheDir: '.cache', server: {{ host: '127.0.0.1', port: {port}, strictPort: true, allowedHosts: ['.pool.test'] }} }};\n"
    );
    std::fs::write(directory.path().join("vite.config.mjs"), config).unwrap();
    let vite = deps("vite/node_modules/vite/bin/vite.js");
    let _vite = Program::start(Command::new("node").arg(vite).current_dir(directory.path()));
    listening(port).await;
    let profile = tempfile::tempdir().unwrap();
    let _browser = Program::start(
        Command::new(browser())
            .args([
                "--headless",
                "--no-sandbox",
                "--no-zygote",
                "--disable-gpu",
                "--no-first-run",
                "--disable-sync",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-dev-shm-usage",
            ])
            .args(["--remote-debugging-port=0", "--host-resolver-rules=MAP *.pool.test 127.0.0.1"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(at(port))
            .stderr(Stdio::null()),
    );
    let told = |value: &str| {
        let all: String =
            seen.received().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
        let after = all.split_once(&format!("GET /{value}/")).map(|(_, rest)| rest.to_owned());
        after.map(|rest| rest.split(' ').next().unwrap_or_default().to_owned())
    };
    until("the page is shown", async || told("first").is_some()).await;
    std::fs::write(directory.path().join("value.js"), "export const value = \"second\";\n").unwrap();
    until("the module is replaced over the WebSocket", async || told("second").is_some()).await;
    assert_eq!(told("first"), told("second"), "in the same page, without a reload");
}

/// The pool's program, which a build of the whole workspace puts beside the router's.
fn pool() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_pattern-router")).with_file_name("ftp-pooler");
    assert!(program.exists(), "{} is missing: cargo build -p ftp-pooler", program.display());
    Command::new(program)
}

#[tokio::test]
#[ignore = "needs ftp-pooler's program: make test"]
async fn the_pools_own_page_and_its_events_pass() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = pool();
    let output = directory.path().join("output");
    demo.args(["demo", "--files", "10", "--keep-running"]).env("TMPDIR", directory.path());
    demo.stdout(std::fs::File::create(&output).unwrap()).stderr(Stdio::null());
    let _demo = Program::of(demo.process_group(0).stdin(Stdio::null()).spawn().unwrap());
    let mut page = None;
    until("the page's address is shown", async || {
        let mut lines = BufReader::new(std::fs::File::open(&output).unwrap()).lines().map_while(Result::ok);
        page = lines.find_map(|line| line.trim().strip_prefix("page ").map(|url| url.trim().to_owned()));
        page.is_some()
    })
    .await;
    let page = page.unwrap();
    let port: u16 = page.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
    listening(port).await;
    let host = format!("{port}-ws1.pool.test");
    // The pool refuses names that it does not know; the guide's configuration has it see one that it does.
    let refused = get(RouterProcess::start("").address, &host, "/").await;
    assert_eq!((refused.status, refused.error().as_str()), (421, ""), "{}", refused.text());
    let router = RouterProcess::start("host_header: localhost\n");
    let answer = get(router.address, &host, "/").await;
    assert!(answer.status == 200 && answer.text().contains("<html"), "{}", answer.head);
    let mut events = Client::connect(router.address).await;
    events
        .write(format!("GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n"))
        .await;
    let head = events.read_until(b"\r\n\r\n").await.unwrap();
    assert!(
        String::from_utf8_lossy(&head).contains("text/event-stream"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    for _ in 0..2 {
        assert!(events.read_until(b"data:").await.is_some(), "events come while the answer is open");
    }
}
