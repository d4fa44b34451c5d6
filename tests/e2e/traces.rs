//! A task's spans reach the collector, within the trace that its producer began.

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Outgoing, download};
use crate::support::collector::{Collector, bytes, holds};
use crate::support::pod::Pod;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_producer_finds_its_task_in_its_own_trace() {
    let stage = Stage::new("traces");
    stage.server.put("a.bin", b"content");
    let collector = Collector::start();
    let endpoint = format!("http://{}", collector.addr());
    let config = stage.config().set("traces.endpoint", json!(endpoint)).set("traces.percent", json!(0));
    let pod = Pod::start(&config);

    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let mut traced: Outgoing = download("traced", "remote", "a.bin", "/a.bin").into();
    traced.headers = vec![("traceparent".to_owned(), Some(traceparent.clone().into_bytes()))];
    let mut refused: Outgoing = json!({"task_id": "refused", "operation": "copy"}).into();
    refused.headers = traced.headers.clone();
    stage.send([refused, traced, download("untraced", "remote", "a.bin", "/b.bin").into()]);
    let mut answers = stage.answers();
    answers.wait_for_ids(&["refused", "traced", "untraced"], LONG);
    assert_eq!(answers.results().count(), 2);

    let (head, mut body) = collector.next(LONG);
    // They leave at different times, in one request or two.
    while !(holds(&body, b"refused") && holds(&body, b"traced")) {
        body.extend(collector.next(LONG).1);
    }
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    assert!(holds(&body, &bytes(TRACE)) && holds(&body, &bytes(PARENT)), "the producer's trace");
    assert!(holds(&body, b"ftp_pooler.task_id"));
    assert!(!holds(&body, b"untraced"), "nobody asked for that one");
    assert!(holds(&body, b"invalid_task"), "also of a record that is no task");
    let header = &answers.only("traced").headers[0];
    assert_eq!(header.1.as_deref(), Some(traceparent.as_bytes()), "the answer carries it on");
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert!(collector.is_idle(), "each span once");
}
