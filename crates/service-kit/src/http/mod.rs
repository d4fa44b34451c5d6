//! HTTP for operators: health checks, metrics, a status page. Small and bounded: no client can block another one or the
//! process. It is not a web server for the public.
//!
//! - [`bind`], [`BindError`] (`listen`): a listening socket, or an error that names the configuration's key.
//! - [`serve`]: a router behind that socket, until a token is cancelled: deadlines and limits for each connection
//!   (`socket`: how much the kernel may buffer for a client).
//! - [`probes`]: `/health`, `/ready` and `/metrics`.
//! - [`token`]: a bearer token (RFC 6750), with a limit on guesses.
//! - [`host`]: which `Host` a request may have, against DNS rebinding.
//! - [`responses`]: headers of every response, 404 and 405.
//!
//! ```no_run
//! # async fn run(health: std::sync::Arc<service_kit::health::Health>, stop: tokio_util::sync::CancellationToken)
//! # -> Result<(), service_kit::http::BindError> {
//! use service_kit::http::{self, host, probes, responses};
//!
//! let listener = http::bind("status.port", "0.0.0.0", 8080).await?;
//! let routes = responses::finish(probes::health_routes(health), "nothing here; see /health and /ready\n");
//! let routes = host::check(routes, host::AllowedHosts::new("status.allowed_hosts", [""; 0]));
//! http::serve(listener, routes, stop).await;
//! # Ok(()) }
//! ```

pub mod host;
mod listen;
pub mod probes;
pub mod responses;
mod serve;
mod socket;
pub mod token;

pub use listen::{BindError, bind};
pub use serve::{CONNECTION_LIFE, GRACE, HEAD_DEADLINE, MAX_CONNECTIONS, STREAM_LIFE, StreamDeadline, serve};
pub use socket::CLIENT_STALL;
