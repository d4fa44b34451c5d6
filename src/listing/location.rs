//! A place, `CONNECTION:PATH`.

use std::sync::Arc;

use ftp_listing::data_set;

use crate::config::{ConfiguredConnections, FtpConnection, LocalConnection};
use crate::text::nearest;

/// A source or destination of files.
#[derive(Clone, Debug)]
pub struct Location {
    pub connection: LocationConnection,
    pub path: String,
}

#[derive(Clone, Debug)]
pub enum LocationConnection {
    Ftp(Arc<FtpConnection>),
    Local(Arc<LocalConnection>),
}

impl LocationConnection {
    pub fn name(&self) -> &str {
        match self {
            LocationConnection::Ftp(ftp) => &ftp.name,
            LocationConnection::Local(local) => &local.name,
        }
    }
}

impl Location {
    /// Parses `CONNECTION:PATH`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(text: &str, connections: &ConfiguredConnections) -> Result<Location, String> {
        let Some((name, path)) = text.split_once(':') else {
            return Err(format!(
                "'{text}' is not a place; expected CONNECTION:PATH, such as remote-ftp:/pub/"
            ));
        };
        let connection = match (connections.ftp.get(name), connections.local.get(name)) {
            (Some(ftp), _) => LocationConnection::Ftp(Arc::clone(ftp)),
            (_, Some(local)) => LocationConnection::Local(Arc::clone(local)),
            (None, None) => {
                let known: Vec<&str> =
                    connections.ftp.keys().chain(connections.local.keys()).map(String::as_str).collect();
                let meant = nearest(name, known.iter().copied())
                    .map(|meant| format!(", did you mean '{meant}'?"))
                    .unwrap_or_default();
                let there = known.join(", ");
                return Err(format!("there is no connection '{name}'{meant} (there are: {there})"));
            }
        };
        Ok(Location { connection, path: path.to_owned() })
    }

    /// Whether the path is written as a directory.
    pub fn is_directory(&self) -> bool {
        self.path.is_empty() || self.path.ends_with('/')
    }

    /// The path of a file beneath this directory.
    pub fn beneath(&self, relative: &str) -> String {
        match &self.connection {
            LocationConnection::Ftp(_) => data_set::beneath(&self.path, relative),
            LocationConnection::Local(_) => None,
        }
        .unwrap_or_else(|| beneath(&self.path, relative))
    }
}

/// `directory` joined with a path beneath it; an empty directory is the connection's root.
pub fn beneath(directory: &str, relative: &str) -> String {
    match directory {
        "" => relative.to_owned(),
        directory => format!("{}/{relative}", directory.trim_end_matches('/')),
    }
}
