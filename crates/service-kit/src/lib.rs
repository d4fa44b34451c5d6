//! What every long-running process of this workspace needs, and nothing of what any of them does: no Kafka,
//! no FTP, no tunnel, no route.
//!
//! - [`logging`]: log lines on stderr, JSON or human-readable, through a bounded buffer.

pub mod logging;
