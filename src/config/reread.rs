//! connections.ini again, while a pod runs.

use std::path::PathBuf;

use super::errors::{ConfigErrors, Mistakes};
use super::load::{Sources, read_connections};
use super::{Config, Connections, environment};

/// connections.ini as it is now.
#[derive(Debug)]
pub struct Reread {
    pub connections: Result<Connections, ConfigErrors>,
    /// What it was read from: itself and every file that its keys name, whether they are there or not.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Reads connections.ini again, and the files that its keys name. What else the connections depend on stays as it
    /// is here: config.yaml, and the environment. Blocks.
    #[must_use]
    pub fn reread_connections(&self, sources: &Sources) -> Reread {
        let mut mistakes = Mistakes::default();
        let variables = environment::read(&sources.environment, &mut mistakes).connections;
        let connections = read_connections(sources, variables, self, &mut mistakes);
        let files = mistakes.files();
        Reread { connections: mistakes.or(connections), files }
    }
}
