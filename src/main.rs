//! Arguments → Config → App → exit code, nothing else.

use std::process::ExitCode;

use ftp_pooler::cli;

fn main() -> ExitCode {
    match cli::parse() {
        Ok(args) => cli::run(args),
        Err(code) => code,
    }
}
