//! Where a pod is said to be, by whoever says it: addresses that are never dialled (CWE-918), also when the answer changes
//! between two looks (DNS rebinding), and a workspace that is out for its neighbour's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Client, Pod, RouterProcess, get, until};

/// An application that says where each pod is: `/pods/ID` is answered with what `address` gives for the n-th question.
async fn application(
    address: impl Fn(&str, usize) -> String + Send + Sync + 'static,
) -> (Pod, Arc<AtomicUsize>) {
    let (address, asked) = (Arc::new(address), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let pod = Pod::start(move |mut connection| {
        let (address, asked) = (Arc::clone(&address), Arc::clone(&count));
        async move {
            while let Some(head) = connection.head().await {
                let id =
                    head.split(' ').nth(1).and_then(|path| path.strip_prefix("/pods/")).unwrap().to_owned();
                let said = address(&id, asked.fetch_add(1, Ordering::SeqCst));
                connection.answer("200 OK", "", &format!(r#"{{"address":"{said}"}}"#)).await;
            }
        }
    })
    .await;
    (pod, asked)
}

fn lookup(application: &Pod, more: &str) -> String {
    format!(
        "pods: http\nlookup_url: http://127.0.0.1:{}/pods/{{id}}\nlookup_for: 1s\n{more}",
        application.port
    )
}

/// What a hostile answer of a look-up may name.
const NEVER: &[&str] = &[
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "224.0.0.1",
    "255.255.255.255",
    "8.8.8.8",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "fe80::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:4860:4860::8888",
];

#[tokio::test]
async fn no_answer_of_a_look_up_leads_to_an_address_that_is_never_dialled() {
    let victim = Pod::echo().await;
    let (application, _) =
        application(|id, _| NEVER[id.strip_prefix('n').unwrap().parse::<usize>().unwrap()].into()).await;
    let networks = "allow_loopback: false\nnetworks: 0.0.0.0/0, ::/0\nconnect_timeout: 300ms\n";
    // Even if every network is allowed, those of the machine and of the cloud's metadata are not.
    let wide = RouterProcess::start(&lookup(&application, networks));
    // With the networks as they are by default, nothing public is reached either.
    let narrow =
        RouterProcess::start(&lookup(&application, "allow_loopback: false\nconnect_timeout: 300ms\n"));
    for (index, address) in NEVER.iter().enumerate() {
        let host = format!("{}-n{index}.pool.test", victim.port);
        let answer = get(narrow.address, &host, "/").await;
        assert_eq!((answer.status, answer.error().as_str()), (502, "address_refused"), "{address}");
        assert!(!answer.text().contains(address), "{address} is not shown");
        let public =
            ["8.8.8.8", "2001:4860:4860::8888", "100.100.100.200", "64:ff9b::7f00:1", "fd00:ec2::254"];
        if !public.contains(address) {
            let answer = get(wide.address, &host, "/").await;
            assert_eq!(answer.error(), "address_refused", "{address} with every network allowed");
        }
    }
    assert_eq!(victim.connections(), 0, "nothing on this machine was connected to");
}

#[tokio::test]
async fn names_in_a_look_ups_answer_are_no_addresses() {
    let (application, _) =
        application(|id, _| if id == "a" { "localhost".into() } else { "127.1".into() }).await;
    let router = RouterProcess::start(&lookup(&application, ""));
    for id in ["a", "b"] {
        let answer = get(router.address, &format!("3000-{id}.pool.test"), "/").await;
        assert!([502, 503].contains(&answer.status), "{id}: {} {}", answer.status, answer.text());
    }
}

/// DNS rebinding: the first answer is good, each later one is not.
#[tokio::test]
async fn an_answer_that_changes_is_judged_each_time_that_it_is_used() {
    let pod = Pod::echo().await;
    let (application, asked) =
        application(|_, n| if n == 0 { "127.0.0.1".into() } else { "169.254.169.254".into() }).await;
    let router = RouterProcess::start(&lookup(&application, "connect_timeout: 2s\n"));
    let mut client = Client::connect(router.address).await;
    assert_eq!(client.get(&pod.host_of("ws1"), "/", "").await.status, 200);
    until("the look-up has expired, and the next answer is refused", async || {
        let answer = client.get(&pod.host_of("ws1"), "/", "").await;
        answer.error() == "address_refused"
    })
    .await;
    assert!(asked.load(Ordering::SeqCst) >= 2);
}

/// The same while a connect is tried again: the pod is looked up in between, and what is said then is judged as well.
#[tokio::test]
async fn an_answer_that_changes_while_connects_are_refused_is_judged_too() {
    let gone = Pod::echo().await.port;
    let (application, asked) =
        application(|_, n| if n == 0 { "127.0.0.1".into() } else { "169.254.169.254".into() }).await;
    let router = RouterProcess::start(&lookup(&application, "connect_timeout: 500ms\n"));
    let answer = get(router.address, &format!("{gone}-ws1.pool.test"), "/").await;
    assert_eq!(answer.status, 502);
    assert!(["nothing_listens", "address_refused"].contains(&answer.error().as_str()), "{}", answer.error());
    assert!(asked.load(Ordering::SeqCst) >= 2, "it was looked up again");
    until("the log says why", async || router.log().iter().any(|line| line.contains("pod_address_denied")))
        .await;
}

/// As a program in a mount namespace of its own, whose names this test decides. Needs root.
struct HostsFile {
    router: RouterProcess,
    path: std::path::PathBuf,
}

impl HostsFile {
    fn start(names: &str, config: &str) -> Option<HostsFile> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        std::fs::write(&path, names).unwrap();
        let script = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", path.display());
        let probe = ["-m", "sh", "-c", &script, "true"];
        let may =
            std::process::Command::new("unshare").args(probe).status().is_ok_and(|status| status.success());
        let prefix: Vec<String> = ["unshare", "-m", "sh", "-c", &script].map(str::to_owned).into();
        may.then(|| HostsFile { router: RouterProcess::start_behind(directory, config, &prefix), path })
    }

    /// In place: it is the file's content that is mounted.
    fn rewrite(&self, names: &str) {
        std::fs::write(&self.path, names).unwrap();
    }
}

#[tokio::test]
async fn a_dns_name_that_moves_to_a_forbidden_address_is_not_followed() {
    let (pod, metadata) = (Pod::echo().await, "169.254.169.254 ws1.pods.test\n");
    let config = "pods: dns\nname: \"{id}.pods.test\"\nlookup_for: 1s\nconnect_timeout: 1s\n";
    let Some(hosts) = HostsFile::start("127.0.0.1 ws1.pods.test\n127.0.0.1 ws2.pods.test\n", config) else {
        eprintln!("left out: no mount namespace without root");
        return;
    };
    let ask = async |id: &str| get(hosts.router.address, &pod.host_of(id), "/").await;
    assert_eq!(ask("ws1").await.status, 200);
    assert_eq!(ask("ws3").await.error(), "no_such_pod");
    hosts.rewrite(&format!("{metadata}127.0.0.1 ws2.pods.test\n"));
    until("the new address is refused", async || ask("ws1").await.error() == "address_refused").await;
    assert_eq!(ask("ws2").await.status, 200, "its neighbour is none the worse");
    // Both at once, as a rebinding server answers: the allowed one is dialled, the other never.
    hosts.rewrite(&format!("{metadata}127.0.0.1 ws1.pods.test\n127.0.0.1 ws2.pods.test\n"));
    until("the allowed one of two is used", async || ask("ws1").await.status == 200).await;
}

/// An answer that no client is to see as it is.
const HOSTILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1; Domain=.pool.test\r\n\
    Set-Cookie: b=2; domain = pool.test ; Path=/\r\nX-Router-Error: sign_in\r\nConnection: Set-Cookie, X-Frame-Options\r\n\
    X-Frame-Options: DENY\r\nTransfer-Encoding-X: chunked\r\nAlt-Svc: h3=\":443\"\r\n\r\nok";

#[tokio::test]
async fn a_hostile_workspace_reaches_its_neighbour_by_no_answer_of_its_own() {
    let router = RouterProcess::start("");
    let (hostile, victim) = (Pod::fixed(HOSTILE).await, Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let answer = client.get(&hostile.host_of("ws2"), "/", "").await;
    for cookie in answer.fields("set-cookie") {
        assert!(!cookie.to_lowercase().contains("domain"), "{cookie}");
    }
    assert_eq!(answer.error(), "", "only the router says that an answer is its own");
    assert_eq!(
        answer.field("x-frame-options").as_deref(),
        Some("DENY"),
        "Connection takes no such field away"
    );
    // Two answers for one request: the second is nobody's.
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let splitting = Pod::fixed(format!("{twice}{}", twice.replace("ok", "XX"))).await;
    for _ in 0..3 {
        assert_eq!(client.get(&splitting.host_of("ws2"), "/", "").await.text(), "ok");
        let seen = client.get(&victim.host_of("ws1"), "/mine", "").await;
        assert!(seen.text().starts_with("GET /mine "), "{}", seen.text());
    }
    // An answer that is longer than it says, and one that never ends its head.
    let long = Pod::fixed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nokokok").await;
    assert_eq!(client.get(&long.host_of("ws2"), "/", "").await.text(), "o");
    assert_eq!(client.get(&victim.host_of("ws1"), "/", "").await.status, 200);
}

#[tokio::test]
async fn a_workspace_that_holds_every_connection_leaves_its_neighbours_theirs() {
    let router = RouterProcess::start("pod_connections: 2\npod_connections_max: 4\nconnect_timeout: 300ms\n");
    let greedy = Pod::start(|mut connection| async move { while connection.byte().await.is_some() {} }).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut client = Client::connect(router.address).await;
        client.write(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", greedy.host_of("ws2"))).await;
        held.push(client);
    }
    until("all of its connections are in use", async || greedy.connections() == 4).await;
    let victim = Pod::echo().await;
    for _ in 0..20 {
        assert_eq!(get(router.address, &victim.host_of("ws1"), "/").await.status, 200);
    }
}
