//! Kafka as a user of the pool has it, for the commands that send tasks and read answers.
//!
//! ```text
//! cluster   which partitions there are, where they begin and end, what the group has committed
//! reader    records from given offsets, read_committed; it never joins a group and never commits
//! sender    an idempotent producer whose delivery is known for each record; or a transactional one
//! ```
//!
//! A pod's own clients are in `consume` and `publish`; what they and these share is the configuration
//! (`kafka.properties`, so SASL and TLS too). Nothing here needs a running pod, and nothing here disturbs one.

mod cluster;
mod error;
mod reader;
mod sender;

pub use cluster::{Cluster, Committed, Ends};
pub use error::ClientError;
pub use reader::{Message, Range, Reader};
pub use sender::{Outgoing, Sender};

/// What these clients are called at the brokers, behind `ftp-pooler-`.
const NAME: &str = "tools";
