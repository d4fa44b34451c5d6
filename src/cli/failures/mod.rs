//! `ftp-pooler failures`: what failed, by code and connection, and sending it again.

mod args;
mod list;
mod retry;
mod retry_evidence;
mod scan;

pub use args::{FailuresArgs, FailuresCommand};

use super::CommandError;

/// Lists, or sends again. Returns the exit code.
pub(super) fn failures(args: FailuresArgs) -> Result<u8, CommandError> {
    match args.command {
        Some(FailuresCommand::Retry(retry)) => retry::retry(&retry),
        None => list::list(&args.list),
    }
}
