//! Waits until all tasks of a batch are answered, whichever program submitted it.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::args::WaitArgs;
use super::control::{self, BatchLog};
use super::count::{BatchCounts, ranges, read};
use super::{document, known, number, open, tell};
use crate::batch::{BATCH_HEADER, BatchNews, DoneBatch, KnownBatch};
use crate::cli::interrupt::InterruptFlag;
use crate::cli::output::{OutputFormat, bytes, note, print_json};
use crate::cli::{CommandError, EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_OPEN};
use crate::client::{Cluster, Reader};
use crate::config::Config;
use crate::text::rfc3339;

/// One wait for an answer.
const POLL: Duration = Duration::from_millis(200);
/// Between two lines that say how far it is.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) fn wait(args: &WaitArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let cluster = Cluster::new(&config.kafka)?;
    let batch = known(&BatchLog::read(&config.kafka, &cluster)?, &args.id)?;
    if batch.submitted.is_none() {
        return Err(CommandError::Data(format!(
            "batch {} was never announced, so nobody knows how many tasks it has, or when the last one is answered \
             (ftp-pooler batch show counts the answers)",
            batch.id
        )));
    }
    let interrupt = InterruptFlag::listen().map_err(CommandError::Runtime)?;
    let from = ranges(&config.kafka, &cluster, std::slice::from_ref(&batch))?;
    let from = from.into_iter().map(|range| (range.topic, range.partition, range.from));
    let reader = Reader::open(&config.kafka, from)?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut counts = BatchCounts::default();
    let ended = follow(&reader, &batch, &mut counts, deadline, &interrupt)?;
    if ended == EXIT_OK && batch.done.is_none() {
        let (completed, failed) = (counts.completed, counts.failed);
        let done = BatchNews::Done(DoneBatch { at: rfc3339(Timestamp::now()), completed, failed });
        control::write(&config.kafka, &batch.id, &done)?;
    }
    match args.output {
        OutputFormat::Json => print_json(&document(&batch, &counts)),
        OutputFormat::Table => tell(&batch, &counts),
    }
    Ok(if ended == EXIT_OK && counts.failed > 0 { EXIT_FAILURE } else { ended })
}

fn follow(
    reader: &Reader,
    batch: &KnownBatch,
    counts: &mut BatchCounts,
    deadline: Option<Instant>,
    interrupt: &InterruptFlag,
) -> Result<u8, CommandError> {
    let mut shown = Instant::now();
    while open(batch, counts) != Some(0) {
        if interrupt.is_raised() {
            return Ok(EXIT_INTERRUPTED);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(EXIT_OPEN);
        }
        let message = reader.next(POLL)?;
        let ours = message.filter(|message| message.header(BATCH_HEADER) == Some(batch.id.as_str()));
        if let Some(answer) = ours.as_ref().and_then(read) {
            counts.take(answer);
        }
        if shown.elapsed() >= LINE_EVERY {
            shown = Instant::now();
            let (answered, moved) = (counts.answered(), bytes(counts.bytes));
            note(&format!(
                "{answered} answered, {} failed, {moved}; {} open",
                counts.failed,
                number(open(batch, counts))
            ));
        }
    }
    Ok(EXIT_OK)
}
