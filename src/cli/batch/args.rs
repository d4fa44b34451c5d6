//! The arguments of `batch`.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::time::Duration;

use clap::Subcommand;

use crate::cli::arg_parsers::{TimeArgument, duration, moment};
use crate::cli::args::ConfigFiles;
use crate::cli::output::OutputFormat;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct BatchArgs {
    #[command(subcommand)]
    pub command: BatchCommand,
}

impl BatchArgs {
    pub(in crate::cli) fn output(&self) -> OutputFormat {
        match &self.command {
            BatchCommand::Ls(args) => args.output,
            BatchCommand::Show(args) => args.output,
            BatchCommand::Cancel(args) => args.batch.output,
            BatchCommand::Wait(args) => args.output,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// List batches that are not done
    Ls(BatchListArgs),
    /// Show one batch: how its tasks were answered, and how many are open
    Show(OneBatchArgs),
    /// Cancel a batch: its tasks that are not in flight are answered with `cancelled`
    Cancel(CancelArgs),
    /// Wait until each task of a batch is answered
    Wait(WaitArgs),
}

#[derive(Debug, clap::Args)]
pub struct BatchListArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// Also those that are done
    #[arg(long)]
    pub all: bool,

    /// Batches submitted since then: a duration ago (1h, 7d), or a time (2025-01-15T10:30:00Z)
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "7d")]
    pub since: TimeArgument,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

#[derive(Debug, clap::Args)]
pub struct OneBatchArgs {
    /// The batch, as submit has printed it
    #[arg(value_name = "ID")]
    pub id: String,

    #[command(flatten)]
    pub files: ConfigFiles,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    #[command(flatten)]
    pub batch: OneBatchArgs,

    /// Also if the batch was never announced: that of a producer that only sets the header ftp-batch. The open
    /// records are searched for its tasks
    #[arg(long)]
    pub unannounced: bool,
}

#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// The batch, as submit has printed it
    #[arg(value_name = "ID")]
    pub id: String,

    #[command(flatten)]
    pub files: ConfigFiles,

    /// Wait at most this long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Output format of the summary
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

const EXAMPLES: &str = "\
All tasks of one submit are a batch; its id is printed, and is in the header ftp-batch of its records and answers.
A producer may set that header as well. What is known of batches is on the topic kafka.control_topic; the command
topics makes it.

Examples:
  ftp-pooler batch ls
  ftp-pooler batch show 20260102T030405Z-1a2b3c4d
  ftp-pooler batch cancel 20260102T030405Z-1a2b3c4d     those that wait or are deferred are answered with `cancelled`
  ftp-pooler batch cancel orders-of-today --unannounced  a producer's own id, which submit has not printed
  ftp-pooler batch wait 20260102T030405Z-1a2b3c4d --timeout 1h

Exit codes:
   0  success; wait: each task was completed
   1  wait: at least one failed; cancel: no task was open
  65  there is no such batch; wait: it was never announced, so the number of its tasks is unknown
  69  Kafka is unavailable, or the control topic does not exist
  75  wait: --timeout is over and tasks are open
  78  the configuration is wrong
 130  interrupted";
