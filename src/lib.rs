//! FTP Pooler moves files between FTP servers and local storage: tasks come from a Kafka topic, each is carried out through
//! a pool of logged-in FTP sessions, and each is answered with one message.
//!
//! ```text
//! Kafka → consume → dispatch → pool → transfer → publish → Kafka
//!         offsets   queues     sessions ftp ↔ storage
//! ```
//!
//! The modules in the order in which a task passes through them:
//!
//! - [`consume`] reads records on a thread of its own, and pauses partitions while the pod's budget is exhausted.
//!   Deferred tasks wait in the retry topic, and are consumed again when they are due.
//! - [`offsets`] tracks which offsets of a partition are in flight and which are done, and ends their leases.
//! - [`lease`] is the right to answer a partition's records, until it is revoked or lost.
//! - [`admission`] counts the tasks that the pod holds, from intake until the answer is committed.
//! - [`task`] decodes a [`record`] into a task, or reports everything that is wrong with it (called by
//!   `app::record_intake`, which connects consume to dispatch).
//! - [`dispatch`] decides which task is next on which connection, what is retried, and what waits in the retry topic.
//! - [`batch`] knows which tasks were submitted together, and which of them are cancelled.
//! - [`breaker`] is a connection's circuit breaker: whether its server may be tried.
//! - [`pool`] keeps logged-in sessions, and its `accounting` decides who may open one; [`tunnel`] is the pool's view of
//!   the route to a server behind NAT.
//! - [`bandwidth`] limits how fast bytes may move, by connection and pod.
//! - [`transfer`] executes one try on one session: the file arrives under a temp name, is verified and renamed, or not
//!   at all.
//! - [`ftp`] is one session: commands, replies, data connections; its `reply_queue` decides whether it can be used
//!   again, its `pipelining` saves round trips.
//! - [`storage`] is the local side: files confined beneath `base_path`, durable before they are renamed; [`digest`]
//!   hashes them.
//! - [`outcome`] and [`failure`] describe how a task ended, with the contract's codes.
//! - [`publish`] sends answers and commits their tasks' offsets, in one transaction.
//!
//! Around them:
//!
//! - [`app`] creates, runs and drains all parts: the only module that knows them all.
//! - [`config`] reads config.yaml and connections.ini, and everything that may change while the pod runs. A new option is
//!   an entry of one of its key tables.
//! - [`kafka`] is shared by all Kafka clients; [`client`] is the subcommands' own Kafka client.
//! - [`coordination`] makes pods share sessions (`max_sessions_total`).
//! - [`feeds`] list directories repeatedly, and turn new files into tasks. [`listing`] lists them, for `submit` too.
//! - [`pods`] is what pods announce to each other about themselves, for `watch` and the page.
//! - [`cli`] has the subcommands.
//! - [`sidecar`] serves page and API, and reads the pod through [`insight`]; [`health`], [`metrics`] and [`traces`] report.
//! - `text` truncates and compares texts for messages.
//!
//! docs/ARCHITECTURE.md has the rules and the bounds, docs/design/ one file a mechanism.

pub mod consume;
pub mod lease;
pub mod offsets;

pub mod admission;

pub mod record;
pub mod task;

pub mod batch;
pub mod breaker;
pub mod dispatch;

pub mod pool;
pub mod tunnel;

pub mod bandwidth;
pub mod transfer;

pub mod ftp;

pub mod digest;
pub mod storage;

pub mod failure;
pub mod outcome;

pub mod publish;

pub mod app;
pub mod config;

pub mod coordination;
pub mod feeds;
pub mod listing;

pub mod client;
pub mod kafka;

pub mod cli;

pub mod health;
pub mod insight;
pub mod metrics;
pub mod pods;
pub mod sidecar;
pub mod traces;

mod text;

#[cfg(test)]
mod corpus;

/// The pool's additions to the logging rules: suppaftp logs whole command lines, including `PASS`, and tasks are
/// answered by the thousand.
pub const LOG_POLICY: service_kit::logging::Policy =
    service_kit::logging::Policy { sealed: &["suppaftp"], batched: Some("ftp_pooler::task") };
