//! The arguments of `failures`.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::ffi::OsStr;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::{PossibleValue, TypedValueParser};
use clap_complete::engine::ArgValueCompleter;

use crate::cli::arg_parsers::{TimeArgument, duration, moment};
use crate::cli::args::ConfigFiles;
use crate::cli::complete;
use crate::cli::output::OutputFormat;
use crate::cli::submit::KeyFrom;
use crate::failure::Code;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct FailuresArgs {
    #[command(subcommand)]
    pub command: Option<FailuresCommand>,
    #[command(flatten)]
    pub list: ListArgs,
}

impl FailuresArgs {
    pub(in crate::cli) fn output(&self) -> OutputFormat {
        match &self.command {
            Some(FailuresCommand::Retry(retry)) => retry.output,
            None => self.list.output,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum FailuresCommand {
    /// Send failed tasks again; each failure is sent once, however often this is run
    Retry(RetryArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// Print only counts, by code and connection, and how many of them are open
    #[arg(long)]
    pub summary: bool,

    /// Only failures that are open: not sent again since, and not cancelled
    #[arg(long)]
    pub open: bool,

    /// List at most this many, the latest ones
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,

    #[command(flatten)]
    pub choice: FailureSelection,
}

/// Which failures.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which failures")]
pub struct FailureSelection {
    /// Only this error code, such as timeout; repeatable
    #[arg(long, value_name = "CODE", value_parser = CodeParser, hide_possible_values = true)]
    pub code: Vec<Code>,

    /// Only this FTP connection; repeatable
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::ftp_connections))]
    pub connection: Vec<String>,

    /// Only this task; repeatable
    #[arg(long, value_name = "ID")]
    pub task_id: Vec<String>,

    /// Only retryable failures
    #[arg(long)]
    pub retryable: bool,

    /// Failures since then: a duration ago (1h, 7d), or a time (2025-01-15T10:30:00Z)
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "1d")]
    pub since: TimeArgument,

    /// Failures until then
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub until: Option<TimeArgument>,
}

impl FailureSelection {
    /// Whether anything but time narrows it down.
    pub fn is_narrow(&self) -> bool {
        !self.code.is_empty() || !self.connection.is_empty() || !self.task_id.is_empty() || self.retryable
    }
}

#[allow(clippy::struct_excessive_bools, reason = "they are flags")]
#[derive(Debug, clap::Args)]
#[command(after_help = RETRY_NOTES, after_long_help = RETRY_NOTES)]
pub struct RetryArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// All failures since --since; required if nothing else narrows them down
    #[arg(long)]
    pub all: bool,

    /// Also failures that may have been sent again already: the topic's retention has removed the evidence
    #[arg(long)]
    pub unknown_too: bool,

    /// Send at most this many
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,

    /// The records' key
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub key: KeyFrom,

    /// Report what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Wait until each task that was sent is answered
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,

    /// Wait at most this long
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "wait")]
    pub timeout: Option<Duration>,

    /// Output format of the summary
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,

    #[command(flatten)]
    pub choice: FailureSelection,
}

/// Codes by their names, which completions know.
#[derive(Clone, Debug)]
struct CodeParser;

impl TypedValueParser for CodeParser {
    type Value = Code;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Code, clap::Error> {
        code.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Code::ALL.iter().map(|code| PossibleValue::new(code.as_str()))))
    }
}

fn code(text: &str) -> Result<Code, String> {
    let names = || Code::ALL.iter().map(|code| code.as_str());
    Code::ALL.iter().copied().find(|code| code.as_str() == text).ok_or_else(|| {
        let meant = crate::text::nearest(text, names()).map(|near| format!("did you mean {near}? "));
        format!("{}the codes are {}", meant.unwrap_or_default(), names().collect::<Vec<_>>().join(", "))
    })
}

const EXAMPLES: &str = "\
Examples:
  ftp-pooler failures                                   the latest fifty of the last day
  ftp-pooler failures --summary --since 7d              how many, by code and connection
  ftp-pooler failures --connection remote-ftp --output json
  ftp-pooler failures retry --code timeout --since 1h   sends their tasks again
  ftp-pooler failures --open --summary                  what is still broken?
  ftp-pooler failures retry --retryable --dry-run
  ftp-pooler failures retry --all --wait                and is it done now?

Exit codes:
   0  success
   1  retry: some could not be sent, and were named; with --wait: or at least one failed again
  69  Kafka is unavailable
  75  retry --wait: --timeout is over and tasks are open
  78  the configuration is wrong";

const RETRY_NOTES: &str = "\
The original task is sent again, with a header ftp-pooler-retry-of that says which failure it answers. A failure
whose header is found on the input topic is not sent again, so this may be run twice, or by two at a time: both
use one transactional.id (GROUP--failures-retry), and the one that started later ends the other. If the input
topic no longer holds everything since a failure, this cannot be determined, and the failure is skipped
(--unknown-too sends it anyway). A task that was cut to fit its topic cannot be sent again, nor one that
was none.";
