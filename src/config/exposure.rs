//! Whether the passwords in connections.ini can be read by others: by the system's users, or by whoever sends tasks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use secrecy::ExposeSecret;

use super::load::ConfigSources;
use super::settings::Config;

/// Permission of everybody to read (chmod's `o+r`).
const READABLE_BY_OTHERS: u32 = 0o004;

impl Config {
    /// What is unsafe about where the configuration is, a sentence each. Blocks.
    #[must_use]
    pub fn warnings(&self, sources: &ConfigSources) -> Vec<String> {
        let has_password = self.connections.ftp.values().any(|ftp| !ftp.pass.expose_secret().is_empty());
        let path = sources.connections_file();
        let (true, true, Ok(file)) = (self.connections.in_file, has_password, fs::canonicalize(&path)) else {
            return Vec::new();
        };
        let shown = path.display();
        let mut warnings = Vec::new();
        let mode = fs::metadata(&file).map(|found| found.permissions().mode()).unwrap_or_default();
        if mode & READABLE_BY_OTHERS != 0 {
            warnings.push(format!(
                "{shown}: every user of this system can read its passwords; `chmod o-r` prevents that"
            ));
        }
        for local in self.connections.local.values() {
            if fs::canonicalize(&local.base_path).is_ok_and(|base| file.starts_with(base)) {
                warnings.push(format!(
                    "{shown}: lies under the base_path of [{}]: a task could upload it with its passwords",
                    local.name
                ));
            }
        }
        warnings
    }
}
