//! Orphaned temp files, which no process will finish any more, and which directories to search for them. Pure: time is
//! an argument.
//!
//! A temp file of another incarnation is removed in three cases, and in no other:
//! - its record belongs to this pod now, under a live lease: its last owner has crashed, or was fenced and its rename
//!   must fail. (If the record's upload resumes it, it is renamed instead: [`adoption`].)
//! - its record is done, according to the group's commits: a process that still works on it can publish nothing;
//! - its name cannot be read, since another installation created it, and it has not changed (size and time) for
//!   [`DEAD_AFTER`] by our own clock. A live transfer writes its file much more often, or ends by its own deadlines, so
//!   neither clocks nor time zones have to agree.
//!
//! In the first two cases the file was seen before the decision. A name is used only once, so the decision remains
//! valid: the file will not be needed again. The lease is checked once more before the removal all the same: a pod that
//! is cut off from Kafka may take a moment to notice.
//!
//! A directory is scanned when a record of a new assignment starts in it, since a dead owner may have left something
//! there, and again at regular intervals for an hour after its last task, or as long as it contains orphans. Never a
//! whole tree, and nothing that delays a task.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file_owner::FileOwner;
use super::temp_name::{Incarnation, TempName};
use crate::lease::Lease;
use crate::record::Origin;

mod adoption;

pub use adoption::AdoptionSearch;

/// Another installation's temp file counts as orphaned after it has not changed for this long. The longest stall that
/// can be configured is an hour.
const DEAD_AFTER: Duration = Duration::from_secs(2 * 3600);
/// The default interval between scans of a directory.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// How long a directory is remembered after its last task.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// A failed scan is repeated after this, or sooner where scans are more frequent.
const RECHECK_INTERVAL: Duration = Duration::from_secs(60);
/// A failed removal is repeated after this, this many times.
const REMOVE_RETRY_INTERVAL: Duration = Duration::from_secs(5);
const REMOVALS: u8 = 10;
/// The pause between two scans of one directory, as a multiple of the last one's duration, and at least a second.
const SCAN_PAUSE_FACTOR: u32 = 20;
const MIN_SCAN_PAUSE: Duration = Duration::from_secs(1);
/// A dead owner's tasks in flight are redone this soon after the assignment: scans within this time do not wait for an
/// idle session.
const URGENT_WITHIN: Duration = Duration::from_secs(60);
/// These scans take at most this fraction of one session's time.
const URGENT_SHARE: u32 = 5;
/// How many directories are remembered; further ones are not swept until there is room.
const MAX_DIRECTORIES: usize = 10_000;
/// How many foreign temp files are remembered for each directory.
const MAX_SEEN: usize = 1_000;
/// How many records are remembered, the latest first.
const MAX_RECORDS: usize = 16_384;
/// How many removals may be pending.
const MAX_REMOVALS: usize = 10_000;

/// A temp file's size and modification time, if known.
pub type TempFileStamp = Option<(u64, i64)>;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CleanupAction {
    /// If it fails: [`OrphanTracker::removal_failed`].
    Remove { directory: Arc<str>, temp: TempName, tries: u8 },
    /// Ends with [`OrphanTracker::scanned`], [`OrphanTracker::scan_failed`] or [`OrphanTracker::forget`].
    Scan { directory: Arc<str> },
}

/// What is known about the directories of one storage, or of one server.
#[derive(Debug)]
pub struct OrphanTracker {
    scan_interval: Duration,
    directories: HashMap<Arc<str>, TrackedDirectory>,
    /// When directories are due.
    scan_schedule: BTreeSet<(Instant, Arc<str>)>,
    /// Directories whose scan is urgent.
    urgent: VecDeque<Arc<str>>,
    /// No urgent action before this.
    paused_until: Option<Instant>,
    /// Records that were started here, with the leases under which they belong to this pod.
    records: HashMap<Origin, Lease>,
    latest: VecDeque<Origin>,
    /// Temp files found of records whose owners may resume them: see [`adoption`].
    expected: HashMap<Origin, Vec<(TempName, TempFileStamp)>>,
    pending_removals: VecDeque<PendingRemoval>,
    /// Failed removals, in the order of their next tries.
    failed_removals: VecDeque<(Instant, PendingRemoval)>,
}

#[derive(Debug)]
struct PendingRemoval {
    directory: Arc<str>,
    temp: TempName,
    /// How many times the removal failed.
    tries: u8,
    /// The lease under which its record belongs to this pod, if that is the reason.
    lease: Option<Lease>,
}

#[derive(Debug)]
struct TrackedDirectory {
    /// When the last scan began.
    scanned: Option<Instant>,
    /// No scan before this.
    paused_until: Instant,
    /// The time of the latest assignment whose records were processed here.
    assigned: Instant,
    /// When the next scan is due; `None` during a scan.
    due: Option<Instant>,
    last_task: Instant,
    seen: HashMap<TempName, (TempFileStamp, Instant)>,
}

impl OrphanTracker {
    /// Scans directories every `scan_interval`.
    pub fn new(scan_interval: Duration) -> OrphanTracker {
        OrphanTracker {
            scan_interval,
            directories: HashMap::new(),
            scan_schedule: BTreeSet::new(),
            urgent: VecDeque::new(),
            paused_until: None,
            records: HashMap::new(),
            latest: VecDeque::new(),
            expected: HashMap::new(),
            pending_removals: VecDeque::new(),
            failed_removals: VecDeque::new(),
        }
    }

    /// A try starts whose temp file will be in `directory`.
    pub fn begun(&mut self, directory: &str, owner: &FileOwner, now: Instant) {
        let Some(record) = owner.temp.origin().cloned() else { return };
        self.remember(&record, &owner.lease);
        let assigned = owner.lease.since();
        let is_fresh = now.saturating_duration_since(assigned) < URGENT_WITHIN;
        if let Some(known) = self.directories.get_mut(directory) {
            known.last_task = now;
            known.assigned = known.assigned.max(assigned);
            let before: Vec<TempName> =
                known.seen.keys().filter(|temp| temp.origin() == Some(&record)).cloned().collect();
            known.seen.retain(|temp, _| temp.origin() != Some(&record));
            let is_due = known.scanned.is_some_and(|scanned| scanned < assigned);
            self.queue_removal(directory, before.into_iter().map(|temp| (temp, Some(owner.lease.clone()))));
            self.put_on_agenda(directory, now);
            if !is_due {
                return;
            }
        } else if self.directories.len() < MAX_DIRECTORIES {
            let name: Arc<str> = directory.into();
            self.scan_schedule.insert((now, Arc::clone(&name)));
            let (scanned, seen) = (None, HashMap::new());
            let due = Some(now);
            let known = TrackedDirectory { scanned, paused_until: now, assigned, due, last_task: now, seen };
            self.directories.insert(name, known);
        }
        if is_fresh
            && self.urgent.len() < MAX_DIRECTORIES
            && self.urgent.back().is_none_or(|d| **d != *directory)
        {
            self.urgent.push_back(directory.into());
        }
    }

    /// A temp file of this process remains: its try is over, and could not remove it.
    pub fn left(&mut self, directory: &str, temp: TempName) {
        self.queue_removal(directory, [(temp, None)]);
    }

    /// What earlier tries of this process at this record have left; must be removed now, or passed to
    /// [`OrphanTracker::left`] again.
    pub fn take_leftovers(&mut self, directory: &str, owner: &FileOwner) -> Vec<TempName> {
        let mut taken = Vec::new();
        let mut is_left = |pending_removals: &PendingRemoval| {
            let is_left = *pending_removals.directory == *directory
                && pending_removals.temp.origin() == owner.temp.origin()
                && pending_removals.temp.incarnation() == owner.temp.incarnation();
            taken.extend(is_left.then(|| pending_removals.temp.clone()));
            !is_left
        };
        self.pending_removals.retain(&mut is_left);
        self.failed_removals.retain(|(_, pending_removals)| is_left(pending_removals));
        taken
    }

    /// The next action, if one is due.
    pub fn next(&mut self, now: Instant) -> Option<CleanupAction> {
        self.removal(now).or_else(|| {
            self.scan_schedule.first().filter(|(due, _)| *due <= now)?;
            let (_, directory) = self.scan_schedule.pop_first()?;
            self.start_scan(directory, now)
        })
    }

    /// The next action that must not wait for an idle session. It ends with [`OrphanTracker::rest`].
    pub fn next_urgent(&mut self, now: Instant) -> Option<CleanupAction> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        if let Some(removal) = self.removal(now) {
            return Some(removal);
        }
        while let Some(directory) = self.urgent.front() {
            let Some(known) = self.directories.get(directory) else {
                self.urgent.pop_front();
                continue;
            };
            match known.due {
                Some(due) if known.scanned.is_none_or(|scanned| scanned < known.assigned) => {
                    if due > now {
                        return None; // it was checked a moment ago
                    }
                    let directory = self.urgent.pop_front()?;
                    self.scan_schedule.remove(&(due, Arc::clone(&directory)));
                    return self.start_scan(directory, now);
                }
                _ => drop(self.urgent.pop_front()),
            }
        }
        None
    }

    /// An urgent action that started at `begun` has ended.
    pub fn rest(&mut self, begun: Instant, now: Instant) {
        self.paused_until = Some(now + now.saturating_duration_since(begun) * (URGENT_SHARE - 1));
    }

    /// Whether [`OrphanTracker::next`] would return an action.
    pub fn has_work(&self, now: Instant) -> bool {
        !self.pending_removals.is_empty()
            || self.failed_removals.front().is_some_and(|(due, _)| *due <= now)
            || self.scan_schedule.first().is_some_and(|(due, _)| *due <= now)
    }

    /// A scan has ended: these are the temp files in the directory. Returns those for which it must be determined
    /// whether their records are done: [`OrphanTracker::judged`].
    pub fn scanned(
        &mut self,
        directory: &str,
        found: impl IntoIterator<Item = (TempName, TempFileStamp)>,
        ours: Incarnation,
        now: Instant,
    ) -> Vec<TempName> {
        if !self.directories.contains_key(directory) {
            return Vec::new();
        }
        let mut found: Vec<_> = found.into_iter().filter(|(temp, _)| temp.incarnation() != ours).collect();
        found.retain(|(temp, stamp)| !self.is_expected(temp, *stamp));
        let Some(known) = self.directories.get_mut(directory) else { return Vec::new() };
        let took = known.scanned.map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
        known.paused_until = now + (took * SCAN_PAUSE_FACTOR).max(MIN_SCAN_PAUSE);
        let mut before = std::mem::take(&mut known.seen);
        let (mut dead, mut doubtful) = (Vec::new(), Vec::new());
        for (temp, stamp) in found {
            let lease = temp.origin().and_then(|record| self.records.get(record));
            let lease = lease.filter(|lease| lease.is_live()).cloned();
            let same = before.remove(&temp).filter(|(was, _)| stamp.is_some() && *was == stamp);
            let since = same.map_or(now, |(_, since)| since);
            let is_old = temp.origin().is_none() && now.saturating_duration_since(since) >= DEAD_AFTER;
            if lease.is_some() || is_old {
                dead.push((temp, lease));
            } else if known.seen.len() < MAX_SEEN {
                doubtful.extend(temp.origin().map(|_| temp.clone()));
                known.seen.insert(temp, (stamp, since));
            }
        }
        let is_forgotten = known.seen.is_empty() && now.duration_since(known.last_task) >= REMEMBERED;
        self.queue_removal(directory, dead);
        if is_forgotten {
            self.directories.remove(directory);
        } else {
            self.put_on_agenda(directory, now);
        }
        doubtful
    }

    /// The records for which these were created are done.
    pub fn judged(&mut self, directory: &str, dead: Vec<TempName>) {
        if let Some(known) = self.directories.get_mut(directory) {
            known.seen.retain(|temp, _| !dead.contains(temp));
        }
        self.queue_removal(directory, dead.into_iter().map(|temp| (temp, None)));
    }

    /// The scan, or the query after it, failed: it is repeated soon.
    pub fn scan_failed(&mut self, directory: &str, now: Instant) {
        let Some(known) = self.directories.get(directory) else { return };
        if known.seen.is_empty() && now.duration_since(known.last_task) >= REMEMBERED {
            return self.forget(directory);
        }
        self.schedule(directory, now + RECHECK_INTERVAL.min(self.scan_interval));
    }

    /// The directory does not exist: it is forgotten until a task uses it.
    pub fn forget(&mut self, directory: &str) {
        if let Some(due) = self.directories.remove(directory).and_then(|known| known.due) {
            self.scan_schedule.remove(&(due, directory.into()));
        }
    }

    /// A removal failed, after this many tries: it is repeated some times. False if it is given up.
    pub fn removal_failed(&mut self, directory: Arc<str>, temp: TempName, tries: u8, now: Instant) -> bool {
        let tries = tries + 1;
        let is_tried_again = tries < REMOVALS && self.failed_removals.len() < MAX_REMOVALS;
        if is_tried_again {
            self.failed_removals.push_back((
                now + REMOVE_RETRY_INTERVAL,
                PendingRemoval { directory, temp, tries, lease: None },
            ));
        }
        is_tried_again
    }

    fn removal(&mut self, now: Instant) -> Option<CleanupAction> {
        let is_due = self.failed_removals.front().is_some_and(|(due, _)| *due <= now);
        let again = if is_due {
            self.failed_removals.pop_front().map(|(_, pending_removals)| pending_removals)
        } else {
            None
        };
        let is_wanted =
            |pending_removals: &PendingRemoval| pending_removals.lease.as_ref().is_none_or(Lease::is_live);
        let first = || std::iter::from_fn(|| self.pending_removals.pop_front()).find(is_wanted);
        let PendingRemoval { directory, temp, tries, .. } = again.or_else(first)?;
        Some(CleanupAction::Remove { directory, temp, tries })
    }

    fn start_scan(&mut self, directory: Arc<str>, now: Instant) -> Option<CleanupAction> {
        let known = self.directories.get_mut(&directory)?;
        (known.scanned, known.due) = (Some(now), None);
        Some(CleanupAction::Scan { directory })
    }

    fn put_on_agenda(&mut self, directory: &str, now: Instant) {
        let Some(known) = self.directories.get(directory) else { return };
        let Some(scanned) = known.scanned else { return }; // due already
        let is_stale = scanned < known.assigned;
        let due = if is_stale { known.paused_until.max(now) } else { scanned + self.scan_interval };
        self.schedule(directory, due);
    }

    /// Schedules a scan of the directory for then, if none is scheduled earlier.
    fn schedule(&mut self, directory: &str, due: Instant) {
        let Some((name, _)) = self.directories.get_key_value(directory) else { return };
        let name = Arc::clone(name);
        let Some(known) = self.directories.get_mut(directory) else { return };
        match known.due {
            Some(earlier) if earlier <= due => return,
            Some(later) => drop(self.scan_schedule.remove(&(later, Arc::clone(&name)))),
            None => {}
        }
        known.due = Some(due);
        self.scan_schedule.insert((due, name));
    }

    fn remember(&mut self, record: &Origin, lease: &Lease) {
        if self.records.insert(record.clone(), lease.clone()).is_none() {
            self.latest.push_back(record.clone());
        }
        if self.latest.len() > MAX_RECORDS
            && let Some(oldest) = self.latest.pop_front()
        {
            self.records.remove(&oldest);
        }
    }

    fn queue_removal(&mut self, directory: &str, dead: impl IntoIterator<Item = (TempName, Option<Lease>)>) {
        for (temp, lease) in dead {
            if self.pending_removals.len() < MAX_REMOVALS {
                self.pending_removals.push_back(PendingRemoval {
                    directory: directory.into(),
                    temp,
                    tries: 0,
                    lease,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
