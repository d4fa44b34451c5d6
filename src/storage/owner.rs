//! For which record, and by whose right, a file is made.

use super::mark::Mark;
use super::names::Names;
use super::temp_name::TempName;
use crate::offsets::Lease;
use crate::record::Record;

/// One try's claim on its files.
#[derive(Clone, Debug)]
pub struct Owner {
    pub temp: TempName,
    pub mark: Mark,
    pub lease: Lease,
}

impl Owner {
    /// A new try at `record` by this process.
    #[must_use]
    pub fn of(record: &Record, names: &Names) -> Owner {
        Owner { temp: names.name_for(&record.origin), mark: Mark::of(record), lease: record.lease.clone() }
    }
}
