//! `ftp-pooler demo`: a broker, an FTP server and the real pod in one process, with nothing set up beforehand.
//! Moves some hundred files both ways, a few records failing on purpose, and checks every answer and every byte.
//!
//! ```text
//! pod        what the demo needs of the pod, which the program hands in
//! plan       what is sent, and what must come back; refusals: the records that must fail
//! show       the demo from start to end
//! stage      what it runs on: broker, server (FTP), site (directories), reader (of the answers)
//! files      the files' contents, from a seed
//! answer     one answer, and whether it is right
//! verify     whether every record was answered once and every file is right; report: its summary
//! play       a demo that keeps running, for tasks of the user's own
//! screen     terminal output; watchdog: ends a demo that hangs
//! ```

mod answer;
mod broker;
mod files;
mod plan;
mod play;
mod pod;
mod reader;
mod refusals;
mod report;
mod screen;
mod server;
mod show;
mod site;
mod stage;
mod verify;
mod watchdog;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;

pub use pod::{DemoPod, PodStartError};

/// The broker keeps the last 5 MiB of a partition: the records of this many files fit with room to spare.
const MAX_FILES: u64 = 10_000;
/// What a shell says of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// See it work: a broker, an FTP server and a pod in one process, and some hundred files
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Files to move: three downloads to two uploads
    #[arg(long, value_name = "N", default_value_t = 500)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_FILES))]
    files: usize,
    /// Leave everything up until Ctrl-C, for tasks of your own
    #[arg(long)]
    keep_running: bool,
    /// Put the files here and keep them; a new or an empty directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Show the pod's log
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a task of your own to a demo that keeps running
    Send(SendArgs),
}

#[derive(Debug, clap::Args)]
struct SendArgs {
    /// The broker, as the running demo names it
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: String,
    /// The topic
    #[arg(long, default_value = broker::TASKS)]
    topic: String,
    /// The task: a JSON object, or anything else, to see what becomes of it
    task: String,
}

/// How the demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    AllRight,
    SomethingWrong,
    Interrupted,
}

/// Runs the demo with a pod of this kind. The exit code is 0 only if every record was answered once and correctly, and
/// every file is right to the byte; 130 after Ctrl-C before that was known.
#[must_use]
pub fn run<P: DemoPod>(args: &DemoArgs) -> ExitCode {
    let ended = match &args.command {
        Some(Command::Send(task)) => play::send(task),
        None => show::show::<P>(&args.options),
    };
    match ended {
        Ok(Ending::AllRight) => ExitCode::SUCCESS,
        Ok(Ending::SomethingWrong) => ExitCode::FAILURE,
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            let _ = writeln!(io::stderr(), "ftp-pooler demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
