//! Arguments → settings → workers → exit code, nothing else.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pattern_router::check::CheckOutcome;
use pattern_router::run::RunError;

/// Routes {port}-{id}.domain to that port of that pod: HTTP/1.1, HTTP/2, WebSocket, SSE, gRPC.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file
    #[arg(long, global = true, default_value = "config/router.yaml", env = "PATTERN_ROUTER_CONFIG")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM, then drain
    Run,
    /// Check the configuration, DNS, certificates, the resolver, and a name
    Check {
        /// A host such as 3000-ws123 or 3000-ws123.pool.example.com: is it found, does it connect?
        name: Option<String>,
    },
}

/// The exit code for an invalid configuration, from sysexits.h.
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run => run(&arguments.config),
        Command::Check { name } => check(&arguments.config, name.as_deref()),
    }
}

fn run(config: &Path) -> ExitCode {
    match pattern_router::run::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ (RunError::Config(_) | RunError::Assemble(_))) => fail(&error, EX_CONFIG),
        Err(error) => fail(&error, 1),
    }
}

fn check(config: &Path, name: Option<&str>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let lines = runtime.block_on(pattern_router::check::check(config, name));
    let mut out = std::io::stdout().lock();
    for line in &lines {
        // A closed pipe does not change the outcome.
        let _ = writeln!(out, "{line}");
    }
    let failed = lines.iter().any(|line| line.outcome == CheckOutcome::Failed);
    if failed { ExitCode::from(EX_CONFIG) } else { ExitCode::SUCCESS }
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "{error}");
    ExitCode::from(code)
}
