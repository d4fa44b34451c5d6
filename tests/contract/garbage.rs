//! Whatever bytes a record holds: a task, or one failure; never a panic, never an overflowing stack.

use ftp_pooler::failure::Code;
use ftp_pooler::task;
use proptest::prelude::*;
use serde_json::json;

use crate::connections::connections;
use crate::decode::{accepted, decode, download, rejected, upload, with};

#[test]
fn a_record_that_is_no_json_object_is_told_where_it_is_wrong() {
    for (payload, message) in [
        (&b""[..], "the record is empty, must be a JSON object"),
        (b" \n", "the record is empty, must be a JSON object"),
        (b"hello", "the record is not JSON: expected value at line 1 column 1"),
        (b"[1, 2]", "the record is [1, 2], must be a JSON object"),
        (b"\"text\"", "the record is \"text\", must be a JSON object"),
        (b"null", "the record is null, must be a JSON object"),
        (b"{\"a\": 1,}", "the record is not JSON: key must be a string at line 1 column 9"),
        (b"{\"a\": 1} x", "the record is not JSON: trailing characters at line 1 column 10"),
        (b"{\"a\":\n tru}", "the record is not JSON: expected ident at line 2 column 5"),
        (b"{\"a\": \"\xff\"}", "the record is not UTF-8 (byte 7)"),
        (b"\xff\xfe{\0}\0", "the record is not UTF-8 (byte 0)"),
        (b"\xef\xbb\xbf{}", "the record begins with a byte order mark (byte 0), must be JSON only"),
    ] {
        let failure = rejected(payload).failure;
        assert_eq!((failure.code, failure.message.as_str()), (Code::InvalidTask, message));
    }
    let tombstone = task::decode(None, &connections()).unwrap_err();
    assert_eq!(tombstone.failure.message, "the record has no value (a tombstone), must be a JSON object");
}

#[test]
fn the_task_id_is_read_as_far_as_it_can_be() {
    let task_id = |payload: &[u8]| rejected(payload).task_id;
    let some = Some("x".to_owned());
    assert_eq!(task_id(br#"{"task_id": "x"}"#), some);
    assert_eq!(task_id(br#"{"task_id": "x", "operation"#), some);
    assert_eq!(task_id(br#"{"task_id": "x"} {}"#), some);
    assert_eq!(task_id(b"{\"task_id\": \"x\", \"a\": \"\xff\"}"), some);
    assert_eq!(task_id(b"\xef\xbb\xbf{\"task_id\": \"x\"}"), some);
    assert_eq!(task_id(br#"{"t\u0061sk_id": "x"}"#), some);
    for none in [
        &br#"{"task_id": "#[..],
        br#"{"task_id": ""}"#,
        br#"{"task_id": 1}"#,
        br#"{"task_id": "\ud800"}"#,
        b"x",
    ] {
        assert_eq!(task_id(none), None);
    }
}

#[test]
fn a_known_field_given_twice_is_an_error_and_an_unknown_one_is_not() {
    let twice = download().to_string().replacen('{', r#"{"operation":"upload","#, 1);
    assert_eq!(rejected(twice).failure.message, "operation: occurs more than once");
    let twice = download().to_string().replacen(r#""path":"#, r#""path":"/other","path":"#, 1);
    assert!(rejected(twice).failure.message.ends_with(".path: occurs more than once"));
    let unknown = download().to_string().replacen('{', r#"{"x":1,"x":2,"#, 1);
    decode(unknown).unwrap();
}

#[test]
fn unknown_fields_are_ignored_whatever_they_hold() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for junk in
        ["1e999", "-1E+9999999", r#""\ud800""#, r#"{"\udfff": "\ud800"}"#, "null", &deep, &deep_objects]
    {
        for name in ["x", r"\ud800", "Task_ID", ""] {
            let task = download().to_string().replacen('{', &format!(r#"{{"{name}":{junk},"#), 1);
            let task = task.replacen(r#""path":"#, &format!(r#""{name}":{junk},"path":"#), 1);
            decode(task).unwrap();
        }
    }
}

#[test]
fn junk_in_a_known_field_is_that_fields_error() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (junk, shown) in
        [("1e999", "1e999"), (r#""\ud800""#, r#""\ud800""#), (deep.as_str(), &"[".repeat(80))]
    {
        let task = download().to_string().replacen(r#""download""#, junk, 1);
        let message = rejected(task).failure.message;
        assert!(message.starts_with(&format!("operation: is {shown}")), "{message}");
        let task = download().to_string().replacen(r#""/remote/file.txt""#, junk, 1);
        assert!(rejected(task).failure.message.starts_with(&format!("source.path: is {shown}")));
    }
    let unclosed = format!(r#"{{"task_id": "x", "y": {}"#, "[".repeat(100_000));
    let rejected = rejected(unclosed);
    assert_eq!(rejected.task_id.as_deref(), Some("x"));
    assert!(rejected.failure.message.contains("EOF while parsing a list at line 1 column"));
}

#[test]
fn names_are_equal_however_they_are_escaped() {
    let escaped = download().to_string().replacen("operation", r"\u006fperation", 1);
    assert_eq!(decode(escaped).unwrap(), accepted(&download()));
}

proptest! {
    #[test]
    fn any_bytes_are_a_task_or_a_failure(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(rejected) = decode(&bytes) {
            prop_assert!(!rejected.failure.message.is_empty());
        }
    }

    #[test]
    fn any_change_of_a_tasks_bytes_is_a_task_or_a_failure(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let task = with(with(upload(), "/options/retry_count", json!(3)), "/options/after", json!({"move_to": "/x"}));
        let mut bytes = task.to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_value_in_any_field_is_a_task_or_a_failure_that_keeps_its_bound(
        field in prop::sample::select(vec!["/task_id", "/operation", "/source", "/source/path",
            "/destination/connection_id", "/options", "/options/deadline", "/options/after", "/options/retry_count"]),
        text in any::<String>(),
        number in any::<f64>(),
        shape in 0..5,
    ) {
        let value = match shape {
            0 => json!(text),
            1 => json!(number),
            2 => json!([text]),
            3 => json!({text: number}),
            _ => json!(text.repeat(500)),
        };
        if let Err(rejected) = decode(with(download(), field, value).to_string()) {
            prop_assert!(rejected.failure.message.len() <= 1000);
            prop_assert!(!rejected.failure.message.chars().any(char::is_control));
            prop_assert_eq!(rejected.task_id.is_none(), field == "/task_id");
        }
    }

    #[test]
    fn a_path_without_flaw_comes_through_unchanged(name in "[^/\\\\\0\r\n.]{1,40}") {
        let path = format!("/dir/{name}");
        let task = accepted(&with(download(), "/source/path", json!(path)));
        prop_assert_eq!(task.remote_path, path);
    }
}
