//! The arguments of `submit`.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::time::Duration;

use clap::ValueEnum;
use clap_complete::engine::ArgValueCompleter;

use crate::cli::arg_parsers::{TimeArgument, duration, moment, size};
use crate::cli::args::ConfigFiles;
use crate::cli::complete;
use crate::cli::output::OutputFormat;
use crate::cli::pod_metrics;
use crate::cli::pod_url::PodUrl;
use crate::config::{AfterTransfer, FileCriteria, TaskSettings};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct SubmitArgs {
    /// A file with a task (a JSON object) on each line, or - for standard input. Together with DESTINATION: what
    /// to move, as CONNECTION:PATH, a directory or a file
    #[arg(add = ArgValueCompleter::new(complete::sources))]
    pub source: String,

    /// Destination, as CONNECTION:PATH; one side is a local connection, the other one an FTP connection
    #[arg(add = ArgValueCompleter::new(complete::locations))]
    pub destination: Option<String>,

    #[command(flatten)]
    pub files: ConfigFiles,
    /// Output format of the summary
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,

    #[command(flatten)]
    pub choice: FileSelection,
    #[command(flatten)]
    pub options: TaskOptions,
    #[command(flatten)]
    pub sending: SendOptions,
}

impl SubmitArgs {
    /// The connections whose files are listed, which needs their passwords; none where tasks are read.
    pub(super) fn connections(&self) -> Vec<String> {
        let Some(destination) = &self.destination else { return Vec::new() };
        let ends = [&self.source, destination];
        ends.iter().filter_map(|end| Some(end.split_once(':')?.0.to_owned())).collect()
    }
}

impl SubmitArgs {
    /// In a few words, for whoever lists batches.
    pub(super) fn what(&self) -> String {
        match &self.destination {
            Some(destination) => format!("{} → {destination}", self.source),
            None if self.source == "-" => "tasks of standard input".to_owned(),
            None => format!("tasks of {}", self.source),
        }
    }
}

/// Which files of a place become tasks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which files (with DESTINATION)")]
pub struct FileSelection {
    /// Include subdirectories
    #[arg(long, short = 'r', requires = "destination")]
    pub recursive: bool,

    /// With --recursive: maximum depth of directories; 1 is the source directory itself
    #[arg(long, value_name = "N", requires = "recursive", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub max_depth: Option<u16>,

    /// Only files that match; may be given several times. Without a slash the pattern is compared with the
    /// file's name, with one with its path below the source: *, ?, [abc], {a,b}, and ** across directories
    #[arg(long, value_name = "PATTERN", requires = "destination")]
    pub include: Vec<String>,

    /// Skip files that match, regardless of --include; a pattern that ends with a slash skips directories
    #[arg(long, value_name = "PATTERN", requires = "destination")]
    pub exclude: Vec<String>,

    /// Only files changed after this: a duration ago (1d, 90m), or a time (2025-01-15T10:30:00Z). If the server's
    /// listing is not precise enough, the time is requested (MDTM); files whose time is still unknown are skipped and
    /// reported
    #[arg(long, visible_alias = "max-age", value_name = "WHEN", value_parser = moment, requires = "destination")]
    pub newer_than: Option<TimeArgument>,

    /// Only files changed before this, such as 5m: skips files that are still being written
    #[arg(long, visible_alias = "min-age", value_name = "WHEN", value_parser = moment, requires = "destination")]
    pub older_than: Option<TimeArgument>,

    /// Only files of this size or larger: 500, 64K, 1.5Gi
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "destination")]
    pub min_size: Option<u64>,

    /// Only files of this size or smaller
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "destination")]
    pub max_size: Option<u64>,

    /// Skip files that exist at the destination with the same size; it is listed first, and a local one must be on
    /// this machine
    #[arg(long, requires = "destination")]
    pub skip_existing: bool,

    /// Exit with 1 if no file is chosen; those that --skip-existing leaves out count as chosen [default: true if
    /// there are subdirectories and --recursive is not given, else false]
    #[arg(long, value_name = "BOOL", requires = "destination", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub fail_if_none: Option<bool>,
}

impl FileSelection {
    pub(super) fn criteria(&self) -> FileCriteria {
        FileCriteria {
            recursive: self.recursive,
            max_depth: self.max_depth.map(usize::from),
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            newer_than: self.newer_than,
            older_than: self.older_than,
            min_size: self.min_size,
            max_size: self.max_size,
        }
    }
}

#[allow(clippy::struct_excessive_bools, reason = "they are flags")]
/// `options` of the tasks that are made; what is not given is left to the pool's defaults.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How they are moved (with DESTINATION)")]
pub struct TaskOptions {
    /// Fail with destination_exists if the destination exists
    #[arg(long, requires = "destination")]
    pub no_overwrite: bool,

    /// Number of automatic retries, 0 to 100 [default: 3]
    #[arg(long, value_name = "N", requires = "destination", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub retry_count: Option<u32>,

    /// How a transferred file is verified [default: size]
    #[arg(long, value_name = "HOW", value_enum, requires = "destination")]
    pub verify: Option<VerifyArg>,

    /// What to do with a download's source: keep, delete, or move_to:DIRECTORY, below which it keeps its
    /// path [default: keep]
    #[arg(long, value_name = "WHAT", value_parser = AfterTransfer::parse, requires = "destination")]
    pub after: Option<AfterTransfer>,

    /// The destination gets the source's modification time
    #[arg(long, requires = "destination")]
    pub preserve_mtime: bool,

    /// Restart an interrupted transfer instead of resuming it
    #[arg(long, requires = "destination")]
    pub no_resume: bool,

    /// Do not defer tasks while their server is down: they fail after 10 minutes
    #[arg(long, requires = "destination")]
    pub no_defer: bool,

    /// Deadline: tasks do not start after it; a duration from now (2h), or a time
    #[arg(long, value_name = "WHEN", value_parser = moment, requires = "destination")]
    pub deadline: Option<TimeArgument>,
}

impl TaskOptions {
    pub(super) fn settings(&self) -> TaskSettings {
        let verify = self.verify.map(|how| match how {
            VerifyArg::None => "none",
            VerifyArg::Size => "size",
            VerifyArg::Hash => "hash",
            VerifyArg::Auto => "auto",
        });
        TaskSettings {
            overwrite: self.no_overwrite.then_some(false),
            retry_count: self.retry_count.map(u64::from),
            verify: verify.map(str::to_owned),
            after: self.after.clone().unwrap_or_default(),
            preserve_mtime: self.preserve_mtime.then_some(true),
            resume: self.no_resume.then_some(false),
            defer: self.no_defer.then_some(false),
            deadline: None, // it may be a time, too
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sending")]
pub struct SendOptions {
    /// Where the task_id of a task without one comes from. With a file of tasks: without this, each must have one
    #[arg(long, value_name = "WHAT", value_enum)]
    pub id_from: Option<IdFrom>,

    /// The records' key: destination keeps tasks for one destination in their order
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub key: KeyFrom,

    /// Send the valid tasks even if others are invalid
    #[arg(long)]
    pub keep_going: bool,

    /// Print the tasks instead of sending them
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,

    /// Wait until each task is answered: a progress bar on a terminal, lines elsewhere, then a summary
    #[arg(long)]
    pub wait: bool,

    /// With --wait: ask these pods how far the files are, host:port of their API ports, separated by commas
    /// [default: the members of the group, at the configuration's api.port]
    #[arg(long, value_name = "URL,…", value_delimiter = ',', value_parser = pod_metrics::url, requires = "wait")]
    pub pods: Vec<PodUrl>,

    /// Wait at most this long
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "wait")]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyArg {
    None,
    Size,
    Hash,
    Auto,
}

/// Where a task's id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IdFrom {
    /// A random UUID
    Random,
    /// A UUID made of what is moved: operation, both sides, and of a listed file its size and, where it is
    /// exact (MLSD, local files), its time. The same input has the same id whenever it is submitted
    Content,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyFrom {
    /// The destination's connection and path
    #[default]
    Destination,
    /// The task_id
    TaskId,
    /// No key: records are spread evenly
    None,
}

const EXAMPLES: &str = "\
Examples:
  ftp-pooler submit tasks.jsonl                     all of them, or none if a line is wrong
  make-tasks | ftp-pooler submit - --id-from random --wait
  ftp-pooler submit remote-ftp:/pub/ local:/in/ --recursive --include '*.csv' --newer-than 1d --wait
  ftp-pooler submit remote-ftp:/pub/ local:/in/ -r --skip-existing --wait     in cron: only new files
  ftp-pooler submit local:/out/report.pdf remote-ftp:/inbox/report.pdf --no-overwrite
  ftp-pooler submit remote-ftp:/pub/ local:/in/ -r --dry-run > tasks.jsonl

Exit codes:
   0  sent; with --wait: and each was completed
   1  with --wait: at least one failed; or an entry of a listing may be a file and was passed over: its line was not
      understood, its name is not in the connection's charset, its time is not known well enough for --newer-than
      or --older-than, or its directory was refused (all others were sent; --output json: passed_over); or no file
      was chosen (--fail-if-none)
  65  lines or files that are not valid tasks, or a missing source; nothing was sent (with --keep-going: the
      others were)
  69  Kafka or the source's server is unavailable; the last lines say how much was sent
  75  --timeout is over and tasks are open
  78  the configuration is wrong
 130  interrupted; the last lines say what was sent and what is open";
