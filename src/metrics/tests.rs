use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::*;
use crate::breaker::BreakerState;
use crate::failure::Code;

/// Metrics with every event told once.
fn told() -> Metrics {
    let metrics = Metrics::new(["far", "near"]);
    metrics.answered("download", "far", None, Duration::from_millis(1_500));
    metrics.answered("upload", "near", Some("timeout"), Duration::from_secs(3));
    metrics.answered("invalid", "", Some("invalid_task"), Duration::ZERO);
    metrics.bytes("download", "far", 1_000);
    metrics.throttled("upload", "far", Duration::from_secs(1));
    metrics.bytes("upload", "near", 24);
    metrics.retried("near", "timeout");
    metrics.sessions("far", 1, 2, 3);
    metrics.session_limit("far", 4);
    metrics.session_opened("far");
    metrics.session_closed("far", CloseReason::Uncertain);
    metrics.tasks("far", 4, 5, 6);
    metrics.held(15, 4_096);
    metrics.waited("far", Duration::from_secs(7));
    metrics.lag("ftp-tasks", 3, 40);
    metrics.lag("ftp-tasks", 4, 2);
    metrics.partitions(2, 1);
    metrics.committed([Duration::from_millis(90); 3].into_iter(), Duration::from_millis(20));
    metrics.aborted("rebalance");
    metrics.producer_renewed();
    metrics.clients_recreated("no_broker");
    metrics.fenced();
    metrics.span("ftp-tasks", 3, 17);
    metrics.oldest(Duration::from_millis(2_500));
    metrics.rebalanced(RebalanceEvent::Lost, 2);
    metrics.halted(1);
    metrics.breaker("far", BreakerState::Open);
    metrics.set_locals(&["disk".to_owned(), "spare".to_owned()]);
    metrics.local_breakers(&HashMap::from([("disk".to_owned(), BreakerState::HalfOpen)]));
    metrics.deferred("far", "unreachable");
    metrics.kafka_error("commit");
    metrics.tunnel("plant", "connected");
    metrics.tunnel_failed("plant", "unreachable");
    metrics.feed_listed("invoices", true);
    metrics.feed_tasks("invoices", 3);
    metrics.feed_files("invoices", 3, 1);
    metrics.health(true, false);
    metrics
}

/// The value of the series written exactly so.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

/// One family of the text format: its help, its type, and its samples' names.
#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    samples: BTreeSet<String>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help has a text");
            let family = families.entry(name.to_owned()).or_default();
            assert!(family.help.is_empty(), "{name} has its help once");
            help.clone_into(&mut family.help);
            name.clone_into(&mut current);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type has a kind");
            assert_eq!(name, current, "type follows help");
            kind.clone_into(&mut families.get_mut(name).expect("help came first").kind);
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
            value.parse::<f64>().expect("a value is a number");
            let family = families.get_mut(&current).expect("a sample follows its type");
            assert!(series.starts_with(&current), "{series} stands under {current}");
            assert!(family.samples.insert(series.to_owned()), "{series} stands there once");
        }
    }
    families
}

#[test]
fn every_declared_metric_is_scraped_with_help_and_type() {
    let text = told().encode();
    let families = families(&text);
    let scraped: BTreeSet<_> = families.keys().map(String::as_str).collect();
    let declared: BTreeSet<_> = PodSeries::NAMES.iter().chain(ProcessMetrics::NAMES).copied().collect();
    assert_eq!(scraped, declared);
    assert_eq!(
        declared.len(),
        PodSeries::NAMES.len() + ProcessMetrics::NAMES.len(),
        "no name is declared twice"
    );
    for (name, family) in &families {
        assert!(family.help.ends_with('.'), "{name}: the help is a sentence: {:?}", family.help);
        assert!(!family.help.contains("  ") && !family.help.starts_with(' '), "{name}: {:?}", family.help);
        assert!(!family.samples.is_empty(), "{name} has a sample");
    }
}

/// What `promtool check metrics` verifies.
#[test]
fn names_follow_the_rules_of_prometheus() {
    let text = told().encode();
    for (name, family) in families(&text) {
        let is_counter = family.kind == "counter";
        assert_eq!(is_counter, name.ends_with("_total"), "{name}: counters, and they alone, end in _total");
        assert!(["counter", "gauge", "histogram"].contains(&family.kind.as_str()), "{name}: {}", family.kind);
        assert!(name.starts_with("ftp_pooler_") || name.starts_with("process_"), "{name}: whose is it?");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}: snake case");
        for unit in ["_ms", "_milliseconds", "_kb", "_minutes", "_count", "_sum", "_bucket", "_gauge"] {
            assert!(!name.ends_with(unit), "{name}: base units, and no reserved suffix");
        }
        assert!(
            family.kind != "histogram" || name.ends_with("_seconds") || name.ends_with("_answers"),
            "{name}: histograms are of time here, or of a batch's answers"
        );
    }
}

#[test]
fn events_arrive_in_their_series() {
    let metrics = told();
    for (series, expected) in [
        (r#"ftp_pooler_tasks_answered_total{connection="far",operation="download",status="completed"}"#, 1.0),
        (r#"ftp_pooler_tasks_answered_total{connection="near",operation="upload",status="failed"}"#, 1.0),
        (
            r#"ftp_pooler_tasks_answered_total{connection="(unknown)",operation="invalid",status="failed"}"#,
            1.0,
        ),
        (r#"ftp_pooler_failures_total{code="timeout",connection="near"}"#, 1.0),
        (r#"ftp_pooler_failures_total{code="invalid_task",connection="(unknown)"}"#, 1.0),
        (r#"ftp_pooler_task_duration_seconds_bucket{connection="far",operation="download",le="1"}"#, 0.0),
        (r#"ftp_pooler_task_duration_seconds_bucket{connection="far",operation="download",le="2.5"}"#, 1.0),
        (r#"ftp_pooler_task_wait_seconds_sum{connection="far"}"#, 7.0),
        (r#"ftp_pooler_transferred_bytes_total{connection="far",operation="download"}"#, 1_000.0),
        (r#"ftp_pooler_retries_total{code="timeout",connection="near"}"#, 1.0),
        (r#"ftp_pooler_sessions{connection="far",state="busy"}"#, 2.0),
        (r#"ftp_pooler_session_limit{connection="far"}"#, 4.0),
        (r#"ftp_pooler_sessions_closed_total{connection="far",reason="in_doubt"}"#, 1.0),
        (r#"ftp_pooler_tasks{connection="far",state="delayed"}"#, 5.0),
        (r#"ftp_pooler_breaker_state{connection="far"}"#, 2.0),
        (r#"ftp_pooler_breaker_state{connection="near"}"#, 0.0),
        (r#"ftp_pooler_local_breaker_state{connection="disk"}"#, 1.0),
        (r#"ftp_pooler_local_breaker_state{connection="spare"}"#, 0.0),
        (r#"ftp_pooler_deferred_tasks_total{connection="far",reason="unreachable"}"#, 1.0),
        (r#"ftp_pooler_lag_records{partition="3",topic="ftp-tasks"}"#, 40.0),
        (r#"ftp_pooler_ledger_span_offsets{partition="3",topic="ftp-tasks"}"#, 17.0),
        ("ftp_pooler_oldest_task_seconds", 2.5),
        (r#"ftp_pooler_rebalanced_partitions_total{event="lost"}"#, 2.0),
        (r#"ftp_pooler_rebalanced_partitions_total{event="assigned"}"#, 0.0),
        ("ftp_pooler_halted_partitions", 1.0),
        (r#"ftp_pooler_kafka_errors_total{operation="commit"}"#, 1.0),
        ("ftp_pooler_committed_answers_total", 3.0),
        ("ftp_pooler_commit_duration_seconds_count", 1.0),
        ("ftp_pooler_commit_answers_sum", 3.0),
        ("ftp_pooler_answer_wait_seconds_count", 3.0),
        (r#"ftp_pooler_aborted_transactions_total{reason="rebalance"}"#, 1.0),
        ("ftp_pooler_producer_renewals_total", 1.0),
        (r#"ftp_pooler_kafka_clients_recreated_total{reason="no_broker"}"#, 1.0),
        ("ftp_pooler_fenced_total", 1.0),
        ("ftp_pooler_held_bytes", 4_096.0),
        ("ftp_pooler_healthy", 1.0),
        ("ftp_pooler_ready", 0.0),
    ] {
        assert_eq!(value(&metrics, series), Some(expected), "{series}");
    }
}

#[test]
fn a_connection_has_its_series_at_zero_before_anything_happens() {
    let metrics = Metrics::new(["far"]);
    let series = r#"ftp_pooler_tasks_answered_total{connection="far",operation="upload",status="completed"}"#;
    assert_eq!(value(&metrics, series), Some(0.0));
    assert_eq!(value(&metrics, r#"ftp_pooler_sessions_opened_total{connection="far"}"#), Some(0.0));
}

/// What Prometheus has seen at its first scrape is no increase, and what is not there yet is none later.
#[test]
fn what_alerts_count_by_connection_is_there_from_the_first_scrape_on() {
    let metrics = Metrics::new(["far"]);
    assert_eq!(value(&metrics, "ftp_pooler_internal_failures_total"), Some(0.0));
    for code in ["auth_failed", "integrity_mismatch"] {
        let series = format!(r#"ftp_pooler_failures_total{{code="{code}",connection="far"}}"#);
        assert_eq!(value(&metrics, &series), Some(0.0), "{series}");
    }
    for operation in ["download", "upload"] {
        for status in ["completed", "failed"] {
            let labels = format!(r#"connection="far",operation="{operation}",status="{status}""#);
            let series = format!("ftp_pooler_tasks_answered_total{{{labels}}}");
            assert_eq!(value(&metrics, &series), Some(0.0), "{series}");
        }
    }
}

#[test]
fn a_local_connection_that_was_removed_has_no_series() {
    let metrics = told();
    metrics.set_locals(&["spare".to_owned()]);
    metrics.local_breakers(&HashMap::from([("disk".to_owned(), BreakerState::Open)]));
    assert_eq!(value(&metrics, r#"ftp_pooler_local_breaker_state{connection="disk"}"#), None);
    assert_eq!(value(&metrics, r#"ftp_pooler_local_breaker_state{connection="spare"}"#), Some(0.0));
}

/// Each of these connections has worked: tasks done and failed, sessions opened and closed.
fn at_work(connections: usize) -> Metrics {
    let names: Vec<String> = (0..connections).map(|number| format!("server-{number:03}")).collect();
    let metrics = Metrics::new(&names);
    for name in &names {
        metrics.answered("download", name, None, Duration::from_millis(1_500));
        metrics.answered("upload", name, Some("timeout"), Duration::from_secs(3));
        metrics.waited(name, Duration::from_secs(7));
        metrics.bytes("download", name, 123_456_789);
        metrics.sessions(name, 3, 7, 0);
        metrics.session_limit(name, 10);
        metrics.session_opened(name);
        metrics.session_closed(name, CloseReason::Idle);
        metrics.tasks(name, 12, 0, 7);
    }
    metrics
}

#[test]
fn two_hundred_connections_at_work_make_a_page_below_300_kb() {
    let metrics = at_work(200);
    let text = metrics.encode();
    assert!(text.len() < 300_000, "{} bytes in {} lines", text.len(), text.lines().count());
    let shared = r#"ftp_pooler_task_duration_seconds_count{connection="(all)",operation="download"}"#;
    assert_eq!(value(&metrics, shared), Some(200.0), "their histograms are one");
    metrics.forget_connection("server-007");
    assert_eq!(value(&metrics, shared), Some(200.0), "and stay when one of them goes");
}

#[test]
fn few_connections_have_histograms_of_their_own() {
    let text = at_work(super::MAX_OWN_HISTOGRAMS).encode();
    assert!(!text.contains("(all)") && text.len() < 300_000, "{} bytes", text.len());
    let metrics = at_work(2);
    metrics.introduce("later");
    metrics.waited("later", Duration::from_secs(1));
    assert_eq!(value(&metrics, r#"ftp_pooler_task_wait_seconds_count{connection="later"}"#), Some(1.0));
}

#[test]
fn names_out_of_tasks_make_no_series() {
    let metrics = Metrics::new(["far"]);
    for n in 0..10_000 {
        metrics.answered("download", &format!("made-up-{n}"), Some("unknown_connection"), Duration::ZERO);
        metrics.retried("far", &format!("code-{n}"));
        metrics.answered(&format!("operation-{n}"), "far", Some("invalid_task"), Duration::ZERO);
    }
    let text = metrics.encode();
    assert!(text.lines().count() < 400, "{} lines", text.lines().count());
    let unknown = r#"ftp_pooler_failures_total{code="unknown_connection",connection="(unknown)"}"#;
    assert_eq!(value(&metrics, unknown), Some(10_000.0));
    assert_eq!(value(&metrics, r#"ftp_pooler_retries_total{code="other",connection="far"}"#), Some(10_000.0));
}

#[test]
fn an_open_set_of_connections_is_bounded_too() {
    let metrics = Metrics::default();
    for n in 0..1_100 {
        metrics.session_opened(&format!("connection-{n}"));
    }
    let opened = metrics.snapshot().connections;
    assert_eq!(opened.len(), 1_001);
    assert_eq!(value(&metrics, r#"ftp_pooler_sessions_opened_total{connection="(unknown)"}"#), Some(100.0));
}

#[test]
fn every_code_of_the_contract_keeps_its_name() {
    let metrics = Metrics::new(["far"]);
    for code in Code::ALL {
        metrics.answered("download", "far", Some(code.as_str()), Duration::ZERO);
        let series = format!(r#"ftp_pooler_failures_total{{code="{code}",connection="far"}}"#);
        assert_eq!(value(&metrics, &series), Some(1.0), "{code}");
    }
    assert_eq!(value(&metrics, "ftp_pooler_internal_failures_total"), Some(1.0));
}

#[test]
fn a_partition_that_left_has_no_series() {
    let metrics = told();
    metrics.forget_partition("ftp-tasks", 3);
    metrics.forget_partition("ftp-tasks", 99);
    assert_eq!(value(&metrics, r#"ftp_pooler_lag_records{partition="3",topic="ftp-tasks"}"#), None);
    assert_eq!(value(&metrics, r#"ftp_pooler_ledger_span_offsets{partition="3",topic="ftp-tasks"}"#), None);
    assert_eq!(value(&metrics, r#"ftp_pooler_lag_records{partition="4",topic="ftp-tasks"}"#), Some(2.0));
}

#[test]
fn a_label_with_quotes_and_line_feeds_is_escaped() {
    let metrics = Metrics::new(["a\"b\\c\nd"]);
    assert_eq!(value(&metrics, r#"ftp_pooler_sessions_opened_total{connection="a\"b\\c\nd"}"#), Some(0.0));
    families(&metrics.encode());
}

#[test]
fn the_process_tells_of_itself() {
    let metrics = Metrics::default();
    let of = |name| value(&metrics, name).unwrap_or_default();
    assert!(of("process_resident_memory_bytes") > 1_000_000.0);
    assert!(of("process_virtual_memory_bytes") >= of("process_resident_memory_bytes"));
    assert!(of("process_open_fds") >= 3.0 && of("process_open_fds") < of("process_max_fds"));
    assert!(of("process_threads") >= 1.0);
    assert!(of("process_start_time_seconds") > 1_600_000_000.0);
    let before = of("process_cpu_seconds_total");
    assert!(before > 0.0);
    assert!(of("process_cpu_seconds_total") >= before);
}

#[test]
fn the_snapshot_sums_the_connections() {
    let snapshot = told().snapshot();
    let names: Vec<_> = snapshot.connections.iter().map(|connection| connection.name.as_str()).collect();
    assert_eq!(names, ["(unknown)", "far", "near"]);
    assert_eq!(snapshot.tasks, TaskSnapshot { waiting: 4, delayed: 5, in_flight: 6 });
    assert_eq!(snapshot.sessions, SessionSnapshot { idle: 1, busy: 2, connecting: 3 });
    let totals = ConnectionTotals {
        completed: 1,
        failed: 2,
        downloaded_bytes: 1_000,
        uploaded_bytes: 24,
        sessions_opened: 1,
    };
    assert_eq!(snapshot.totals, totals);
    assert_eq!(snapshot.lag_records, 42);
    assert_eq!((snapshot.held_tasks, snapshot.held_bytes), (15, 4_096));
}

#[test]
fn totals_do_not_fall_with_a_connection_that_is_gone() {
    let metrics = told();
    let before = metrics.snapshot().totals;
    metrics.forget_connection("far");
    let after = metrics.snapshot();
    assert_eq!(after.totals, before);
    assert!(after.connections.iter().all(|connection| connection.name != "far"));
    assert_eq!(value(&metrics, r#"ftp_pooler_sessions_opened_total{connection="far"}"#), None);

    metrics.introduce("far");
    assert_eq!(metrics.snapshot().totals, before, "who comes back begins at zero, and is not counted twice");
    metrics.bytes("download", "far", 5);
    metrics.forget_connection("far");
    metrics.forget_connection("far");
    assert_eq!(metrics.snapshot().totals.downloaded_bytes, before.downloaded_bytes + 5);
}

#[test]
fn counting_from_many_threads_loses_nothing() {
    let metrics = Metrics::new(["far"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|_| metrics.bytes("download", "far", 3)));
        }
    });
    assert_eq!(metrics.snapshot().totals.downloaded_bytes, 120_000);
}
