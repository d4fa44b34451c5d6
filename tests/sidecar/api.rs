//! `/api/v1/`: each answer against the document, who may look, and the stream of events.

use super::*;

/// The document, with objects that may have no other fields than those described: so a new field is described.
async fn document(pod: &Pod) -> Value {
    fn close(schema: &mut Value) {
        if let Value::Object(fields) = schema {
            if fields.contains_key("properties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        } else if let Value::Array(items) = schema {
            items.iter_mut().for_each(close);
        }
    }
    let mut document = pod.get("/api/v1/openapi.json").await.json();
    close(&mut document["components"]["schemas"]);
    document
}

/// Fails with what the schema finds wrong.
fn assert_fits(document: &Value, schema: &Value, answer: &Value) {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator =
        jsonschema::draft202012::options().should_validate_formats(true).build(&schema).expect("a schema");
    let flaws: Vec<_> =
        validator.iter_errors(answer).map(|flaw| format!("{}: {flaw}", flaw.instance_path())).collect();
    assert!(flaws.is_empty(), "{flaws:#?} in {answer:#}");
}

fn schema_of<'a>(document: &'a Value, path: &str, status: &str) -> &'a Value {
    let response = &document["paths"][path]["get"]["responses"][status];
    let schema = &response["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{path} {status} is not described");
    schema
}

fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let pod = Pod::start().await;
    pod.metrics.answered("download", "far", None, Duration::from_millis(20));
    for filled in [false, true] {
        if filled {
            pod.inside.fill();
        }
        let document = document(&pod).await;
        assert_eq!(document["info"]["version"], json!(env!("CARGO_PKG_VERSION")));
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() >= 13, "{paths:?}");
        for (path, _) in paths.iter().filter(|(path, _)| *path != "/api/v1/events") {
            let reply = pod.get(path).await;
            let status = reply.status.to_string();
            let head = ask(pod.api, "HEAD", path).await;
            assert_eq!((head.status, head.body.as_str()), (reply.status, ""), "{path}");
            assert_eq!(head.header("content-type"), reply.header("content-type"), "{path}");
            let described = &document["paths"][path]["get"]["responses"][&status]["content"];
            let kind = reply.header("content-type").unwrap().split(';').next().unwrap();
            assert!(described[kind].is_object(), "{path} {status} is {kind}");
            if kind == "application/json" {
                assert_fits(&document, schema_of(&document, path, &status), &reply.json());
            }
        }
    }
}

#[tokio::test]
async fn the_connections_have_what_is_configured_with_their_figures() {
    let pod = Pod::start().await;
    pod.inside.fill();
    pod.metrics.sessions("far", 1, 2, 0);
    pod.metrics.tasks("far", 4, 0, 2);
    let answer = pod.get("/api/v1/connections").await.json();
    let [far, new] = &answer["connections"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!((&far["name"], &far["server"]), (&json!("far"), &json!("ftp.example.com:21")));
    assert_eq!((&far["sessions"]["busy"], &far["tasks"]["waiting"]), (&json!(2), &json!(4)));
    assert_eq!(far["last_error"]["code"], json!("source_not_found"));
    assert_eq!((&new["name"], &new["sessions"]["busy"]), (&json!("new"), &json!(0)), "it has no figures yet");
}

#[tokio::test]
async fn the_pool_has_every_pod_and_says_which_are_gone() {
    let pod = Pod::start().await;
    let alone = pod.get("/api/v1/pool").await.json();
    assert_eq!(
        (alone["pods"].as_array().unwrap().len(), &alone["unavailable"]),
        (1, &Value::Null),
        "{alone}"
    );
    pod.inside.fill();
    let pool = pod.get("/api/v1/pool").await.json();
    let pods: Vec<_> = pool["pods"].as_array().unwrap().iter().collect();
    let states: Vec<_> = pods.iter().map(|pod| (pod["pod"].as_str(), pod["state"].as_str())).collect();
    let expected =
        [("pod-2", "gone"), ("pod-4", "not_ready"), ("pod-0", "up"), ("pod-1", "up"), ("pod-3", "stopped")];
    assert_eq!(states, expected.map(|(pod, state)| (Some(pod), Some(state))), "{pool:#}");
    assert_eq!((&pods[0]["heard_seconds_ago"], &pods[2]["is_this_pod"]), (&json!(40), &json!(true)));
    assert_eq!(pods[1]["reasons"], json!(["no partitions"]));
    let far = &pool["connections"][0];
    assert_eq!(
        (&far["max_sessions_total"], &far["granted"]),
        (&json!(5), &json!(3)),
        "the living ones': {far}"
    );
    assert_eq!((&far["breaker"], &far["pods_down"]), (&json!("open"), &json!(2)));
    assert_eq!(pool["session_sharing"]["state"], json!("over"));
    let open = &pool["open_failures"];
    assert_eq!(
        (&open["answered"], &open["sent_again"], &open["open"]),
        (&json!(25), &json!(5), &json!(20)),
        "{open}"
    );
    let batches = pod.get("/api/v1/batches").await.json();
    assert_eq!((&batches["total"], &batches["batches"][0]["open"]), (&json!(1), &json!(597)), "{batches}");
    assert_eq!(pool["batches"], batches);
    let connection = &pod.get("/api/v1/connections").await.json()["connections"][0];
    assert_eq!((&connection["max_sessions_total"], &connection["granted"]), (&json!(5), &json!(2)));
}

#[tokio::test]
async fn transfers_and_failures_are_given_as_many_as_are_asked_for() {
    let pod = Pod::start().await;
    pod.inside.fill();
    pod.inside.transfer("near by", 9, 1);
    let ids = |answer: &Value| -> Vec<u64> {
        let all = answer["transfers"].as_array().unwrap();
        all.iter().map(|transfer| transfer["task_id"].as_str().unwrap().parse().unwrap()).collect()
    };
    let all = pod.get("/api/v1/transfers").await.json();
    assert_eq!((&all["total"], ids(&all)), (&json!(4), vec![2, 1, 0, 9]), "the longest first");
    assert_eq!(all["transfers"][1]["size"], Value::Null);
    let some = pod.get("/api/v1/transfers?limit=2&offset=1").await.json();
    assert_eq!((&some["total"], ids(&some)), (&json!(4), vec![1, 0]));
    let near = pod.get("/api/v1/transfers?connection=near%20by").await.json();
    assert_eq!((&near["total"], ids(&near)), (&json!(1), vec![9]));

    let failures = pod.get("/api/v1/failures?limit=1").await.json();
    assert_eq!(failures["failures"].as_array().unwrap().len(), 1);
    assert_eq!(
        failures["failures"][0]["advice"],
        json!("Check the path, and whether the file appears only after its task was sent.")
    );

    let document = document(&pod).await;
    for wrong in
        ["transfers?limit=1001", "transfers?offset=x", "transfers?connection=%FF", "failures?limit=-1"]
    {
        let reply = pod.get(&format!("/api/v1/{wrong}")).await;
        assert_eq!(reply.status, 400, "{wrong}");
        let path = format!("/api/v1/{}", wrong.split('?').next().unwrap());
        assert_fits(&document, schema_of(&document, &path, "400"), &reply.json());
        let name = wrong.split(['?', '=']).nth(1).unwrap();
        assert!(
            reply.json()["error"].as_str().unwrap().starts_with(&format!("{name}: expected"))
                || name == "connection",
            "{}",
            reply.body
        );
    }
}

/// A request with this `Authorization`.
async fn ask_with(pod: &Pod, path: &str, authorization: &str) -> Reply {
    let head = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nAuthorization: {authorization}\r\n");
    send(pod.api, &format!("{head}Connection: close\r\n\r\n")).await
}

#[tokio::test]
async fn with_a_token_nobody_else_sees_a_figure() {
    let document = {
        let open = Pod::start().await;
        document(&open).await
    };
    for (path, item) in document["paths"].as_object().unwrap() {
        // One each: a pod that is sent too many wrong tokens reads no more of them for a while.
        let pod = Pod::with_token(Some("s3cret-token")).await;
        let is_open = item["get"]["security"] == json!([]);
        assert_eq!(is_open, ["/", "/health", "/ready"].contains(&path.as_str()), "{path}");
        let reply = pod.get(path).await;
        if is_open {
            assert_ne!(reply.status, 401, "{path}");
            continue;
        }
        for reply in [
            reply,
            ask(pod.api, "HEAD", path).await,
            ask_with(&pod, path, "Bearer s3cret-toke").await,
            ask_with(&pod, path, "Bearer s3cret-tokens").await,
            ask_with(&pod, path, "Basic czNjcmV0LXRva2Vu").await,
            pod.get(&format!("{path}?access_token=s3cret-token")).await,
        ] {
            assert_eq!(reply.status, 401, "{path}");
            assert_eq!(reply.header("www-authenticate"), Some("bearer realm=\"ftp-pooler\""), "{path}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
            if !reply.body.is_empty() {
                assert_fits(&document, &named("Error"), &reply.json());
                assert!(!reply.body.contains("s3cret"), "{}", reply.body);
            }
        }
        if path != "/api/v1/events" {
            assert_eq!(ask_with(&pod, path, "Bearer s3cret-token").await.status, 200, "{path}");
        }
    }
    let pod = Pod::with_token(Some("s3cret-token")).await;
    let metrics = ask(pod.metrics_api, "GET", "/metrics").await;
    assert_eq!(metrics.status, 200, "Prometheus' port is not the API's");
}

#[tokio::test]
async fn a_page_that_lets_its_own_name_lead_here_reads_nothing() {
    let pod = Pod::start().await;
    let ask = async |address, path: &str, host: &str| {
        send(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    };
    for path in ["/", "/health", "/metrics", "/api/v1/status", "/nothing"] {
        let reply = ask(pod.api, path, "rebind.attacker.example:8080").await;
        assert_eq!(reply.status, 421, "{path}");
        assert!(reply.body.contains("api.allowed_hosts"), "{}", reply.body);
    }
    assert_eq!(ask(pod.metrics_api, "/metrics", "rebind.attacker.example").await.status, 421);
    for host in
        ["127.0.0.1", "[::1]:8080", "localhost:8080", "pod-0", "status.example.com", "a.intra.example:8080"]
    {
        assert_eq!(ask(pod.api, "/api/v1/status", host).await.status, 200, "{host}");
        assert_eq!(ask(pod.metrics_api, "/metrics", host).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn who_guesses_tokens_has_to_wait() {
    let pod = Pod::with_token(Some("s3cret-token")).await;
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) && statuses.len() < 1_000 {
        statuses.push(ask_with(&pod, "/metrics", &format!("Bearer guess-{}", statuses.len())).await.status);
    }
    assert!(statuses.len() > 10 && statuses.len() < 1_000, "{statuses:?}");
    assert!(statuses.iter().rev().skip(1).all(|status| *status == 401), "{statuses:?}");
    let reply = ask_with(&pod, "/metrics", "Bearer s3cret-token").await;
    if reply.status == 429 {
        // Unless the second is over by now.
        assert!(reply.header("retry-after").is_some() && reply.body.contains("wrong tokens"), "{reply:?}");
    }
    assert_eq!(pod.get("/health").await.status, 200, "what is open stays open");
    wait_for(async || ask_with(&pod, "/metrics", "Bearer s3cret-token").await.status == 200).await;
}

/// Until this holds.
async fn wait_for(holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, waiting).await.expect("it comes to hold");
}

/// A stream of events.
struct Events {
    socket: TcpStream,
    head: String,
    text: String,
}

impl Events {
    async fn open(pod: &Pod, more: &str) -> Events {
        let mut socket = TcpStream::connect(pod.api).await.unwrap();
        let head = format!("GET /api/v1/events HTTP/1.1\r\nHost: pod\r\n{more}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut events = Events { socket, head: String::new(), text: String::new() };
        while !events.text.contains("\r\n\r\n") {
            assert!(events.read().await, "{}", events.text);
        }
        let (head, rest) = events.text.split_once("\r\n\r\n").unwrap();
        (events.head, events.text) = (head.to_lowercase(), rest.to_owned());
        events
    }

    /// False where the stream has ended.
    async fn read(&mut self) -> bool {
        let mut piece = vec![0; 65_536];
        let read = timeout(LONG, self.socket.read(&mut piece)).await.expect("more comes").unwrap_or(0);
        self.text.push_str(&String::from_utf8_lossy(&piece[..read]));
        read > 0
    }

    /// The data of the first `count` events of this name.
    async fn data(&mut self, name: &str, count: usize) -> Vec<Value> {
        loop {
            let text = unchunked(&self.text);
            let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
            let begin = format!("event: {name}\ndata: ");
            let data = whole.split("\n\n").filter_map(|event| event.split_once(&begin));
            let found: Vec<Value> =
                data.map(|(_, data)| serde_json::from_str(data).expect("JSON")).take(count).collect();
            if found.len() == count {
                return found;
            }
            assert!(self.read().await, "it ended after {text}");
        }
    }
}

/// A body without the lengths of its chunks (RFC 9112, section 7.1); what is incomplete is left out.
fn unchunked(text: &str) -> String {
    let (mut body, mut rest) = (String::new(), text);
    while let Some((length, behind)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        let Some(chunk) = behind.get(..length) else { break };
        body.push_str(chunk);
        rest = behind.get(length + 2..).unwrap_or_default();
    }
    body
}

#[tokio::test]
async fn events_bring_snapshots_and_the_last_hour_as_the_document_says() {
    let pod = Pod::start().await;
    pod.inside.fill();
    let document = document(&pod).await;
    let mut events = Events::open(&pod, "").await;
    assert!(events.head.starts_with("http/1.1 200"), "{}", events.head);
    assert!(events.head.contains("\r\ncontent-type: text/event-stream\r\n"), "{}", events.head);
    assert!(
        events.head.contains("\r\nconnection: close"),
        "the next one has a connection of its own: {}",
        events.head
    );
    for snapshot in events.data("snapshot", 2).await {
        assert_fits(&document, &named("Snapshot"), &snapshot);
        assert_eq!(snapshot["status"]["pod"], json!("pod-0"));
        assert_eq!(snapshot["transfers"]["total"], json!(3));
        assert_eq!(snapshot["partitions"][0]["partition"], json!(0), "sorted");
    }
    for pool in events.data("pool", 2).await {
        assert_fits(&document, &named("Pool"), &pool);
        assert_eq!(pool["pods"].as_array().unwrap().len(), 5);
    }
    for history in events.data("history", 1).await {
        assert_fits(&document, &named("History"), &history);
    }
    assert!(unchunked(&events.text).starts_with("retry: 2000\n\nid: 1\n"), "{}", events.text);

    let head = ask(pod.api, "HEAD", "/api/v1/events").await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
}

#[tokio::test]
async fn ten_thousand_transfers_make_a_small_snapshot() {
    let pod = Pod::start().await;
    for number in 0..10_000 {
        pod.inside.transfer("far", number, number * 7 % 10_000);
    }
    let mut events = Events::open(&pod, "").await;
    let snapshot = events.data("snapshot", 1).await.remove(0);
    assert_eq!(snapshot["transfers"]["total"], json!(10_000));
    assert_eq!(snapshot["transfers"]["transfers"].as_array().unwrap().len(), 50);
    let bytes = snapshot.to_string().len();
    assert!(bytes < 64 * 1_024, "{bytes}");
    let most = pod.get("/api/v1/transfers?limit=1000&offset=9500").await.json();
    assert_eq!(most["transfers"].as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn streams_are_bounded_and_one_that_ends_makes_room() {
    let pod = Pod::start().await;
    let mut streams = Vec::new();
    for _ in 0..MAX_STREAMS {
        let stream = Events::open(&pod, "").await;
        assert!(stream.head.starts_with("http/1.1 200"), "{}", stream.head);
        streams.push(stream);
    }
    let refused = pod.get("/api/v1/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert_fits(&document(&pod).await, &named("Error"), &refused.json());
    assert_eq!(pod.get("/health").await.status, 200, "a probe is heard");

    streams.pop();
    let freed = async {
        while !Events::open(&pod, "").await.head.starts_with("http/1.1 200") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, freed).await.expect("its place is free");
}

#[tokio::test]
async fn a_stop_ends_the_streams_at_once() {
    let pod = Pod::start().await;
    let mut events = Events::open(&pod, "").await;
    events.data("snapshot", 1).await;
    assert!(pod.stop().await < GRACE);
    while events.read().await {}
    assert!(events.text.ends_with("0\r\n\r\n"), "in order: {:?}", events.text.len());
}
