//! connections.ini as nobody would write it. For `make fuzz`, and for the tests, which try its corpus again.

use secrecy::ExposeSecret;

use super::connections::{self, File};
use super::errors::Mistakes;

/// Any text is connections that can be used, or mistakes that can be shown.
///
/// # Panics
/// Where what comes out is neither.
pub fn connections_ini(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // These would be read, whatever they are.
    if ["pass_file", "tls_ca"].iter().any(|key| text.contains(key)) {
        return;
    }
    let mut mistakes = Mistakes::default();
    let file =
        File { path: "connections.ini", text: Some(text), had_connections: false, needs_directories: true };
    let connections = connections::read(&file, Vec::new(), 10, &mut mistakes);
    match mistakes.or(connections) {
        Ok(connections) => {
            for ftp in connections.ftp.values() {
                assert!(ftp.port > 0 && ftp.max_sessions > 0 && !ftp.host.is_empty());
                assert!(!ftp.pass.expose_secret().contains(['\0', '\r', '\n']));
                assert!(!ftp.user.contains(['\0', '\r', '\n']));
            }
            assert!(connections.local.values().all(|local| local.base_path.is_absolute()));
        }
        Err(errors) => {
            for mistake in errors.mistakes() {
                assert!(!mistake.to_string().contains(char::is_control), "{mistake}");
            }
        }
    }
}

#[cfg(test)]
#[test]
fn the_corpus_finds_nothing() {
    assert!(crate::corpus::each("connections_ini", connections_ini) > 0);
}
