//! frps as a child process: started, kept running, and restarted when a file that it reads has changed. frps itself has
//! no reload: certificates renewed by certbot or cert-manager would only be used after its next start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use super::configuration::{FrpsConfiguration, FrpsConfigurationError};
use crate::backoff::Backoff;
use crate::binary::{BinaryError, FrpBinary, FrpProgram, find_binary};
use crate::lines::{LineLevel, LineMeaning, parse_line};
use crate::process::{FrpProcess, LastLines, ProcessError, ProgramRun, run_to_end};

/// How often the files are checked.
const FILES_INTERVAL: Duration = Duration::from_secs(5);
const VERIFY_DEADLINE: Duration = Duration::from_secs(10);
/// frps closes its clients' sessions when it ends; they come back by themselves.
const STOP_GRACE: Duration = Duration::from_secs(5);
const RESTART_WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A frps that ran for this long has not failed at its start.
const STABLE_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum FrpsError {
    #[error(transparent)]
    Binary(#[from] BinaryError),
    #[error(transparent)]
    Configuration(#[from] FrpsConfigurationError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("frps refuses its configuration: {0}")]
    Refused(String),
    #[error("certificate {}: {reason}", file.display())]
    Certificate { file: PathBuf, reason: String },
    #[error("frps ended at its start: {0}")]
    Ended(String),
}

/// One frps.
#[derive(Debug)]
pub struct FrpsSupervisor {
    binary: FrpBinary,
    config: PathBuf,
    process: Option<FrpProcess>,
    started: Instant,
    restart: Backoff,
    restart_at: Option<Instant>,
    last_lines: LastLines,
    /// What it was started with.
    files: BTreeMap<PathBuf, [u8; 32]>,
    /// What was found at fault, so that it is said once.
    refused: Option<BTreeMap<PathBuf, [u8; 32]>>,
}

impl FrpsSupervisor {
    /// Checks everything and starts frps.
    pub async fn start(config: &Path, frps: Option<&Path>) -> Result<Self, FrpsError> {
        let binary = find_binary(FrpProgram::Server, frps).await?;
        let restart = Backoff::new(RESTART_WAITS.0, RESTART_WAITS.1);
        let mut supervisor = Self {
            binary,
            config: config.to_owned(),
            process: None,
            started: Instant::now(),
            restart,
            restart_at: None,
            last_lines: LastLines::default(),
            files: BTreeMap::new(),
            refused: None,
        };
        supervisor.check().await?;
        supervisor.spawn().await?;
        Ok(supervisor)
    }

    /// Its process, while there is one.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(FrpProcess::pid)
    }

    /// Keeps it running; never returns. Cancel-safe between its steps.
    pub async fn keep_running(&mut self) {
        let mut look = tokio::time::interval(FILES_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let restart_at = self.restart_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                line = next_line(self.process.as_mut()) => match line {
                    Some(line) => self.line(line),
                    None => self.ended().await,
                },
                () = tokio::time::sleep_until(restart_at.into()) => self.start_again().await,
                _ = look.tick() => self.restart_if_changed().await,
            }
        }
    }

    /// Restarts it if one of its files has changed; faulty files leave the running one as it is.
    pub async fn restart_if_changed(&mut self) {
        let now = fingerprints(&self.config);
        if now == self.files || self.refused.as_ref() == Some(&now) {
            return;
        }
        match self.check().await {
            Ok(()) => {
                tracing::info!(event = "frps_restarting", "a file of frps has changed: restarting frps");
                self.refused = None;
                self.stop_process().await;
                self.start_again().await;
            }
            Err(error) => {
                tracing::error!(event = "frps_config_rejected", %error, "a changed file of frps is not valid: frps keeps running with the previous one");
                self.refused = Some(now);
            }
        }
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.stop_process().await;
    }

    async fn stop_process(&mut self) {
        if let Some(mut process) = self.process.take() {
            let reason = process.terminate(STOP_GRACE).await;
            tracing::info!(event = "frps_stopped", ?reason, "frps stopped");
        }
    }

    async fn start_again(&mut self) {
        self.restart_at = None;
        if let Err(error) = self.spawn().await {
            let wait = self.restart.next_wait();
            tracing::error!(event = "frps_start_failed", %error, seconds = wait.as_secs_f32(), "frps cannot be started; retrying");
            self.restart_at = Some(Instant::now() + wait);
        }
    }

    async fn spawn(&mut self) -> Result<(), FrpsError> {
        self.files = fingerprints(&self.config);
        self.last_lines = LastLines::default();
        let arguments = vec!["-c".into(), self.config.clone().into_os_string()];
        let process = FrpProcess::start(self.binary.path.clone(), arguments, None).await?;
        self.started = Instant::now();
        tracing::info!(event = "frps_started", pid = process.pid(), version = %self.binary.version, "frps started");
        self.process = Some(process);
        Ok(())
    }

    fn line(&mut self, text: String) {
        let line = parse_line(&text);
        if line.meaning == LineMeaning::AdminRequest {
            return;
        }
        match line.level {
            LineLevel::Error => tracing::error!(target: "frps", event = "frps_line", "{}", line.message),
            LineLevel::Warn | LineLevel::Bare => {
                tracing::warn!(target: "frps", event = "frps_line", "{}", line.message);
            }
            LineLevel::Info => {
                tracing::info!(target: "frps", event = "frps_line", tunnel = line.tunnel, "{}", line.message);
            }
            LineLevel::Debug | LineLevel::Trace => {
                tracing::debug!(target: "frps", event = "frps_line", "{}", line.message);
            }
        }
        self.last_lines.push(text);
    }

    async fn ended(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let reason = process.ended().await;
        if self.started.elapsed() >= STABLE_AFTER {
            self.restart.reset();
        }
        let wait = self.restart.next_wait();
        let last = self.last_lines.to_vec().pop().unwrap_or_default();
        tracing::error!(
            event = "frps_exited",
            ?reason,
            last,
            seconds = wait.as_secs_f32(),
            "frps exited; restarting it"
        );
        self.restart_at = Some(Instant::now() + wait);
    }

    /// frps' own check, and that of the certificate, which frps does not check before it starts.
    async fn check(&self) -> Result<(), FrpsError> {
        let configuration = FrpsConfiguration::read(&self.config)?;
        let arguments = vec!["verify".into(), "-c".into(), self.config.clone().into_os_string()];
        let run = ProgramRun { program: self.binary.path.clone(), arguments, deadline: VERIFY_DEADLINE };
        let output = run_to_end(run, None).await?;
        if !output.is_success {
            return Err(FrpsError::Refused(output.text.trim().to_owned()));
        }
        match &configuration.certificate {
            Some((certificate, key)) => check_certificate(certificate, key),
            None => Ok(()),
        }
    }
}

async fn next_line(process: Option<&mut FrpProcess>) -> Option<String> {
    match process {
        Some(process) => process.next_line().await,
        None => std::future::pending().await,
    }
}

/// The configuration and the files that it names; one that cannot be read is left out.
fn fingerprints(config: &Path) -> BTreeMap<PathBuf, [u8; 32]> {
    let named = FrpsConfiguration::read(config).map(|configuration| configuration.files).unwrap_or_default();
    let files = std::iter::once(config.to_owned()).chain(named);
    files.filter_map(|file| Some((file.clone(), Sha256::digest(std::fs::read(&file).ok()?).into()))).collect()
}

/// A renewal that is under way has a new certificate and an old key for a moment.
fn check_certificate(certificate: &Path, key: &Path) -> Result<(), FrpsError> {
    let fault = |file: &Path, reason: String| FrpsError::Certificate { file: file.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| fault(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(fault(certificate, "holds no certificate".to_owned()));
    }
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, error.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    let certified = rustls::sign::CertifiedKey::from_der(chain, key_der, &provider);
    certified.map(drop).map_err(|error| fault(certificate, format!("does not go with its key: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_must_go_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
        let pair = || rcgen::generate_simple_self_signed(vec!["frps.test".into()]).unwrap();
        let (first, second) = (pair(), pair());
        std::fs::write(&certificate, first.cert.pem()).unwrap();
        std::fs::write(&key, first.signing_key.serialize_pem()).unwrap();
        check_certificate(&certificate, &key).unwrap();
        std::fs::write(&key, second.signing_key.serialize_pem()).unwrap();
        let error = check_certificate(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains("does not go with its key"), "{error}");
        std::fs::write(&certificate, "").unwrap();
        assert!(check_certificate(&certificate, &key).is_err());
    }
}
