//! Routes `{port}-{id}.domain` to that port of that pod. In the order in which a request passes through them:
//!
//! - [`server`]: clients' connections: workers, TLS, PROXY protocol, deadlines, drain.
//! - [`proxy`]: one request: its checks, its path to the pod and back, `WebSockets`.
//! - [`name`], [`ports`], [`address`]: the meaning of a name, and what may be reached at all.
//! - [`resolve`]: a pod's address: from a list, DNS, Kubernetes, or the application.
//! - [`auth`], [`ticket`], [`cookies`]: access; sessions shared with the application.
//! - [`rate`], [`rates`], [`limits`]: rate limits and connection limits per client.
//! - [`pool`]: connections to pods.
//! - [`fields`], [`error`]: header fields, and the router's own error responses.
//! - [`config`], [`assemble`], [`run`], [`reload`], [`check`]: from `router.yaml` to a running process.
//! - [`fuzz`]: entry points for fuzzing.
//! - [`admin`]: health, metrics and the status page.
//! - [`settings`], [`router`], [`metrics`], [`busiest`], [`clock`], [`http_client`]: shared by all of them.

pub mod address;
pub mod admin;
pub mod assemble;
pub mod auth;
pub mod busiest;
pub mod check;
pub mod clock;
pub mod config;
pub mod cookies;
pub mod error;
pub mod fields;
pub mod fuzz;
pub mod http_client;
pub mod limits;
pub mod metrics;
pub mod name;
pub mod pool;
pub mod ports;
pub mod proxy;
pub mod rate;
pub mod rates;
pub mod reload;
pub mod resolve;
pub mod router;
pub mod run;
pub mod server;
pub mod settings;
pub mod ticket;
