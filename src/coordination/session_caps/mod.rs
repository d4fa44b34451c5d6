//! `max_sessions_total`: the sessions with one server over all pods never exceed a total.
//!
//! ```text
//! message      what is written to the coordination topic
//! fair_share   how a connection's sessions are shared between pods: pure
//! coordinator  grants, decided from reports in the log's order: pure
//! holder       a pod's grants, its lease and its reports: pure
//! owner        the coordinator as the state of the coordination topic's partition
//! agent        a pod's part: follows the topic, applies its grants, reports
//! ```
//!
//! docs/design/coordination.md has the protocol and its proof; `model` tests it with simulated pods, brokers and
//! clocks.

mod agent;
mod coordinator;
mod fair_share;
mod holder;
mod message;
#[cfg(test)]
mod model;
mod owner;

pub use agent::{LeaseStatus, SessionCapsAgent, SharedSessions};
pub use holder::SessionUse;
pub use owner::{COORDINATION_PARTITION, CoordinatorState};
