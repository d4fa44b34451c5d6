//! One frpc that runs: its process, its configuration in memory, its administration API.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::admin::{AdminClient, AdminError};
use crate::binary::FrpBinary;
use crate::failure::{Failure, FailureClass};
use crate::process::{ConfigFile, ExitReason, FrpProcess, ProcessError, ProgramRun, run_to_end};
use crate::render::{AdminEndpoint, RenderedTunnel, render, render_common};
use crate::server_settings::{ServerAddress, ServerSettings};

/// `frpc verify` reads one file.
const VERIFY_DEADLINE: Duration = Duration::from_secs(10);
/// Each step of a stop: asked by its API, by SIGTERM, then SIGKILL.
const STOP_STEP: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct RunningFrpc {
    process: FrpProcess,
    config: ConfigFile,
    /// What is in force.
    content: SecretString,
    common: Map<String, Value>,
    admin: AdminClient,
    binary: FrpBinary,
}

/// Why a reload came to nothing.
#[derive(Debug)]
pub(super) enum ReloadError {
    /// The configuration is at fault; the one before is in force.
    Refused(String),
    /// frpc did not answer.
    Unanswered(String),
}

impl RunningFrpc {
    /// Reads the secrets, has frpc verify the configuration, and starts it.
    pub(super) async fn start(
        binary: &FrpBinary,
        settings: &ServerSettings,
        server: &ServerAddress,
        tunnels: &[RenderedTunnel<'_>],
    ) -> Result<Self, Failure> {
        let invalid = |message: String| Failure::new(FailureClass::ConfigurationInvalid, message);
        let endpoint = admin_endpoint().map_err(|error| Failure::new(FailureClass::AdminPortTaken, error))?;
        // a secret's file may be there a moment later: this is tried again
        let common = render_common(settings, server, &endpoint)
            .map_err(|error| Failure::new(FailureClass::Unknown, error.to_string()))?;
        let content = render(&common, tunnels);
        verify(binary, &content).await?.map_err(invalid)?;
        let cannot_start = |error: ProcessError| Failure::new(FailureClass::ProcessEnded, error.to_string());
        let config = ConfigFile::new(&content).map_err(ProcessError::Configuration).map_err(cannot_start)?;
        let process = FrpProcess::start(binary.path.clone(), Vec::new(), Some(&config)).await;
        let process = process.map_err(cannot_start)?;
        let admin = AdminClient::new(endpoint);
        Ok(Self { process, config, content, common, admin, binary: binary.clone() })
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.pid()
    }

    pub(super) fn admin(&self) -> AdminClient {
        self.admin.clone()
    }

    /// Cancel-safe; `None`: it has ended.
    pub(super) async fn next_line(&mut self) -> Option<String> {
        self.process.next_line().await
    }

    pub(super) async fn ended(&mut self) -> ExitReason {
        self.process.ended().await
    }

    /// Has frpc take these tunnels in the place of those that it has; the common part stays.
    pub(super) async fn reload(&mut self, tunnels: &[RenderedTunnel<'_>]) -> Result<(), ReloadError> {
        let content = render(&self.common, tunnels);
        let unanswered = |message: String| ReloadError::Unanswered(message);
        match verify(&self.binary, &content).await {
            Ok(Ok(())) => {}
            Ok(Err(refused)) => return Err(ReloadError::Refused(refused)),
            Err(failure) => return Err(unanswered(failure.message)),
        }
        self.config.write(&content).map_err(|error| unanswered(error.to_string()))?;
        let error = match self.admin.reload().await {
            Ok(()) => {
                self.content = content;
                return Ok(());
            }
            Err(error) => error,
        };
        self.config.write(&self.content).map_err(|error| unanswered(error.to_string()))?;
        match error {
            AdminError::Refused(message) => Err(ReloadError::Refused(message)),
            other => Err(unanswered(other.to_string())),
        }
    }

    /// Ends it: by its API, by SIGTERM, by SIGKILL, each with its time.
    pub(super) async fn stop(mut self) -> ExitReason {
        let asked = async {
            self.admin.stop().await.ok()?;
            while self.process.next_line().await.is_some() {}
            Some(self.process.ended().await)
        };
        match timeout(STOP_STEP, asked).await {
            Ok(Some(reason)) => reason,
            _ => self.process.terminate(STOP_STEP).await,
        }
    }
}

/// `Ok(Err(…))`: frpc says what is wrong.
async fn verify(binary: &FrpBinary, content: &SecretString) -> Result<Result<(), String>, Failure> {
    let ended =
        |error: ProcessError| Failure::new(FailureClass::ProcessEnded, format!("frpc verify: {error}"));
    let config = ConfigFile::new(content).map_err(ProcessError::Configuration).map_err(ended)?;
    let arguments = vec![OsString::from("verify")];
    let run = ProgramRun { program: binary.path.clone(), arguments, deadline: VERIFY_DEADLINE };
    let output = run_to_end(run, Some(&config)).await.map_err(ended)?;
    let message =
        || output.text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("; ");
    Ok(if output.is_success { Ok(()) } else { Err(message()) })
}

/// A loopback port that is free now; if another process takes it first, frpc reports it and is started again.
fn admin_endpoint() -> Result<AdminEndpoint, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let password = crate::random::secret().map_err(|error| error.to_string())?;
    Ok(AdminEndpoint { port, user: "frp-tunnels".to_owned(), password })
}
