//! The only module that starts processes. A child has its own process group, dies with this process however that ends,
//! and gets its configuration through an in-memory file.
//!
//! ```text
//! spawner      the thread that forks, and lives as long as its children
//! exec_child   the step between fork and frpc, which sets the parent-death signal
//! child        a running program of frp: its output by lines, its end, how it is stopped
//! config_file  a configuration with secrets, in memory only
//! ```

mod child;
mod config_file;
pub mod exec_child;
mod spawner;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use child::LastLines;
pub use child::{ExitReason, FrpProcess, LAST_LINES, ProgramOutput, ProgramRun, run_to_end};
pub use config_file::ConfigFile;

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot start {}: {source}", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the configuration: {0}")]
    Configuration(#[source] io::Error),
    #[error("no end within {} s", .0.as_secs_f32())]
    Deadline(Duration),
    #[error("the thread that starts processes is gone")]
    SpawnerGone,
}
