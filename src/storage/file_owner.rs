//! The record for which, and the lease under which, a file is created.

use super::origin_mark::OriginMark;
use super::temp_name::TempName;
use super::temp_names::TempNames;
use crate::lease::Lease;
use crate::record::Record;

/// One try's ownership of its files.
#[derive(Clone, Debug)]
pub struct FileOwner {
    pub temp: TempName,
    pub mark: OriginMark,
    pub lease: Lease,
}

impl FileOwner {
    /// A new try at `record` by this process.
    #[must_use]
    pub fn of(record: &Record, names: &TempNames) -> FileOwner {
        FileOwner {
            temp: names.name_for(&record.origin),
            mark: OriginMark::of(record),
            lease: record.lease.clone(),
        }
    }
}
