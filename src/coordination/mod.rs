//! What pods do together: they share what is counted over all of them, and show each other how they are.
//!
//! ```text
//! session_caps     max_sessions_total: sessions with one server over all pods
//! pod_announcer    announces this pod to the others, and reads what they announce
//! follower_thread  the thread on which either of them follows the coordination topic
//! ```
//!
//! Session caps rest on `kafka::owned_partition`: one pod at a time decides, and what it decides is in a log that all read.

mod follower_thread;
pub mod pod_announcer;
pub mod session_caps;

pub use follower_thread::FollowerHandle;
