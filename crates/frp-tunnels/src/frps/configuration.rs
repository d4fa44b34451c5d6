//! What this program needs to know of an operator's frps.toml.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::{Table, Value};

/// The parts that concern us; frps itself checks all else.
#[derive(Debug, Clone)]
pub struct FrpsConfiguration {
    pub bind_port: u16,
    /// `host:port` of the API; `None`: it is off.
    pub api_address: Option<String>,
    pub api_user: String,
    pub api_password: SecretString,
    /// Files that frps reads at its start: a change of one needs a new start.
    pub files: Vec<PathBuf>,
    /// Certificate and key of frps.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, thiserror::Error)]
pub enum FrpsConfigurationError {
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The message has no line of the file: it could be a secret.
    #[error("{}: is no TOML: {message}", path.display())]
    Format { path: PathBuf, message: String },
}

impl FrpsConfiguration {
    pub fn read(path: &Path) -> Result<Self, FrpsConfigurationError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| FrpsConfigurationError::Unreadable { path: path.to_owned(), source })?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| FrpsConfigurationError::Format {
            path: path.to_owned(),
            message: error.message().to_owned(),
        })?;
        Ok(Self::of(&table))
    }

    fn of(table: &Table) -> Self {
        let text = |keys: &[&str]| find(table, keys).and_then(Value::as_str).map(str::to_owned);
        let port = |keys: &[&str]| {
            find(table, keys).and_then(Value::as_integer).and_then(|port| u16::try_from(port).ok())
        };
        let file = |keys: &[&str]| text(keys).map(PathBuf::from);
        let certificate = file(&["transport", "tls", "certFile"]).zip(file(&["transport", "tls", "keyFile"]));
        let files = [
            file(&["transport", "tls", "certFile"]),
            file(&["transport", "tls", "keyFile"]),
            file(&["transport", "tls", "trustedCaFile"]),
            file(&["auth", "tokenSource", "file", "path"]),
            file(&["webServer", "tls", "certFile"]),
            file(&["webServer", "tls", "keyFile"]),
        ];
        let host = text(&["webServer", "addr"])
            .filter(|host| host != "0.0.0.0")
            .unwrap_or_else(|| "127.0.0.1".to_owned());
        Self {
            bind_port: port(&["bindPort"]).unwrap_or(7000),
            api_address: port(&["webServer", "port"])
                .filter(|port| *port > 0)
                .map(|port| format!("{host}:{port}")),
            api_user: text(&["webServer", "user"]).unwrap_or_default(),
            api_password: SecretString::from(text(&["webServer", "password"]).unwrap_or_default()),
            files: files.into_iter().flatten().collect(),
            certificate,
        }
    }
}

fn find<'t>(table: &'t Table, keys: &[&str]) -> Option<&'t Value> {
    let (first, rest) = keys.split_first()?;
    let value = table.get(*first)?;
    if rest.is_empty() { Some(value) } else { find(value.as_table()?, rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_api_are_found_in_every_form() {
        let text = "bindPort = 7001\nwebServer = { port = 7500, user = \"a\" }\n[transport.tls]\ncertFile = \"/c\"\nkeyFile = \"/k\"\n[auth.tokenSource]\ntype = \"file\"\nfile.path = \"/t\"\n";
        let found = FrpsConfiguration::of(&text.parse().unwrap());
        assert_eq!((found.bind_port, found.api_address.as_deref()), (7001, Some("127.0.0.1:7500")));
        assert_eq!(found.files, [PathBuf::from("/c"), "/k".into(), "/t".into()]);
        assert_eq!(found.certificate, Some(("/c".into(), "/k".into())));
        let none = FrpsConfiguration::of(&Table::new());
        assert_eq!((none.bind_port, none.api_address), (7000, None));
    }
}
