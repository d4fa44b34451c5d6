//! Against a collector that keeps what it gets.

use std::net::{SocketAddr, TcpListener};

use super::*;
use crate::lease::Lease;
use crate::record::{Header, Origin, Record};

#[path = "../../tests/support/collector.rs"]
mod collector;
use collector::{Collector, bytes, holds};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const LONG: Duration = Duration::from_secs(30);

fn record(headers: &[(&str, &str)]) -> Record {
    let header = |(key, value): &(&str, &str)| Header {
        key: (*key).to_owned(),
        value: Some(value.as_bytes().to_vec()),
    };
    Record {
        origin: Origin { topic: "ftp-tasks".into(), partition: 3, offset: 42 },
        key: None,
        headers: headers.iter().map(header).collect(),
        payload: None,
        timestamp_ms: None,
        retry: None,
        lease: Lease::default(),
    }
}

fn about(record: &Record) -> TaskAttributes<'_> {
    TaskAttributes {
        record,
        task_id: "task-1",
        operation: "download",
        connection: "far",
        attempts: 2,
        since: Duration::from_secs(1),
    }
}

fn config(endpoint: Option<String>, percent: u8) -> config::TracesConfig {
    config::TracesConfig { endpoint, percent }
}

fn started(address: SocketAddr, percent: u8) -> Traces {
    let endpoint = format!("http://{address}/v1/traces");
    Traces::start(&config(Some(endpoint), percent), "pod-0", "group", Handle::current()).unwrap()
}

/// Two tries, the first of which failed.
fn tried(traces: &Traces) -> TaskNotes {
    let mut notes = traces.notes();
    notes.try_begins();
    notes.try_failed("timeout");
    notes.try_begins();
    notes
}

async fn stop(traces: Traces) {
    tokio::task::spawn_blocking(move || traces.stop(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_span_is_its_producers_child_and_each_try_is_its_own() {
    let collector = Collector::start();
    let traces = started(collector.addr(), 0);
    let record = record(&[("other", "x"), ("Traceparent", &format!("00-{TRACE}-{PARENT}-01"))]);
    traces.left(tried(&traces), &about(&record), SpanEnd::Completed { bytes: 7 });
    stop(traces).await;
    let (head, body) = collector.next(LONG);
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    assert!(head.to_ascii_lowercase().contains("application/x-protobuf"), "{head}");
    assert_eq!(body.windows(16).filter(|window| *window == bytes(TRACE)).count(), 3, "a task and two tries");
    assert!(holds(&body, &bytes(PARENT)), "its parent");
    for text in ["download", "try", "timeout", "ftp-tasks", "task-1", "far", "pod-0", "group"] {
        assert!(holds(&body, text.as_bytes()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_its_producer_left_out_is_left_out() {
    let collector = Collector::start();
    let traces = started(collector.addr(), 100);
    let left_out = record(&[("traceparent", &format!("00-{TRACE}-{PARENT}-00"))]);
    traces.left(tried(&traces), &about(&left_out), SpanEnd::Failed("timeout"));
    let own = record(&[("traceparent", "nonsense")]);
    traces.left(tried(&traces), &about(&own), SpanEnd::Deferred("unavailable"));
    stop(traces).await;
    let (_, body) = collector.next(LONG);
    assert!(!holds(&body, &bytes(TRACE)));
    assert!(holds(&body, b"unavailable"), "one without a trace begins its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_task_has_a_span_with_its_error() {
    let collector = Collector::start();
    let traces = started(collector.addr(), 0);
    let record = record(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]);
    traces.rejected(&record, None, 0, "invalid_task");
    stop(traces).await;
    let (_, body) = collector.next(LONG);
    assert!(holds(&body, &bytes(TRACE)) && holds(&body, &bytes(PARENT)));
    assert!(holds(&body, b"reject") && holds(&body, b"invalid_task"));
    assert!(
        !holds(&body, b"ftp_pooler.task_id") && !holds(&body, b"ftp_pooler.connection"),
        "there are none"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_tasks_without_a_trace_as_many_are_told_as_are_asked_for() {
    let collector = Collector::start();
    let traces = started(collector.addr(), 0);
    let record = record(&[]);
    traces.left(tried(&traces), &about(&record), SpanEnd::Completed { bytes: 7 });
    stop(traces).await;
    assert!(collector.is_idle());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_no_task_anything() {
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let traces = started(away, 100);
    let record = record(&[]);
    for _ in 0..2 * MAX_QUEUED {
        traces.left(traces.notes(), &about(&record), SpanEnd::Completed { bytes: 7 });
    }
    stop(traces).await;
}

#[tokio::test]
async fn off_it_notes_nothing() {
    let traces = Traces::start(&config(None, 100), "pod-0", "group", Handle::current()).unwrap();
    let mut notes = traces.notes();
    notes.try_begins();
    assert!(notes.0.is_none());
    traces.left(notes, &about(&record(&[])), SpanEnd::Completed { bytes: 7 });
    traces.stop(LONG);
}
