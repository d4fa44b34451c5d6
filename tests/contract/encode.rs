//! What an outcome becomes: the message of a result or a failure, within the size of its topic.

use std::borrow::Cow;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ftp_pooler::digest::{Algorithm, FileHash};
use ftp_pooler::failure::{Code, Failure};
use ftp_pooler::outcome::{
    Answer, AnswerKind, Completed, MIN_MESSAGE_BYTES, MovedFile, Outcome, SourceFate, TransferDetails,
    Verdict,
};
use ftp_pooler::record::{Header, Origin, Record, RetryState};
use jiff::Timestamp;
use jsonschema::Validator;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::decode::{download, with};
use crate::documents::{assert_valid, validator};

/// Kafka's default of `message.max.bytes`.
pub(super) const TOPIC_BYTES: usize = 1_048_588;

pub(super) fn record(payload: Option<&[u8]>) -> Record {
    Record {
        origin: Origin { topic: Arc::from("ftp-tasks"), partition: 0, offset: 7 },
        key: Some(b"own key".to_vec()),
        headers: Vec::new(),
        payload: payload.map(<[u8]>::to_vec),
        timestamp_ms: None,
        retry: None,
        lease: ftp_pooler::lease::Lease::default(),
    }
}

pub(super) fn outcome(record: Record, task_id: Option<&str>, verdict: Result<Completed, Failure>) -> Outcome {
    Outcome {
        record: Box::new(record),
        task_id: task_id.map(str::to_owned),
        attempts: 2,
        at: "2025-01-15T11:30:00.123999+01:00".parse().unwrap(),
        verdict: verdict.into(),
    }
}

pub(super) fn completed(notes: &[&str]) -> Completed {
    let notes = notes.iter().map(|note| (*note).to_owned()).collect();
    let duration = Duration::from_micros(150_900);
    Completed { bytes_transferred: 1024, duration, notes, details: TransferDetails::default() }
}

fn failed(payload: Option<&[u8]>) -> Outcome {
    outcome(record(payload), Some("6b1f"), Err(Failure::new(Code::InvalidTask, "operation: is missing")))
}

pub(super) fn message(answer: &Answer<'_>) -> Value {
    serde_json::from_slice(&answer.payload).unwrap()
}

/// The bytes of a failure's `task`.
fn embedded(answer: &Answer<'_>) -> String {
    #[derive(Deserialize)]
    struct Failure<'a> {
        #[serde(borrow)]
        task: &'a RawValue,
    }
    serde_json::from_slice::<Failure<'_>>(&answer.payload).unwrap().task.get().to_owned()
}

/// What Kafka counts towards the record's size: key, value, headers, and at most 97 bytes of its own.
pub(super) fn record_size(answer: &Answer<'_>) -> usize {
    let headers =
        answer.headers.iter().map(|header| 10 + header.key.len() + header.value.as_ref().map_or(0, Vec::len));
    97 + answer.payload.len() + answer.key.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}

#[test]
fn a_result_is_what_the_contract_says() {
    let outcome = outcome(record(None), Some("6b1f"), Ok(completed(&[])));
    let answer = outcome.encode(TOPIC_BYTES);
    assert_eq!((answer.kind, answer.key, answer.truncated), (AnswerKind::Result, Some(&b"6b1f"[..]), false));
    let expected = json!({"task_id": "6b1f", "status": "completed", "bytes_transferred": 1024,
        "duration_ms": 150, "completed_at": "2025-01-15T10:30:00.123Z", "attempts": 2, "size": 1024});
    assert_eq!(message(&answer), expected);
    assert_valid(&validator("result"), &expected);
}

/// Every fact that a result can tell.
pub(super) fn all_details() -> TransferDetails {
    let hash = |name: &str| {
        let algorithm = Algorithm::from_name(name).unwrap();
        FileHash { algorithm, value: "0a".repeat(algorithm.bytes()) }
    };
    TransferDetails {
        file: Some(Box::new(MovedFile { source: "remote:/ä".into(), destination: "local:/in/ä".into() })),
        connection: "remote \"ftp\"".into(),
        hashes: vec![hash("xxh3"), hash("sha256")],
        verified_by: Some("sha256"),
        source_mtime: Some("2025-01-15T10:29:00Z".parse().unwrap()),
        resumed_from: Some(4096),
        after: Some(SourceFate::Moved),
        features: vec!["EPSV", "SITE UTIME"],
    }
}

#[test]
fn a_result_tells_what_is_known_of_its_file() {
    let completed = Completed { details: all_details(), ..completed(&["a note"]) };
    let outcome = outcome(record(None), Some("6b1f"), Ok(completed));
    let expected = json!({"task_id": "6b1f", "status": "completed", "bytes_transferred": 1024,
        "duration_ms": 150, "completed_at": "2025-01-15T10:30:00.123Z", "attempts": 2, "size": 1024,
        "source": "remote:/ä", "destination": "local:/in/ä",
        "connection": "remote \"ftp\"", "verified_by": "sha256", "after": "moved", "resumed_from": 4096,
        "source_mtime": "2025-01-15T10:29:00.000Z", "features": ["EPSV", "SITE UTIME"],
        "hash": {"xxh3": "0a".repeat(8), "sha256": "0a".repeat(32)}, "notes": ["a note"]});
    assert_eq!(message(&outcome.encode(TOPIC_BYTES)), expected);
    assert_valid(&validator("result"), &expected);
    for after in [SourceFate::Deleted, SourceFate::Moved, SourceFate::Kept] {
        let said = with(expected.clone(), "/after", json!(after.as_str()));
        assert_valid(&validator("result"), &said);
    }
    for algorithm in Algorithm::ALL {
        let said = with(expected.clone(), "/hash", json!({algorithm.name(): "00".repeat(algorithm.bytes())}));
        assert_valid(&validator("result"), &said);
    }
}

#[test]
fn facts_that_have_no_room_are_left_out_and_the_result_says_so() {
    let details = TransferDetails { connection: "n".repeat(3000), ..all_details() };
    let outcome = outcome(record(None), Some("6b1f"), Ok(Completed { details, ..completed(&[]) }));
    let answer = outcome.encode(TOPIC_BYTES);
    let message = message(&answer);
    assert!(answer.truncated && message.get("connection").is_none() && message["truncated"] == true);
    assert_valid(&validator("result"), &message);
}

#[test]
fn a_results_notes_are_there_if_there_are_any_and_go_where_there_is_no_room() {
    let long = "n".repeat(MIN_MESSAGE_BYTES);
    let outcome = outcome(record(None), Some("6b1f"), Ok(completed(&["one", &long, "three"])));
    let whole = message(&outcome.encode(TOPIC_BYTES));
    assert_eq!(whole["notes"], json!(["one", long, "three"]));
    assert_valid(&validator("result"), &whole);
    for (bytes, notes) in [(MIN_MESSAGE_BYTES, json!(["one"])), (1, json!(null))] {
        let cut = outcome.encode(bytes);
        assert!(cut.truncated && record_size(&cut) <= MIN_MESSAGE_BYTES);
        let cut = message(&cut);
        assert_eq!(cut["notes"], notes);
        assert_valid(&validator("result"), &cut);
    }
}

#[test]
fn a_failure_for_a_topic_that_takes_next_to_nothing_has_what_is_required_and_no_more() {
    let record =
        Record { headers: vec![Header { key: "h".into(), value: None }], ..record(Some(&[b'x'; 9_000])) };
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let outcome = outcome(record, Some(id), Err(Failure::new(Code::Timeout, "m".repeat(2_000))));
    let least = outcome.encode(1);
    assert!(least.truncated && record_size(&least) <= 400, "{}", record_size(&least));
    assert_eq!((least.key, least.headers.len()), (Some(id.as_bytes()), 0));
    let message = message(&least);
    assert_valid(&validator("failure"), &message);
    assert_eq!((&message["task_id"], &message["task"]), (&json!(id), &json!(null)));
    assert_eq!((&message["error"]["code"], &message["error"]["message"]), (&json!("timeout"), &json!("")));
    assert_eq!(message["truncated"], true);
}

#[test]
fn a_failure_is_what_the_contract_says() {
    let task = download().to_string();
    let failure = Failure {
        code: Code::SourceNotFound,
        message: "RETR: \"550\n\u{7}gone\"".into(),
        ftp_code: Some(550),
    };
    let outcome = outcome(record(Some(task.as_bytes())), Some("6b1f"), Err(failure));
    let answer = outcome.encode(TOPIC_BYTES);
    assert_eq!((answer.kind, answer.key, answer.truncated), (AnswerKind::Failure, Some(&b"6b1f"[..]), false));
    let expected = json!({"task_id": "6b1f", "status": "failed",
        "error": {"code": "source_not_found", "message": "RETR: \"550\n\u{7}gone\"", "retryable": false, "ftp_code": 550},
        "attempts": 2, "failed_at": "2025-01-15T10:30:00.123Z", "task": download()});
    assert_eq!(message(&answer), expected);
    assert_valid(&validator("failure"), &expected);
}

#[test]
fn a_tombstone_without_a_task_id_has_nulls_and_the_records_own_key() {
    let outcome = outcome(record(None), None, Err(Failure::new(Code::InvalidTask, "x")));
    let answer = outcome.encode(TOPIC_BYTES);
    assert_eq!(answer.key, Some(&b"own key"[..]));
    let message = message(&answer);
    for field in ["task_id", "task"] {
        assert_eq!(message.get(field), Some(&Value::Null));
    }
    assert_eq!(message["error"].get("ftp_code"), Some(&Value::Null));
    assert_valid(&validator("failure"), &message);
}

#[test]
fn the_original_is_embedded_byte_for_byte_if_it_is_an_object() {
    for task in [
        r#"{"task_id":1.10,"n":1E+2,"big":123456789012345678901234567890,"neg":-0}"#,
        "{ \"a\" :\t[ ],\n\"a\": \"\\u0041\\/\u{7f}\" }",
        r#"{"x": 1e999, "s": "\ud800"}"#,
        "{}",
    ] {
        assert_eq!(embedded(&failed(Some(task.as_bytes())).encode(TOPIC_BYTES)), task);
        let padded = format!(" \n{task}\r\n");
        assert_eq!(embedded(&failed(Some(padded.as_bytes())).encode(TOPIC_BYTES)), task);
    }
}

#[test]
fn an_object_is_text_where_its_depth_would_stop_a_reader() {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert_eq!(embedded(&failed(Some(nested(100).as_bytes())).encode(TOPIC_BYTES)), nested(100));
    for depth in [101, 100_000] {
        let outcome = failed(Some(nested(depth).as_bytes()));
        assert_eq!(message(&outcome.encode(TOPIC_BYTES))["task"], json!({"raw": nested(depth)}));
    }
}

#[test]
fn what_is_no_object_is_text_or_base64() {
    for text in ["", "hello", "[1]", "null", "\"\\", "{\"a\":1} {}", "\u{0}\u{1}\u{feff}ü"] {
        let outcome = failed(Some(text.as_bytes()));
        let message = message(&outcome.encode(TOPIC_BYTES));
        assert_eq!(message["task"], json!({"raw": text}));
        assert_valid(&validator("failure"), &message);
    }
    for bytes in [&b"\xff"[..], b"{\"a\":\"\xc3\"}", b"\xff\xfe{\0"] {
        let message = message(&failed(Some(bytes)).encode(TOPIC_BYTES));
        assert_eq!(message["task"], json!({"raw_base64": BASE64.encode(bytes)}));
    }
}

#[test]
fn headers_travel_along_in_order_without_the_poolers_own() {
    let header =
        |key: &str, value: Option<&[u8]>| Header { key: key.into(), value: value.map(<[u8]>::to_vec) };
    let mut record = record(None);
    record.headers = vec![
        header("trace", Some(b"\xff\x00")),
        header("ftp-pooler-attempts", Some(b"1")),
        header("trace", None),
        header("ftp-pooler-not-before", None),
        header("", Some(b"")),
    ];
    for verdict in [Ok(completed(&[])), Err(Failure::new(Code::Internal, "x"))] {
        let outcome =
            outcome(Record { headers: record.headers.clone(), ..self::record(None) }, Some("6b1f"), verdict);
        let headers: Vec<Header> =
            outcome.encode(TOPIC_BYTES).headers.into_iter().map(Cow::into_owned).collect();
        assert_eq!(
            headers,
            [header("trace", Some(b"\xff\x00")), header("trace", None), header("", Some(b""))]
        );
    }
}

#[test]
fn a_large_original_is_cut_to_what_the_topic_takes() {
    let object = json!({"task_id": "6b1f", "blob": "x".repeat(1_200_000)}).to_string();
    let controls = "\u{1}".repeat(900_000);
    let bytes = vec![0xff; 900_000];
    let payloads = [(object.as_bytes(), "raw"), (controls.as_bytes(), "raw"), (&bytes, "raw_base64")];
    for (payload, member) in payloads {
        let outcome = failed(Some(payload));
        let answer = outcome.encode(TOPIC_BYTES);
        assert!(answer.truncated && record_size(&answer) <= TOPIC_BYTES);
        assert!(record_size(&answer) > TOPIC_BYTES - 100, "room is left: {}", record_size(&answer));
        let message = message(&answer);
        assert_eq!(
            (&message["truncated"], &message["error"]["message"]),
            (&json!(true), &json!("operation: is missing"))
        );
        let text = message["task"][member].as_str().unwrap();
        match member {
            "raw" => assert!(std::str::from_utf8(payload).unwrap().starts_with(text)),
            _ => assert!(payload.starts_with(&BASE64.decode(text).unwrap())),
        }
        assert_valid(&validator("failure"), &message);
    }
}

#[test]
fn the_errors_message_is_cut_after_the_original() {
    let failure =
        Failure { code: Code::ProtocolError, message: "\u{1}".repeat(1_000_000), ftp_code: Some(500) };
    let outcome = outcome(record(Some(&b"y".repeat(5000))), Some(&"\u{2}".repeat(256)), Err(failure));
    let whole = message(&outcome.encode(TOPIC_BYTES));
    assert_eq!(whole["error"]["message"].as_str().unwrap().len(), 2048);
    assert_eq!(whole["task"]["raw"].as_str().unwrap().len(), 5000);
    let small = outcome.encode(MIN_MESSAGE_BYTES);
    assert!(small.truncated && record_size(&small) <= MIN_MESSAGE_BYTES);
    let small = message(&small);
    assert!(small["error"]["message"].as_str().unwrap().len() > 200, "{small}");
    assert!(small["task"]["raw"].as_str().unwrap().len() > 40, "{small}");
    assert_valid(&validator("failure"), &small);
}

#[test]
fn headers_and_a_key_that_leave_no_room_are_left_out() {
    let mut record = record(Some(b"{}"));
    record.headers = vec![Header { key: "h".into(), value: Some(vec![0; MIN_MESSAGE_BYTES]) }];
    record.key = Some(vec![1; MIN_MESSAGE_BYTES]);
    let outcome = outcome(record, None, Err(Failure::new(Code::InvalidTask, "x")));
    let large = outcome.encode(3 * MIN_MESSAGE_BYTES);
    assert!(!large.truncated && large.headers.len() == 1 && large.key.is_some());
    let smaller = outcome.encode(2 * MIN_MESSAGE_BYTES);
    assert!(smaller.truncated && smaller.headers.is_empty() && smaller.key.is_some());
    let least = outcome.encode(MIN_MESSAGE_BYTES);
    assert!(least.truncated && least.headers.is_empty() && least.key.is_none());
    assert_eq!(message(&least)["truncated"], json!(true));
}

fn payloads() -> impl Strategy<Value = Option<Vec<u8>>> {
    let repeated =
        (prop::sample::select(vec!["x", "\u{1}", "\"", "€", "[", "{\"a\":", "\\"]), 0usize..20_000);
    let tokens = vec!["{", "}", "[", "]", ",", ":", "\"a\"", "1.50", "-", "true", "null", " ", "\"\\\"]\""];
    prop_oneof![
        Just(None),
        prop::collection::vec(prop::sample::select(tokens), 0..12)
            .prop_map(|parts| Some(parts.concat().into_bytes())),
        prop::collection::vec(any::<u8>(), 0..3000).prop_map(Some),
        any::<String>().prop_map(|text| Some(text.into_bytes())),
        repeated.clone().prop_map(|(part, times)| Some(part.repeat(times).into_bytes())),
        repeated.prop_map(|(part, times)| Some(
            json!({"task_id": "x", "y": part.repeat(times)}).to_string().into_bytes()
        )),
    ]
}

static FAILURE: LazyLock<Validator> = LazyLock::new(|| validator("failure"));
static RESULT: LazyLock<Validator> = LazyLock::new(|| validator("result"));

proptest! {
    #[test]
    fn any_failure_is_valid_json_within_its_size_and_has_all_that_is_required(
        payload in payloads(),
        task_id in prop::option::of("\\PC{1,64}|[\u{1}-\u{20}\"]{256}"),
        text in "\\PC{0,100}|[\u{0}-\u{20}]{2100}",
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..3000)),
        headers in prop::collection::vec(("[a-z]{0,20}", prop::option::of(prop::collection::vec(any::<u8>(), 0..2000))), 0..4),
        max_bytes in 0usize..60_000,
    ) {
        let headers = headers.into_iter().map(|(key, value)| Header { key, value }).collect();
        let record = Record { key, headers, ..record(payload.as_deref()) };
        let outcome = outcome(record, task_id.as_deref(), Err(Failure::new(Code::Timeout, text.clone())));
        let answer = outcome.encode(max_bytes);
        prop_assert!(record_size(&answer) <= max_bytes.max(MIN_MESSAGE_BYTES));
        let message = message(&answer);
        let flaws: Vec<_> = FAILURE.iter_errors(&message).map(|flaw| flaw.to_string()).collect();
        prop_assert!(flaws.is_empty(), "{:?}", flaws);
        prop_assert_eq!(&message["task_id"], &json!(task_id));
        prop_assert_eq!(message.get("truncated").is_some(), answer.truncated);
        // Below the smallest size the original goes as well.
        prop_assert_eq!(message["task"].is_null(), payload.is_none() || message["task"].is_null() && max_bytes < MIN_MESSAGE_BYTES);
        if !answer.truncated {
            let raw = message["task"].get("raw").and_then(Value::as_str).map(str::as_bytes);
            let base64 = message["task"].get("raw_base64").and_then(Value::as_str).map(|text| BASE64.decode(text).unwrap());
            match (&payload, raw, base64) {
                (Some(payload), Some(raw), _) => prop_assert_eq!(raw, &payload[..]),
                (Some(payload), _, Some(bytes)) => prop_assert_eq!(&bytes, payload),
                (Some(payload), None, None) => prop_assert_eq!(embedded(&answer).into_bytes(), payload.trim_ascii().to_vec()),
                (None, ..) => {}
            }
        }
    }

    #[test]
    fn any_result_is_valid_json_within_its_size_and_has_all_that_is_required(
        bytes_transferred in any::<u64>(),
        millis in any::<u64>(),
        notes in prop::collection::vec("\\PC{0,60}|[\u{0}-\u{20}]{500}", 0..6),
        has_details: bool,
        max_bytes in 0usize..9000,
    ) {
        let duration = Duration::from_millis(millis);
        let details = if has_details { all_details() } else { TransferDetails::default() };
        let completed = Completed { bytes_transferred, duration, notes, details };
        let count = completed.notes.len();
        let outcome = outcome(record(None), Some("6b1f"), Ok(completed));
        let answer = outcome.encode(max_bytes);
        prop_assert!(record_size(&answer) <= max_bytes.max(MIN_MESSAGE_BYTES));
        let message = message(&answer);
        prop_assert!(RESULT.is_valid(&message), "{}", message);
        prop_assert_eq!(message["bytes_transferred"].as_u64(), Some(bytes_transferred));
        prop_assert_eq!(message["duration_ms"].as_u64(), Some(millis));
        let kept = message.get("notes").map_or(0, |notes| notes.as_array().unwrap().len());
        let has_lost_details = has_details && message.get("connection").is_none();
        prop_assert_eq!(kept < count || has_lost_details, answer.truncated);
    }
}

fn retry_state() -> RetryState {
    RetryState {
        group: "group".into(),
        not_before: Timestamp::UNIX_EPOCH,
        attempts: 2,
        origin: Origin { topic: "ftp-tasks".into(), partition: 0, offset: 7 },
        origin_ms: None,
        since: Timestamp::UNIX_EPOCH,
        begun: None,
    }
}

#[test]
fn a_deferral_is_the_record_as_it_was_with_our_own_headers_made_anew() {
    let header = |key: &str, value: &str| Header { key: key.into(), value: Some(value.into()) };
    let record = Record {
        key: Some(b"the key".to_vec()),
        headers: vec![header("trace", "1"), header("ftp-pooler-attempts", "1"), header("trace", "2")],
        ..record(Some(br#" {"task_id" : "6b1f"} "#))
    };
    let state = retry_state();
    let own = state.headers();
    let deferred = Outcome {
        verdict: Verdict::Deferred(Box::new(state)),
        ..outcome(record, Some("6b1f"), Ok(completed(&[])))
    };

    let sent = deferred.encode(100_000);
    assert_eq!((sent.kind, sent.key, sent.truncated), (AnswerKind::Deferral, Some(&b"the key"[..]), false));
    assert_eq!(sent.payload, br#" {"task_id" : "6b1f"} "#);
    let headers: Vec<_> = sent.headers.into_iter().map(Cow::into_owned).collect();
    assert!(own.contains(&header("ftp-pooler-attempts", "2")));
    assert_eq!(headers, [vec![header("trace", "1"), header("trace", "2")], own].concat());
}

#[test]
fn a_task_too_large_for_the_retry_topic_is_answered() {
    let task = format!(r#"{{"task_id":"6b1f","x":"{}"}}"#, "y".repeat(10_000));
    let large = outcome(record(Some(task.as_bytes())), Some("6b1f"), Ok(completed(&[])));
    let large = Outcome { verdict: Verdict::Deferred(Box::new(retry_state())), ..large };
    let answer = large.encode(5_000);
    assert_eq!(answer.kind, AnswerKind::Failure);
    let json: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(json["error"]["code"], "connection_unavailable");
}
