//! `ftp-pooler batch`: what was submitted together, how far it is, and ending it.
//!
//! ```text
//! args      the options
//! control   what the control topic says of batches, and writing to it
//! count     how the tasks of batches were answered: both answer topics are read
//! wait      waits until all tasks of a batch are answered
//! ```

mod args;
pub(super) mod control;
mod count;
mod wait;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use args::{BatchArgs, BatchCommand};
use control::BatchLog;

use super::output::{OutputFormat, TextTable, bytes, count as counted, note, one_line, print, print_json};
use super::{CommandError, EXIT_FAILURE, EXIT_OK};
use crate::batch::{BatchNews, CancelledBatch, KnownBatch, MAX_ID_BYTES};
use crate::client::Cluster;
use crate::config::{Config, KafkaConfig};
use crate::text::{nearest, rfc3339};
use args::{BatchListArgs, CancelArgs, OneBatchArgs};
use count::{BatchCounts, count_answers};

/// Failures that `show` names.
const NAMED: usize = 20;

/// Lists, shows, cancels or waits. Returns the exit code.
pub(super) fn batch(args: &BatchArgs) -> Result<u8, CommandError> {
    match &args.command {
        BatchCommand::Ls(args) => list(args),
        BatchCommand::Show(args) => show(args),
        BatchCommand::Cancel(args) => cancel(args),
        BatchCommand::Wait(args) => wait::wait(args),
    }
}

fn list(args: &BatchListArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let cluster = Cluster::new(&config.kafka)?;
    let log = BatchLog::read(&config.kafka, &cluster)?;
    let since = args.since.before(Timestamp::now());
    let is_late = |batch: &KnownBatch| submitted_at(batch).is_none_or(|at| at >= since);
    let batches: Vec<KnownBatch> =
        log.all().into_iter().filter(|batch| is_late(batch) && (args.all || batch.done.is_none())).collect();
    let counts = count_answers(&config.kafka, &cluster, &batches)?;
    let row = |batch: &KnownBatch| (batch.clone(), counts.get(&batch.id).cloned().unwrap_or_default());
    let rows: Vec<(KnownBatch, BatchCounts)> = batches.iter().map(row).collect();
    match args.output {
        OutputFormat::Json => {
            let batches: Vec<Value> = rows.iter().map(|(batch, counts)| document(batch, counts)).collect();
            print_json(&json!({ "batches": batches }));
        }
        OutputFormat::Table if rows.is_empty() => {
            note("no batch is open (--all: also those that are done; --since)");
        }
        OutputFormat::Table => print(&table(&rows)),
    }
    Ok(EXIT_OK)
}

fn table(rows: &[(KnownBatch, BatchCounts)]) -> String {
    let mut table =
        TextTable::new(["batch", "state", "tasks", "completed", "failed", "open", "submitted by", "what"]);
    for (batch, counts) in rows {
        let submitted = batch.submitted.clone().unwrap_or_default();
        table.row([
            batch.id.clone(),
            state(batch, counts).to_owned(),
            submitted.tasks.to_string(),
            counts.completed.to_string(),
            counts.failed.to_string(),
            open(batch, counts).to_string(),
            submitted.by,
            submitted.what,
        ]);
    }
    table.render()
}

fn submitted_at(batch: &KnownBatch) -> Option<Timestamp> {
    batch.submitted.as_ref()?.at.parse().ok()
}

/// Tasks that have no answer yet.
fn open(batch: &KnownBatch, counts: &BatchCounts) -> u64 {
    let tasks = batch.submitted.as_ref().map_or(0, |submitted| submitted.tasks);
    tasks.saturating_sub(counts.answered())
}

fn state(batch: &KnownBatch, counts: &BatchCounts) -> &'static str {
    match (&batch.cancelled, &batch.done) {
        (Some(_), _) => "cancelled",
        (None, None) if open(batch, counts) > 0 => "open",
        _ => "done",
    }
}

fn document(batch: &KnownBatch, counts: &BatchCounts) -> Value {
    json!({
        "batch": batch.id,
        "state": state(batch, counts),
        "submitted": batch.submitted,
        "cancelled": batch.cancelled,
        "completed": counts.completed, "failed": counts.failed, "open": open(batch, counts),
        "bytes": counts.bytes, "failures_by_code": counts.by_code,
    })
}

/// The batch, or which one may have been meant.
fn known(log: &BatchLog, id: &str) -> Result<KnownBatch, CommandError> {
    log.get(id).ok_or_else(|| {
        let all = log.all();
        let meant = nearest(id, all.iter().map(|batch| batch.id.as_str()));
        let meant = meant.map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
        CommandError::Data(format!("there is no batch {id}{meant} (ftp-pooler batch ls --all lists them)"))
    })
}

fn show(args: &OneBatchArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let cluster = Cluster::new(&config.kafka)?;
    let batch = known(&BatchLog::read(&config.kafka, &cluster)?, &args.id)?;
    let counts = count_answers(&config.kafka, &cluster, std::slice::from_ref(&batch))?;
    let counts = counts.get(&batch.id).cloned().unwrap_or_default();
    match args.output {
        OutputFormat::Json => {
            let mut document = document(&batch, &counts);
            if let Some(document) = document.as_object_mut() {
                document.insert("failures".to_owned(), json!(counts.named));
            }
            print_json(&document);
        }
        OutputFormat::Table => tell(&batch, &counts),
    }
    Ok(EXIT_OK)
}

fn tell(batch: &KnownBatch, counts: &BatchCounts) {
    let line = |name: &str, value: String| print(&format!("{name:<10} {}", one_line(&value)));
    line("batch", batch.id.clone());
    line("state", state(batch, counts).to_owned());
    if let Some(submitted) = &batch.submitted {
        line("what", submitted.what.clone());
        line("submitted", format!("{} by {}", submitted.at, submitted.by));
        line("tasks", submitted.tasks.to_string());
    }
    if let Some(CancelledBatch { at, by }) = &batch.cancelled {
        line("cancelled", format!("{at} by {by}"));
    }
    line("completed", format!("{} ({})", counts.completed, bytes(counts.bytes)));
    line("failed", counts.failed.to_string());
    for (code, number) in &counts.by_code {
        print(&format!("  {code}: {number}"));
    }
    line("open", open(batch, counts).to_string());
    for failure in counts.named.iter().take(NAMED) {
        note(&one_line(&format!("{}: {}: {}", failure.file, failure.code, failure.message)));
    }
    if counts.failed > NAMED as u64 {
        note(&format!("… and {} more (ftp-pooler failures)", counts.failed - NAMED as u64));
    }
}

fn cancel(args: &CancelArgs) -> Result<u8, CommandError> {
    let CancelArgs { batch: args, unannounced } = args;
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let cluster = Cluster::new(&config.kafka)?;
    let log = BatchLog::read(&config.kafka, &cluster)?;
    let batch = match (known(&log, &args.id), unannounced) {
        (Err(_), true) => return cancel_unannounced(&config.kafka, args),
        (known, _) => known?,
    };
    let counts = count_answers(&config.kafka, &cluster, std::slice::from_ref(&batch))?;
    let counts = counts.get(&batch.id).cloned().unwrap_or_default();
    let was_cancelled = batch.cancelled.is_some();
    let open = open(&batch, &counts);
    if !was_cancelled {
        let news = BatchNews::Cancelled(CancelledBatch { at: rfc3339(Timestamp::now()), by: control::who() });
        control::write(&config.kafka, &batch.id, &news)?;
    }
    match args.output {
        OutputFormat::Json => {
            print_json(&json!({"batch": batch.id, "was_cancelled": was_cancelled, "open": open}));
        }
        OutputFormat::Table if was_cancelled => {
            print(&format!("batch {} was cancelled before; {} open", batch.id, counted(open, "task")));
        }
        OutputFormat::Table => print(&format!(
            "batch {} is cancelled: {} open, to be answered with `cancelled` but for those in flight",
            batch.id,
            counted(open, "task")
        )),
    }
    Ok(if open == 0 && !was_cancelled { EXIT_FAILURE } else { EXIT_OK })
}

/// How many tasks it has is unknown.
fn cancel_unannounced(kafka: &KafkaConfig, args: &OneBatchArgs) -> Result<u8, CommandError> {
    let id = &args.id;
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.contains('/') {
        let expected = format!("expected 1 to {MAX_ID_BYTES} bytes without a slash");
        return Err(CommandError::Data(format!("`{id}` is not a batch id; {expected}")));
    }
    let news = BatchNews::Cancelled(CancelledBatch { at: rfc3339(Timestamp::now()), by: control::who() });
    control::write(kafka, id, &news)?;
    match args.output {
        OutputFormat::Json => print_json(&json!({"batch": id, "was_cancelled": false, "open": null})),
        OutputFormat::Table => print(&format!(
            "batch {id} is cancelled: its tasks are answered with `cancelled` but for those in flight"
        )),
    }
    Ok(EXIT_OK)
}
