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

use super::lag::{self, LagReport};
use super::output::{OutputFormat, TextTable, bytes, count as counted, note, one_line, print, print_json};
use super::{CommandError, EXIT_FAILURE, EXIT_OK};
use crate::batch::{BatchNews, CancelledBatch, KnownBatch, MAX_ID_BYTES};
use crate::client::Cluster;
use crate::config::Config;
use crate::text::{nearest, rfc3339};
use args::{BatchListArgs, CancelArgs, OneBatchArgs};
use count::{BatchCounts, count_answers};

/// Failures that `show` names.
const NAMED: usize = 20;
/// Open records that are searched for tasks of a batch that was never announced.
const MAX_SEARCHED: u64 = 1_000_000;

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
    let is_late = |batch: &KnownBatch| first_told_of(batch).is_none_or(|at| at >= since);
    let batches: Vec<KnownBatch> =
        log.all().into_iter().filter(|batch| is_late(batch) && (args.all || batch.done.is_none())).collect();
    let counts = count_answers(&config.kafka, &cluster, &batches)?;
    let row = |batch: &KnownBatch| (batch.clone(), counts.get(&batch.id).cloned().unwrap_or_default());
    // Whoever waited for a batch has said that it is done; of the others the answers tell.
    let is_shown = |(batch, counts): &(KnownBatch, BatchCounts)| args.all || open(batch, counts) != Some(0);
    let rows: Vec<(KnownBatch, BatchCounts)> = batches.iter().map(row).filter(is_shown).collect();
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
        let tasks = batch.submitted.as_ref().map(|submitted| submitted.tasks);
        let submitted = batch.submitted.clone().unwrap_or_default();
        table.row([
            batch.id.clone(),
            state(batch, counts).to_owned(),
            number(tasks),
            counts.completed.to_string(),
            counts.failed.to_string(),
            number(open(batch, counts)),
            submitted.by,
            submitted.what,
        ]);
    }
    table.render()
}

fn submitted_at(batch: &KnownBatch) -> Option<Timestamp> {
    batch.submitted.as_ref()?.at.parse().ok()
}

/// When it was submitted, or cancelled where nobody has announced it.
fn first_told_of(batch: &KnownBatch) -> Option<Timestamp> {
    submitted_at(batch).or_else(|| batch.cancelled.as_ref()?.at.parse().ok())
}

/// Tasks that have no answer yet; `None` where nobody has announced how many tasks there are.
fn open(batch: &KnownBatch, counts: &BatchCounts) -> Option<u64> {
    let submitted = batch.submitted.as_ref()?;
    Some(submitted.tasks.saturating_sub(counts.answered()))
}

/// A number that may not be known.
fn number(known: Option<u64>) -> String {
    known.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}

fn state(batch: &KnownBatch, counts: &BatchCounts) -> &'static str {
    match (&batch.cancelled, &batch.done, open(batch, counts)) {
        (Some(_), ..) => "cancelled",
        (None, Some(_), _) | (None, None, Some(0)) => "done",
        (None, None, _) => "open",
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
    } else {
        line("tasks", "unknown: the batch was never announced".to_owned());
    }
    if let Some(CancelledBatch { at, by }) = &batch.cancelled {
        line("cancelled", format!("{at} by {by}"));
    }
    line("completed", format!("{} ({})", counts.completed, bytes(counts.bytes)));
    line("failed", counts.failed.to_string());
    for (code, number) in &counts.by_code {
        print(&format!("  {code}: {number}"));
    }
    line("open", number(open(batch, counts)));
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
        (Err(_), true) => return cancel_unannounced(&config, args),
        (known, _) => known?,
    };
    let counts = count_answers(&config.kafka, &cluster, std::slice::from_ref(&batch))?;
    let counts = counts.get(&batch.id).cloned().unwrap_or_default();
    let was_cancelled = batch.cancelled.is_some();
    let open = open(&batch, &counts);
    if !was_cancelled && open != Some(0) {
        let news = BatchNews::Cancelled(CancelledBatch { at: rfc3339(Timestamp::now()), by: control::who() });
        control::write(&config.kafka, &batch.id, &news)?;
    }
    match args.output {
        OutputFormat::Json => {
            print_json(&json!({"batch": batch.id, "was_cancelled": was_cancelled, "open": open}));
        }
        OutputFormat::Table => print(&cancelled(&batch.id, was_cancelled, open)),
    }
    Ok(if open == Some(0) && !was_cancelled { EXIT_FAILURE } else { EXIT_OK })
}

/// What `cancel` has done, in one sentence; `open` tasks had no answer then.
fn cancelled(id: &str, was_cancelled: bool, open: Option<u64>) -> String {
    let tasks = open.map_or_else(|| "an unknown number of tasks".to_owned(), |open| counted(open, "task"));
    match open {
        _ if was_cancelled => format!("batch {id} was cancelled before; {tasks} open"),
        Some(0) => format!("batch {id} is done: each of its tasks is answered, and nothing was cancelled"),
        _ => format!("batch {id} is cancelled: {tasks} open{ANSWERED_CANCELLED}"),
    }
}

/// Its record is read again then, and no earlier.
const ANSWERED_CANCELLED: &str = ", to be answered with `cancelled` but for those in flight; deferred tasks are answered when they are due";

/// How many tasks it has is unknown.
fn cancel_unannounced(config: &Config, args: &OneBatchArgs) -> Result<u8, CommandError> {
    let id = &args.id;
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.contains('/') {
        let expected = format!("expected 1 to {MAX_ID_BYTES} bytes without a slash");
        return Err(CommandError::Data(format!("`{id}` is not a batch id; {expected}")));
    }
    let news = BatchNews::Cancelled(CancelledBatch { at: rfc3339(Timestamp::now()), by: control::who() });
    control::write(&config.kafka, id, &news)?;
    let open =
        lag::look(config, MAX_SEARCHED).ok().filter(LagReport::is_exact).map(|lag| lag.open_of_batch(id));
    match args.output {
        OutputFormat::Json => print_json(&json!({"batch": id, "was_cancelled": false, "open": open})),
        OutputFormat::Table => print(&cancelled_unannounced(id, open)),
    }
    Ok(if open == Some(0) { EXIT_FAILURE } else { EXIT_OK })
}

/// The same for a batch that was never announced.
fn cancelled_unannounced(id: &str, open: Option<u64>) -> String {
    match open {
        Some(0) => format!(
            "batch {id} is cancelled, but no open task names it in its header ftp-batch: is the id right? Tasks that are \
             sent with it later are cancelled"
        ),
        _ => cancelled(id, false, open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{DoneBatch, SubmittedBatch};

    fn announced(tasks: u64) -> KnownBatch {
        let submitted = SubmittedBatch { tasks, ..SubmittedBatch::default() };
        KnownBatch { id: "b".to_owned(), submitted: Some(submitted), ..KnownBatch::default() }
    }

    fn answered(completed: u64) -> BatchCounts {
        let mut counts = BatchCounts::default();
        counts.completed = completed;
        counts
    }

    #[test]
    fn a_batch_that_was_never_announced_has_an_unknown_number_of_open_tasks() {
        let cancelled = Some(CancelledBatch { at: "2026-01-02T03:04:05.000Z".to_owned(), by: String::new() });
        let batch = KnownBatch { cancelled, ..KnownBatch::default() };
        assert_eq!((open(&batch, &answered(3)), state(&batch, &answered(3))), (None, "cancelled"));
        assert_eq!(document(&batch, &answered(3))["open"], Value::Null);
        let table = table(&[(batch.clone(), answered(3))]);
        assert_eq!(table.matches("unknown").count(), 2, "{table}");
        assert!(first_told_of(&batch).is_some(), "--since applies to it, too");
    }

    #[test]
    fn a_batch_is_done_once_each_task_is_answered_whether_anybody_has_waited_or_not() {
        assert_eq!(state(&announced(3), &answered(2)), "open");
        assert_eq!(
            (open(&announced(3), &answered(3)), state(&announced(3), &answered(3))),
            (Some(0), "done")
        );
        let waited = KnownBatch { done: Some(DoneBatch::default()), ..announced(3) };
        assert_eq!(state(&waited, &answered(2)), "done");
    }

    #[test]
    fn cancel_tells_what_it_has_done() {
        assert!(
            cancelled("b", false, Some(2)).starts_with("batch b is cancelled: 2 tasks open, to be answered")
        );
        assert!(cancelled("b", false, Some(2)).ends_with("deferred tasks are answered when they are due"));
        assert!(cancelled("b", false, Some(0)).contains("nothing was cancelled"));
        assert!(cancelled("b", true, Some(1)).contains("was cancelled before; 1 task open"));
        assert!(cancelled_unannounced("b", Some(0)).contains("is the id right?"));
        assert!(cancelled_unannounced("b", None).contains("an unknown number of tasks open"));
    }
}
