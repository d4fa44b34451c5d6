//! The files that may change while a pod runs: connections.ini, and the secrets that stand in files of their own.

use std::path::PathBuf;

use super::errors::{ConfigErrors, Mistakes};
use super::load::{Sources, read_connections};
use super::{Config, Stamps, environment, token};

/// What may change while a pod runs, as it is now.
#[derive(Debug)]
pub struct Reread {
    /// With all else as it was.
    pub config: Result<Config, ConfigErrors>,
    /// What it was read from: connections.ini and every file that a key names, whether they are there or not.
    pub files: Vec<PathBuf>,
    /// These files' stamps, as they were before they were read.
    pub stamps: Stamps,
}

/// Files that name files, which name no others: at the second reading at the latest all are known.
const READINGS: usize = 3;

impl Config {
    /// Reads connections.ini again, the files that its keys name, and the token's. What else there is stays as it is
    /// here: config.yaml, and the environment. Blocks.
    #[must_use]
    pub fn reread(&self, sources: &Sources) -> Reread {
        let mut files = Vec::new();
        let mut readings = 0;
        loop {
            let stamps = Stamps::of(&files);
            let mut mistakes = Mistakes::default();
            let variables = environment::read(&sources.environment, &mut mistakes).connections;
            let connections = read_connections(sources, variables, self, &mut mistakes);
            let api_token = self.api_token.as_ref().map(|token| token::reread(token, &mut mistakes));
            let read = mistakes.files();
            readings += 1;
            if read == files || readings == READINGS {
                let config = Config { api_token, connections, ..self.clone() };
                return Reread { config: mistakes.or(config), files, stamps };
            }
            files = read;
        }
    }
}
