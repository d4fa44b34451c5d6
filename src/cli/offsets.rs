//! `ftp-pooler offsets reset`: sets where the group resumes, after records were lost or a topic was recreated.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::collections::BTreeMap;

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::args::ConfigFiles;
use super::output::{OutputFormat, TextTable, note, print, print_json};
use super::{CommandError, EXIT_OK, lag};
use crate::client::{Cluster, commit_offsets, pool_members};
use crate::config::Config;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct OffsetsArgs {
    #[command(subcommand)]
    pub command: OffsetsCommand,
}

#[derive(Debug, Subcommand)]
pub enum OffsetsCommand {
    /// Set the offsets of halted partitions, on the input and the retry topic; no pod may run
    Reset(ResetArgs),
}

#[derive(Debug, clap::Args)]
pub struct ResetArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// Where the partitions resume
    #[arg(long, value_enum, default_value_t, value_name = "WHERE")]
    pub to: ResetTo,

    /// All partitions instead of those whose offset is out of range: after a topic was recreated with as many records
    #[arg(long)]
    pub all: bool,

    /// Report what would be set, and set nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ResetTo {
    /// At the first available record: no available record is skipped
    #[default]
    Earliest,
    /// After the last record: all records present now are skipped
    Latest,
}

const EXAMPLES: &str = "\
A pod reads nothing of a partition whose committed offset the topic does not have (any more), and says so on /ready and
its page: records were deleted before they were answered, or the topic was recreated. This sets the offset. With
earliest a task whose answer was committed may be done again: the file is the same, and so is its answer.

Examples:
  ftp-pooler lag                        which partitions are halted, and how many records are lost
  ftp-pooler offsets reset --dry-run
  ftp-pooler offsets reset              once no pod runs
  ftp-pooler offsets reset --all --to latest

Exit codes:
   0  the offsets are set, or none is out of range
  65  pods are in the group
  69  Kafka is unavailable, or refuses
  78  the configuration is wrong";

#[derive(Debug, Serialize)]
struct ResetRow {
    topic: String,
    partition: i32,
    /// null where nothing was committed.
    was: Option<i64>,
    becomes: i64,
    /// Records that were deleted before they were answered.
    lost: u64,
}

/// Sets the offsets. Returns the exit code.
pub(super) fn offsets(args: &OffsetsArgs) -> Result<u8, CommandError> {
    let OffsetsCommand::Reset(args) = &args.command;
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let kafka = &config.kafka;
    let cluster = Cluster::new(kafka)?;
    cluster.required_ends(&kafka.input_topic)?;
    let mut rows = Vec::new();
    for topic in [&kafka.input_topic, &kafka.retry_topic] {
        rows.extend(planned(&cluster, topic, args)?);
    }
    if !args.dry_run && !rows.is_empty() {
        let members = pool_members(kafka)?.len();
        if members > 0 {
            return Err(CommandError::Data(format!(
                "the group {} has {members} members: stop the pods first; nothing was set",
                kafka.consumer_group
            )));
        }
        for topic in [&kafka.input_topic, &kafka.retry_topic] {
            let of_topic = rows.iter().filter(|row| row.topic == *topic);
            let offsets: BTreeMap<i32, i64> = of_topic.map(|row| (row.partition, row.becomes)).collect();
            if !offsets.is_empty() {
                commit_offsets(kafka, topic, &offsets)?;
            }
        }
    }
    match args.output {
        OutputFormat::Json => print_json(&serde_json::json!({"dry_run": args.dry_run, "offsets": rows})),
        OutputFormat::Table => tell(&rows, args.dry_run),
    }
    Ok(EXIT_OK)
}

/// What is to be set on one topic; nothing if it does not exist.
fn planned(cluster: &Cluster, topic: &str, args: &ResetArgs) -> Result<Vec<ResetRow>, CommandError> {
    let Some(ends) = cluster.ends(topic)? else { return Ok(Vec::new()) };
    let partitions: Vec<i32> = ends.keys().copied().collect();
    let committed = cluster.committed(topic, &partitions)?;
    let row = |(partition, ends): (&i32, &crate::client::Ends)| {
        let was = committed.get(partition);
        let is_out_of_range = was.is_some_and(|was| !(ends.begin..=ends.end).contains(&was.offset));
        (args.all || is_out_of_range).then(|| ResetRow {
            topic: topic.to_owned(),
            partition: *partition,
            was: was.map(|was| was.offset),
            becomes: if args.to == ResetTo::Earliest { ends.begin } else { ends.end },
            lost: lag::lost(*ends, was),
        })
    };
    Ok(ends.iter().filter_map(row).collect())
}

fn tell(rows: &[ResetRow], is_dry: bool) {
    if rows.is_empty() {
        return print("no partition's offset is out of range (--all: set all of them)");
    }
    let mut table = TextTable::new(["topic", "partition", "was", "becomes", "lost"]);
    for row in rows {
        let was = row.was.map(|was| was.to_string()).unwrap_or_default();
        let numbers = [row.partition.to_string(), was, row.becomes.to_string(), row.lost.to_string()];
        table.row([row.topic.clone()].into_iter().chain(numbers));
    }
    print(&table.render());
    note(if is_dry { "nothing was set (--dry-run)" } else { "the offsets are set: start the pods" });
}
