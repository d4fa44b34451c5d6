//! Temp files that the next owner of their record resumes, instead of removing them.
//!
//! An upload whose record belonged to another process expects that process's temp files: from [`OrphanTracker::expect`]
//! to [`OrphanTracker::take_expected`], temp files of its record are reserved for it, whichever scan finds them.

use std::time::Instant;

use super::{CleanupAction, OrphanTracker, TempFileStamp, TrackedDirectory};
use crate::record::Origin;
use crate::storage::file_owner::FileOwner;
use crate::storage::temp_name::TempName;

/// How many temp files are reserved for one record.
const MAX_EXPECTED: usize = 16;

/// What must happen until it is known what an earlier owner has left in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptionSearch {
    /// The caller must scan it, as for [`CleanupAction::Scan`].
    Scan,
    /// It is being scanned.
    UnderWay,
    /// Nothing: it was scanned since the assignment.
    Over,
}

impl OrphanTracker {
    /// Reserves for the owner what others have left of its record in `directory`.
    pub fn expect(&mut self, directory: &str, owner: &FileOwner) {
        let Some(record) = owner.temp.origin() else { return };
        let is_theirs =
            |temp: &TempName| temp.origin() == Some(record) && temp.incarnation() != owner.temp.incarnation();
        let mut found: Vec<(TempName, TempFileStamp)> = Vec::new();
        if let Some(known) = self.directories.get_mut(directory) {
            found.extend(
                known.seen.extract_if(|temp, _| is_theirs(temp)).map(|(temp, (stamp, _))| (temp, stamp)),
            );
        }
        self.pending_removals.retain(|pending_removals| {
            let is_found = *pending_removals.directory == *directory && is_theirs(&pending_removals.temp);
            found.extend(is_found.then(|| (pending_removals.temp.clone(), None)));
            !is_found
        });
        self.expected.entry(record.clone()).or_default().extend(found);
    }

    /// Whether `directory` must still be scanned for the owner.
    pub fn search(&mut self, directory: &str, owner: &FileOwner, now: Instant) -> AdoptionSearch {
        let Some((name, known)) = self.directories.get_key_value(directory) else {
            return AdoptionSearch::Over;
        };
        match *known {
            TrackedDirectory { scanned: Some(_), due: None, .. } => AdoptionSearch::UnderWay,
            TrackedDirectory { scanned: Some(scanned), .. } if scanned >= owner.lease.since() => {
                AdoptionSearch::Over
            }
            TrackedDirectory { due: Some(due), .. } if due <= now => {
                let name = std::sync::Arc::clone(name);
                self.scan_schedule.remove(&(due, std::sync::Arc::clone(&name)));
                match self.start_scan(name, now) {
                    Some(CleanupAction::Scan { .. }) => AdoptionSearch::Scan,
                    _ => AdoptionSearch::Over,
                }
            }
            // It was scanned a moment ago.
            TrackedDirectory { .. } => AdoptionSearch::Over,
        }
    }

    /// Ends the reservation of [`OrphanTracker::expect`]; returns what was found.
    pub fn take_expected(&mut self, owner: &FileOwner) -> Vec<(TempName, TempFileStamp)> {
        owner.temp.origin().and_then(|record| self.expected.remove(record)).unwrap_or_default()
    }

    /// Returns files that were found and not adopted, for the record's next try.
    pub fn return_unadopted(&mut self, directory: &str, found: Vec<(TempName, TempFileStamp)>) {
        let Some(known) = self.directories.get_mut(directory) else { return };
        let now = Instant::now();
        known.seen.extend(found.into_iter().map(|(temp, stamp)| (temp, (stamp, now))));
    }

    /// These will not be resumed: they are removed, as long as the record belongs to the owner.
    pub fn not_wanted(
        &mut self,
        directory: &str,
        owner: &FileOwner,
        temps: impl IntoIterator<Item = TempName>,
    ) {
        self.queue_removal(directory, temps.into_iter().map(|temp| (temp, Some(owner.lease.clone()))));
    }

    /// Reserves a temp file that was found, if its record's owner expects it.
    pub(super) fn is_expected(&mut self, temp: &TempName, stamp: TempFileStamp) -> bool {
        let expected = temp.origin().and_then(|record: &Origin| self.expected.get_mut(record));
        let Some(found) = expected.filter(|found| found.len() < MAX_EXPECTED) else { return false };
        if !found.iter().any(|(known, _)| known == temp) {
            found.push((temp.clone(), stamp));
        }
        true
    }
}
