//! The arguments of `feeds`.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;

use crate::cli::args::ConfigFiles;
use crate::cli::complete;
use crate::cli::output::OutputFormat;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct FeedsArgs {
    #[command(subcommand)]
    pub command: FeedsCommand,
}

impl FeedsArgs {
    pub(in crate::cli) fn output(&self) -> OutputFormat {
        match &self.command {
            FeedsCommand::Ls(args) => args.output,
            FeedsCommand::Show(args)
            | FeedsCommand::Run(args)
            | FeedsCommand::Pause(args)
            | FeedsCommand::Resume(args) => args.output,
            FeedsCommand::Forget(args) => args.output,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum FeedsCommand {
    /// List feeds: their last listing, what waits, the next time
    Ls(ListFeedsArgs),
    /// Show one feed
    Show(OneFeedArgs),
    /// List a feed's source now, whatever its schedule says; also while it is paused
    Run(OneFeedArgs),
    /// Pause a feed until it is resumed
    Pause(OneFeedArgs),
    /// Resume a paused feed
    Resume(OneFeedArgs),
    /// Forget that files have become tasks: existing files are new at the next listing
    Forget(ForgetArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListFeedsArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

#[derive(Debug, clap::Args)]
pub struct OneFeedArgs {
    /// The feed
    #[arg(value_name = "NAME")]
    #[arg(add = ArgValueCompleter::new(complete::feeds))]
    pub name: String,

    #[command(flatten)]
    pub files: ConfigFiles,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    /// The feed
    #[arg(value_name = "NAME")]
    #[arg(add = ArgValueCompleter::new(complete::feeds))]
    pub name: String,

    /// Files, by their paths below the feed's source
    #[arg(value_name = "PATH", required_unless_present = "all")]
    pub paths: Vec<String>,

    /// All files, also those of a feed that is not configured any more
    #[arg(long, conflicts_with = "paths")]
    pub all: bool,

    #[command(flatten)]
    pub files: ConfigFiles,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

const EXAMPLES: &str = "\
Feeds are the directories in config.yaml whose new files become tasks automatically. What is shown here is what the pod that
lists for a feed has written to the topic kafka.feeds_topic; what is asked for here goes there as well, and the feed's
owner does it, or the next one where there is none now.

Examples:
  ftp-pooler feeds ls
  ftp-pooler feeds show invoices
  ftp-pooler feeds run invoices
  ftp-pooler feeds pause invoices
  ftp-pooler feeds forget invoices 2026/a.csv      it becomes a task again
  ftp-pooler feeds forget invoices --all

Exit codes:
   0  success
  65  there is no such feed; forget: it knows no such file
  69  Kafka is unavailable
  78  the configuration is wrong";
