//! FTP Pooler moves files between FTP servers and local storage: tasks come from a Kafka topic,
//! each is carried out through a pool of logged-in FTP sessions, and each is answered with one message.
//!
//! The modules stand in the order in which a task meets them:
//!
//! ```text
//! Kafka → consume → dispatch → pool → transfer → publish → Kafka
//!         offsets   queues     sessions ftp ↔ storage
//! ```
//!
//! [`app`] is the only module that knows all parts. docs/ARCHITECTURE.md tells what never happens.

pub mod app;
pub mod cli;
pub mod client;
pub mod config;
#[cfg(test)]
mod corpus;

pub mod digest;
pub mod failure;
pub mod outcome;
pub mod record;
pub mod task;

pub mod kafka;

pub mod consume;
pub mod offsets;

pub mod admission;
pub mod breaker;
pub mod dispatch;
pub mod pool;

pub mod transfer;

pub mod ftp;
pub mod storage;

pub mod publish;

pub mod health;
pub mod insight;
pub mod metrics;
pub mod sidecar;
mod text;
pub mod traces;

/// What the pool adds to the rules of its log: suppaftp logs whole command lines, `PASS` included, and tasks are
/// answered by the thousand.
pub const LOG_POLICY: service_kit::logging::Policy =
    service_kit::logging::Policy { sealed: &["suppaftp"], batched: Some("ftp_pooler::task") };
