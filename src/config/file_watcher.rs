//! Detects changes of files by their metadata and, at intervals, by reading them.
//!
//! It polls, since that works on every mount: NFS does not report changes made elsewhere, Kubernetes changes a mounted
//! secret by pointing a symlink to another directory, and editors replace the old file by another one.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// After this many checks without a change the files are read all the same: not every file system reports every change
/// at once, or two within the same instant.
const READ_ANYWAY_AFTER: u32 = 15;

/// The metadata of some files, following links. Equal values mean that probably nothing has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchedFileVersions(Vec<(PathBuf, Option<WatchedFileVersion>)>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct WatchedFileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl WatchedFileVersions {
    /// The files' present metadata; a file that does not exist, or may not be accessed, has none. Blocks.
    #[must_use]
    pub fn of(files: &[PathBuf]) -> WatchedFileVersions {
        let stamp = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some(WatchedFileVersion {
                device: found.dev(),
                inode: found.ino(),
                size: found.size(),
                modified: (found.mtime(), found.mtime_nsec()),
                changed: (found.ctime(), found.ctime_nsec()),
            })
        };
        WatchedFileVersions(files.iter().map(|file| (file.clone(), stamp(file))).collect())
    }
}

/// The result of checking the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchDecision {
    /// They are unchanged since they were read.
    Same,
    /// They have changed, and may still be being written: check again soon.
    Unsettled,
    /// They have changed, and been unchanged since the last check: read them.
    Changed,
    /// They seem unchanged, but should be read again.
    Due,
}

/// Decides when files are read: pure. A file that is being written is not read as long as it changes.
#[derive(Debug, Default)]
pub struct FileWatcher {
    read: Option<WatchedFileVersions>,
    seen: Option<WatchedFileVersions>,
    quiet: u32,
}

impl FileWatcher {
    pub fn look(&mut self, now: WatchedFileVersions) -> WatchDecision {
        if self.read.as_ref() == Some(&now) {
            self.seen = None;
            self.quiet += 1;
            if self.quiet < READ_ANYWAY_AFTER {
                return WatchDecision::Same;
            }
            self.quiet = 0;
            return WatchDecision::Due;
        }
        if self.seen.as_ref() != Some(&now) {
            self.seen = Some(now);
            return WatchDecision::Unsettled;
        }
        self.seen = None;
        self.quiet = 0;
        self.read = Some(now);
        WatchDecision::Changed
    }

    /// The files were read, and had these versions right before.
    pub fn read(&mut self, stamps: WatchedFileVersions) {
        (self.read, self.seen, self.quiet) = (Some(stamps), None, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::WatchDecision::{Changed, Same, Unsettled};
    use super::*;

    fn stamps(size: u64) -> WatchedFileVersions {
        let stamp = WatchedFileVersion { device: 1, inode: 1, size, modified: (0, 0), changed: (0, 0) };
        WatchedFileVersions(vec![(PathBuf::from("connections.ini"), Some(stamp))])
    }

    #[test]
    fn files_are_read_once_they_have_stood_still() {
        let mut watch = FileWatcher::default();
        let looks = [1, 1, 1, 2, 3, 3, 3].map(|size| watch.look(stamps(size)));
        assert_eq!(looks, [Unsettled, Changed, Same, Unsettled, Unsettled, Changed, Same]);
    }

    #[test]
    fn a_file_that_is_as_it_was_again_has_not_changed() {
        let mut watch = FileWatcher::default();
        let looks = [1, 1, 2, 1, 2, 1].map(|size| watch.look(stamps(size)));
        assert_eq!(looks, [Unsettled, Changed, Unsettled, Same, Unsettled, Same]);
    }

    #[test]
    fn what_was_read_when_somebody_asked_is_not_read_again() {
        let mut watch = FileWatcher::default();
        watch.read(stamps(1));
        assert_eq!(watch.look(stamps(1)), WatchDecision::Same);
        assert_eq!(watch.look(stamps(2)), WatchDecision::Unsettled);
        watch.read(stamps(2));
        assert_eq!(watch.look(stamps(2)), WatchDecision::Same);
    }

    #[test]
    fn what_the_file_system_does_not_tell_is_found_by_reading_once_in_a_while() {
        let mut watch = FileWatcher::default();
        let looks: Vec<_> = (0..40).map(|_| watch.look(stamps(1))).collect();
        assert_eq!(looks.iter().filter(|look| **look == WatchDecision::Due).count(), 2);
        assert!(!looks.iter().skip(2).any(|look| *look == WatchDecision::Changed));
    }

    #[test]
    fn a_file_is_another_after_any_kind_of_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("connections.ini");
        let mut seen = vec![WatchedFileVersions::of(std::slice::from_ref(&file))];
        let mut now = || {
            let stamps = WatchedFileVersions::of(std::slice::from_ref(&file));
            assert!(!seen.contains(&stamps), "not seen: {stamps:?}");
            seen.push(stamps);
        };
        fs::write(&file, "one").unwrap();
        now();
        fs::write(&file, "three").unwrap();
        now();
        // The way an editor replaces a file.
        fs::write(dir.path().join("new"), "three").unwrap();
        fs::rename(dir.path().join("new"), &file).unwrap();
        now();
        // The way Kubernetes does: the file is a link through `..data`, which is swapped.
        for version in ["v1", "v2"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("connections.ini"), "three").unwrap();
        }
        let point_to = |version: &str| {
            std::os::unix::fs::symlink(version, dir.path().join("..tmp")).unwrap();
            fs::rename(dir.path().join("..tmp"), dir.path().join("..data")).unwrap();
        };
        point_to("v1");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("..data/connections.ini", &file).unwrap();
        now();
        point_to("v2");
        now();
    }
}
