//! The subcommands, and the exit codes that they end with.
//!
//! ```text
//! args         the command line; arg_parsers: values of arguments: times, sizes
//! complete     what the shell completes behind a Tab
//! reference    completions, man pages and docs/CLI.md, generated from the command line
//! init         `init` and `import-rclone`: an installation's first files
//! check        `check`: tries Kafka and every connection
//! topics       `topics`: creates missing topics
//! submit       `submit`: sends tasks, from lines or for the files of a location
//! failures     `failures`: lists what failed, and sends it again
//! batch        `batch`: what was submitted together: its progress, waiting for it, cancelling it
//! feeds        `feeds`: shows feeds, and sends requests to them
//! offsets      `offsets reset`: where the group resumes after records were lost
//! lag          `lag`: open records, by partition and connection
//! watch        `watch`: the pool's work as it happens
//! demo         `demo`: hands this program's pod to the demo
//! answer       the pool's answers, as their readers understand them
//! pod_url      one GET to a pod, for `health` and `watch`
//! pod_metrics  the pods' metrics, from their /metrics
//! announced_pods  the pool's pods as they announce themselves, including those that are gone
//! pool_pods    where the pool's pods are: as announced, else the members of the group
//! interrupt    Ctrl-C and SIGTERM, for commands that report before they end
//! output       tables for people, JSON for programs
//! ```

mod announced_pods;
mod answer;
mod arg_parsers;
mod args;
mod batch;
mod check;
mod complete;
#[cfg(feature = "demo")]
mod demo;
mod failures;
mod feeds;
mod init;
mod interrupt;
mod lag;
mod offsets;
mod output;
mod pod_metrics;
mod pod_url;
mod pool_pods;
mod reference;
mod submit;
mod topics;
mod watch;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use hyper::StatusCode;
use serde_json::{Value, json};

pub use args::{CliCommand, CommandLine, ConfigFiles, HealthArgs, LogOptions};
pub use reference::cli_md;

use output::OutputFormat;
use pod_url::PodUrl;
use submit::WalkError;

use crate::app;
use crate::client::ClientError;
use crate::config::{Config, ConfigError, ConfigErrors, SourceLocation};
use service_kit::logging;

/// Success.
pub const EXIT_OK: u8 = 0;
/// A failure that has no code of its own.
pub const EXIT_FAILURE: u8 = 1;
/// The command line is wrong (clap's code).
pub const EXIT_USAGE: u8 = 2;
/// Invalid input (`EX_DATAERR` of sysexits.h).
pub const EXIT_DATA: u8 = 65;
/// A dependency is unavailable (`EX_UNAVAILABLE` of sysexits.h).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// What was waited for has not come in time (`EX_TEMPFAIL` of sysexits.h).
pub const EXIT_OPEN: u8 = 75;
/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;
/// A signal ended it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The process's command line; if it asks for help or is wrong, that is printed, and the code is the error.
pub fn parse() -> Result<CommandLine, ExitCode> {
    complete::answer_the_shell();
    CommandLine::try_parse().map_err(|error| {
        // A closed terminal is no reason to panic.
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
    })
}

/// Carries out a command.
#[must_use]
pub fn run(args: CommandLine) -> ExitCode {
    let output = args.command.output();
    let ended = match args.command {
        CliCommand::Run { files, log } => run_pod(files, &log),
        CliCommand::Check(args) => check::run(&args),
        CliCommand::Submit(args) => submit::submit(&args),
        CliCommand::Failures(args) => failures::failures(*args),
        CliCommand::Batch(args) => batch::batch(&args),
        CliCommand::Feeds(args) => feeds::feeds(&args),
        CliCommand::Offsets(args) => offsets::offsets(&args),
        CliCommand::Lag(args) => lag::lag(&args),
        CliCommand::Watch(args) => watch::watch(&args),
        CliCommand::Topics(args) => topics::topics(&args),
        CliCommand::Init(args) => init::init(&args),
        CliCommand::ImportRclone(args) => init::import(&args),
        CliCommand::Completions(args) => reference::completions(&args),
        CliCommand::Man(args) => reference::man(&args),
        CliCommand::Health(args) => health(args),
        #[cfg(feature = "demo")]
        CliCommand::Demo(args) => return ftp_pooler_demo::run::<app::App>(&args),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say(io::stderr(), &failure);
            if output == OutputFormat::Json {
                output::print_json(&failure.document());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Runs a pod. What ends it is logged, like everything else that a pod has to say.
fn run_pod(files: ConfigFiles, log: &LogOptions) -> Result<u8, CommandError> {
    let filter = log.filter()?;
    let sources = files.sources();
    let config = Config::load(&sources)?;
    let _guard = logging::init(log.log_format, &filter, crate::LOG_POLICY)?;
    for warning in config.warnings(&sources) {
        tracing::warn!(event = "config_exposed", "{warning}");
    }
    match app::run(config, sources) {
        Ok(()) => Ok(EXIT_OK),
        Err(error) => {
            tracing::error!(event = "pod_failed", %error, "the pod has failed");
            Ok(error.exit_code())
        }
    }
}

/// Asks a running pod how it is, and passes on what it says.
fn health(args: HealthArgs) -> Result<u8, CommandError> {
    let page = if let Some(url) = args.url {
        if args.ready { url.at("/ready") } else { url }
    } else {
        let path = if args.ready { "/ready" } else { "/health" };
        PodUrl::here(&Config::load(&args.files.for_connections(Vec::new()))?.api, path)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CommandError::Runtime)?;
    let answer = runtime.block_on(page.get(None, args.timeout));
    // A pending name lookup is not waited for.
    runtime.shutdown_background();
    match answer {
        Ok((status, body)) => {
            say(io::stdout(), body.trim());
            Ok(if status == StatusCode::OK { EXIT_OK } else { EXIT_FAILURE })
        }
        Err(error) => {
            say(io::stderr(), format_args!("ftp-pooler: {page} does not answer: {error}"));
            Ok(EXIT_UNAVAILABLE)
        }
    }
}

/// Why a command could not begin; its text is for the terminal.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    #[error("ftp-pooler: RUST_LOG: {0}")]
    Filter(#[from] logging::InvalidFilter),
    #[error("ftp-pooler: {0}")]
    Logging(#[from] logging::InitError),
    #[error("ftp-pooler: cannot start: {0}")]
    Runtime(io::Error),
    #[error("ftp-pooler: {0}")]
    Usage(String),
    #[error("ftp-pooler: {0}")]
    Data(String),
    /// Kafka.
    #[error("ftp-pooler: {0}")]
    Client(#[from] ClientError),
    /// A source that could not be listed.
    #[error("ftp-pooler: {0}; nothing was sent")]
    Walk(#[from] WalkError),
    #[error("ftp-pooler: {0}")]
    Unavailable(String),
    #[error("ftp-pooler: {0}")]
    Other(String),
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        CommandError::Other(error.to_string())
    }
}

impl CommandError {
    /// For programs, which read standard output: the exit code, and each mistake of the configuration with its place.
    fn document(&self) -> Value {
        let message = self.to_string();
        let message = message.strip_prefix("ftp-pooler: ").unwrap_or(&message);
        let mut error = json!({"exit_code": self.exit_code(), "message": message});
        if let (CommandError::Config(errors), Some(error)) = (self, error.as_object_mut()) {
            let mistakes: Vec<Value> = errors.errors().iter().map(mistake).collect();
            error.insert("mistakes".to_owned(), mistakes.into());
        }
        json!({ "error": error })
    }

    fn exit_code(&self) -> u8 {
        match self {
            CommandError::Config(_) => EXIT_CONFIG,
            CommandError::Filter(_) | CommandError::Usage(_) => EXIT_USAGE,
            CommandError::Data(_) => EXIT_DATA,
            CommandError::Walk(error) if error.is_input_error() => EXIT_DATA,
            CommandError::Client(_) | CommandError::Walk(_) | CommandError::Unavailable(_) => {
                EXIT_UNAVAILABLE
            }
            CommandError::Logging(_) | CommandError::Runtime(_) | CommandError::Other(_) => EXIT_FAILURE,
        }
    }
}

fn mistake(error: &ConfigError) -> Value {
    let (file, line) = match &error.location {
        SourceLocation::File { path, line } => (Some(path.as_str()), *line),
        SourceLocation::Environment => (None, None),
    };
    json!({"file": file, "line": line, "key": error.key, "problem": error.problem})
}

/// Writes a text and a line break. Does not panic on a closed output, as `println!` would.
fn say(mut out: impl Write, text: impl Display) {
    let _ = writeln!(out, "{text}");
}
