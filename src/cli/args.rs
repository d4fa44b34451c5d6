//! The command line.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueHint};

use super::batch::BatchArgs;
use super::check::CheckArgs;
use super::failures::FailuresArgs;
use super::feeds::FeedsArgs;
use super::init::{ImportArgs, InitArgs};
use super::lag::LagArgs;
use super::offsets::{OffsetsArgs, OffsetsCommand};
use super::output::OutputFormat;
use super::pod_url::PodUrl;
use super::reference::{CompletionsArgs, ManArgs};
use super::submit::SubmitArgs;
use super::topics::TopicsArgs;
use super::watch::WatchArgs;
use crate::config::{ConfigSources, FilesInUse, duration};
use crate::kafka::property_problem;
use service_kit::logging::{Filter, Format, InvalidFilter};

/// Moves files between FTP servers and local storage: tasks come from Kafka, and each is answered there.
#[derive(Debug, Parser)]
#[command(name = "ftp-pooler", version, about, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run a pod, which is one worker process, on a plain machine as well: execute tasks until SIGTERM
    #[command(after_help = RUN, after_long_help = RUN)]
    Run {
        #[command(flatten)]
        files: ConfigFiles,
        #[command(flatten)]
        log: LogOptions,
    },
    /// Check the configuration and everything that it names: Kafka, topics, servers, directories
    Check(CheckArgs),
    /// Send tasks: from a file, or one for each file of a location
    Submit(Box<SubmitArgs>),
    /// List failures by code and connection, and send failed tasks again
    Failures(Box<FailuresArgs>),
    /// List batches, the tasks of one submit each; show, cancel or wait for one
    Batch(BatchArgs),
    /// List feeds, directories whose new files become tasks automatically; show, run, pause or resume one
    Feeds(FeedsArgs),
    /// Show lag, in-flight and completed tasks per partition and connection
    Lag(LagArgs),
    /// Set the group's offsets after records were lost
    Offsets(OffsetsArgs),
    /// Watch the pool's work as it happens
    Watch(WatchArgs),
    /// Create missing topics
    Topics(TopicsArgs),
    /// Write an initial config.yaml and connections.ini
    Init(InitArgs),
    /// Import FTP remotes from rclone.conf
    ImportRclone(ImportArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
    /// Print the man page, or write one for each command
    Man(ManArgs),
    /// Check the health of a running pod, such as in an image's HEALTHCHECK
    Health(HealthArgs),
    /// See it work: a broker, an FTP server and a pod in one process, and some hundred files
    #[cfg(feature = "demo")]
    Demo(ftp_pooler_demo::DemoArgs),
}

impl CliCommand {
    /// The command's output format; a table if it has no such option.
    pub(super) fn output(&self) -> OutputFormat {
        match self {
            CliCommand::Check(args) => args.output,
            CliCommand::Submit(args) => args.output,
            CliCommand::Failures(args) => args.output(),
            CliCommand::Batch(args) => args.output(),
            CliCommand::Feeds(args) => args.output(),
            CliCommand::Offsets(OffsetsArgs { command: OffsetsCommand::Reset(args) }) => args.output,
            CliCommand::Lag(args) => args.output,
            CliCommand::Watch(args) => args.output,
            CliCommand::Topics(args) => args.output,
            _ => OutputFormat::Table,
        }
    }
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub struct ConfigFiles {
    /// The configuration [default: config/config.yaml, else /etc/ftp-pooler/config.yaml]; the environment overrides it
    /// (FTP_POOLER__KAFKA__CONSUMER_GROUP=…)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// The connections [default: connections.ini next to the configuration]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub connections: Option<PathBuf>,
}

impl ConfigFiles {
    /// The files, with the process's environment on top.
    #[must_use]
    pub fn sources(self) -> ConfigSources {
        self.to_sources()
    }

    /// The same, of what is lent.
    #[must_use]
    pub fn to_sources(&self) -> ConfigSources {
        match &self.config {
            Some(config) => ConfigSources::new(config.clone(), self.connections.clone(), property_problem),
            None => ConfigSources::find(self.connections.clone(), property_problem),
        }
    }

    /// [`ConfigFiles::sources`], for a command that touches no local file and uses no secret in its own file except
    /// those of these connections: no other file that the configuration names need exist.
    #[must_use]
    pub fn for_connections(&self, connections: Vec<String>) -> ConfigSources {
        self.with_secrets(FilesInUse::Secrets { connections, api_token: false })
    }

    /// [`ConfigFiles::sources`], for a command that asks pods, and uses no secret in its own file except the API's token.
    #[must_use]
    pub fn for_api(&self) -> ConfigSources {
        self.with_secrets(FilesInUse::Secrets { connections: Vec::new(), api_token: true })
    }

    fn with_secrets(&self, files: FilesInUse) -> ConfigSources {
        ConfigSources { files, ..self.to_sources() }
    }
}

/// Which pod is asked, and what.
#[derive(Debug, clap::Args)]
#[command(after_help = HEALTH, after_long_help = HEALTH)]
pub struct HealthArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// The pod's URL [default: /health on this machine, on the configuration's api.port]
    #[arg(long, value_name = "URL", value_parser = health_page)]
    pub url: Option<PodUrl>,

    /// Check whether it accepts tasks (/ready) instead of whether it is alive
    #[arg(long)]
    pub ready: bool,

    /// How long to wait for its answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = deadline)]
    pub timeout: Duration,
}

fn health_page(text: &str) -> Result<PodUrl, String> {
    PodUrl::parse(text, "/health")
}

fn deadline(text: &str) -> Result<Duration, String> {
    let known = duration::parse(text).filter(|deadline| (SHORTEST..=LONGEST).contains(deadline));
    known.ok_or_else(|| "expected a duration from 1ms to 1h, such as 3s".into())
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3_600);

/// What is logged, and how.
#[derive(Debug, clap::Args)]
pub struct LogOptions {
    /// Format of log lines [default: human on a terminal, json elsewhere]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,

    /// Log level: error, warn, info, debug, trace, or by module: info,ftp_pooler::pool=debug
    /// [default: RUST_LOG, else info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<Filter>,
}

impl LogOptions {
    /// The effective filter.
    ///
    /// # Errors
    /// `--log-level` is not given, and `RUST_LOG` is not a valid filter.
    pub fn filter(&self) -> Result<Filter, InvalidFilter> {
        self.log_level.clone().map_or_else(Filter::from_environment, Ok)
    }
}

const EXIT_CODES: &str = "\
Exit codes:
   0  success; run: stopped by a signal, after its drain; health: the pod is healthy
   1  another failure, named in the last lines; health: the pod is not healthy
   2  the command line is wrong
  65  invalid input; every error is listed
  69  a dependency is unavailable: Kafka, a server, a port, the pod
  74  run: stopped, but for calls into a file system that does not answer
  75  submit --wait: timed out with tasks still open
  78  the configuration is wrong; every error is listed
 130  ended by a signal: run by the second one, other commands by the first";

const RUN: &str = "\
Examples:
  ftp-pooler run
  ftp-pooler run --config my/config.yaml --log-level info,ftp_pooler::pool=debug
  FTP_POOLER__POD__NAME=pool-1 ftp-pooler run        another pod of the same configuration, on another machine
  FTP_POOLER__POD__NAME=pool-1 FTP_POOLER__API__PORT=28081 FTP_POOLER__METRICS__PORT=29091 ftp-pooler run
                                                     the same on this machine, where the ports of the first are in use

Exit codes:
   0  stopped by SIGTERM or Ctrl-C; everything it had started was answered or returned to Kafka
   1  it cannot continue, for example because another pod uses its name; the last lines say why
  69  a port is in use
  74  stopped by SIGTERM, but for calls into a file system that does not answer; the last lines name them
  78  the configuration is wrong; every error is listed
 130  aborted by a second signal";

const HEALTH: &str = "\
Examples:
  ftp-pooler health
  ftp-pooler health --url http://pod-0:8080 --ready

Exit codes:
   0  the pod is healthy, or ready
   1  it is not; the reasons are printed
  69  it does not answer
  78  the configuration is wrong (without --url)";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
