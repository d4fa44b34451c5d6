//! What may change while a pod runs: connections.ini, the secrets that stand in files of their own, and the feeds in config.yaml.

use std::path::PathBuf;

use super::errors::{ConfigErrors, ErrorCollector};
use super::load::{ConfigSources, reread_connections, reread_feeds};
use super::{Config, FileVersions, api_token};

/// What may change while a pod runs, as it is now.
#[derive(Debug)]
pub struct ReloadedConfig {
    /// With all else as it was.
    pub config: Result<Config, ConfigErrors>,
    /// What it was read from: both files and every file that a key names, whether they are there or not.
    pub files: Vec<PathBuf>,
    /// These files' stamps, as they were before they were read.
    pub stamps: FileVersions,
}

/// Files that name files, which name no others: at the second reading at the latest all are known.
const READINGS: usize = 3;

impl Config {
    /// Reads connections.ini again, the files that its keys name, the token's, and the feeds. What else there is stays as
    /// it is here: all else in config.yaml, and the environment. Blocks.
    #[must_use]
    pub fn reread(&self, sources: &ConfigSources) -> ReloadedConfig {
        let mut files = Vec::new();
        let mut readings = 0;
        loop {
            let stamps = FileVersions::of(&files);
            let mut errors = ErrorCollector::default();
            let connections = reread_connections(sources, self, &mut errors);
            let api_token = self.api_token.as_ref().map(|token| api_token::reread(token, &mut errors));
            let beside = Config { connections: connections.clone(), ..self.clone() };
            let feeds = reread_feeds(sources, &beside, &mut errors);
            let read = errors.files();
            readings += 1;
            if read == files || readings == READINGS {
                let config = Config { api_token, feeds, connections, ..self.clone() };
                return ReloadedConfig { config: errors.or(config), files, stamps };
            }
            files = read;
        }
    }
}
