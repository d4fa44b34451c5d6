//! The HTTP side of the pod: health, readiness, metrics, the API and its page. Read-only; it holds no secret, and nothing in
//! it waits for a task. Serving itself, token and health endpoints are `service_kit::http`'s.
//!
//! ```text
//! routes       what is at which path
//! page         the page at `/`: one file with its style and script, under a policy that allows just these
//! api          what is beneath `/api/v1/`; query: its parameters
//! answers      the API's answers as JSON; `openapi.json` describes them
//! event_feed   Server-Sent Events: one snapshot a second for all clients
//! history      the last hour in steps
//! pod_view     what is shown: read on request, never changed
//! ```
//!
//! It serves until its own token is cancelled, and continues while the pod drains: `/ready` says so then.

mod answers;
mod api;
mod event_feed;
mod history;
mod page;
mod pod_view;
mod query;
mod routes;

use std::io;
use std::net::SocketAddr;

use service_kit::http::{BindError, bind, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::ListenAddress;
pub use event_feed::{COME_AGAIN, MAX_STREAMS};
pub use pod_view::PodView;
pub use routes::{api_routes, metrics_routes};

/// The sockets, bound and not yet served.
#[derive(Debug)]
pub struct Sidecar {
    api: TcpListener,
    /// None where the API's socket serves `/metrics` for both.
    metrics: Option<TcpListener>,
}

impl Sidecar {
    /// Binds both sockets, or one where both addresses are the same; port 0 lets the system choose.
    ///
    /// # Errors
    /// Names the key and the address that could not be bound, with the system's reason.
    pub async fn bind(api: &ListenAddress, metrics: &ListenAddress) -> Result<Self, BindError> {
        let shared = api.port != 0 && (&api.host, api.port) == (&metrics.host, metrics.port);
        Ok(Sidecar {
            api: bind("api.port", &api.host, api.port).await?,
            metrics: if shared {
                None
            } else {
                Some(bind("metrics.port", &metrics.host, metrics.port).await?)
            },
        })
    }

    /// Where the API and the page are.
    ///
    /// # Errors
    /// Those of getsockname(2), which has none for a bound socket.
    pub fn api_address(&self) -> io::Result<SocketAddr> {
        self.api.local_addr()
    }

    /// Where `/metrics` is for Prometheus; the API's address where both share one socket.
    ///
    /// # Errors
    /// Those of getsockname(2), which has none for a bound socket.
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.metrics.as_ref().unwrap_or(&self.api).local_addr()
    }

    /// Serves until `shutdown`, then for [`service_kit::http::GRACE`] at most.
    pub async fn run(self, view: PodView, shutdown: CancellationToken) {
        let api = serve(self.api, api_routes(view.clone()), shutdown.clone());
        let metrics = async {
            if let Some(listener) = self.metrics {
                serve(listener, metrics_routes(view.clone()), shutdown.clone()).await;
            }
        };
        let serving = async { tokio::join!(api, metrics, view.feed.run(&view, &shutdown)) };
        tokio::select! {
            _ = serving => {}
            () = view.history.keep(&view.metrics) => {}
        }
    }
}
