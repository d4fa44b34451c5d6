//! What pods announce to each other about themselves, so that any pod's page, and `ftp-pooler watch`, show the whole
//! pool.
//!
//! ```text
//! announcement   what a pod announces about itself: a record of the coordination topic
//! inherited_counts   what the last process of the same name had counted
//! board          all pods as announced, and which of them are gone: pure
//! pool_snapshot  the board in the form of the page and the API
//! ```
//!
//! It is for display only: docs/design/coordination.md.

mod announcement;
mod board;
mod inherited_counts;
mod pool_snapshot;

pub use announcement::{
    ANNOUNCE_EVERY, AnnouncedConnection, AnnouncedFailures, AnnouncedRates, MAX_ANNOUNCED_BATCHES,
    MAX_ANNOUNCED_CONNECTIONS, MAX_ANNOUNCED_FEEDS, MAX_ANNOUNCED_TUNNELS, MAX_ERROR_BYTES, PodAnnouncement,
    PodFigures,
};
pub use board::{PoolBoard, RecordAge};
pub use inherited_counts::InheritedCounts;
pub use pool_snapshot::{
    OpenFailures, PodPresence, PodSummary, PoolSnapshot, PooledConnection, SessionHolder,
};
