//! What a file gets with its last sync: its redo record, and its source's modification time.

use jiff::Timestamp;
use rustix::fd::OwnedFd;
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};
use rustix::io::retry_on_intr;

use super::error::StorageError;
use super::temp_file_handle::TempFilePlan;

/// What a published file carries besides its content.
#[derive(Clone, Debug, Default)]
pub struct FinalFileMetadata {
    /// Text that [`LocalStorage::create`](super::Storage::create) returns if the record is redone: at most 512 bytes,
    /// otherwise it is not stored.
    pub redo_record: String,
    /// The file is useless without its redo record.
    pub needs_redo_record: bool,
    /// Its modification time, instead of now.
    pub modified: Option<Timestamp>,
}

impl FinalFileMetadata {
    pub(super) fn apply(&self, plan: &TempFilePlan, file: &OwnedFd, size: u64) -> Result<(), StorageError> {
        let doing = plan.doing("finish");
        if let Err(errno) = plan.owner.mark.put(file, size, &self.redo_record) {
            if self.needs_redo_record {
                let why = format!("the file system keeps no user extended attributes here ({errno})");
                return Err(StorageError::Unsupported(doing.says(why)));
            }
            // The file is usable without it; a directory beneath may be a separate mount.
            tracing::debug!(
                event = "origin_mark_failed", path = plan.target.as_written(), error = %errno,
                "could not mark the file with its record"
            );
        }
        let Some(modified) = self.modified else { return Ok(()) };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: timespec(modified),
        };
        retry_on_intr(|| rustix::fs::futimens(file, &times)).map_err(|errno| doing.failed(errno))
    }
}

fn timespec(at: Timestamp) -> Timespec {
    // Before 1970 jiff counts both parts downwards, the kernel only the seconds.
    let (seconds, nanoseconds) = (at.as_second(), at.subsec_nanosecond());
    match nanoseconds {
        0.. => Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
        _ => Timespec { tv_sec: seconds - 1, tv_nsec: i64::from(nanoseconds) + 1_000_000_000 },
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;
    use crate::storage::target::LocalTarget;
    use crate::storage::tests::owner;

    #[test]
    fn a_file_that_must_remember_is_not_published_where_it_cannot() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("x"), "abc").unwrap();
        // No attribute can be set through such a descriptor.
        let file = rustix::fs::open(base.path().join("x"), OFlags::PATH, Mode::empty()).unwrap();
        let target = LocalTarget::resolve(base.path(), "/x").unwrap();
        let plan = TempFilePlan { target, owner: owner(0), overwrite: true, source: None };
        let publish = |needs_redo_record| {
            FinalFileMetadata { needs_redo_record, ..FinalFileMetadata::default() }.apply(&plan, &file, 3)
        };
        assert_eq!(publish(false), Ok(()));
        assert!(matches!(publish(true), Err(StorageError::Unsupported(_))));
    }

    #[test]
    fn a_time_before_1970_counts_its_nanoseconds_upwards() {
        for (text, expected) in [
            ("2025-01-15T10:30:00.25Z", (1_736_937_000, 250_000_000)),
            ("1969-12-31T23:59:58.25Z", (-2, 250_000_000)),
            ("1969-12-31T23:59:58Z", (-2, 0)),
        ] {
            let at = timespec(text.parse().unwrap());
            assert_eq!((at.tv_sec, at.tv_nsec), expected, "{text}");
        }
    }
}
