//! What may change while a pod runs: connections.ini, the secrets in separate files, and the feeds in config.yaml.

use std::path::PathBuf;

use super::errors::{ConfigErrors, ErrorCollector};
use super::load::{ConfigSources, reread_connections, reread_feeds};
use super::{Config, WatchedFileVersions, api_token};

/// The reloadable part as it is now.
#[derive(Debug)]
pub struct ReloadedConfig {
    /// Everything else is unchanged.
    pub config: Result<Config, ConfigErrors>,
    /// The files it was read from: both configuration files and every file that a key names, whether they exist or not.
    pub files: Vec<PathBuf>,
    /// These files' versions before they were read.
    pub stamps: WatchedFileVersions,
}

/// The named files name no others: all are known at the second reading at the latest.
const READINGS: usize = 3;

impl Config {
    /// Reads connections.ini again, the files that its keys name, the token's, and the feeds. Everything else remains
    /// as in this configuration: the rest of config.yaml, and the environment. Blocks.
    #[must_use]
    pub fn reread(&self, sources: &ConfigSources) -> ReloadedConfig {
        let mut files = Vec::new();
        let mut readings = 0;
        loop {
            let stamps = WatchedFileVersions::of(&files);
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
