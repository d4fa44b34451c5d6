//! Sessions: how a browser enters, and how little one workspace gets of another. Each test of a complaint about another
//! router names it.

use std::time::{SystemTime, UNIX_EPOCH};

use pattern_router::ticket::{TicketClaims, TicketKey, TicketPort, TicketUse};

use crate::support::{Answer, Client, Pod, RouterProcess};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SESSION: &str =
    "auth: session\nsecret: 0123456789abcdef0123456789abcdef\nlogin_url: https://app.example/login\n";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn ticket(id: &str, port: u16, nonce: &str) -> TicketClaims {
    TicketClaims {
        usage: TicketUse::Enter,
        id: id.into(),
        port: TicketPort::One(port),
        user: "alice".into(),
        roles: vec![],
        nonce: nonce.into(),
        expires: now() + 30,
    }
}

fn sign(claims: &TicketClaims) -> String {
    TicketKey::new(SECRET.into()).unwrap().sign(claims).unwrap()
}

/// What a browser would send back of a Set-Cookie.
fn cookie_of(answer: &Answer, name: &str) -> String {
    let line =
        answer.fields("set-cookie").into_iter().find(|line| line.starts_with(&format!("{name}="))).unwrap();
    assert!(line.contains("Secure") && line.contains("HttpOnly") && line.contains("Path=/"), "{line}");
    assert!(!line.to_lowercase().contains("domain"), "{line}");
    line.split(';').next().unwrap().to_owned()
}

/// Signs a browser in; its session's cookie.
async fn sign_in(router: &RouterProcess, pod: &Pod, id: &str) -> String {
    let mut client = Client::connect(router.address).await;
    let host = pod.host_of(id);
    let away = client.get(&host, "/deep?x=1", "Accept: text/html\r\n").await;
    assert_eq!(away.status, 302);
    let nonce = cookie_of(&away, "__Host-pattern-router-nonce");
    let value = nonce.split_once('=').unwrap().1;
    let enter = format!("/.router/enter?ticket={}&path=%2Fdeep%3Fx%3D1", sign(&ticket(id, pod.port, value)));
    let entered = client.get(&host, &enter, &format!("Cookie: {nonce}\r\n")).await;
    assert_eq!(
        (entered.status, entered.field("location").as_deref()),
        (303, Some("/deep?x=1")),
        "{}",
        entered.text()
    );
    cookie_of(&entered, "__Host-pattern-router")
}

#[tokio::test]
async fn a_browser_signs_in_once_and_the_pod_never_sees_the_session() {
    let (router, pod) = (RouterProcess::start(SESSION), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let away = client.get(&pod.host(), "/deep?x=1", "Accept: text/html\r\n").await;
    let location = away.field("location").unwrap();
    assert!(location.starts_with("https://app.example/login?to=http%3A%2F%2F"), "{location}");
    assert!(location.contains("%2Fdeep%3Fx%3D1&nonce="), "{location}");
    let session = sign_in(&router, &pod, "ws1").await;
    for fields in [
        format!("Cookie: {session}\r\n"),
        format!("Cookie: a=1; {session}; b=2\r\n"),
        format!("Cookie: a=1; {session}; b=2\r\n"),
    ] {
        let answer = client.get(&pod.host(), "/", &fields).await;
        assert_eq!(answer.status, 200);
        assert!(
            !answer.text().contains("pattern-router") && !answer.text().contains("v1."),
            "{}",
            answer.text()
        );
    }
    assert!(pod.received().iter().all(|bytes| !String::from_utf8_lossy(bytes).contains("pattern-router")));
}

#[tokio::test]
async fn a_session_of_one_workspace_or_port_opens_no_other() {
    let (router, pod, other) = (RouterProcess::start(SESSION), Pod::echo().await, Pod::echo().await);
    let session = sign_in(&router, &pod, "ws1").await;
    let mut client = Client::connect(router.address).await;
    for host in [pod.host_of("ws2"), other.host_of("ws1")] {
        // On one connection, as a browser that coalesces names would: rights are each request's own.
        assert_eq!(client.get(&pod.host(), "/", &format!("Cookie: {session}\r\n")).await.status, 200);
        let answer = client.get(&host, "/", &format!("Cookie: {session}\r\n")).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "sign_in"), "{host}");
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn tickets_that_do_not_hold_are_refused() {
    let (router, pod) = (RouterProcess::start(SESSION), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let good = ticket("ws1", pod.port, "AAAAAAAAAAAAAAAAAAAAAA");
    let cookie = "Cookie: __Host-pattern-router-nonce=AAAAAAAAAAAAAAAAAAAAAA\r\n";
    let forged = TicketKey::new(vec![9; 32]).unwrap().sign(&good).unwrap();
    for (what, ticket, cookie) in [
        (
            "another browser's nonce",
            sign(&good),
            "Cookie: __Host-pattern-router-nonce=BBBBBBBBBBBBBBBBBBBBBB\r\n",
        ),
        ("no nonce (login CSRF)", sign(&good), ""),
        (
            "an empty nonce",
            sign(&TicketClaims { nonce: String::new(), ..good.clone() }),
            "Cookie: __Host-pattern-router-nonce=\r\n",
        ),
        ("another pod", sign(&TicketClaims { id: "ws2".into(), ..good.clone() }), cookie),
        ("another port", sign(&TicketClaims { port: TicketPort::One(1), ..good.clone() }), cookie),
        ("expired", sign(&TicketClaims { expires: now() - 1, ..good.clone() }), cookie),
        ("valid for too long", sign(&TicketClaims { expires: now() + 600, ..good.clone() }), cookie),
        ("a session", sign(&TicketClaims { usage: TicketUse::Session, ..good.clone() }), cookie),
        ("another key", forged, cookie),
        ("garbage", "v1.x.y".into(), cookie),
        ("nothing", String::new(), cookie),
    ] {
        let answer = client.get(&pod.host(), &format!("/.router/enter?ticket={ticket}"), cookie).await;
        assert_eq!((answer.status, answer.error().as_str()), (403, "bad_ticket"), "{what}");
        assert!(answer.fields("set-cookie").is_empty(), "{what}");
    }
    // An application's ticket is no session's cookie either.
    let as_cookie = format!("Cookie: __Host-pattern-router={}\r\n", sign(&good));
    assert_eq!(client.get(&pod.host(), "/", &as_cookie).await.status, 401);
}

#[tokio::test]
async fn the_way_back_leads_to_no_other_site() {
    let (router, pod) = (RouterProcess::start(SESSION), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let cookie = "Cookie: __Host-pattern-router-nonce=AAAAAAAAAAAAAAAAAAAAAA\r\n";
    for path in ["//evil.test", "https%3A%2F%2Fevil.test", "/%5Cevil.test", "/a%0d%0aX: y", ""] {
        let ticket = sign(&ticket("ws1", pod.port, "AAAAAAAAAAAAAAAAAAAAAA"));
        let line = format!("/.router/enter?ticket={ticket}&path={}", path.replace(' ', "%20"));
        let answer = client.get(&pod.host(), &line, cookie).await;
        assert_eq!((answer.status, answer.field("location").as_deref()), (303, Some("/")), "{path}");
    }
}

/// gitpod#14576, coder#19728: preflights were redirected. coder#22041: `Authorization` was taken for the router's own.
#[tokio::test]
async fn programs_are_told_401_preflights_pass_and_authorization_is_the_pods() {
    let (router, pod) = (RouterProcess::start(SESSION), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    for fields in ["", "Accept: application/json\r\n", "Accept: text/html\r\nSec-Fetch-Mode: cors\r\n"] {
        let answer = client.get(&pod.host(), "/api", fields).await;
        assert_eq!((answer.status, answer.field("location")), (401, None), "{fields}");
    }
    let post = client.request("POST /", &pod.host(), "Accept: text/html\r\nContent-Length: 0\r\n", "").await;
    assert_eq!(post.status, 401);
    let preflight = "Origin: http://x\r\nAccess-Control-Request-Method: PUT\r\n";
    assert_eq!(client.request("OPTIONS /", &pod.host(), preflight, "").await.status, 200);
    assert_eq!(client.get(&pod.host(), "/", "Authorization: Bearer x\r\n").await.status, 401);
    let session = sign_in(&router, &pod, "ws1").await;
    let fields = format!("Cookie: {session}\r\nAuthorization: Bearer of-the-pod\r\nX-Auth-User: root\r\n");
    let seen = client.get(&pod.host(), "/", &fields).await.text().to_lowercase();
    assert!(seen.contains("authorization: bearer of-the-pod") && !seen.contains("x-auth-user"), "{seen}");
}

/// GHSA-7r3h-4ph8-w38g, gitpod#15911, plivo-labs/glance#71: a sibling tossed or read cookies of the parent's domain.
#[tokio::test]
async fn a_hostile_workspace_neither_tosses_cookies_nor_uses_the_visitors_session() {
    let router = RouterProcess::start(SESSION);
    let hostile = Pod::fixed(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: sid=evil; Domain=pool.test; Path=/\r\n\
         Set-Cookie: __Host-pattern-router=forged; Path=/; Secure\r\nSet-Cookie: mine=1\r\n\r\n",
    )
    .await;
    let session = sign_in(&router, &hostile, "ws2").await;
    let mut client = Client::connect(router.address).await;
    let answer = client.get(&hostile.host_of("ws2"), "/", &format!("Cookie: {session}\r\n")).await;
    let cookies = answer.fields("set-cookie");
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(cookies.iter().all(|line| !line.to_lowercase().contains("domain") && !line.contains("router")));
    let victim = Pod::echo().await;
    let session = sign_in(&router, &victim, "ws1").await;
    let origin = format!("Origin: http://{}\r\nCookie: {session}\r\n", hostile.host_of("ws2"));
    let fields = format!("{origin}Content-Length: 0\r\n");
    let answer = client.request("POST /", &victim.host(), &fields, "").await;
    assert_eq!((answer.status, answer.error().as_str()), (403, "origin"));
    let answer = client.open_websocket(&victim.host(), &origin).await;
    assert_eq!((answer.status, answer.error().as_str()), (403, "origin"));
    let own = format!("Origin: http://5000-ws1.pool.test\r\nCookie: {session}\r\nContent-Length: 0\r\n");
    assert_eq!(client.request("POST /", &victim.host(), &own, "").await.status, 200);
}

/// An application that answers about access and pods.
async fn application(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Pod {
    let answer = std::sync::Arc::new(answer);
    Pod::start(move |mut connection| {
        let answer = std::sync::Arc::clone(&answer);
        async move {
            while let Some(head) = connection.head().await {
                connection.write(answer(&head).as_bytes()).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn forward_asks_the_application_and_adds_what_it_says() {
    let application = application(|head| {
        let head = head.to_lowercase();
        if head.contains("cookie: who=alice")
            && head.contains("x-pod-id: ws1")
            && head.contains("x-forwarded-uri: /a")
        {
            "HTTP/1.1 200 OK\r\nX-Auth-User: alice\r\nX-Other: no\r\nContent-Length: 0\r\n\r\n".into()
        } else if head.contains("accept: text/html") {
            "HTTP/1.1 302 Found\r\nLocation: https://app.example/login\r\nContent-Length: 0\r\n\r\n".into()
        } else {
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".into()
        }
    })
    .await;
    let config = format!("auth: forward\nauth_url: http://127.0.0.1:{}/auth\n", application.port);
    let (router, pod) = (RouterProcess::start(&config), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let fields = "Cookie: who=alice\r\nX-Auth-User: root\r\nX_Auth_User: root\r\n";
    let seen = client.get(&pod.host(), "/a", fields).await.text().to_lowercase();
    assert!(
        seen.contains("x-auth-user: alice") && !seen.contains("root") && !seen.contains("x-other"),
        "{seen}"
    );
    let away = client.get(&pod.host(), "/", "Accept: text/html\r\n").await;
    assert_eq!((away.status, away.field("location").as_deref()), (302, Some("https://app.example/login")));
    let answer = client.get(&pod.host(), "/", "").await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "sign_in"));
    drop(application);
    let answer = client.get(&pod.host(), "/new", "Cookie: who=bob\r\n").await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "lookup_failed"));
    assert_eq!(client.get(&pod.host(), "/a", fields).await.status, 200, "a decision holds for a while");
}

#[tokio::test]
async fn the_applications_answer_names_ports_users_and_roles() {
    let pod = Pod::echo().await;
    let port = pod.port;
    let application = application(move |head| {
        let json = match head.split(' ').nth(1) {
            Some("/pods/open") => {
                format!(r#"{{"address":"127.0.0.1","ports":[{{"port":{port},"public":true}}]}}"#)
            }
            Some("/pods/bobs") => r#"{"address":"127.0.0.1","users":["bob"]}"#.to_owned(),
            Some("/pods/team") => r#"{"address":"127.0.0.1","roles":["dev"],"users":["alice"]}"#.to_owned(),
            Some("/pods/meta") => r#"{"address":"169.254.169.254"}"#.to_owned(),
            _ => return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len())
    })
    .await;
    let lookup =
        format!("{SESSION}pods: http\nlookup_url: http://127.0.0.1:{}/pods/{{id}}\n", application.port);
    let router = RouterProcess::start(&lookup);
    let mut client = Client::connect(router.address).await;
    let get = async |client: &mut Client, id: &str, fields: &str| {
        let answer = client.get(&pod.host_of(id), "/", fields).await;
        (answer.status, answer.error())
    };
    assert_eq!(get(&mut client, "open", "").await.0, 200, "a public port");
    let other = client.get(&format!("{}-open.pool.test", port ^ 1), "/", "").await;
    assert_eq!((other.status, other.error().as_str()), (403, "port_closed"));
    assert_eq!(get(&mut client, "none", "").await, (404, "no_such_pod".into()));
    assert_eq!(get(&mut client, "meta", "").await, (502, "address_refused".into()));
    let session = sign_in(&router, &pod, "team").await;
    assert_eq!(get(&mut client, "team", &format!("Cookie: {session}\r\n")).await.0, 200);
    let nonce = "Cookie: __Host-pattern-router-nonce=AAAAAAAAAAAAAAAAAAAAAA\r\n";
    let ticket = sign(&ticket("bobs", port, "AAAAAAAAAAAAAAAAAAAAAA"));
    let entered = client.get(&pod.host_of("bobs"), &format!("/.router/enter?ticket={ticket}"), nonce).await;
    assert_eq!((entered.status, entered.error().as_str()), (403, "not_allowed"));
}
