//! `ftp-pooler lag`: what is waiting, in progress and done, by partition and by connection.
//!
//! Read from outside, while pods run: the group's committed offsets with their maps of what is done above them, and the
//! records between there and the topics' ends. Does not join the group.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::args::ConfigFiles;
use super::output::{OutputFormat, TextTable, note, print, print_json};
use super::{CommandError, EXIT_OK};
use crate::batch::{BATCH_HEADER, MAX_BATCHES};
use crate::client::{Cluster, CommittedOffset, Ends, Message, Range, Reader};
use crate::config::{Config, ConfiguredConnections};
use crate::offsets::CommitMetadata;
use crate::record::RetryState;
use crate::task::decode;
use crate::text::rfc3339;

/// Records that are not tasks.
const NO_TASK: &str = "(no task)";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct LagArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// Maximum number of records read to attribute lag to connections; 0 reads none. Beyond it numbers are estimates (~)
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub limit: u64,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

const EXAMPLES: &str = "\
Columns:
  done up to   every record before this offset is answered
  done beyond  later records that are answered as well, according to the group's commit
  in pods      open records before the last one that is done: some pod has read them
  waiting      open records after it: waiting, or just read by a pod (whose /metrics shows its own)
  end          the offset that the next record gets; Kafka's transactions take offsets, too, so that this may be one above
               \"done up to\" with no record between them
  deferred     open records of the retry topic: their server was unavailable, and they are retried when due

Examples:
  ftp-pooler lag
  ftp-pooler lag --output json | jq '.connections[] | select(.waiting > 1000)'

Exit codes:
   0  success
  69  Kafka is unavailable
  78  the configuration is wrong";

/// One partition.
#[allow(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "the fields are those of the JSON"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct PartitionLag {
    topic: String,
    partition: i32,
    /// False where the group has committed nothing yet: it begins with the first record.
    committed: bool,
    /// The committed offset does not exist: was the topic recreated?
    beyond_end: bool,
    low_water: i64,
    /// The committed offset does not exist: pods halt the partition until an operator sets where to resume.
    halted: bool,
    /// Records that were deleted before they were answered.
    lost: u64,
    /// Records from the low-water mark to the end; null where the partition is halted.
    lag: Option<i64>,
    done_above: u64,
    taken_in: u64,
    waiting: u64,
    end: i64,
    /// The records were counted; else gaps (compaction, transactions' control records) are counted as well.
    exact: bool,
    /// When the oldest open record was written.
    oldest: Option<String>,
}

impl PartitionLag {
    /// In the place of a number.
    fn halt(&self) -> String {
        match self.lost {
            0 => "halted".to_owned(),
            lost => format!("halted, {lost} lost"),
        }
    }
}

/// One connection's open records.
#[allow(clippy::struct_field_names, reason = "the names are those of the JSON")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct ConnectionLag {
    connection: String,
    taken_in: u64,
    waiting: u64,
    deferred: u64,
    oldest: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct LagReport {
    group: String,
    partitions: Vec<PartitionLag>,
    connections: Vec<ConnectionLag>,
    /// Every open record was checked.
    exact: bool,
    /// Open records by batch, as far as they were read.
    #[serde(skip)]
    batches: BTreeMap<String, u64>,
}

impl LagReport {
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Open records that name this batch.
    pub fn open_of_batch(&self, id: &str) -> u64 {
        self.batches.get(id).copied().unwrap_or(0)
    }

    /// How many records of these connections are deferred, of those connections that have any.
    pub fn deferred(&self, is_wanted: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
        let wanted = self.connections.iter().filter(|of| of.deferred > 0 && is_wanted(&of.connection));
        wanted.map(|of| (of.connection.clone(), of.deferred)).collect()
    }

    /// The partitions that pods do not read, such as `ftp-tasks[3] (halted, 4 lost)`.
    pub fn halted(&self) -> Vec<String> {
        let halted = self.partitions.iter().filter(|partition| partition.halted);
        halted.map(|of| format!("{}[{}] ({})", of.topic, of.partition, of.halt())).collect()
    }

    pub fn taken_in(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.taken_in).sum()
    }

    pub fn waiting(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.waiting).sum()
    }
}

/// A partition, while its records are counted.
#[derive(Debug)]
struct PartitionCount {
    shown: PartitionLag,
    range: Range,
    done: BTreeSet<i64>,
    oldest_ms: Option<i64>,
    seen: (u64, u64),
}

impl PartitionCount {
    fn new(
        topic: &Arc<str>,
        partition: i32,
        ends: Ends,
        committed: Option<&CommittedOffset>,
    ) -> PartitionCount {
        // Records removed meanwhile count for no one.
        let low = committed.map_or(ends.begin, |committed| committed.offset.max(ends.begin));
        let map = committed.and_then(|committed| {
            let note = CommitMetadata::decode(&committed.metadata).ok()?;
            Some(note.done.offsets(committed.offset))
        });
        let done: BTreeSet<i64> =
            map.unwrap_or_default().into_iter().filter(|offset| (low..ends.end).contains(offset)).collect();
        let done_above = done.len() as u64;
        let last_done = done.last().copied();
        let distance = |from: i64, to: i64| u64::try_from(to - from).unwrap_or(0);
        let taken_in = last_done.map_or(0, |last| distance(low, last + 1).saturating_sub(done_above));
        let waiting = distance(last_done.map_or(low, |last| last + 1), ends.end);
        let is_halted = committed.is_some_and(|at| !(ends.begin..=ends.end).contains(&at.offset));
        let shown = PartitionLag {
            topic: topic.to_string(),
            partition,
            committed: committed.is_some(),
            beyond_end: low > ends.end,
            low_water: low,
            halted: is_halted,
            lost: lost(ends, committed),
            lag: (!is_halted).then(|| (ends.end - low).max(0)),
            done_above,
            taken_in,
            waiting,
            end: ends.end,
            exact: false,
            oldest: None,
        };
        let range = Range { topic: Arc::clone(topic), partition, from: low, to: ends.end };
        PartitionCount { shown, range, done, oldest_ms: None, seen: (0, 0) }
    }

    /// Whether a pod has read an open record; `None` for one that is done.
    fn is_taken_in(&self, offset: i64) -> Option<bool> {
        (!self.done.contains(&offset)).then(|| self.done.last().is_some_and(|last| offset < *last))
    }

    fn finish(mut self, is_exact: bool) -> PartitionLag {
        if is_exact {
            (self.shown.taken_in, self.shown.waiting) = self.seen;
        }
        self.shown.exact = is_exact;
        self.shown.oldest = self.oldest_ms.and_then(time);
        self.shown
    }
}

/// Records below the log's begin that the group had still to do.
pub(super) fn lost(ends: Ends, committed: Option<&CommittedOffset>) -> u64 {
    let Some(committed) = committed else { return 0 };
    let gone = u64::try_from(ends.begin - committed.offset).unwrap_or(0);
    let done = CommitMetadata::decode(&committed.metadata).map(|note| note.done.offsets(committed.offset));
    let done = done.unwrap_or_default().into_iter().filter(|offset| *offset < ends.begin).count();
    gone.saturating_sub(done as u64)
}

fn time(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(rfc3339)
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

/// The connections' open records.
#[derive(Debug, Default)]
struct ConnectionCounts {
    by_name: BTreeMap<String, (ConnectionLag, Option<i64>)>,
    by_batch: BTreeMap<String, u64>,
}

impl ConnectionCounts {
    fn take(&mut self, name: String, kind: TopicKind, written_ms: Option<i64>) {
        let (connection, oldest) = self.by_name.entry(name).or_default();
        match kind {
            TopicKind::TakenIn => connection.taken_in += 1,
            TopicKind::Waiting => connection.waiting += 1,
            TopicKind::Deferred => connection.deferred += 1,
        }
        *oldest = earlier(*oldest, written_ms);
    }

    fn finish(self) -> Vec<ConnectionLag> {
        let connection = |(name, (shown, oldest)): (String, (ConnectionLag, Option<i64>))| ConnectionLag {
            connection: name,
            oldest: oldest.and_then(time),
            ..shown
        };
        self.by_name.into_iter().map(connection).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum TopicKind {
    TakenIn,
    Waiting,
    Deferred,
}

/// Prints the lag. Returns the exit code.
pub(super) fn lag(args: &LagArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let lag = look(&config, args.limit)?;
    match args.output {
        OutputFormat::Json => print_json(&lag),
        OutputFormat::Table => tell(&lag),
    }
    Ok(EXIT_OK)
}

/// The group's lag as it is now; `limit` records are read at most.
///
/// # Errors
/// The brokers do not answer, or the input topic does not exist.
pub(super) fn look(config: &Config, limit: u64) -> Result<LagReport, CommandError> {
    let kafka = &config.kafka;
    let cluster = Cluster::new(kafka)?;
    let mut counting = BTreeMap::new();
    for (topic, is_required) in [(&kafka.input_topic, true), (&kafka.retry_topic, false)] {
        let topic: Arc<str> = topic.as_str().into();
        // Committed first: what is done between the two requests counts as done later, never as more than exists.
        let Some(partitions) = cluster.partitions(&topic)? else {
            if is_required {
                return Err(crate::client::ClientError::NoTopic(topic.to_string()).into());
            }
            continue; // no task was ever deferred
        };
        let committed = cluster.committed(&topic, &partitions)?;
        for (partition, ends) in cluster.required_ends(&topic)? {
            let state = PartitionCount::new(&topic, partition, ends, committed.get(&partition));
            counting.insert((Arc::clone(&topic), partition), state);
        }
    }
    let mut connections = ConnectionCounts::default();
    let is_exact = count(config, &mut counting, &mut connections, limit)?;
    let batches = std::mem::take(&mut connections.by_batch);
    Ok(LagReport {
        group: kafka.consumer_group.clone(),
        partitions: counting.into_values().map(|partition| partition.finish(is_exact)).collect(),
        connections: connections.finish(),
        exact: is_exact,
        batches,
    })
}

/// Reads the open records, at most `limit`; false if there are more.
fn count(
    config: &Config,
    counting: &mut BTreeMap<(Arc<str>, i32), PartitionCount>,
    connections: &mut ConnectionCounts,
    limit: u64,
) -> Result<bool, CommandError> {
    let ranges: Vec<Range> = counting.values().map(|partition| partition.range.clone()).collect();
    let mut left = limit;
    let is_empty = ranges.iter().all(|range| range.from >= range.to);
    let mut is_exact = true;
    if limit > 0 {
        Reader::read_all(&config.kafka, &ranges, |message| {
            if left == 0 {
                is_exact = false;
                return false;
            }
            left -= 1;
            take(config, counting, connections, &message);
            true
        })?;
    }
    Ok(is_empty || (limit > 0 && is_exact))
}

fn take(
    config: &Config,
    counting: &mut BTreeMap<(Arc<str>, i32), PartitionCount>,
    connections: &mut ConnectionCounts,
    message: &Message,
) {
    let at = (Arc::clone(&message.topic), message.partition);
    let Some(partition) = counting.get_mut(&at) else { return };
    let Some(is_taken_in) = partition.is_taken_in(message.offset) else { return };
    let is_deferred = *message.topic == *config.kafka.retry_topic;
    let retry = is_deferred.then(|| RetryState::read(&message.headers)).flatten();
    // Groups may share a retry topic.
    if retry.as_ref().is_some_and(|retry| *retry.group != *config.kafka.consumer_group) {
        return;
    }
    let written = retry.and_then(|retry| retry.origin_ms).or(message.timestamp_ms);
    partition.oldest_ms = earlier(partition.oldest_ms, written);
    if is_taken_in {
        partition.seen.0 += 1;
    } else {
        partition.seen.1 += 1;
    }
    let kind = match (is_deferred, is_taken_in) {
        (true, _) => TopicKind::Deferred,
        (false, true) => TopicKind::TakenIn,
        (false, false) => TopicKind::Waiting,
    };
    if let Some(batch) = message.header(BATCH_HEADER)
        && (connections.by_batch.len() < MAX_BATCHES || connections.by_batch.contains_key(batch))
    {
        *connections.by_batch.entry(batch.to_owned()).or_default() += 1;
    }
    connections.take(connection_of(message, &config.connections), kind, written);
}

fn connection_of(message: &Message, connections: &ConfiguredConnections) -> String {
    decode(message.payload.as_deref(), connections).map_or_else(|_| NO_TASK.to_owned(), |task| task.remote)
}

fn tell(lag: &LagReport) {
    let about =
        |number: u64, is_exact: bool| if is_exact { number.to_string() } else { format!("~{number}") };
    let or_none = |time: &Option<String>| time.clone().unwrap_or_default();
    let mut table = TextTable::new([
        "topic",
        "partition",
        "done up to",
        "done beyond",
        "in pods",
        "waiting",
        "end",
        "oldest open",
    ]);
    for partition in &lag.partitions {
        table.row([
            partition.topic.clone(),
            partition.partition.to_string(),
            partition.low_water.to_string(),
            partition.done_above.to_string(),
            if partition.halted { partition.halt() } else { about(partition.taken_in, partition.exact) },
            about(partition.waiting, partition.exact),
            partition.end.to_string(),
            or_none(&partition.oldest),
        ]);
    }
    print(&table.render());
    for PartitionLag { topic, partition, low_water, end, .. } in
        lag.partitions.iter().filter(|p| p.beyond_end)
    {
        note(&format!(
            "{topic}[{partition}]: {low_water} is committed, but the partition ends at {end}: was the topic recreated?"
        ));
    }
    if lag.partitions.iter().any(|partition| partition.halted) {
        note("pods read nothing of a halted partition until its offset is set: ftp-pooler offsets reset");
    }
    if lag.partitions.iter().all(|partition| !partition.committed) {
        note(&format!("the group {} has committed nothing yet: has a pod run?", lag.group));
    }
    let mut table = TextTable::new(["connection", "in pods", "waiting", "deferred", "oldest open"]);
    for connection in &lag.connections {
        table.row([
            connection.connection.clone(),
            connection.taken_in.to_string(),
            connection.waiting.to_string(),
            connection.deferred.to_string(),
            or_none(&connection.oldest),
        ]);
    }
    if table.is_empty() {
        print("\nno open records");
    } else {
        print(&format!("\n{}", table.render()));
    }
    if !lag.exact {
        note(
            "not every open record was read: numbers with ~ may count gaps, and connections are those of a part (--limit)",
        );
    }
}

#[cfg(test)]
mod tests;
