//! Requests that two servers could read differently: refused, or passed on in one reading. The vectors are those of the
//! request smuggling literature (`PortSwigger`, http-garden), sent as raw bytes; what counts is what reaches the pod.

use crate::support::{Client, Pod, RouterProcess};

/// What may happen to a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Allowed {
    /// An error, or a closed connection; nothing reaches the pod.
    Refused,
    /// One request reaches the pod, with one framing.
    Clean,
    /// Either of them.
    RefusedOrClean,
}
use Allowed::{Clean, Refused, RefusedOrClean};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n";

type Vector = (&'static str, String, Allowed);

/// Name, request with HOST as a placeholder, and what may happen.
fn framing_vectors() -> Vec<Vector> {
    let post = |fields: &str, body: &str| format!("POST /v HTTP/1.1\r\nHost: HOST\r\n{fields}\r\n{body}");
    let get = |line: &str, fields: &str| format!("{line}\r\nHost: HOST\r\n{fields}\r\n");
    let end = "0\r\n\r\n";
    let smuggled = format!("{end}{SMUGGLED}");
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        ("plain GET", get("GET /v HTTP/1.1", ""), Clean),
        ("plain POST", post("Content-Length: 5\r\n", "hello"), Clean),
        ("chunked POST", post(chunked, "5\r\nhello\r\n0\r\n\r\n"), Clean),
        ("length, then chunked", post(&format!("Content-Length: 5\r\n{chunked}"), &smuggled), RefusedOrClean),
        ("chunked, then length", post(&format!("{chunked}Content-Length: 5\r\n"), &smuggled), RefusedOrClean),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 53\r\n", SMUGGLED), Refused),
        ("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), RefusedOrClean),
        ("a list of lengths", post("Content-Length: 5, 5\r\n", "hello"), RefusedOrClean),
        ("length +5", post("Content-Length: +5\r\n", "hello"), Refused),
        ("length -1", post("Content-Length: -1\r\n", "hello"), Refused),
        ("length 0x5", post("Content-Length: 0x5\r\n", "hello"), Refused),
        ("empty length", post("Content-Length: \r\n", ""), Refused),
        ("huge length", post("Content-Length: 18446744073709551621\r\n", "hello"), Refused),
        ("space before colon", post("Content-Length : 5\r\n", "hello"), Refused),
        (
            "coding with space",
            post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", &smuggled),
            Refused,
        ),
        ("identity", post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "hello"), Refused),
        ("chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", &smuggled), Refused),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", end), Refused),
        ("xchunked", post("Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", end), Refused),
        ("VT chunked", post("Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n", end), Refused),
        ("two codings", post(&format!("{chunked}Transfer-Encoding: identity\r\n"), &smuggled), Refused),
        ("quoted coding", post("Transfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n", end), Refused),
        (
            "obs-fold",
            post("X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "hello"),
            RefusedOrClean,
        ),
        ("chunked in 1.0", post(chunked, &smuggled).replace("/v HTTP/1.1", "/v HTTP/1.0"), Refused),
        ("chunk extension with LF", post(chunked, "5;a\nhello\r\n0\r\n\r\n"), RefusedOrClean),
        ("bare LF in chunks", post(chunked, "5\nhello\n0\n\n"), Refused),
        ("chunk size 0x5", post(chunked, "0x5\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk size overflow", post(chunked, "10000000000000005\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk size -5", post(chunked, "-5\r\nhello\r\n0\r\n\r\n"), Refused),
        ("chunk longer than said", post(chunked, "3\r\nhelloXX0\r\n\r\n"), Refused),
        (
            "huge chunk extension",
            post(chunked, &format!("5;{}\r\nhello\r\n{end}", "a".repeat(70_000))),
            RefusedOrClean,
        ),
    ]
}

fn head_vectors() -> Vec<Vector> {
    let post = |fields: &str, body: &str| format!("POST /v HTTP/1.1\r\nHost: HOST\r\n{fields}\r\n{body}");
    let get = |line: &str, fields: &str| format!("{line}\r\nHost: HOST\r\n{fields}\r\n");
    vec![
        (
            "bare LF in the head",
            "POST /v HTTP/1.1\nHost: HOST\nContent-Length: 5\n\nhello".into(),
            RefusedOrClean,
        ),
        ("bare CR in the head", post("X: a\rContent-Length: 5\r\n", ""), Refused),
        ("NUL in a value", get("GET /v HTTP/1.1", "X: a\0b\r\n"), Refused),
        ("NUL in a name", get("GET /v HTTP/1.1", "X\0: a\r\n"), Refused),
        ("space in a name", get("GET /v HTTP/1.1", "X Y: a\r\n"), Refused),
        ("empty name", get("GET /v HTTP/1.1", ": a\r\n"), Refused),
        ("first field folded", "GET /v HTTP/1.1\r\n X: y\r\nHost: HOST\r\n\r\n".into(), Refused),
    ]
}

fn target_vectors() -> Vec<Vector> {
    let get = |line: &str, fields: &str| format!("{line}\r\nHost: HOST\r\n{fields}\r\n");
    let host = |host: &str| format!("GET /v HTTP/1.1\r\nHost: {host}\r\n\r\n");
    vec![
        ("no Host", "GET /v HTTP/1.1\r\n\r\n".into(), Refused),
        ("two Hosts", get("GET /v HTTP/1.1", "Host: 1-evil.pool.test\r\n"), Refused),
        ("two equal Hosts", get("GET /v HTTP/1.1", "Host: HOST\r\n"), Refused),
        ("Host with user", host("x@HOST"), Refused),
        ("Host with path", host("HOST/x"), Refused),
        ("list of Hosts", host("HOST, evil"), Refused),
        ("Host with a wrong port", host("HOST:abc"), Refused),
        ("port with a zero", host("0HOST"), Refused),
        ("port with a sign", host("+HOST"), Refused),
        ("port modulo 65536", host("89618-ws1.pool.test"), Refused),
        ("absolute form", get("GET http://HOST/v HTTP/1.1", ""), Clean),
        (
            "absolute form, another Host",
            "GET http://HOST/v HTTP/1.1\r\nHost: evil.test\r\n\r\n".into(),
            Refused,
        ),
        ("absolute form of another", get("GET http://evil.test/v HTTP/1.1", ""), Refused),
        ("CONNECT", "CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: HOST\r\n\r\n".into(), Refused),
        ("CONNECT to the name", "CONNECT HOST:80 HTTP/1.1\r\nHost: HOST\r\n\r\n".into(), Refused),
        ("OPTIONS *", get("OPTIONS * HTTP/1.1", ""), Refused),
        ("TRACE", get("TRACE /v HTTP/1.1", ""), Refused),
        ("HTTP/1.2", get("GET /v HTTP/1.2", ""), RefusedOrClean),
        ("HTTP/0.9", "GET /v\r\n".into(), Refused),
        ("word after the version", get("GET /v HTTP/1.1 x", ""), Refused),
        ("tab in the request line", get("GET\t/v HTTP/1.1", ""), Refused),
        ("fragment", get("GET /v#x HTTP/1.1", ""), RefusedOrClean),
        ("NUL in the path", get("GET /v\0x HTTP/1.1", ""), Refused),
        ("UTF-8 in the path", get("GET /v\u{fc} HTTP/1.1", ""), Refused),
        ("path without a slash", get("GET v HTTP/1.1", ""), Refused),
        ("a head of 200 KB", get("GET /v HTTP/1.1", &format!("X: {}\r\n", "a".repeat(200_000))), Refused),
        ("2,000 fields", get("GET /v HTTP/1.1", &"X: a\r\n".repeat(2_000)), Refused),
        ("90 fields", get("GET /v HTTP/1.1", &"X: a\r\n".repeat(90)), Clean),
    ]
}

/// What is wrong with the bytes that reached the pod in all.
fn faults(received: &[Vec<u8>], vector: &str) -> Vec<&'static str> {
    let text: String = received.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    let head = text.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
    let mut faults = Vec::new();
    if head.contains("\ncontent-length:") && head.contains("\ntransfer-encoding:") {
        faults.push("both framings");
    }
    if head.matches("\ncontent-length:").count() > 1 {
        faults.push("two lengths");
    }
    if head.matches("\nhost:").count() != 1 && !text.is_empty() {
        faults.push("not one Host");
    }
    if head.contains("\nupgrade:") {
        faults.push("an upgrade");
    }
    if head.replace("\r\n", "").contains('\n') {
        faults.push("a bare LF");
    }
    // What follows a message on one connection is a request of its own, on a connection that the router framed: only one
    // within another's body is smuggled.
    let heads = text.matches(" HTTP/1.1\r\n").count();
    if heads > 1 && !vector.contains("chunked") {
        faults.push("two requests");
    }
    faults
}

#[tokio::test]
async fn no_vector_reaches_a_pod_in_two_readings() {
    // What waits for more bytes than there are is given up soon.
    let router = RouterProcess::start("head_timeout: 300ms\nbody_timeout: 300ms\n");
    let mut wrong = Vec::new();
    for (name, request, allowed) in [framing_vectors(), head_vectors(), target_vectors()].concat() {
        let pod = Pod::echo().await;
        let mut client = Client::connect(router.address).await;
        client.write(request.replace("HOST", &pod.host())).await;
        let status = client.try_answer().await.map(|answer| answer.status);
        let received: Vec<Vec<u8>> = pod.received().into_iter().filter(|bytes| !bytes.is_empty()).collect();
        let refused = status.is_none_or(|status| status >= 400);
        let passed = !received.is_empty();
        let complete = passed && !refused;
        let fits = match allowed {
            // A body that breaks off within has sent its head already, which the pod never takes for a whole request.
            Refused => refused,
            Clean => status == Some(200) && complete,
            RefusedOrClean => refused || complete,
        };
        let faults = faults(&received, name);
        if !fits || !faults.is_empty() {
            let seen: String = received.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
            wrong.push(format!("{name}: {status:?}, {allowed:?}, {faults:?}\n{seen}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_passed_on() {
    let (router, pod) = (RouterProcess::start(""), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let fields =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    let seen = client.get(&pod.host(), "/", fields).await.text().to_lowercase();
    assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{seen}");
}

#[tokio::test]
async fn connection_takes_no_field_away_and_forwarded_fields_cannot_be_forged() {
    let (router, pod) = (RouterProcess::start(""), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let fields = "Connection: close, X-Forwarded-For, Cookie, Authorization\r\nCookie: a=b\r\nAuthorization: x\r\n\
                  X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 6.6.6.6\r\n\
                  Forwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n";
    let seen = client.get(&pod.host(), "/", fields).await.text().to_lowercase();
    assert!(!seen.contains("6.6.6.6"), "{seen}");
    assert!(seen.contains("cookie: a=b") && seen.contains("x-forwarded-for: 127.0.0.1"), "{seen}");
}

#[tokio::test]
async fn a_bad_chunk_is_the_clients_fault_and_not_the_pods() {
    let (router, pod) = (RouterProcess::start(""), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let answer =
        client.request("POST /", &pod.host(), "Transfer-Encoding: chunked\r\n", "zz\r\nhello\r\n").await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "bad_request"));
}
