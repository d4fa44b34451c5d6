//! What the demo needs of the pod that it shows: the demo does not depend on the pool, the pool's program hands it in.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;

use service_kit::logging;

/// A pod that runs in the demo's process.
pub trait DemoPod: Sized {
    /// The rules of the pod's log.
    const LOG_POLICY: logging::Policy;

    /// Starts the pod with this config.yaml; the user's environment is left out, since it is for the user's pods.
    fn start(config: &Path) -> impl Future<Output = Result<Self, PodStartError>>;

    /// Where the page is.
    fn api_address(&self) -> SocketAddr;

    /// Where `/metrics` is.
    fn metrics_address(&self) -> SocketAddr;

    /// Resolves when the pod cannot continue.
    fn failed(&mut self) -> impl Future<Output = Box<dyn Error + Send + Sync>>;

    /// Drains the pod; what went wrong in doing so, if anything.
    fn stop(self) -> impl Future<Output = Option<String>>;
}

/// Why the pod could not start.
#[derive(Debug)]
pub enum PodStartError {
    /// Another process listens on one of its ports.
    PortTaken(Box<dyn Error + Send + Sync>),
    Other(Box<dyn Error + Send + Sync>),
}

impl PodStartError {
    pub(crate) fn into_error(self) -> anyhow::Error {
        let (PodStartError::PortTaken(error) | PodStartError::Other(error)) = self;
        anyhow::Error::from_boxed(error)
    }
}
