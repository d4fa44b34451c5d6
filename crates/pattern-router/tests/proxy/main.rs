//! The router as a process between clients that write raw bytes and pods whose every byte a test decides.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures, and what is left out")]

mod access;
mod cost;
mod errors;
mod examples;
mod failures;
mod hostile;
mod http2_pods;
mod judges;
mod operation;
mod passing_on;
mod races;
mod real_servers;
mod smuggling;
mod soak;
mod support;
mod websocket;
