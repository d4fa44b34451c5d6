//! The failures on purpose: something for each kind of mistake that producers, servers and users make.

use serde_json::{Value, json};

use crate::plan::{
    EXISTING, Expected, LOCAL, NOBODY, Planned, Refusal, SECRET, SERVER, SOURCE, WAY_OUT, WRONG_PASSWORD,
};

/// A task that downloads.
pub fn download(id: &str, connection: &str, from: &str, to: &str) -> Value {
    task(id, "download", (connection, from), (LOCAL, to))
}

/// A task that uploads.
pub fn upload(id: &str, connection: &str, from: &str, to: &str) -> Value {
    task(id, "upload", (LOCAL, from), (connection, to))
}

/// The records that must fail.
pub fn refusals() -> Vec<Planned> {
    [tried(), untried(), malformed()].into_iter().flatten().collect()
}

/// Found out by trying.
fn tried() -> Vec<Planned> {
    let refused = |code, why, task: Value| refuse(&task, code, true, why);
    let cautious = json!({"overwrite": false});
    let once = json!({"retry_count": 0});
    let way_out = format!("{WAY_OUT}/{SECRET}");
    vec![
        refused(
            "source_not_found",
            "not on the server",
            download("fail-not-there", SERVER, "no such file", "not there"),
        ),
        refused(
            "source_not_found",
            "not in the storage",
            upload("fail-not-here", SERVER, "no such file", "not here"),
        ),
        refused(
            "destination_exists",
            "overwrite is false",
            with(download("fail-exists-here", SERVER, SOURCE, EXISTING), "options", cautious.clone()),
        ),
        refused(
            "destination_exists",
            "overwrite is false",
            with(upload("fail-exists-there", SERVER, SOURCE, EXISTING), "options", cautious),
        ),
        refused(
            "path_not_allowed",
            "a symlink leads out of base_path",
            upload("fail-symlink", SERVER, &way_out, "stolen"),
        ),
        refused(
            "auth_failed",
            "wrong password",
            with(download("fail-password", WRONG_PASSWORD, SOURCE, "no password"), "options", once.clone()),
        ),
        refused(
            "connect_failed",
            "nothing listens there",
            with(download("fail-nobody", NOBODY, SOURCE, "nobody"), "options", once),
        ),
    ]
}

/// Found out by reading.
fn untried() -> Vec<Planned> {
    let refused = |code, why, task: Value| refuse(&task, code, false, why);
    vec![
        refused(
            "unknown_connection",
            "not in connections.ini",
            download("fail-connection", "no-such-server", SOURCE, "no server"),
        ),
        refused(
            "path_not_allowed",
            "`..` in a local path",
            download("fail-escape-here", SERVER, SOURCE, "../outside/escaped"),
        ),
        refused(
            "path_not_allowed",
            "`..` in a remote path",
            upload("fail-escape-there", SERVER, SOURCE, "inbox/../../escaped"),
        ),
        refused(
            "invalid_task",
            "an operation that does not exist",
            with(download("fail-operation", SERVER, SOURCE, "no operation"), "operation", json!("teleport")),
        ),
        refused(
            "invalid_task",
            "both sides remote",
            with(
                download("fail-both-remote", SERVER, SOURCE, "remote"),
                "destination",
                json!({"connection_id": SERVER, "path": "remote"}),
            ),
        ),
    ]
}

/// Without a `task_id`: their answers are found by the records' keys.
fn malformed() -> Vec<Planned> {
    let planned = |key: &str, payload: Option<&str>, why| {
        let refusal = Refusal { code: "invalid_task", is_begun: false, has_id: false, why };
        Planned {
            key: key.to_owned(),
            payload: payload.map(str::to_owned),
            expected: Expected::Refused(refusal),
        }
    };
    vec![
        planned("fail-not-json", Some("GET /file.txt HTTP/1.1"), "not JSON"),
        planned("fail-tombstone", None, "a record without a value"),
    ]
}

fn refuse(task: &Value, code: &'static str, is_begun: bool, why: &'static str) -> Planned {
    let key = task.get("task_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let refusal = Refusal { code, is_begun, has_id: true, why };
    Planned { key, payload: Some(task.to_string()), expected: Expected::Refused(refusal) }
}

fn task(id: &str, operation: &str, source: (&str, &str), destination: (&str, &str)) -> Value {
    json!({
        "task_id": id,
        "operation": operation,
        "source": {"connection_id": source.0, "path": source.1},
        "destination": {"connection_id": destination.0, "path": destination.1},
    })
}

fn with(mut task: Value, field: &str, value: Value) -> Value {
    if let Some(fields) = task.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
    task
}
