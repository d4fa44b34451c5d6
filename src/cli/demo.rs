//! `ftp-pooler demo` shows this program's pod.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use ftp_pooler_demo::{DemoPod, PodStartError};
use service_kit::logging;

use crate::app::{self, App, StopSummary};
use crate::config::{Config, ConfigSources, FilesInUse};

impl DemoPod for App {
    const LOG_POLICY: logging::Policy = crate::LOG_POLICY;

    async fn start(config: &Path) -> Result<App, PodStartError> {
        let sources = ConfigSources {
            config: config.to_owned(),
            connections: None,
            environment: Vec::new(),
            property: |_, _| None, // the demo sets no properties of librdkafka
            files: FilesInUse::All,
            also_searched: None,
        };
        let config = Config::load(&sources).map_err(|errors| PodStartError::Other(errors.into()))?;
        App::start(config, sources).await.map_err(|error| match error {
            app::AppError::Bind(_) => PodStartError::PortTaken(error.into()),
            _ => PodStartError::Other(error.into()),
        })
    }

    fn api_address(&self) -> SocketAddr {
        self.api_addr()
    }

    fn metrics_address(&self) -> SocketAddr {
        self.metrics_addr()
    }

    async fn failed(&mut self) -> Box<dyn Error + Send + Sync> {
        App::failed(self).await.into()
    }

    async fn stop(self) -> Option<String> {
        let stopped = App::stop(self).await;
        (stopped != StopSummary::default()).then(|| format!("{stopped:?}"))
    }
}
