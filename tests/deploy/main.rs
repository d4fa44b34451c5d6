//! What the pool is run with: manifests, compose file, image, dashboard and alerts. What can be seen in the
//! files themselves is checked by everybody's `cargo test`; the rest needs the tools of `make deps`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

mod chart;
mod compose;
mod files;
mod ftp_server;
mod metrics;
mod monitoring;
mod policy;
mod pool;
mod restricted;
mod schemas;
