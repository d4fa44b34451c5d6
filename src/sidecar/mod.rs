//! The pod's HTTP side: health, readiness, metrics, the API and its page. Read-only; it holds no secret, and nothing in
//! it waits for a task. Serving itself, token and health endpoints are `service_kit::http`'s.
//!
//! ```text
//! routes       which handler serves which path
//! page         the page at `/`: one file with its style and script, under a policy that allows just these
//! api          everything beneath `/api/v1/`; query: its parameters
//! answers      the API's answers as JSON; `openapi.json` describes them
//! event_feed   Server-Sent Events: one snapshot a second for all clients
//! history      the last hour in steps
//! pod_view     what is shown: read on request, never changed
//! ```
//!
//! It serves until its own token is cancelled, and continues while the pod drains, when `/ready` reports that.

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

use service_kit::http::{BindError, bind, host, serve};
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
    /// None if the API's socket serves `/metrics` as well.
    metrics: Option<TcpListener>,
}

impl Sidecar {
    /// Binds both sockets, or one if both addresses are the same; port 0 lets the system choose.
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

    /// The address of the API and the page.
    ///
    /// # Errors
    /// Those of getsockname(2), which has none for a bound socket.
    pub fn api_address(&self) -> io::Result<SocketAddr> {
        self.api.local_addr()
    }

    /// The address of `/metrics` for Prometheus; the API's address if both share one socket.
    ///
    /// # Errors
    /// Those of getsockname(2), which has none for a bound socket.
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.metrics.as_ref().unwrap_or(&self.api).local_addr()
    }

    /// Serves until `shutdown`, then for at most [`service_kit::http::GRACE`].
    pub async fn run(self, view: PodView, shutdown: CancellationToken) {
        let api =
            serve(self.api, host::check(api_routes(view.clone()), view.hosts.clone()), shutdown.clone());
        let metrics = async {
            if let Some(listener) = self.metrics {
                let routes = host::check(metrics_routes(view.clone()), view.hosts.clone());
                serve(listener, routes, shutdown.clone()).await;
            }
        };
        let serving = async { tokio::join!(api, metrics, view.feed.run(&view, &shutdown)) };
        tokio::select! {
            _ = serving => {}
            () = view.history.keep(&view.metrics) => {}
        }
    }
}
