//! For which record, and by whose right, a file is made.

use super::mark::Mark;
use super::temp_name::{Incarnation, TempName};
use crate::offsets::Lease;
use crate::record::{Origin, Record};

/// One try's claim on its files.
#[derive(Clone, Debug)]
pub struct Owner {
    pub temp: TempName,
    pub mark: Mark,
    pub lease: Lease,
}

impl Owner {
    /// A new try at `record`, first written at `first`, by this process.
    #[must_use]
    pub fn of(record: &Record, first: &Origin, incarnation: Incarnation) -> Owner {
        Owner {
            temp: TempName::new(first, incarnation),
            mark: Mark::of(first, record.timestamp_ms),
            lease: record.lease.clone(),
        }
    }
}
