//! What a record's payload becomes: a task, or a failure that names the field and the reason.

use ftp_pooler::failure::Code;
use ftp_pooler::task::{self, After, Operation, Options, Rejected, Task, UnknownOption, Verify};
use serde_json::{Value, json};

use crate::connections::{connections, ftp};

pub fn download() -> Value {
    json!({
        "task_id": "6b1f", "operation": "download",
        "source": {"connection_id": "remote-ftp", "path": "/remote/file.txt"},
        "destination": {"connection_id": "local", "path": "/data/file.txt"},
    })
}

pub fn upload() -> Value {
    json!({
        "task_id": "6b1f", "operation": "upload",
        "source": {"connection_id": "local", "path": "/data/file.txt"},
        "destination": {"connection_id": "remote-ftp", "path": "/remote/file.txt"},
    })
}

/// `task` with the value at `pointer` (RFC 6901) set, or taken away where there is none.
pub fn with(mut task: Value, pointer: &str, value: impl Into<Option<Value>>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    if parent == "/options" && task.get("options").is_none() {
        task["options"] = json!({});
    }
    let parent = task.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value.into() {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    task
}

pub fn decode(payload: impl AsRef<[u8]>) -> Result<Task, Rejected> {
    task::decode(Some(payload.as_ref()), &connections())
}

pub fn accepted(task: &Value) -> Task {
    decode(task.to_string()).unwrap_or_else(|rejected| panic!("{task}: {}", rejected.failure))
}

pub fn rejected(payload: impl AsRef<[u8]>) -> Rejected {
    let rejected = decode(payload.as_ref()).unwrap_err();
    assert!(rejected.failure.message.len() <= 1000, "{} bytes", rejected.failure.message.len());
    assert!(!rejected.failure.message.chars().any(char::is_control));
    rejected
}

/// The code and the message that answer `task`.
fn refused(task: &Value) -> (Code, String) {
    let rejected = rejected(task.to_string());
    (rejected.failure.code, rejected.failure.message)
}

fn invalid(task: &Value) -> String {
    let (code, message) = refused(task);
    assert_eq!(code, Code::InvalidTask, "{message}");
    message
}

fn options(options: Value) -> Options {
    accepted(&with(download(), "/options", options)).options
}

#[test]
fn a_download_and_an_upload_name_their_two_sides() {
    let task = accepted(&download());
    assert_eq!(task.operation, Operation::Download);
    assert_eq!((task.remote.as_str(), task.remote_path.as_str()), ("remote-ftp", "/remote/file.txt"));
    assert_eq!((task.local.as_str(), task.local_path.as_str()), ("local", "/data/file.txt"));
    let other = accepted(&upload());
    assert_eq!(other.operation, Operation::Upload);
    assert_eq!(Task { operation: Operation::Download, ..other }, task);
}

#[test]
fn options_and_everything_in_them_may_be_absent_or_null() {
    let defaults = Options {
        overwrite: true,
        retry_count: 3,
        verify: Verify::Size,
        resume: true,
        preserve_mtime: false,
        deadline: None,
        defer: true,
        after: After::Keep,
        unknown: Vec::new(),
    };
    assert_eq!(accepted(&download()).options, defaults);
    assert_eq!(Options::default(), defaults);
    assert_eq!(options(Value::Null), defaults);
    assert_eq!(options(json!({})), defaults);
    let nulls = json!({"overwrite": null, "retry_count": null, "verify": null, "resume": null,
        "preserve_mtime": null, "deadline": null, "defer": null, "after": null});
    assert_eq!(options(nulls), defaults);
}

#[test]
fn options_are_read() {
    let read = options(json!({"overwrite": false, "retry_count": 0, "verify": "hash", "resume": false,
        "preserve_mtime": true, "deadline": "2025-01-15T10:30:00+01:00", "defer": false,
        "after": {"move_to": "/done/file.txt"}}));
    let expected = Options {
        overwrite: false,
        retry_count: 0,
        verify: Verify::Hash,
        resume: false,
        preserve_mtime: true,
        deadline: Some("2025-01-15T09:30:00Z".parse().unwrap()),
        defer: false,
        after: After::MoveTo("/done/file.txt".to_owned()),
        unknown: Vec::new(),
    };
    assert_eq!(read, expected);
    assert_eq!(options(json!({"after": "delete"})).after, After::Delete);
    assert_eq!(options(json!({"verify": "none"})).verify, Verify::None);
}

#[test]
fn an_option_that_is_not_known_is_ignored_and_remembered() {
    let read = options(json!({"overwrit": false, "retry_count": 1, "x\n": null}));
    assert_eq!((read.overwrite, read.retry_count), (true, 1));
    let notes: Vec<String> = read.unknown.iter().map(UnknownOption::note).collect();
    assert_eq!(
        notes,
        [
            "options.overwrit is not known and was ignored, did you mean overwrite?",
            "options.x\\u{a} is not known and was ignored"
        ]
    );
    let many: serde_json::Map<String, Value> =
        (0..1_000).map(|n| (format!("{n}{}", "y".repeat(10_000)), Value::Null)).collect();
    let notes: usize = options(many.into()).unknown.iter().map(|unknown| unknown.note().len()).sum();
    assert!(notes < 1_000, "{notes} bytes are kept");
}

#[test]
fn a_source_is_not_moved_onto_itself() {
    let moved = |to: &str| with(download(), "/options/after", json!({"move_to": to}));
    for to in ["/remote/file.txt", "//remote/./file.txt"] {
        let message = invalid(&moved(to));
        assert!(message.starts_with("options.after.move_to: is \""), "{message}");
        assert!(message.ends_with("the source itself"), "{message}");
    }
    for to in ["/remote/file.txt.done", "remote/file.txt", "/done/remote/file.txt"] {
        assert_eq!(accepted(&moved(to)).options.after, After::MoveTo(to.to_owned()));
    }
}

#[test]
fn a_larger_retry_count_is_a_hundred_and_none_is_a_fraction() {
    for (given, count) in [
        ("0", 0),
        ("-0", 0),
        ("7", 7),
        ("100", 100),
        ("101", 100),
        ("4294967296", 100),
        ("99999999999999999999999999", 100),
        ("3.0", 3),
        ("1e3", 100),
        ("1e999", 100),
    ] {
        let task =
            download().to_string().replacen('{', &format!(r#"{{"options":{{"retry_count":{given}}},"#), 1);
        assert_eq!(decode(&task).unwrap().options.retry_count, count, "{given}");
    }
    for wrong in ["-1", "2.5", "\"3\"", "true", "[]", "-1e999", "1e-3"] {
        let task =
            download().to_string().replacen('{', &format!(r#"{{"options":{{"retry_count":{wrong}}},"#), 1);
        let message = rejected(&task).failure.message;
        assert_eq!(message, format!("options.retry_count: is {wrong}, must be a whole number, 0 to 100"));
    }
}

#[test]
fn a_deadline_may_have_any_form_of_rfc_3339() {
    for given in [
        "2025-01-15T09:30:00Z",
        "2025-01-15t09:30:00z",
        "2025-01-15T09:30:00.000000000-00:00",
        "2025-01-15T10:30:00+01:00",
        "2025-01-15 09:30:00Z",
    ] {
        let deadline = options(json!({"deadline": given})).deadline;
        assert_eq!(deadline, Some("2025-01-15T09:30:00Z".parse().unwrap()), "{given}");
    }
}

#[test]
fn a_missing_or_wrong_field_is_named_with_what_was_found_and_what_would_be_right() {
    for (pointer, value, message) in [
        ("/task_id", None, "task_id: is missing, must be a string of 1 to 256 bytes"),
        ("/task_id", Some(json!(42)), "task_id: is 42, must be a string of 1 to 256 bytes"),
        ("/task_id", Some(json!(null)), "task_id: is null, must be a string of 1 to 256 bytes"),
        ("/task_id", Some(json!("")), "task_id: is empty, must be a string of 1 to 256 bytes"),
        ("/task_id", Some(json!("ü".repeat(129))), "task_id: has 258 bytes, may have 256"),
        ("/operation", Some(json!("Copy")), r#"operation: is "Copy", must be "download" or "upload""#),
        ("/operation", None, r#"operation: is missing, must be "download" or "upload""#),
        ("/source", None, "source: is missing, must be an object with connection_id and path"),
        ("/source", Some(json!("x")), r#"source: is "x", must be an object"#),
        ("/destination", Some(json!([])), "destination: is [], must be an object"),
        ("/source/path", None, "source.path: is missing, must be a path, not empty"),
        ("/source/path", Some(json!("")), "source.path: is empty, must be a path, not empty"),
        (
            "/destination/path",
            Some(json!(["/a"])),
            r#"destination.path: is ["/a"], must be a path, not empty"#,
        ),
        ("/source/connection_id", Some(json!(7)), "source.connection_id: is 7, must be a connection's name"),
        ("/options", Some(json!("fast")), r#"options: is "fast", must be an object"#),
        ("/options/overwrite", Some(json!("yes")), r#"options.overwrite: is "yes", must be true or false"#),
        (
            "/options/verify",
            Some(json!("md5")),
            r#"options.verify: is "md5", must be "none", "size", "hash" or "auto""#,
        ),
        ("/options/defer", Some(json!(1)), "options.defer: is 1, must be true or false"),
        (
            "/options/after",
            Some(json!("move")),
            r#"options.after: is "move", must be "keep", "delete" or {"move_to": path}"#,
        ),
        (
            "/options/after",
            Some(json!({"to": 1})),
            "options.after.move_to: is missing, must be a path on the server, not empty",
        ),
    ] {
        assert_eq!(invalid(&with(download(), pointer, value)), message);
    }
    for wrong in ["2025-01-15", "2025-01-15T10:30:00", "tomorrow", "10:30:00Z", ""] {
        let message = invalid(&with(download(), "/options/deadline", json!(wrong)));
        assert!(
            message.starts_with(&format!("options.deadline: is \"{wrong}\", must be a time in RFC 3339")),
            "{message}"
        );
    }
}

#[test]
fn several_wrong_fields_are_named_in_one_message() {
    let task = json!({"task_id": "x", "operation": "upload",
        "source": {"connection_id": "locale", "path": "../x"}, "destination": 3,
        "options": {"resume": 0, "defer": 0, "overwrite": 0, "verify": 0}});
    let (code, message) = refused(&task);
    assert_eq!(code, Code::InvalidTask);
    assert!(message.starts_with("destination: is 3"), "{message}");
    assert!(message.ends_with("options.defer: is 0, must be true or false; and 2 more"), "{message}");
}

#[test]
fn a_side_on_the_wrong_kind_of_connection_is_named() {
    let both_local = with(download(), "/source/connection_id", json!("scratch"));
    let message = invalid(&both_local);
    assert!(
        message.starts_with("source.connection_id: \"scratch\" is a local connection, must be an FTP"),
        "{message}"
    );
    let both_remote = with(download(), "/destination/connection_id", json!("backup"));
    let message = invalid(&both_remote);
    assert!(
        message.starts_with("destination.connection_id: \"backup\" is an FTP connection, must be a local"),
        "{message}"
    );
    let exchanged = with(download(), "/operation", json!("upload"));
    let message = invalid(&exchanged);
    assert!(
        message.contains("source.connection_id") && message.contains("destination.connection_id"),
        "{message}"
    );
}

#[test]
fn an_unknown_connection_is_named_with_what_may_have_been_meant() {
    let refused_source = |name: &str| {
        let (code, message) = refused(&with(download(), "/source/connection_id", json!(name)));
        assert_eq!(code, Code::UnknownConnection);
        message
    };
    let meant = "did you mean \"remote-ftp\"? (there are: backup, remote-ftp)";
    for name in ["remote-fpt", "Remote_FTP", "remoteftp"] {
        assert_eq!(
            refused_source(name),
            format!("source.connection_id: there is no connection \"{name}\", {meant}")
        );
    }
    assert_eq!(
        refused_source("elsewhere"),
        "source.connection_id: there is no connection \"elsewhere\" (there are: backup, remote-ftp)"
    );
    assert!(refused_source(&"x".repeat(900_000)).contains("x…\" (there are"));
}

#[test]
fn many_connections_are_not_all_listed() {
    let mut many = connections();
    many.ftp.extend((0..5000).map(|n| (format!("server-{n:04}"), ftp("x").into())));
    let task = with(download(), "/source/connection_id", json!("server-99999"));
    let message = task::decode(Some(task.to_string().as_bytes()), &many).unwrap_err().failure.message;
    assert!(message.ends_with("server-0007 and 4992 more)"), "{message}");
}

#[test]
fn a_path_that_cannot_be_a_files_is_named() {
    for (task, field, local) in [
        (download(), "source.path", false),
        (download(), "destination.path", true),
        (upload(), "source.path", true),
        (upload(), "destination.path", false),
    ] {
        let pointer = format!("/{}", field.replace('.', "/"));
        let path_refused = |path: &str| {
            let (code, message) = refused(&with(task.clone(), &pointer, json!(path)));
            assert_eq!(code, Code::PathNotAllowed, "{message}");
            assert!(message.starts_with(&format!("{field}: \"")), "{message}");
            message
        };
        for path in ["..", "../x", "/a/../b", "a/..", "a\0b", "a\rb", "a\nDELE b", "/", ".", "a/", "a/."] {
            path_refused(path);
        }
        assert!(path_refused(&"d/".repeat(2049)).contains("4098 bytes"));
        let long_name = with(task.clone(), &pointer, json!("n".repeat(256)));
        assert_eq!(decode(long_name.to_string()).is_err(), local);
        assert!(path_refused("a\u{0}b").contains("\"a\\u{0}b\" holds a NUL (byte 1)"));
    }
    let (code, message) = refused(&with(download(), "/options/after", json!({"move_to": "../x"})));
    assert_eq!((code, message.contains("options.after.move_to: \"../x\"")), (Code::PathNotAllowed, true));
}

#[test]
fn a_path_keeps_its_exact_text() {
    for path in ["-rf", " x ", "//a/./b", "~/x", "ünï/文件 [1]%#?*.txt", "tab\there", "C:\\x\\y"] {
        let task = with(with(download(), "/source/path", json!(path)), "/destination/path", json!(path));
        let task = accepted(&task);
        assert_eq!((task.remote_path.as_str(), task.local_path.as_str()), (path, path));
    }
}

#[test]
fn the_code_is_that_of_the_most_basic_problem() {
    let path = with(download(), "/source/path", json!("../x"));
    assert_eq!(refused(&path).0, Code::PathNotAllowed);
    let connection = with(path, "/destination/connection_id", json!("nowhere"));
    let (code, message) = refused(&connection);
    assert_eq!(code, Code::UnknownConnection);
    assert!(message.find("nowhere") < message.find("../x"), "{message}");
    let invalid = with(connection, "/options/defer", json!(3));
    let (code, message) = refused(&invalid);
    assert_eq!(code, Code::InvalidTask);
    assert!(message.starts_with("options.defer") && message.contains("../x"), "{message}");
}

#[test]
fn an_uploads_source_is_always_kept() {
    assert_eq!(accepted(&with(upload(), "/options/after", json!("keep"))).options.after, After::Keep);
    for after in [json!("delete"), json!({"move_to": "/x"})] {
        let message = invalid(&with(upload(), "/options/after", after));
        assert!(
            message.starts_with("options.after: is ") && message.contains("on an upload only \"keep\""),
            "{message}"
        );
    }
}

const TASK: &str = r#"{"task_id": "t1", "operation": "download", "source": {"connection_id": "remote-ftp", "path": "/gen/a-100"}, "destination": {"connection_id": "local", "path": "/a"}}"#;

/// Case b27: what producers' serializers make of a task.
#[test]
fn b27_a_record_in_anothers_frame_is_named_with_the_task_that_is_in_it() {
    decode(TASK).unwrap();
    let framed = [b"\0\0\0\0\x0c", TASK.as_bytes()].concat();
    let connect = format!(r#"{{"schema": {{"type": "struct", "fields": []}}, "payload": {TASK}}}"#);
    let event = format!(
        r#"{{"specversion": "1.0", "id": "1", "type": "task", "source": "/producer", "data": {TASK}}}"#
    );
    for (payload, parts) in [
        (framed, ["is framed for a Schema Registry", "schema id 12"]),
        (connect.into_bytes(), ["an envelope of Kafka Connect", "value.converter.schemas.enable=false"]),
        (event.into_bytes(), ["a CloudEvent (specversion 1.0)", "binary mode"]),
    ] {
        let rejected = rejected(payload);
        assert_eq!(rejected.task_id.as_deref(), Some("t1"), "{}", rejected.failure);
        assert_eq!(rejected.failure.code, Code::InvalidTask);
        for part in parts {
            assert!(rejected.failure.message.contains(part), "{}", rejected.failure);
        }
    }
    for (payload, part) in [
        (&b"\0\0\0\0\x05\x04t1\x10download"[..], "before Avro, Protobuf"),
        (b"Obj\x01\x04\x14avro.codec", "an Avro container file"),
        (b"\x04t1\x10download", "begins with the byte 0x04, as Avro"),
    ] {
        let message = rejected(payload).failure.message;
        assert!(message.contains(part), "{message}");
    }
}

/// Case b27: fields in another spelling.
#[test]
fn b27_a_field_in_another_spelling_is_what_was_meant() {
    let camel = r#"{"taskId": "t1", "operation": "download", "source": {"connectionId": "remote-ftp", "path": "/gen/a-100"}, "destination": {"connectionId": "local", "path": "/a"}}"#;
    let message = rejected(camel).failure.message;
    for part in [
        r#"task_id: is missing, must be a string of 1 to 256 bytes (there is "taskId": did you mean task_id?)"#,
        r#"source.connection_id: is missing, must be a connection's name (there is "connectionId": did you mean connection_id?)"#,
        "destination.connection_id: is missing",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let slip = TASK.replace("operation", "opperation").replace("destination", "Destination");
    let message = rejected(slip).failure.message;
    assert!(
        message.contains("did you mean operation?") && message.contains("did you mean destination?"),
        "{message}"
    );
    // A field that the contract does not know is nobody's business.
    accepted(&with(download(), "/taskID", json!("x")));
}

/// Case b39: paths with quotes.
#[test]
fn b39_a_path_may_have_quotes() {
    let task = accepted(&with(download(), "/source/path", json!("/pub/O'Brien \"x\".csv")));
    assert_eq!(task.remote_path, "/pub/O'Brien \"x\".csv");
}
