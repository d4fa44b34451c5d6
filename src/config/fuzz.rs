//! connections.ini with arbitrary content. For `make fuzz`, and for the tests, which replay its corpus.

use secrecy::ExposeSecret;

use super::connections::{self, ConnectionContext, ConnectionsFile};
use super::errors::ErrorCollector;
use super::load::FilesInUse;

/// Any text gives usable connections, or printable errors.
///
/// # Panics
/// If the result is neither.
pub fn connections_ini(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // These would be read as files, whatever they are.
    if ["pass_file", "tls_ca", "token_file", "secret_file", "tls_certificate", "tls_key"]
        .iter()
        .any(|key| text.contains(key))
    {
        return;
    }
    let mut errors = ErrorCollector::default();
    let file = ConnectionsFile { path: "connections.ini", text: Some(text), had_connections: false };
    let context = ConnectionContext::alone(file.path, 10, &FilesInUse::All);
    let connections = connections::read_text(&file, &context, &mut errors);
    match errors.or(connections) {
        Ok(connections) => {
            for ftp in connections.ftp.values() {
                assert!(ftp.port > 0 && ftp.max_sessions > 0 && !ftp.host.is_empty());
                assert!(!ftp.pass.expose_secret().contains(['\0', '\r', '\n']));
                assert!(!ftp.user.contains(['\0', '\r', '\n']));
            }
            assert!(connections.local.values().all(|local| local.base_path.is_absolute()));
        }
        Err(errors) => {
            for error in errors.errors() {
                assert!(!error.to_string().contains(char::is_control), "{error}");
            }
        }
    }
}

#[cfg(test)]
#[test]
fn the_corpus_finds_nothing() {
    assert!(crate::corpus::each("connections_ini", connections_ini) > 0);
}
