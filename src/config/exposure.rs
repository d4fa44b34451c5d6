//! Whether the passwords in connections.ini can be read by others: by the system's users, by producers of tasks, or on
//! the path through a tunnel.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use secrecy::ExposeSecret;

use super::load::ConfigSources;
use super::settings::Config;
use super::tls::TlsMode;

/// Read permission for everyone (chmod's `o+r`).
const READABLE_BY_OTHERS: u32 = 0o004;

/// Why what passes a tunnel should be verified.
pub const UNVERIFIED_THROUGH_TUNNEL: &str = "a tunnel that breaks ends an upload as its end of file would, and a server may call the part of it complete";

impl Config {
    /// The security risks of the configuration's location, a sentence each. Blocks.
    #[must_use]
    pub fn warnings(&self, sources: &ConfigSources) -> Vec<String> {
        let mut warnings = self.exposed_file(sources);
        warnings.extend(self.tunnel_warnings());
        warnings
    }

    /// Tunnel settings that work, but are insecure or insufficient.
    fn tunnel_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, tunnel) in &self.connections.tunnels {
            if !tunnel.tls {
                warnings.push(format!("[{name}]: without tls the token and all data can be read on the way"));
            } else if tunnel.tls_ca.is_none() {
                warnings.push(format!(
                    "[{name}]: without tls_ca the server's certificate is not checked: anybody on the way can be frps"
                ));
            }
            let users: Vec<_> =
                self.connections.ftp.values().filter(|ftp| ftp.network.via.as_ref() == Some(name)).collect();
            if users.is_empty() {
                warnings.push(format!("[{name}]: no connection names it in via"));
            }
            let sessions: usize = users.iter().map(|ftp| ftp.max_sessions).sum();
            if tunnel.passive_ports.is_some() && tunnel.port_count() < sessions * 2 {
                warnings.push(format!(
                    "[{name}]: passive_ports are {}, and its connections may have {sessions} sessions a pod; twice as many \
                     are needed, since a port that was used is not free at once",
                    tunnel.port_count()
                ));
            }
            let unverified = self.feeds.iter().filter(|feed| feed.options.verify.as_deref() == Some("none"));
            let through = |connection: &str| users.iter().any(|ftp| ftp.name == connection);
            for feed in
                unverified.filter(|feed| through(&feed.from.connection) || through(&feed.to.connection))
            {
                warnings.push(format!(
                    "feed {}: verify: none through [{name}]: {UNVERIFIED_THROUGH_TUNNEL}",
                    feed.name
                ));
            }
            for ftp in users.iter().filter(|ftp| ftp.tls.mode == TlsMode::Off) {
                warnings.push(format!(
                    "[{}]: without explicit_tls or tls the frp server reads the password and all files",
                    ftp.name
                ));
            }
        }
        warnings
    }

    fn exposed_file(&self, sources: &ConfigSources) -> Vec<String> {
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
