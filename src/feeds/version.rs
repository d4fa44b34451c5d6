//! A file's version, as far as a listing shows it, and the hash of its path.

use std::fmt::Write as _;

use ftp_listing::TimeRange;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::listing::ListedSource;

/// 128 bits of a path's SHA-256: what is kept of a path in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathHash(u64, u64);

impl PathHash {
    /// Of a path beneath its feed's source.
    #[must_use]
    pub fn of(path: &str) -> PathHash {
        let hash = Sha256::digest(path.as_bytes());
        let half = |from: usize| {
            let bytes = hash.iter().skip(from).take(8);
            bytes.fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        };
        PathHash(half(0), half(8))
    }

    /// Reads what [`PathHash::hex`] has written.
    pub(super) fn parse(hex: &str) -> Option<PathHash> {
        let (one, other) = hex.split_at_checked(16)?;
        let is_hex = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let half = |hex| u64::from_str_radix(hex, 16).ok();
        is_hex.then_some(PathHash(half(one)?, half(other)?))
    }

    pub(super) fn hex(self) -> String {
        let mut hex = String::with_capacity(32);
        // Writing to a String cannot fail.
        let _ = write!(hex, "{:016x}{:016x}", self.0, self.1);
        hex
    }
}

/// No size was listed.
const NO_SIZE: u64 = u64::MAX;

/// A file's size, and when it was changed: between two moments, in microseconds, since listings may only give minutes
/// or days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileVersion {
    size: u64,
    earliest: i64,
    latest: i64,
}

impl FileVersion {
    pub fn new(size: Option<u64>, modified: Option<TimeRange>) -> FileVersion {
        let (earliest, latest) = modified.map_or((i64::MIN, i64::MAX), |range| {
            (range.earliest.as_microsecond(), range.latest.as_microsecond())
        });
        FileVersion { size: size.unwrap_or(NO_SIZE), earliest, latest }
    }

    pub fn of(file: &ListedSource) -> FileVersion {
        FileVersion::new(file.size, file.modified)
    }

    pub fn size(&self) -> Option<u64> {
        (self.size != NO_SIZE).then_some(self.size)
    }

    /// `None` where nothing is known of its time.
    pub fn modified(&self) -> Option<TimeRange> {
        let at = |micros| Timestamp::from_microsecond(micros).ok();
        if self.earliest == i64::MIN || self.latest == i64::MAX {
            return None;
        }
        Some(TimeRange { earliest: at(self.earliest)?, latest: at(self.latest)? })
    }

    /// Whether both may be one version: the same size, and times that do not contradict each other. A listing that
    /// shows minutes today shows days in half a year.
    pub fn may_be(&self, other: &FileVersion) -> bool {
        self.size == other.size && self.earliest <= other.latest && other.earliest <= self.latest
    }

    /// What both say of one version.
    pub fn narrowed_by(&self, other: &FileVersion) -> FileVersion {
        FileVersion {
            size: self.size,
            earliest: self.earliest.max(other.earliest),
            latest: self.latest.min(other.latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(size: u64, earliest: &str, latest: &str) -> FileVersion {
        let at = |text: &str| text.parse().unwrap();
        FileVersion::new(Some(size), Some(TimeRange { earliest: at(earliest), latest: at(latest) }))
    }

    #[test]
    fn a_version_is_the_same_where_size_and_time_do_not_contradict() {
        let minute = version(5, "2026-01-02T10:30:00Z", "2026-01-02T10:30:59Z");
        let exact = version(5, "2026-01-02T10:30:17Z", "2026-01-02T10:30:17Z");
        let day = version(5, "2026-01-02T00:00:00Z", "2026-01-02T23:59:59Z");
        let later = version(5, "2026-01-02T10:31:00Z", "2026-01-02T10:31:59Z");
        assert!(minute.may_be(&exact) && day.may_be(&exact) && exact.may_be(&day));
        assert!(!later.may_be(&exact) && later.may_be(&day));
        assert!(!version(6, "2026-01-02T10:30:17Z", "2026-01-02T10:30:17Z").may_be(&exact));
        assert_eq!(day.narrowed_by(&minute).narrowed_by(&exact), exact);
        let unknown = FileVersion::new(Some(5), None);
        assert!(unknown.may_be(&exact) && unknown.modified().is_none() && exact.modified().is_some());
        assert_eq!(FileVersion::new(None, None).size(), None);
    }

    #[test]
    fn a_hash_is_written_and_read() {
        let hash = PathHash::of("a/b.csv");
        assert_eq!(PathHash::parse(&hash.hex()), Some(hash));
        assert_ne!(hash, PathHash::of("a/b.csw"));
        for wrong in ["", "12", "+123456789012345+123456789012345", "é"] {
            assert_eq!(PathHash::parse(wrong), None, "{wrong}");
        }
    }
}
