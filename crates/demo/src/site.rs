//! Where the demo's files are: one directory with everything in it, for the user to explore.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::plan;
use crate::server::{PASSWORD, USER};

/// FTP sessions that the demo's configuration allows.
pub const MAX_SESSIONS: usize = 8;

/// The demo's directory. A temporary one goes when this is dropped.
#[derive(Debug)]
pub struct Site {
    root: PathBuf,
    temporary: Option<TempDir>,
}

/// What the configuration files name.
#[derive(Debug)]
pub struct Addresses<'a> {
    pub bootstrap: &'a str,
    pub server: SocketAddr,
    /// A port on which connections are refused.
    pub nobody: SocketAddr,
    pub api_port: u16,
    pub metrics_port: u16,
}

impl Site {
    /// A temporary directory, or the user's, which must be new or empty: what is left there from another time
    /// could pass for what should have been transferred.
    pub fn create(kept: Option<&Path>) -> Result<Site> {
        let (root, temporary) = if let Some(root) = kept {
            fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
            let mut entries =
                fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
            if entries.next().is_some() {
                bail!("{} is not empty: name a new or an empty directory", root.display());
            }
            (root.canonicalize()?, None)
        } else {
            let made = tempfile::Builder::new().prefix("ftp-pooler-demo-").tempdir();
            let made = made.context("cannot make a temporary directory")?;
            (made.path().canonicalize()?, Some(made))
        };
        let site = Site { root, temporary };
        for dir in [site.server(), site.storage(), site.outside(), site.config_dir()] {
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(site)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// The FTP server's root.
    pub fn server(&self) -> PathBuf {
        self.root.join("ftp-server")
    }

    /// The local connection's `base_path`.
    pub fn storage(&self) -> PathBuf {
        self.root.join("storage")
    }

    /// Outside `base_path`: no task may reach it.
    pub fn outside(&self) -> PathBuf {
        self.root.join("outside")
    }

    pub fn config(&self) -> PathBuf {
        self.config_dir().join("config.yaml")
    }

    fn config_dir(&self) -> PathBuf {
        self.root.join("config")
    }

    /// Writes config.yaml and connections.ini, as a user would.
    pub fn configure(&self, addresses: &Addresses<'_>) -> Result<()> {
        fs::write(self.config(), config_yaml(addresses))?;
        fs::write(self.config_dir().join("connections.ini"), connections_ini(addresses, &self.storage()))?;
        Ok(())
    }
}

fn config_yaml(addresses: &Addresses<'_>) -> String {
    let Addresses { bootstrap, api_port, metrics_port, .. } = addresses;
    format!(
        r#"# Written by `ftp-pooler demo`. A port of 0 is given by the system.
pod:
  name: demo
kafka:
  bootstrap_servers: ["{bootstrap}"]
  consumer_group: ftp-pooler-demo
  input_topic: {input}
  result_topic: {results}
  fail_topic: {failures}
  retry_topic: {retry}
  # The demo's broker has no transactions.
  delivery: at_least_once
  properties:
    # It lets a member that joins again wait for 14 s (a session, less a second), and ends the process where that one asks
    # again meanwhile.
    socket.timeout.ms: 20000
pool:
  max_sessions_per_connection: {MAX_SESSIONS}
api:
  host: "127.0.0.1"
  port: {api_port}
metrics:
  host: "127.0.0.1"
  port: {metrics_port}
"#,
        input = super::broker::TASKS,
        results = super::broker::RESULTS,
        failures = super::broker::FAILURES,
        retry = super::broker::RETRY,
    )
}

fn connections_ini(addresses: &Addresses<'_>, storage: &Path) -> String {
    let ftp = |name: &str, server: SocketAddr, pass: &str| {
        let (host, port) = (server.ip(), server.port());
        format!(
            "[{name}]\ntype = ftp\nhost = {host}\nport = {port}\nuser = {USER}\npass = {pass}\npassive = true\n\n"
        )
    };
    [
        "# Written by `ftp-pooler demo`.\n\n".to_owned(),
        ftp(plan::SERVER, addresses.server, PASSWORD),
        "# What happens to tasks whose server refuses the password, or is unavailable.\n\n".to_owned(),
        ftp(plan::WRONG_PASSWORD, addresses.server, "not-the-password"),
        ftp(plan::NOBODY, addresses.nobody, PASSWORD),
        format!("[{}]\ntype = local\nbase_path = {}\n", plan::LOCAL, storage.display()),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::create(Some(dir.path())).unwrap();
        assert!(!site.is_temporary() && site.storage().is_dir());
        assert!(Site::create(Some(dir.path())).unwrap_err().to_string().contains("is not empty"));
    }

    #[test]
    fn a_temporary_directory_goes_with_the_demo() {
        let site = Site::create(None).unwrap();
        let root = site.root().to_owned();
        assert!(root.is_dir());
        drop(site);
        assert!(!root.exists());
    }
}
