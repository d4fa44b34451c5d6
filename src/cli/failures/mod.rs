//! `ftp-pooler failures`: what failed, by code and connection, and sending it again.
//!
//! ```text
//! args             the options
//! scan             reads the failure topic, and selects
//! list             lists failures, or counts them by code and connection
//! retry            sends failed tasks again, each failure once
//! retry_evidence   which failures were sent again already: the input topic says so
//! ```

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
