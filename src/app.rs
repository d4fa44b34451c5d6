//! Wires all parts, runs them, and drains them: the only module that knows them all.

use crate::config::Config;

/// Why a pod ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

impl Error {
    /// The exit code that tells a supervisor what kind of end it was.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match *self {}
    }
}

/// Runs a pod until it is told to stop.
///
/// # Errors
/// What kept it from starting, or from going on.
pub fn run(config: Config) -> Result<(), Error> {
    drop(config);
    Ok(())
}
