//! Coordination between pods: they share limits that are counted over all of them, and announce their state to each
//! other.
//!
//! ```text
//! session_caps     max_sessions_total: sessions with one server over all pods
//! pod_announcer    announces this pod to the others, and reads what they announce
//! follower_thread  the thread on which either of them follows the coordination topic
//! ```
//!
//! Session caps use `kafka::owned_partition`: one pod at a time decides, and its decisions are in a log that all read.

mod follower_thread;
pub mod pod_announcer;
pub mod session_caps;

pub use follower_thread::FollowerHandle;
