//! Reloads configuration, certificates and secrets when they change; open streams keep their settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::assemble::assemble;
use crate::config;
use crate::router::Router;
use crate::settings::Settings;

/// The files' metadata when they were last read.
type Stamps = BTreeMap<PathBuf, Option<(SystemTime, u64, PathBuf)>>;

/// Watches the files that the settings come from.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    router: Arc<Router>,
    stamps: Stamps,
}

impl Reloader {
    pub fn new(path: PathBuf, router: Arc<Router>) -> Reloader {
        let stamps = stamps(&path, &router.state().settings);
        Reloader { path, router, stamps }
    }

    /// Reloads if a file has changed. Blocks on files: must not be called on a worker's thread.
    pub fn check(&mut self) {
        let now = stamps(&self.path, &self.router.state().settings);
        if now != self.stamps {
            self.reload();
        }
    }

    /// Reads everything again. Changes that need a restart are reported.
    pub fn reload(&mut self) {
        let state = self.router.state();
        self.stamps = stamps(&self.path, &state.settings);
        let outcome = match config::load(&self.path, std::env::vars()) {
            Ok(settings) => {
                let fixed = needs_restart(&state.settings, &settings);
                assemble(settings, Some(&state))
                    .map(|state| (state, fixed))
                    .map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        let reloads = &self.router.metrics.reloads;
        match outcome {
            Ok((state, fixed)) => {
                reloads.with_label_values(&["applied"]).inc();
                self.router.replace_state(state);
                self.stamps = stamps(&self.path, &self.router.state().settings);
                tracing::info!(event = "config_reloaded", "configuration reloaded");
                if !fixed.is_empty() {
                    tracing::warn!(
                        event = "restart_needed",
                        keys = fixed.join(", "),
                        "changed keys that need a restart"
                    );
                }
            }
            Err(error) => {
                reloads.with_label_values(&["refused"]).inc();
                tracing::error!(
                    event = "config_reload_failed",
                    error,
                    "configuration not reloaded: the previous one stays in use"
                );
            }
        }
    }
}

fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changed = [
        ("host and port", old.sockets.listen != new.sockets.listen),
        ("workers", old.workers != new.workers),
        ("admin_host and admin_port", old.sockets.admin != new.sockets.admin),
        ("log_format", old.log_format != new.log_format),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

fn stamps(path: &Path, settings: &Settings) -> Stamps {
    let mut files: Vec<PathBuf> = vec![path.to_owned()];
    for pair in &settings.certificates {
        files.extend([pair.certificate.clone(), pair.key.clone()]);
    }
    let optional = [&settings.auth.secret_file, &settings.admin_token_file, &settings.pod_ca_file];
    files.extend(optional.into_iter().flatten().cloned());
    files.into_iter().map(|file| (file.clone(), stamp(&file))).collect()
}

/// Kubernetes replaces a mounted secret by a link to another directory: so the link's target is included.
fn stamp(path: &Path) -> Option<(SystemTime, u64, PathBuf)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), path.canonicalize().ok()?))
}
