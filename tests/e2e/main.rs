//! End to end: the product as a process, a real Apache Kafka and a real vsftpd. `make test` runs it.
//!
//! One binary, so that all suites share one broker. Every test has its own topics, consumer group, FTP
//! server and directories, so they run in any order, side by side. None asserts a time: deadlines are only
//! there so that a failure ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in a test a panic is the answer, and what it prints is its report"
)]

#[path = "../support/mod.rs"]
mod support;

mod stage;

mod after;
mod api;
mod bad_input;
mod caps;
mod commands;
mod deferral;
mod delivery;
mod doubt;
mod feeds;
mod feeds_many;
mod frozen_broker;
mod frozen_disk;
mod isolation;
mod lifecycle;
mod lost_kafka;
mod memory;
mod offsets;
mod options;
mod outage;
mod page;
mod producing;
mod quick_start;
mod rebalance;
mod redo;
mod reload;
mod resume;
mod retries;
mod rights;
mod selftest;
mod session_caps;
mod session_timeout;
mod spread;
mod sweeping;
mod takeover;
mod traces;
mod transfers;
mod tunnel_recovery;
mod tunnels;
