//! Temp files that the next owner of their record goes on with, instead of removing them.
//!
//! An upload whose record was another process's expects what that one has left: from [`OrphanTracker::expect`] to
//! [`OrphanTracker::take_expected`] temp files of its record are kept for it, whoever finds them.

use std::time::Instant;

use super::{CleanupAction, OrphanTracker, TempFileStamp, TrackedDirectory};
use crate::record::Origin;
use crate::storage::file_owner::FileOwner;
use crate::storage::temp_name::TempName;

/// Temp files of one record that are kept for it.
const MAX_EXPECTED: usize = 16;

/// What is to be done until it is known what an earlier owner has left in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptionSearch {
    /// The caller is to look into it, as for [`CleanupAction::Scan`].
    Scan,
    /// Somebody is looking into it.
    UnderWay,
    /// Nothing: it was scanned since the assignment.
    Over,
}

impl OrphanTracker {
    /// What others have left of the owner's record in `directory` is kept for it from now on.
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

    /// Whether `directory` is still to be scanned for the owner's sake.
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
                match self.look(name, now) {
                    Some(CleanupAction::Scan { .. }) => AdoptionSearch::Scan,
                    _ => AdoptionSearch::Over,
                }
            }
            // It was scanned a moment ago.
            TrackedDirectory { .. } => AdoptionSearch::Over,
        }
    }

    /// Ends what [`OrphanTracker::expect`] began: what was found.
    pub fn take_expected(&mut self, owner: &FileOwner) -> Vec<(TempName, TempFileStamp)> {
        owner.temp.origin().and_then(|record| self.expected.remove(record)).unwrap_or_default()
    }

    /// What was found and not taken stands as before, for the record's next try.
    pub fn seen_again(&mut self, directory: &str, found: Vec<(TempName, TempFileStamp)>) {
        let Some(known) = self.directories.get_mut(directory) else { return };
        let now = Instant::now();
        known.seen.extend(found.into_iter().map(|(temp, stamp)| (temp, (stamp, now))));
    }

    /// Nobody goes on with these: they are removed, as long as the record is the owner's.
    pub fn not_wanted(
        &mut self,
        directory: &str,
        owner: &FileOwner,
        temps: impl IntoIterator<Item = TempName>,
    ) {
        self.queue_removal(directory, temps.into_iter().map(|temp| (temp, Some(owner.lease.clone()))));
    }

    /// Keeps a temp file that was found, where its record's owner expects it.
    pub(super) fn is_expected(&mut self, temp: &TempName, stamp: TempFileStamp) -> bool {
        let expected = temp.origin().and_then(|record: &Origin| self.expected.get_mut(record));
        let Some(found) = expected.filter(|found| found.len() < MAX_EXPECTED) else { return false };
        if !found.iter().any(|(known, _)| known == temp) {
            found.push((temp.clone(), stamp));
        }
        true
    }
}
