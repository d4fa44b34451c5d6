//! Lists failures, and counts them by code and connection.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::args::ListArgs;
use super::retry_evidence::RetryEvidence;
use super::scan::{FailureQuery, ScannedFailure, ranges, scan};
use crate::cli::answer::FileEnds;
use crate::cli::output::{OutputFormat, TextTable, count, note, one_line, print, print_json};
use crate::cli::{CommandError, EXIT_OK};
use crate::client::Cluster;
use crate::config::Config;
use crate::failure::Code;
use crate::text::{nearest, rfc3339, shorten};

/// Groups at most: connections' names come from tasks, which may say anything.
const MAX_GROUPS: usize = 10_000;
/// Bytes of a message, and of the two paths, in the table.
const SHOWN_BYTES: usize = 120;
/// Failures without a connection, and of the connections beyond [`MAX_GROUPS`].
const NO_CONNECTION: &str = "-";

#[derive(Debug, Serialize)]
struct FailureRow {
    failed_at: String,
    code: String,
    connection: Option<String>,
    task_id: Option<String>,
    #[serde(flatten)]
    file: FileEnds,
    attempts: u64,
    retryable: bool,
    message: String,
    /// Whether `retry` can send its task.
    resendable: bool,
    partition: i32,
    offset: i64,
}

#[derive(Debug, Serialize)]
struct FailureGroup {
    code: String,
    connection: Option<String>,
    count: u64,
    /// Not sent again since, and not cancelled; null unless it was requested (--summary, --open).
    open: Option<u64>,
    first: String,
    last: String,
}

/// All that was found.
#[derive(Debug, Default)]
struct FailureListing {
    total: u64,
    /// The latest, in order.
    rows: BTreeMap<(Timestamp, i32, i64), FailureRow>,
    groups: BTreeMap<(String, Option<String>), FoundGroup>,
    /// Of all, if requested.
    open: Option<u64>,
}

#[derive(Debug)]
struct FoundGroup {
    count: u64,
    open: u64,
    first: Timestamp,
    last: Timestamp,
}

impl FailureListing {
    fn take(&mut self, failing: ScannedFailure, is_open: Option<bool>, limit: usize) {
        let ScannedFailure { partition, offset, task_id, at, failed, .. } = failing;
        self.total += 1;
        let is_open = u64::from(is_open == Some(true));
        self.open = self.open.map(|open| open + is_open);
        let mut group = (failed.code.clone(), failed.connection.clone());
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
            group.1 = None;
        }
        let new = FoundGroup { count: 0, open: 0, first: at, last: at };
        let group = self.groups.entry(group).or_insert(new);
        group.count += 1;
        group.open += is_open;
        (group.first, group.last) = (group.first.min(at), group.last.max(at));
        let row = FailureRow {
            failed_at: rfc3339(at),
            code: failed.code,
            connection: failed.connection,
            task_id,
            file: failed.file,
            attempts: failed.attempts,
            retryable: failed.is_retryable,
            message: failed.message,
            resendable: failed.task.is_some(),
            partition,
            offset,
        };
        self.rows.insert((at, partition, offset), row);
        if self.rows.len() > limit {
            self.rows.pop_first();
        }
    }

    fn groups(&self) -> Vec<FailureGroup> {
        let group = |((code, connection), found): (&(String, Option<String>), &FoundGroup)| FailureGroup {
            code: code.clone(),
            connection: connection.clone(),
            count: found.count,
            open: self.open.map(|_| found.open),
            first: rfc3339(found.first),
            last: rfc3339(found.last),
        };
        let mut groups: Vec<FailureGroup> = self.groups.iter().map(group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}

pub(super) fn list(args: &ListArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let wanted = FailureQuery::new(&args.choice, Timestamp::now());
    let cluster = Cluster::new(&config.kafka)?;
    let ranges = ranges(&cluster, &config.kafka, &wanted)?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    warn_of_unknown(&args.choice.connection, &config);
    let evidence = if args.open || args.summary {
        RetryEvidence::read_if_there(&config.kafka, &cluster, wanted.since())?
    } else {
        None
    };
    let mut found = FailureListing { open: evidence.as_ref().map(|_| 0), ..FailureListing::default() };
    scan(&config.kafka, &ranges, &wanted, |failing, _| {
        let is_open = evidence.as_ref().map(|evidence| is_open(&failing, evidence));
        if !args.open || is_open == Some(true) {
            found.take(failing, is_open, limit);
        }
        true
    })?;
    match args.output {
        OutputFormat::Json => print_json(&serde_json::json!({
            "total": found.total,
            "open": found.open,
            "groups": found.groups(),
            "failures": if args.summary { Vec::new() } else { found.rows.values().collect::<Vec<_>>() },
        })),
        OutputFormat::Table if found.total == 0 => {
            let such = if args.open { "open" } else { "such" };
            note(&format!("no {such} failures since {:.0} (--since)", wanted.since()));
        }
        OutputFormat::Table => tell(&found, args.summary),
    }
    Ok(EXIT_OK)
}

/// Whether a failure is still to be seen to.
fn is_open(failing: &ScannedFailure, evidence: &RetryEvidence) -> bool {
    let at = (failing.partition, failing.offset);
    failing.failed.code != Code::Cancelled.as_str() && !evidence.sent.contains(&at)
}

/// A name that no connection has may be that of one that was removed, or a slip.
pub(super) fn warn_of_unknown(names: &[String], config: &Config) {
    let known = || config.connections.ftp.keys().map(String::as_str);
    for name in names.iter().filter(|name| !config.connections.ftp.contains_key(*name)) {
        let meant =
            nearest(name, known()).map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
        note(&one_line(&format!("no FTP connection is named {name}{meant}")));
    }
}

fn tell(found: &FailureListing, is_summary: bool) {
    let or_none = |name: Option<String>| name.unwrap_or_else(|| NO_CONNECTION.to_owned());
    if is_summary {
        let mut table = TextTable::new(["code", "connection", "count", "open", "first", "last"]);
        for FailureGroup { code, connection, count, open, first, last } in found.groups() {
            let open = open.map(|open| open.to_string()).unwrap_or_default();
            table.row([code, or_none(connection), count.to_string(), open, first, last]);
        }
        print(&table.render());
        return;
    }
    let mut table = TextTable::new(["failed at", "code", "file", "attempts", "message", "task_id"]);
    for row in found.rows.values() {
        let (mut message, mut file) = (row.message.clone(), row.file.to_string());
        shorten(&mut message, SHOWN_BYTES);
        shorten(&mut file, SHOWN_BYTES);
        if file.is_empty() {
            file = or_none(row.connection.clone());
        }
        let task_id = or_none(row.task_id.clone());
        let (failed_at, code) = (row.failed_at.clone(), row.code.clone());
        table.row([failed_at, code, file, row.attempts.to_string(), message, task_id]);
    }
    print(&table.render());
    let shown = found.rows.len() as u64;
    if shown < found.total {
        note(&format!("the latest {shown} of {} (--limit, --summary)", count(found.total, "failure")));
    }
}
