//! What every long-running process of this workspace needs, and nothing specific to any of them: no Kafka, no FTP, no
//! tunnel, no route.
//!
//! - [`logging`]: log lines on stderr, JSON or human-readable, through a bounded buffer.
//! - [`signals`]: SIGTERM, SIGINT and SIGHUP; the run of a process from start to drained.
//! - [`health`]: heartbeats of named loops, reasons why a process is not ready, draining.
//! - [`metrics`]: a Prometheus registry as text, and the process's own figures.
//! - [`yaml`]: a configuration file as flat keys, each with its line.
//! - [`http`]: bounded serving, `/health`, `/ready` and `/metrics`, bearer token, Host check.

pub mod health;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod signals;
pub mod yaml;
