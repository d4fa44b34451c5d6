//! The command `frp-tunnels`.
//!
//! ```text
//! args             the command line's grammar
//! run              one tunnel from the command line
//! up               `up`: all tunnels of a file
//! serve            `serve` and `visit-ftp`: both sides of an FTP server behind NAT
//! listing          `ls` and `status`
//! config_command   `config`: what a plain frpc needs for the same tunnels
//! server_commands  `server init`, `run`, `status` and `plugin`
//! operator_command `operator`, with the feature of that name: tunnels that are declared as Kubernetes resources
//! api              the HTTP endpoints of a running command
//! output           text for people, or one JSON object a line
//! ```

mod api;
mod args;
mod config_command;
mod listing;
#[cfg(feature = "operator")]
mod operator_command;
mod output;
mod run;
mod serve;
mod server_commands;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use service_kit::logging;

use args::{Cli, CliCommand, ServerCommand};
use output::Output;

/// Exit codes of sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandExit {
    Ok = 0,
    /// `EX_USAGE`
    Usage = 64,
    /// `EX_UNAVAILABLE`
    Unavailable = 69,
    /// `EX_SOFTWARE`
    Software = 70,
    /// `EX_IOERR`
    Io = 74,
    /// `EX_CONFIG`
    Configuration = 78,
}

/// A command that failed, with its exit code.
#[derive(Debug)]
pub(crate) struct CommandError {
    exit: CommandExit,
    message: String,
}

impl CommandError {
    fn new(exit: CommandExit, message: impl std::fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

/// Parses the command line, and runs what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.output);
    let filter = match cli.log.clone().map_or_else(logging::Filter::from_environment, Ok) {
        Ok(filter) => filter,
        Err(error) => return fail(output, &CommandError::new(CommandExit::Usage, error)),
    };
    let _guard = match logging::init(cli.log_format, &filter, logging::Policy::default()) {
        Ok(guard) => guard,
        Err(error) => return fail(output, &CommandError::new(CommandExit::Software, error)),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(output, &CommandError::new(CommandExit::Software, error)),
    };
    let result = runtime.block_on(run_command(cli, output));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(output, &error),
    }
}

/// Whether these words are a command line of this program; they begin with its name.
pub fn check_arguments(words: &[String]) -> Result<(), String> {
    Cli::try_parse_from(words).map(drop).map_err(|error| error.to_string())
}

fn fail(output: Output, error: &CommandError) -> ExitCode {
    output.error(&error.message);
    ExitCode::from(error.exit as u8)
}

async fn run_command(cli: Cli, output: Output) -> Result<(), CommandError> {
    match cli.command {
        CliCommand::Tcp(args) => run::tcp(args, output).await,
        CliCommand::Udp(args) => run::udp(args, output).await,
        CliCommand::Http(args) => run::http(args, output).await,
        CliCommand::Visit(args) => run::visit(args, output).await,
        CliCommand::VisitFtp(args) => serve::visit_ftp(args, output).await,
        CliCommand::Serve(args) => serve::serve(args, output).await,
        CliCommand::Up(args) => up::up(args, output).await,
        CliCommand::Ls(args) => listing::list(args, output).await,
        CliCommand::Status(args) => listing::status(args, output).await,
        CliCommand::Config(args) => config_command::config(&args, output),
        CliCommand::Server(ServerCommand::Init(args)) => server_commands::init(&args, output),
        CliCommand::Server(ServerCommand::Run(args)) => server_commands::run(args, output).await,
        CliCommand::Server(ServerCommand::Status(args)) => server_commands::status(args, output).await,
        CliCommand::Server(ServerCommand::Plugin(args)) => server_commands::plugin(args, output).await,
        #[cfg(feature = "operator")]
        CliCommand::Operator(args) => operator_command::operator(*args, output).await,
        CliCommand::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "frp-tunnels", &mut text);
            output.raw(&text);
            Ok(())
        }
        CliCommand::Man { directory } => {
            let made = if let Some(directory) = &directory {
                clap_mangen::generate_to(Cli::command(), directory)
            } else {
                let mut text = Vec::new();
                let made = clap_mangen::Man::new(Cli::command()).render(&mut text);
                output.raw(&text);
                made
            };
            made.map_err(|error| CommandError::new(CommandExit::Io, error))
        }
    }
}
