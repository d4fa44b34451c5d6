//! connections.ini again, while a pod runs.

use std::path::PathBuf;

use super::errors::{ConfigErrors, Mistakes};
use super::load::{Sources, read_connections};
use super::{Config, Connections, Stamps, environment};

/// connections.ini as it is now.
#[derive(Debug)]
pub struct Reread {
    pub connections: Result<Connections, ConfigErrors>,
    /// What it was read from: itself and every file that its keys name, whether they are there or not.
    pub files: Vec<PathBuf>,
    /// These files' stamps, as they were before they were read.
    pub stamps: Stamps,
}

/// Files that name files, which name no others: at the second reading at the latest all are known.
const READINGS: usize = 3;

impl Config {
    /// Reads connections.ini again, and the files that its keys name. What else the connections depend on stays as it
    /// is here: config.yaml, and the environment. Blocks.
    #[must_use]
    pub fn reread_connections(&self, sources: &Sources) -> Reread {
        let mut files = Vec::new();
        let mut readings = 0;
        loop {
            let stamps = Stamps::of(&files);
            let mut mistakes = Mistakes::default();
            let variables = environment::read(&sources.environment, &mut mistakes).connections;
            let connections = read_connections(sources, variables, self, &mut mistakes);
            let read = mistakes.files();
            readings += 1;
            if read == files || readings == READINGS {
                return Reread { connections: mistakes.or(connections), files, stamps };
            }
            files = read;
        }
    }
}
