//! The guide's applications in Go, Python and Rust, each run as its reader would: they let their user in, and nobody else.

use std::process::Command;

use crate::support::programs::{Program, free_port, listening, python, source};
use crate::support::{Client, Pod, RouterProcess, get};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// With what every example wants to know.
fn started(command: &mut Command, port: u16) -> Program {
    let command = command.env("ROUTER_SECRET", SECRET).env("ROUTER_DOMAIN", "pool.test");
    Program::start(command.env("LISTEN", format!("127.0.0.1:{port}")).env("WS123", "127.0.0.1"))
}

/// What a browser would send back of a Set-Cookie.
fn cookie_of(answer: &crate::support::Answer, name: &str) -> String {
    let lines = answer.fields("set-cookie");
    let line = lines.iter().find(|line| line.starts_with(&format!("{name}="))).unwrap();
    line.split(';').next().unwrap().to_owned()
}

/// Follows a browser's way to a workspace; the application's status, and where it leads.
async fn ask_application(
    router: &RouterProcess,
    port: u16,
    host: &str,
    user: &str,
) -> (u16, String, Option<String>) {
    let mut browser = Client::connect(router.address).await;
    let away = browser.get(host, "/deep?x=1", "Accept: text/html\r\n").await;
    assert_eq!(away.status, 302, "{}", away.text());
    let login = away.field("location").unwrap();
    let path = login.strip_prefix(&format!("http://127.0.0.1:{port}")).unwrap();
    let mut application = Client::connect(([127, 0, 0, 1], port).into()).await;
    let back =
        application.get(&format!("127.0.0.1:{port}"), path, &format!("Cookie: demo_user={user}\r\n")).await;
    (back.status, cookie_of(&away, "__Host-pattern-router-nonce"), back.field("location"))
}

/// `finds`: it answers `lookup_url` as well.
async fn lets_its_user_in_and_nobody_else(port: u16, finds: bool) {
    listening(port).await;
    let pod = Pod::echo().await;
    let pods = if finds {
        // An application may be slow on a busy machine; that it may be late is tested elsewhere.
        format!("pods: http\nlookup_timeout: 30s\nlookup_url: http://127.0.0.1:{port}/router/pods/{{id}}\n")
    } else {
        "addresses: {ws123: 127.0.0.1, ws124: 127.0.0.1}\n".to_owned()
    };
    let session = format!("auth: session\nsecret: {SECRET}\nlogin_url: http://127.0.0.1:{port}/open\n{pods}");
    let router = RouterProcess::start(&session);
    let host = pod.host_of("ws123");
    assert_eq!(ask_application(&router, port, &host, "bob").await.0, 403, "not his workspace");
    let (status, nonce, enter) = ask_application(&router, port, &host, "alice").await;
    assert_eq!(status, 303);
    let enter = enter.unwrap();
    let enter = enter.strip_prefix(&format!("http://{host}")).unwrap_or_else(|| panic!("{enter}"));
    let mut browser = Client::connect(router.address).await;
    let entered = browser.get(&host, enter, &format!("Cookie: {nonce}\r\n")).await;
    let location = entered.field("location");
    assert_eq!((entered.status, location.as_deref()), (303, Some("/deep?x=1")), "{}", entered.text());
    let session = cookie_of(&entered, "__Host-pattern-router");
    assert_eq!(browser.get(&host, "/", &format!("Cookie: {session}\r\n")).await.status, 200);
    if finds {
        let unknown = get(router.address, &pod.host_of("ws999"), "/").await;
        assert_eq!((unknown.status, unknown.error().as_str()), (404, "no_such_pod"));
    }
    let evil = "/open?to=https%3A%2F%2F3000-ws123.evil.test%2F&nonce=x";
    let mut application = Client::connect(([127, 0, 0, 1], port).into()).await;
    assert_eq!(application.get("app.test", evil, "Cookie: demo_user=alice\r\n").await.status, 400);
}

#[tokio::test]
#[ignore = "needs Go: make test"]
async fn the_guides_application_in_go() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let binary = directory.path().join("application");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&binary).arg(".").current_dir(source("docs/router/examples/go"));
    assert!(build.status().unwrap().success());
    let _application = started(&mut Command::new(binary), port);
    lets_its_user_in_and_nobody_else(port, false).await;
}

#[tokio::test]
#[ignore = "needs Python: make test"]
async fn the_guides_application_in_python() {
    let port = free_port();
    let mut uvicorn = python();
    uvicorn.args(["-m", "uvicorn", "fastapi_app:app", "--log-level", "error", "--port", &port.to_string()]);
    let _application = started(uvicorn.current_dir(source("docs/router/examples")), port);
    lets_its_user_in_and_nobody_else(port, true).await;
}

#[tokio::test]
async fn the_guides_application_in_rust() {
    let port = free_port();
    let binary =
        std::path::Path::new(env!("CARGO_BIN_EXE_pattern-router")).with_file_name("examples/application");
    let _application = started(&mut Command::new(binary), port);
    lets_its_user_in_and_nobody_else(port, true).await;
}
