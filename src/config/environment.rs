//! Environment variables: `FTP_POOLER__KAFKA__CONSUMER_GROUP=…` overrides `kafka.consumer_group`.
//!
//! Variables with a single underscore after `FTP_POOLER` are not ours: Kubernetes sets `FTP_POOLER_PORT`,
//! `FTP_POOLER_SERVICE_HOST` and similar ones for a service named `ftp-pooler`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use ::config::Value;

use super::errors::{ErrorCollector, SourceLocation};
use super::settings::PROPERTIES;
use super::tree::ValueOrigin;

/// The prefix of our variables, in upper or lower case.
pub const PREFIX: &str = "FTP_POOLER__";

/// Between the parts of a key.
const SEPARATOR: &str = "__";

/// librdkafka's properties whose name has an underscore; in all others it stands for a dot.
const UNDERSCORED_PROPERTIES: [&str; 1] = ["log_level"];

/// The values of our variables.
#[derive(Default)]
pub(super) struct EnvironmentValues {
    /// Keys of config.yaml, flat as from `yaml::read`.
    pub settings: BTreeMap<String, Value>,
    /// Keys of connections.
    pub connections: Vec<ConnectionVariable>,
}

/// `FTP_POOLER__CONNECTIONS__<name>__<key>`.
pub(super) struct ConnectionVariable {
    /// The connection's name as written in the variable, in lower case, with other characters as `_`.
    pub name: String,
    pub key: String,
    pub value: Value,
}

/// Selects our variables from the process's.
pub(super) fn read(variables: &[(OsString, OsString)], errors: &mut ErrorCollector) -> EnvironmentValues {
    let mut environment = EnvironmentValues::default();
    let mut seen = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = strip_prefix(name) else { continue };
        let Some(value) = value.to_str() else {
            errors.add(SourceLocation::Environment, name, "is not UTF-8");
            continue;
        };
        if let Some(other) = seen.insert(rest.to_ascii_lowercase(), name) {
            errors.add(SourceLocation::Environment, name, format!("is the same key as {other}"));
            continue;
        }
        environment.add(&rest.to_ascii_lowercase(), ValueOrigin::Variable(name.to_owned()).value(value));
    }
    environment
}

/// The name of the variable that overrides a key of config.yaml.
pub fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', SEPARATOR).to_ascii_uppercase())
}

/// The name of the variable that overrides a key of a connection.
pub fn connection_variable(connection: &str, key: &str) -> String {
    format!("{PREFIX}CONNECTIONS__{}__{key}", normalized(connection)).to_ascii_uppercase()
}

/// A connection's name as written in a variable, in lower case.
pub(super) fn normalized(connection: &str) -> String {
    connection.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

impl EnvironmentValues {
    fn add(&mut self, rest: &str, value: Value) {
        if let Some(connection) = rest.strip_prefix("connections__")
            && let Some((name, key)) = connection.rsplit_once(SEPARATOR)
            && !name.is_empty()
        {
            self.connections.push(ConnectionVariable { name: normalized(name), key: key.to_owned(), value });
            return;
        }
        let path = match rest.strip_prefix("kafka__properties__") {
            Some(property) => format!("{}.{}", PROPERTIES, property_name(property)),
            None => rest.replace(SEPARATOR, "."),
        };
        self.settings.insert(path, value);
    }
}

fn property_name(written: &str) -> String {
    if UNDERSCORED_PROPERTIES.contains(&written) {
        return written.to_owned();
    }
    written.replace(SEPARATOR, ".").replace('_', ".")
}

fn strip_prefix(name: &str) -> Option<&str> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_names(variables: &[(&str, &str)]) -> (Vec<String>, Vec<(String, String)>, String) {
        let variables: Vec<_> = variables.iter().map(|(k, v)| (k.into(), v.into())).collect();
        let mut errors = ErrorCollector::default();
        let environment = read(&variables, &mut errors);
        let connections = environment.connections.into_iter().map(|c| (c.name, c.key)).collect();
        let errors = errors.or(()).err().map(|e| e.to_string()).unwrap_or_default();
        (environment.settings.into_keys().collect(), connections, errors)
    }

    #[test]
    fn a_variable_names_its_key() {
        for (name, key) in [
            ("FTP_POOLER__KAFKA__CONSUMER_GROUP", "kafka.consumer_group"),
            ("ftp_pooler__Api__Port", "api.port"),
            ("FTP_POOLER__KAFKA__PROPERTIES__SASL_PASSWORD", "kafka.properties.sasl.password"),
            ("FTP_POOLER__KAFKA__PROPERTIES__LOG_LEVEL", "kafka.properties.log_level"),
            ("FTP_POOLER__", ""),
            ("FTP_POOLER__CONNECTIONS__X", "connections.x"),
        ] {
            assert_eq!(read_names(&[(name, "v")]), (vec![key.to_owned()], vec![], String::new()), "{name}");
        }
    }

    #[test]
    fn a_connections_variable_names_connection_and_key() {
        for (name, connection, key) in [
            ("FTP_POOLER__CONNECTIONS__REMOTE_FTP__PASS", "remote_ftp", "pass"),
            ("FTP_POOLER__CONNECTIONS__my.server__BASE_PATH", "my_server", "base_path"),
            ("FTP_POOLER__CONNECTIONS__A__B__HOST", "a__b", "host"),
        ] {
            let expected = vec![(connection.to_owned(), key.to_owned())];
            assert_eq!(read_names(&[(name, "v")]), (vec![], expected, String::new()), "{name}");
        }
    }

    #[test]
    fn variables_that_kubernetes_sets_for_a_service_are_not_ours() {
        let foreign = [
            ("FTP_POOLER_PORT", "tcp://10.0.0.1:80"),
            ("FTP_POOLER_SERVICE_HOST", "x"),
            ("PATH", "/bin"),
            ("ÄÖÜ", ""),
        ];
        assert_eq!(read_names(&foreign), (vec![], vec![], String::new()));
    }

    #[test]
    fn one_key_in_two_spellings_is_a_mistake() {
        let (_, _, errors) = read_names(&[("FTP_POOLER__API__PORT", "1"), ("ftp_pooler__api__port", "2")]);
        assert_eq!(errors, "environment: ftp_pooler__api__port: is the same key as FTP_POOLER__API__PORT");
    }

    #[test]
    fn the_variable_of_a_key_is_read_back_as_that_key() {
        for key in super::super::settings::SETTINGS {
            assert_eq!(read_names(&[(&variable(key.path), "v")]).0, [key.path]);
        }
    }
}
