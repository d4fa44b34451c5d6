//! Lists failures, and counts them by code and connection.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::args::ListArgs;
use super::scan::{FailureQuery, ScannedFailure, ranges, scan};
use crate::cli::output::{OutputFormat, TextTable, count, note, print, print_json};
use crate::cli::{CommandError, EXIT_OK};
use crate::client::Cluster;
use crate::config::Config;
use crate::text::shorten;

/// Groups at most: connections' names come from tasks, which may say anything.
const MAX_GROUPS: usize = 10_000;
/// Bytes of a message in the table.
const SHOWN_BYTES: usize = 120;
/// Stands for no connection, and for those above [`MAX_GROUPS`].
const NO_CONNECTION: &str = "-";

#[derive(Debug, Serialize)]
struct FailureRow {
    failed_at: String,
    code: String,
    connection: Option<String>,
    task_id: Option<String>,
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
    first: String,
    last: String,
}

/// All that was found.
#[derive(Debug, Default)]
struct FailureListing {
    total: u64,
    /// The latest, in order.
    rows: BTreeMap<(Timestamp, i32, i64), FailureRow>,
    groups: BTreeMap<(String, Option<String>), (u64, Timestamp, Timestamp)>,
}

impl FailureListing {
    fn take(&mut self, failing: ScannedFailure, limit: usize) {
        let ScannedFailure { partition, offset, task_id, at, failed, .. } = failing;
        self.total += 1;
        let mut group = (failed.code.clone(), failed.connection.clone());
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
            group.1 = None;
        }
        let (number, first, last) = self.groups.entry(group).or_insert((0, at, at));
        *number += 1;
        (*first, *last) = ((*first).min(at), (*last).max(at));
        let row = FailureRow {
            failed_at: crate::text::rfc3339(at),
            code: failed.code,
            connection: failed.connection,
            task_id,
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
        let group =
            |((code, connection), (count, first, last)): (&(String, Option<String>), &(u64, _, _))| {
                let (first, last): (&Timestamp, &Timestamp) = (first, last);
                FailureGroup {
                    code: code.clone(),
                    connection: connection.clone(),
                    count: *count,
                    first: first.to_string(),
                    last: last.to_string(),
                }
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
    let mut found = FailureListing::default();
    scan(&config.kafka, &ranges, &wanted, |failing, _| {
        found.take(failing, limit);
        true
    })?;
    match args.output {
        OutputFormat::Json => print_json(&serde_json::json!({
            "total": found.total,
            "groups": found.groups(),
            "failures": if args.summary { Vec::new() } else { found.rows.values().collect::<Vec<_>>() },
        })),
        OutputFormat::Table if found.total == 0 => {
            note(&format!("no such failures since {:.0} (--since)", wanted.since()));
        }
        OutputFormat::Table => tell(&found, args.summary),
    }
    Ok(EXIT_OK)
}

fn tell(found: &FailureListing, is_summary: bool) {
    let or_none = |name: Option<String>| name.unwrap_or_else(|| NO_CONNECTION.to_owned());
    if is_summary {
        let mut table = TextTable::new(["code", "connection", "count", "first", "last"]);
        for FailureGroup { code, connection, count, first, last } in found.groups() {
            table.row([code, or_none(connection), count.to_string(), first, last]);
        }
        print(&table.render());
        return;
    }
    let mut table = TextTable::new(["failed at", "code", "connection", "task_id", "attempts", "message"]);
    for row in found.rows.values() {
        let mut message = row.message.clone();
        shorten(&mut message, SHOWN_BYTES);
        let (connection, task_id) = (or_none(row.connection.clone()), or_none(row.task_id.clone()));
        table.row([
            row.failed_at.clone(),
            row.code.clone(),
            connection,
            task_id,
            row.attempts.to_string(),
            message,
        ]);
    }
    print(&table.render());
    let shown = found.rows.len() as u64;
    if shown < found.total {
        note(&format!("the latest {shown} of {} (--limit, --summary)", count(found.total, "failure")));
    }
}
