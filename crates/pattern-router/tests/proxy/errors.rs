//! Every answer of the router's own, as a page for people and as JSON for programs.

use std::collections::BTreeSet;

use pattern_router::error::ErrorCode;

use crate::support::{Answer, Client, Pod, RouterProcess, until};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// How a code comes about: the router's configuration, and a request with HOST and ACCEPT to be filled in.
struct Case {
    code: ErrorCode,
    config: String,
    request: String,
}

fn case(code: ErrorCode, config: &str, request: &str) -> Case {
    Case { code, config: config.to_owned(), request: request.to_owned() }
}

/// A GET of `/` with these fields.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: HOST\r\nAccept: ACCEPT\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: HOST\r\nAccept: ACCEPT\r\n{fields}\r\n{body}")
}

/// Those that need nothing but a request.
fn of_the_request() -> Vec<Case> {
    let elsewhere = |host: &str| get("").replace("HOST", host);
    let long = format!("/{}", "a".repeat(17_000));
    vec![
        case(ErrorCode::BadName, "", &elsewhere("3000.pool.test")),
        case(ErrorCode::BadRequest, "", &get("Host: 1-other.pool.test\r\n")),
        case(ErrorCode::NoSuchPod, "", &elsewhere("3000-ws9.pool.test")),
        case(ErrorCode::PortClosed, "", &elsewhere("22-ws1.pool.test")),
        case(ErrorCode::NotHere, "", &elsewhere("example.com")),
        case(ErrorCode::MethodNotAllowed, "", &get("").replace("GET", "TRACE")),
        case(ErrorCode::TransferCoding, "", &post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        case(ErrorCode::BodyTooLarge, "max_body: 1Ki\n", &post("Content-Length: 2000\r\n", "")),
        case(ErrorCode::BodyTooSlow, "body_timeout: 200ms\n", &post("Content-Length: 20\r\n", "few")),
        case(ErrorCode::HeadTooLarge, "", &get("").replace("GET / ", &format!("GET {long} "))),
        case(ErrorCode::AddressRefused, "allow_loopback: false\n", &get("")),
        case(ErrorCode::SlowDown, "rate: 1\nrate_burst: 1\n", &get("")),
    ]
}

/// Those of sessions.
fn of_the_session() -> Vec<Case> {
    let session = format!("auth: session\nsecret: {SECRET}\n");
    let forward = "auth: forward\nauth_url: http://127.0.0.1:1/auth\n";
    let enter = get("").replace("GET / ", "GET /.router/enter?ticket=v1.x.y ");
    vec![
        case(ErrorCode::SignIn, &session, &get("")),
        case(ErrorCode::BadTicket, &session, &enter),
        case(
            ErrorCode::ForeignOrigin,
            &session,
            &post("Origin: http://evil.test\r\nContent-Length: 0\r\n", ""),
        ),
        case(ErrorCode::LookupFailed, forward, &get("")),
    ]
}

/// Checks a page or JSON; the code that it shows.
fn check(answer: &Answer, code: ErrorCode, html: bool) {
    let (name, text) = (code.as_str(), answer.text());
    assert_eq!((answer.status, answer.error().as_str()), (code.status().as_u16(), name), "{text}");
    assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"), "{name}");
    assert!(!text.contains("127.0.0.1") && !text.contains("secret"), "{name} shows no inner address: {text}");
    if !html {
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["code"], name);
        assert!(json["error"].as_str().is_some_and(|error| error.ends_with('.')), "{text}");
        return;
    }
    assert!(answer.field("content-type").unwrap().starts_with("text/html"), "{name}");
    assert!(answer.field("content-security-policy").unwrap().contains("default-src 'none'"), "{name}");
    assert!(text.contains(&code.title().replace('\'', "&#39;")), "{name}: {text}");
    for foreign in ["src=", "href=\"http", "url(", "@import"] {
        assert!(!text.contains(foreign), "{name} loads nothing: {text}");
    }
    let again = matches!(
        code,
        ErrorCode::NothingListens | ErrorCode::Full | ErrorCode::PodSilent | ErrorCode::LookupFailed
    );
    assert_eq!(text.contains("http-equiv=\"refresh\""), again, "{name} looks again by itself");
}

async fn ask(router: &RouterProcess, pod: &Pod, request: &str, html: bool) -> Answer {
    let accept = if html { "text/html,*/*;q=0.8" } else { "application/json" };
    let mut client = Client::connect(router.address).await;
    client.write(request.replace("HOST", &pod.host()).replace("ACCEPT", accept)).await;
    client.answer().await
}

async fn both(router: &RouterProcess, pod: &Pod, code: ErrorCode, request: &str) {
    for html in [true, false] {
        check(&ask(router, pod, request, html).await, code, html);
    }
}

/// An application that says that ws1 is bob's.
async fn bobs() -> Pod {
    Pod::start(|mut connection| async move {
        while connection.head().await.is_some() {
            connection.answer("200 OK", "", r#"{"address":"127.0.0.1","users":["bob"]}"#).await;
        }
    })
    .await
}

/// Alice's session, where only Bob may pass.
async fn not_allowed(pod: &Pod) {
    use pattern_router::ticket::{TicketClaims, TicketKey, TicketPort, TicketUse};
    let application = bobs().await;
    let lookup = format!("pods: http\nlookup_url: http://127.0.0.1:{}/{{id}}\n", application.port);
    let router = RouterProcess::start(&format!("auth: session\nsecret: {SECRET}\n{lookup}"));
    let claims = TicketClaims {
        usage: TicketUse::Session,
        id: "ws1".into(),
        port: TicketPort::Any,
        user: "alice".into(),
        roles: vec![],
        nonce: String::new(),
        expires: u64::MAX,
    };
    let session = TicketKey::new(SECRET.into()).unwrap().sign(&claims).unwrap();
    let fields = format!("Cookie: __Host-pattern-router={session}\r\n");
    both(&router, pod, ErrorCode::NotAllowed, &get(&fields)).await;
}

/// Those that are the pod's fault, or come of how busy it is.
async fn of_the_pod(seen: &mut BTreeSet<&'static str>) {
    let router = RouterProcess::start(
        "connect_timeout: 100ms\nanswer_timeout: 200ms\npod_connections: 1\npod_connections_max: 1\n",
    );
    let gone = Pod::echo().await.port;
    let request = get("").replace("HOST", &format!("{gone}-ws1.pool.test"));
    let silent = Pod::start(|mut connection| async move { while connection.byte().await.is_some() {} }).await;
    both(&router, &silent, ErrorCode::NothingListens, &request).await;
    both(&router, &Pod::fixed("no HTTP\r\n\r\n").await, ErrorCode::PodHungUp, &get("")).await;
    both(&router, &silent, ErrorCode::PodSilent, &get("")).await;
    let busy = RouterProcess::start("connect_timeout: 100ms\npod_connections: 1\npod_connections_max: 1\n");
    let held = Pod::start(|mut connection| async move { while connection.byte().await.is_some() {} }).await;
    let mut first = Client::connect(busy.address).await;
    first.write(get("").replace("HOST", &held.host())).await;
    until("the pod's only connection is in use", async || held.connections() == 1).await;
    both(&busy, &held, ErrorCode::Full, &get("")).await;
    let codes = [ErrorCode::NothingListens, ErrorCode::PodHungUp, ErrorCode::PodSilent, ErrorCode::Full];
    seen.extend(codes.map(ErrorCode::as_str));
}

#[tokio::test]
async fn each_code_has_its_page_and_its_json() {
    let pod = Pod::echo().await;
    let mut seen = BTreeSet::new();
    for case in of_the_request().into_iter().chain(of_the_session()) {
        let router = RouterProcess::start(&case.config);
        if case.code == ErrorCode::SlowDown {
            assert_eq!(ask(&router, &pod, &case.request, false).await.status, 200, "the burst");
        }
        both(&router, &pod, case.code, &case.request).await;
        seen.insert(case.code.as_str());
    }
    not_allowed(&pod).await;
    seen.insert(ErrorCode::NotAllowed.as_str());
    of_the_pod(&mut seen).await;
    let all: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(seen, all, "every code is tried");
}

#[test]
fn the_guide_has_every_code_with_its_status() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = std::fs::read_to_string(root.join("docs/router/README.md")).unwrap();
    for code in ErrorCode::ALL {
        let row = guide
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{}`", code.as_str())));
        let row = row.unwrap_or_else(|| panic!("{} is not in the guide", code.as_str()));
        assert!(row.contains(code.status().as_str()), "{row}");
    }
}
