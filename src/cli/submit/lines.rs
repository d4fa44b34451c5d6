//! Ready-made tasks: one JSON object a line.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};

use serde_json::value::RawValue;

use super::args::IdFrom;
use super::input_errors::InputErrors;
use super::spool::TaskSpool;
use crate::config::ConfiguredConnections;
use crate::failure::{Code, Failure};
use crate::listing::{self, TaskContent};
use crate::task::{Operation, Rejected, Task, UnknownOption, decode};

/// What every line is checked against.
#[derive(Debug)]
pub(super) struct LineRules<'a> {
    pub connections: &'a ConfiguredConnections,
    /// Maximum bytes of a record's value that Kafka accepts.
    pub max_bytes: usize,
    /// Gives an id to tasks that have none.
    pub id_from: Option<IdFrom>,
}

/// Checks all lines of `input` and puts the valid ones into `spool`. Empty lines are skipped.
///
/// # Errors
/// Errors of reading and of the spool.
pub(super) fn read(
    mut input: impl BufRead,
    rules: &LineRules<'_>,
    spool: &mut TaskSpool,
    mistakes: &mut InputErrors,
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        // One byte more than there may be, and the line's end.
        let most = rules.max_bytes as u64 + 2;
        if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let is_whole = line.last() == Some(&b'\n');
        let text = trimmed(&line);
        if !is_whole && text.len() > rules.max_bytes {
            let bytes = text.len() as u64 + skip_line(&mut input)?;
            mistakes.on_line(number, too_long(bytes, rules.max_bytes));
            continue;
        }
        if text.is_empty() {
            continue;
        }
        match task(text, rules)? {
            Ok(task) => {
                mistakes.remark(number, &task.unknown);
                spool.push(&task.text, None)?;
            }
            Err(rejected) => mistakes.on_line(number, rejected),
        }
    }
    Ok(())
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.trim_ascii()
}

/// Reads on to the line's end; returns how many bytes that was.
fn skip_line(input: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(skipped);
        }
        let (taken, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        input.consume(taken);
        skipped += taken as u64;
        if is_end {
            return Ok(skipped - 1);
        }
    }
}

fn too_long(bytes: u64, most: usize) -> Rejected {
    let message = format!("the record has {bytes} bytes; Kafka takes {most} (message.max.bytes)");
    Rejected { task_id: None, failure: Failure::new(Code::InvalidTask, message) }
}

/// A task as it is sent.
struct CheckedLine {
    text: String,
    unknown: Vec<UnknownOption>,
}

fn task(line: &[u8], rules: &LineRules<'_>) -> io::Result<Result<CheckedLine, Rejected>> {
    if line.len() > rules.max_bytes {
        return Ok(Err(too_long(line.len() as u64, rules.max_bytes)));
    }
    let text = std::str::from_utf8(line).ok();
    if let (Some(id_from), Some(text)) = (rules.id_from, text)
        && lacks_id(text)
    {
        return with_id(text, id_from, rules.connections);
    }
    let checked = checked(line, rules.connections);
    // What was decoded is UTF-8.
    Ok(checked.map(|task| with_remarks(text.unwrap_or_default().to_owned(), task)))
}

fn with_remarks(text: String, task: Task) -> CheckedLine {
    CheckedLine { text, unknown: task.options.unknown }
}

/// The task behind a text, where the pool will accept it.
pub(super) fn checked(payload: &[u8], connections: &ConfiguredConnections) -> Result<Task, Rejected> {
    decode(Some(payload), connections)
}

fn lacks_id(text: &str) -> bool {
    serde_json::from_str::<BTreeMap<String, &RawValue>>(text).is_ok_and(|task| !task.contains_key("task_id"))
}

/// Puts an id in front of the task's own fields.
fn with_id(
    text: &str,
    id_from: IdFrom,
    connections: &ConfiguredConnections,
) -> io::Result<Result<CheckedLine, Rejected>> {
    let Some(rest) = text.strip_prefix('{') else {
        return Ok(checked(text.as_bytes(), connections).map(|task| with_remarks(text.to_owned(), task)));
    };
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    let under = |id: &str| format!("{{\"task_id\":\"{id}\"{comma}{rest}");
    let random = under(&listing::random()?);
    let task = match checked(random.as_bytes(), connections) {
        Ok(task) => task,
        // The id that was made up would only mislead.
        Err(rejected) => return Ok(Err(Rejected { task_id: None, ..rejected })),
    };
    let text = match id_from {
        IdFrom::Random => random,
        IdFrom::Content => under(&listing::of_content(&content(&task))),
    };
    Ok(Ok(with_remarks(text, task)))
}

fn content(task: &Task) -> TaskContent<'_> {
    let (remote, local) =
        ((task.remote.as_str(), task.remote_path.as_str()), (task.local.as_str(), task.local_path.as_str()));
    let (operation, source, destination) = match task.operation {
        Operation::Download => ("download", remote, local),
        Operation::Upload => ("upload", local, remote),
    };
    TaskContent { operation, source, destination, size: None, modified: None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{FtpConnection, LocalConnection};

    fn connections() -> ConfiguredConnections {
        let mut connections = ConfiguredConnections::default();
        connections.ftp.insert("remote".into(), Arc::new(FtpConnection::default()));
        let local = LocalConnection { name: "local".into(), base_path: "/data".into() };
        connections.local.insert("local".into(), Arc::new(local));
        connections
    }

    fn read_all(text: &[u8], id_from: Option<IdFrom>) -> (Vec<String>, InputErrors) {
        let connections = connections();
        let rules = LineRules { connections: &connections, max_bytes: 1_000, id_from };
        let (mut spool, mut mistakes) = (TaskSpool::new(), InputErrors::default());
        read(text, &rules, &mut spool, &mut mistakes).unwrap();
        let mut tasks = Vec::new();
        spool
            .each(|task| {
                tasks.push(task.to_owned());
                Ok::<_, io::Error>(true)
            })
            .unwrap();
        (tasks, mistakes)
    }

    fn line(id: &str, connection: &str) -> String {
        format!(
            r#"{{{id}"operation":"download","source":{{"connection_id":"{connection}","path":"/a"}},"destination":{{"connection_id":"local","path":"/a"}}}}"#
        )
    }

    #[test]
    fn each_mistake_has_its_line_and_the_right_ones_are_kept() {
        let right = line("\"task_id\":\"1\",", "remote");
        let text = format!(
            "{right}\r\n\n{{\"task_id\"\n  {right}\n{}\n{}\n{right}",
            line("\"task_id\":\"2\",", "remte"),
            line("", "remote"),
        );
        let (tasks, mistakes) = read_all(text.as_bytes(), None);
        assert_eq!(tasks, [right.clone(), right.clone(), right]);
        let lines: Vec<_> = mistakes.named.iter().map(|m| (m.line.unwrap(), m.code)).collect();
        assert_eq!(lines, [(3, "invalid_task"), (5, "unknown_connection"), (6, "invalid_task")]);
        let told = mistakes.told("tasks.jsonl");
        assert!(told.contains("tasks.jsonl:5: unknown_connection"), "{told}");
        assert!(told.contains("did you mean \"remote\"?"), "{told}");
    }

    #[test]
    fn a_line_longer_than_kafka_takes_is_named_and_the_next_one_read() {
        let text = format!("{}\n{}\n", "x".repeat(5_000), line("\"task_id\":\"1\",", "remote"));
        let (tasks, mistakes) = read_all(text.as_bytes(), None);
        assert_eq!((tasks.len(), mistakes.count), (1, 1));
        assert_eq!(mistakes.named[0].line, Some(1));
        assert!(mistakes.named[0].message.contains("5000 bytes"), "{}", mistakes.named[0].message);
    }

    #[test]
    fn bytes_that_are_no_text_are_a_mistake_and_no_panic() {
        let (tasks, mistakes) = read_all(b"\xff\xfe\n{}\n[]\n", Some(IdFrom::Random));
        assert!(tasks.is_empty());
        assert_eq!(mistakes.count, 3);
    }

    #[test]
    fn a_task_without_an_id_gets_one_and_one_with_an_id_keeps_it() {
        let both = format!("{}\n{}\n", line("", "remote"), line("\"task_id\":\"mine\",", "remote"));
        let (tasks, mistakes) = read_all(both.as_bytes(), Some(IdFrom::Content));
        assert_eq!(mistakes.count, 0, "{:?}", mistakes.named);
        let (again, _) = read_all(both.as_bytes(), Some(IdFrom::Content));
        assert_eq!(tasks, again);
        assert!(tasks[1].contains("\"mine\""));
        let (random, _) = read_all(both.as_bytes(), Some(IdFrom::Random));
        assert_ne!(tasks[0], random[0]);
    }
}
