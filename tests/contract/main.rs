//! The contract with producers and with those who read the answers, as they see it: bytes in, bytes out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod connections;
mod decode;
mod documents;
mod encode;
mod garbage;
mod result_paths;
