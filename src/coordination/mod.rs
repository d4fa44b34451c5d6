//! What pods do together: they share what is counted over all of them.
//!
//! ```text
//! session_caps  max_sessions_total: sessions with one server over all pods
//! ```
//!
//! It rests on `kafka::owned_partition`: one pod at a time decides, and what it decides is in a log that all read.

pub mod session_caps;
