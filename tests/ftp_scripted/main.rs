//! Sessions and transfers against a server that misbehaves: the right code, within the deadline, no file under
//! the final name, nothing left behind, and no trust in a session that is in doubt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

#[path = "../support/scripted/mod.rs"]
mod scripted;

mod rig;

mod opening;
mod sessions;

mod downloads;
mod listing;
mod submit;
mod upload_modes;
mod uploads;

mod pipelined_uploads;
mod pipelining;
mod transports;

mod adopted_uploads;
mod check;
mod checks;
mod hostile;
mod redo;
mod resume;
mod source_disposal;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ftp_pooler::config::{FtpConnection, LocalConnection, RenameOver, SessionTimeouts};
use ftp_pooler::failure::{Code, Remedy, TryError};
use ftp_pooler::ftp::{ServerProfile, Session};
use ftp_pooler::lease::Lease;
use ftp_pooler::metrics::Metrics;
use ftp_pooler::record::{Origin, Record};
use ftp_pooler::storage::{LocalStorage, TempNames};
use ftp_pooler::task::{Operation, Options, Task, Verify};
use ftp_pooler::transfer::{LocalStorages, ResumeState, TransferError, TransferExecutor, TransferredFile};
use rig::*;
use scripted::{Act, End, Script, Server};
use tokio_util::sync::CancellationToken;

/// The deadline of each wait in these tests.
const SHORT: Duration = Duration::from_millis(700);

/// Longer than any try here may take: some waits with their deadlines, and the two seconds of an abort.
const PATIENCE: Duration = Duration::from_secs(6);
