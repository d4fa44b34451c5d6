//! The router as a process between clients that write raw bytes and pods whose every byte a test decides.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod failures;
mod operation;
mod passing_on;
mod smuggling;
mod support;
mod websocket;
