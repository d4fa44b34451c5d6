//! The configuration, through the built program: every mistake at once, and never a secret.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in a test a panic is the answer"
)]

mod files;

mod values;
mod wrong;

mod program;
mod reread;

mod documents;
