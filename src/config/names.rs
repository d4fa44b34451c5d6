//! The names in the configuration, for the shell's completion: whatever is wrong with the rest.

use ::config::Value;

use super::environment;
use super::errors::ErrorCollector;
use super::feeds;
use super::load::{ConfigSources, collect_connections, read_config};
use super::section_reader::SectionReader;
use super::tree::ConfigTree;
use super::yaml;

/// Names that a command line may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredNames {
    pub ftp: Vec<String>,
    pub local: Vec<String>,
    pub feeds: Vec<String>,
}

impl ConfiguredNames {
    /// Reads the files and the environment; no secret is read.
    #[must_use]
    pub fn read(sources: &ConfigSources) -> ConfiguredNames {
        let mut errors = ErrorCollector::default();
        let variables = environment::read(&sources.environment, &mut errors).connections;
        let read = collect_connections(sources, variables, false, &mut errors);
        let merged = ConfigTree::merge([read.file, read.environment]);
        let mut names = ConfiguredNames::default();
        for (name, values) in merged.connections {
            let kind = values.get("type").cloned().map(Value::into_string);
            match kind.and_then(Result::ok).as_deref() {
                Some("local") => names.local.push(name),
                Some("frp") => {}
                _ => names.ftp.push(name),
            }
        }
        let path = sources.config.display().to_string();
        let text = read_config(sources, &mut errors);
        let values = text.map(|text| yaml::read(&text, &path, &mut errors)).unwrap_or_default();
        let mut reader = SectionReader {
            file: &path,
            connection: None,
            values,
            errors: &mut errors,
            files: &sources.files,
        };
        names.feeds = feeds::take(&mut reader).into_iter().map(|read| read.feed.name).collect();
        names
    }
}
