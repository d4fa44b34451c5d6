//! Whatever a record holds, it has exactly one answer, and the consumer goes on.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage, sorted};
use crate::support::client::{Answer, Answers, Outgoing, download, upload, with};
use crate::support::files::{content, list};
use crate::support::pod::Pod;

/// The header that says which case a record is: headers travel along, whatever else is lost.
const CASE: &str = "case";

struct Case {
    name: &'static str,
    payload: Option<Vec<u8>>,
    code: &'static str,
    /// What the message must name.
    names: &'static str,
}

impl Case {
    fn record(&self) -> Outgoing {
        Outgoing {
            payload: self.payload.clone(),
            headers: vec![(CASE.to_owned(), Some(self.name.as_bytes().to_vec()))],
            ..Outgoing::default()
        }
    }
}

fn raw(name: &'static str, payload: impl Into<Vec<u8>>, names: &'static str) -> Case {
    Case { name, payload: Some(payload.into()), code: "invalid_task", names }
}

fn task(name: &'static str, task: &Value, code: &'static str, names: &'static str) -> Case {
    Case { name, payload: Some(task.to_string().into_bytes()), code, names }
}

/// A good download of `a` with one field changed; `null` takes it away.
fn changed(pointer: &str, value: Value) -> Value {
    let mut task = with(download("x", "remote", "a", "x"), json!({"retry_count": 0}));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = task.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
    task
}

fn no_json() -> Vec<Case> {
    vec![
        Case { name: "tombstone", payload: None, code: "invalid_task", names: "tombstone" },
        raw("empty", "", ""),
        raw("text", "hello", "JSON"),
        raw("number", "42", "object"),
        raw("null", "null", "object"),
        raw("array", "[{}]", "object"),
        raw("cut short", r#"{"task_id": "x", "operation": "down"#, "JSON"),
        raw("two objects", "{}{}", "JSON"),
        raw("not UTF-8", b"{\"task_id\": \"\xff\"}".to_vec(), "UTF-8"),
        raw("garbage", content(1, 900_000), "UTF-8"),
        raw("900 kB of text", "x".repeat(900_000), "JSON"),
        raw("deep nesting", "[".repeat(500_000), ""),
        raw("deep objects", r#"{"a":"#.repeat(150_000), ""),
    ]
}

fn wrong_fields() -> Vec<Case> {
    let invalid =
        |name, pointer, value: Value, names| task(name, &changed(pointer, value), "invalid_task", names);
    vec![
        raw("nothing in it", "{}", "task_id"),
        invalid("no task_id", "/task_id", Value::Null, "task_id"),
        invalid("a number as task_id", "/task_id", json!(5), "task_id"),
        invalid("empty task_id", "/task_id", json!(""), "task_id"),
        invalid("long task_id", "/task_id", json!("x".repeat(257)), "task_id"),
        invalid("no operation", "/operation", Value::Null, "operation"),
        invalid("unknown operation", "/operation", json!("move"), "operation"),
        invalid("no source", "/source", Value::Null, "source"),
        invalid("a string as source", "/source", json!("a"), "source"),
        invalid("no path", "/source/path", Value::Null, "source.path"),
        invalid("a number as path", "/destination/path", json!(5), "destination.path"),
        invalid("empty path", "/source/path", json!(""), "source.path"),
        invalid("no connection", "/source/connection_id", Value::Null, "source.connection_id"),
        invalid("both sides local", "/source/connection_id", json!("local"), "source"),
        invalid("both sides remote", "/destination/connection_id", json!("remote"), "destination"),
        invalid("the wrong way round", "/operation", json!("upload"), "source"),
        invalid("overwrite is a string", "/options/overwrite", json!("yes"), "options.overwrite"),
        invalid("retry_count below zero", "/options/retry_count", json!(-1), "options.retry_count"),
        invalid("retry_count is a string", "/options/retry_count", json!("3"), "options.retry_count"),
        invalid("half a try", "/options/retry_count", json!(1.5), "options.retry_count"),
        invalid("unknown verify", "/options/verify", json!("maybe"), "options.verify"),
        invalid("no time", "/options/deadline", json!("tomorrow"), "options.deadline"),
        invalid("options is a list", "/options", json!([]), "options"),
        task(
            "unknown connection",
            &changed("/source/connection_id", json!("other")),
            "unknown_connection",
            "other",
        ),
    ]
}

fn wrong_paths() -> Vec<Case> {
    let not_allowed =
        |name, pointer, value: Value, names| task(name, &changed(pointer, value), "path_not_allowed", names);
    vec![
        not_allowed("up and out, local", "/destination/path", json!("../x"), "destination.path"),
        not_allowed("up and out in between", "/destination/path", json!("/a/../../x"), "destination.path"),
        not_allowed("up and out, remote", "/source/path", json!("a/../../etc/passwd"), "source.path"),
        not_allowed("NUL", "/source/path", json!("a\0b"), "source.path"),
        not_allowed("CR", "/source/path", json!("a\rDELE a"), "source.path"),
        not_allowed("LF", "/source/path", json!("a\nDELE a"), "source.path"),
        not_allowed("NUL, local", "/destination/path", json!("a\0b"), "destination.path"),
        not_allowed("name of 256 bytes", "/destination/path", json!("x".repeat(256)), "destination.path"),
        not_allowed("a directory", "/destination/path", json!("a/"), "destination.path"),
        not_allowed("a symlink that leads out", "/destination/path", json!("out/x"), "destination.path"),
        not_allowed("an absolute symlink", "/destination/path", json!("absolute/x"), "destination.path"),
        task(
            "a symlink read",
            &upload("x", "out/secret", "remote", "stolen"),
            "path_not_allowed",
            "source.path",
        ),
    ]
}

fn case(answer: &Answer) -> &str {
    let header = answer.headers.iter().find(|(key, _)| key == CASE).expect("the record's header");
    std::str::from_utf8(header.1.as_deref().unwrap()).unwrap()
}

fn assert_answered_once(answers: &Answers, case_: &Case) {
    let found: Vec<&Answer> = answers.failures().filter(|a| case(a) == case_.name).collect();
    let [answer] = found.as_slice() else { panic!("{}: {} answers", case_.name, found.len()) };
    let (name, json) = (case_.name, &answer.json);
    assert_eq!(json["status"], "failed", "{name}");
    assert_eq!(answer.code(), case_.code, "{name}: {}", answer.message());
    assert!(answer.message().contains(case_.names), "{name}: {}", answer.message());
    assert!(json["error"]["ftp_code"].is_null() && json["attempts"].is_u64(), "{name}");
    assert_eq!(json["error"]["retryable"], false, "{name}");
    let object = json.as_object().unwrap();
    assert!(object.contains_key("task_id") && object.contains_key("task"), "{name}: always there");

    let payload = case_.payload.as_deref();
    let original = payload.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    match (payload, original) {
        (None, _) => assert_eq!(json["task"], Value::Null),
        (Some(_), Some(task)) if task.is_object() => assert_eq!(json["task"], task, "{name}"),
        (Some(bytes), _) if json["truncated"] == true => {
            assert!(bytes.len() > 400_000, "{name} would fit whole");
        }
        (Some(bytes), _) => match std::str::from_utf8(bytes) {
            Ok(text) => assert!(json["task"]["raw"] == text, "{name}"),
            Err(_) => assert!(json["task"]["raw_base64"].is_string(), "{name}"),
        },
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn each_bad_record_has_one_failure_that_names_what_is_wrong_and_the_next_task_is_done() {
    let stage = Stage::new("bad-input");
    let outside = stage.outside();
    fs::write(outside.join("secret"), b"not for the server").unwrap();
    symlink("../outside", stage.base().join("out")).unwrap();
    symlink(&outside, stage.base().join("absolute")).unwrap();
    stage.server.put("a", b"content");
    let cases: Vec<Case> = [no_json(), wrong_fields(), wrong_paths()].into_iter().flatten().collect();
    stage.send(cases.iter().map(Case::record));
    stage.send([download("good", "remote", "a", "good")]);

    let pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(cases.len() + 1, LONG);
    assert!(pod.is_healthy());
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
    answers.read_to_end();

    assert_eq!(answers.all.len(), cases.len() + 1);
    for case in &cases {
        assert_answered_once(&answers, case);
    }
    assert!(answers.only("good").is_completed());
    assert_eq!(stage.get_local("good").unwrap(), b"content");
    assert_eq!(stage.local_files(), sorted(["absolute", "good", "out"]), "the symlinks and the good one");
    assert_eq!(list(&outside), sorted(["secret"]));
    assert_eq!(stage.remote_files(), sorted(["a"]));
    assert_eq!(stage.kafka.lag(&stage.topics), 0);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_bad_record_keeps_its_key_where_it_has_no_task_id() {
    let stage = Stage::new("bad-key");
    let key = Some(b"own key".to_vec());
    stage.send([
        Outgoing { key: key.clone(), ..Outgoing::default() },
        Outgoing { key: key.clone(), payload: Some(b"{}".to_vec()), ..Outgoing::default() },
        Outgoing {
            key: key.clone(),
            payload: Some(br#"{"task_id": "known"}"#.to_vec()),
            ..Outgoing::default()
        },
    ]);

    let _pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(3, LONG);

    assert_eq!(answers.only("known").key.as_deref(), Some(&b"known"[..]));
    let others = answers.failures().filter(|a| a.task_id().is_none());
    assert!(others.map(|a| a.key.clone()).eq([key.clone(), key]));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_the_contract_does_not_know_is_ignored() {
    let stage = Stage::new("unknown-fields");
    stage.server.put("a", b"content");
    let mut task =
        with(download("new", "remote", "a", "new"), json!({"retry_count": 1_000, "colour": "red"}));
    task["priority"] = json!(9);
    task["source"]["etag"] = json!({"deep": [[[1]]]});
    let mut bare = download("bare", "remote", "a", "bare");
    bare["options"] = Value::Null;
    stage.send([task, bare]);

    let _pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(2, LONG).assert_all_completed();

    assert_eq!(stage.get_local("new").unwrap(), b"content");
    assert_eq!(stage.get_local("bare").unwrap(), b"content");
}
