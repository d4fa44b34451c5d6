//! Temp files that nobody will finish any more, and where to look for them. Pure: time is an argument.
//!
//! A temp file of another incarnation is removed in two cases, and in no other:
//! - its record is ours now, under a live lease: its last owner is dead, or a zombie whose rename must fail;
//! - it has stood unchanged (size and time) for [`DEAD_AFTER`] by our own clock. A living transfer writes its
//!   file much more often, or ends by its own deadlines, so neither clocks nor time zones have to agree.
//!
//! A directory is looked at when a record of a new assignment begins in it, since then a dead owner may have
//! left something there, and again every hour as long as tasks come to it or strays are left in it. Never
//! a whole tree, and nothing at all in the way of a task.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::owner::Owner;
use super::temp_name::{Incarnation, TempName};
use crate::offsets::Lease;

/// A stray of a record that is not ours has stood unchanged for so long. The longest stall that can be
/// configured is an hour.
const DEAD_AFTER: Duration = Duration::from_secs(2 * 3600);
/// Directories are looked at again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// Between two looks into one directory pass so many times as long as the last one took, and a second at least.
const REST: u32 = 20;
const MIN_REST: Duration = Duration::from_secs(1);
/// Directories kept in mind; what comes to others is not swept until there is room.
const MAX_DIRECTORIES: usize = 10_000;
/// Strays kept in mind for each directory.
const MAX_SEEN: usize = 1_000;
/// Records kept in mind, the latest.
const MAX_RECORDS: usize = 16_384;
/// Removals waiting.
const MAX_DOOMED: usize = 10_000;

/// A temp file's size and time of change, as far as told.
pub type Stamp = Option<(u64, i64)>;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    Remove {
        directory: Arc<str>,
        temp: TempName,
    },
    /// Ends with [`Strays::looked`] or [`Strays::forget`].
    Look {
        directory: Arc<str>,
    },
}

/// What is known about the directories of one storage, or of one server.
#[derive(Debug, Default)]
pub struct Strays {
    directories: HashMap<Arc<str>, Directory>,
    /// When directories are due.
    agenda: BTreeSet<(Instant, Arc<str>)>,
    /// Records that began here, by their hash, with the lease they are ours under.
    records: HashMap<u64, Lease>,
    latest: VecDeque<u64>,
    doomed: VecDeque<(Arc<str>, TempName, Option<Lease>)>,
}

#[derive(Debug)]
struct Directory {
    /// When the last look began.
    looked: Option<Instant>,
    /// No look before this.
    rests_until: Instant,
    /// When the youngest assignment was made whose records came here.
    assigned: Instant,
    /// On the agenda for then; `None` while it is looked at.
    due: Option<Instant>,
    /// A task came since the last look.
    in_use: bool,
    seen: HashMap<TempName, (Stamp, Instant)>,
}

impl Strays {
    /// A try begins whose temp file will stand in `directory`.
    pub fn begun(&mut self, directory: &str, owner: &Owner, now: Instant) {
        self.remember(owner);
        let assigned = owner.lease.since();
        let Some(known) = self.directories.get_mut(directory) else {
            if self.directories.len() < MAX_DIRECTORIES {
                let name: Arc<str> = directory.into();
                self.agenda.insert((now, Arc::clone(&name)));
                let (looked, seen) = (None, HashMap::new());
                let known =
                    Directory { looked, rests_until: now, assigned, due: Some(now), in_use: true, seen };
                self.directories.insert(name, known);
            }
            return;
        };
        known.in_use = true;
        known.assigned = known.assigned.max(assigned);
        let hash = owner.temp.record_hash();
        let before: Vec<TempName> =
            known.seen.keys().filter(|temp| temp.record_hash() == hash).cloned().collect();
        known.seen.retain(|temp, _| temp.record_hash() != hash);
        for temp in before {
            self.doom(directory, temp, Some(owner.lease.clone()));
        }
        self.put_on_agenda(directory, now);
    }

    /// A temp file of this process's own stays where it is: its try is over, and could not remove it.
    pub fn left(&mut self, directory: &str, temp: TempName) {
        self.doom(directory, temp, None);
    }

    /// What is to be done now, if anything is.
    pub fn next(&mut self, now: Instant) -> Option<Errand> {
        while let Some((directory, temp, lease)) = self.doomed.pop_front() {
            if lease.is_none_or(|lease| lease.is_live()) {
                return Some(Errand::Remove { directory, temp });
            }
        }
        let (due, _) = self.agenda.first()?;
        if *due > now {
            return None;
        }
        let (_, directory) = self.agenda.pop_first()?;
        let known = self.directories.get_mut(&directory)?;
        (known.looked, known.due) = (Some(now), None);
        Some(Errand::Look { directory })
    }

    /// A look has ended: these are the temp files in the directory.
    pub fn looked(
        &mut self,
        directory: &str,
        found: impl IntoIterator<Item = (TempName, Stamp)>,
        ours: Incarnation,
        now: Instant,
    ) {
        let Some(known) = self.directories.get_mut(directory) else { return };
        let took = known.looked.map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
        known.rests_until = now + (took * REST).max(MIN_REST);
        let mut before = std::mem::take(&mut known.seen);
        for (temp, stamp) in found.into_iter().filter(|(temp, _)| temp.incarnation() != ours) {
            let lease = self.records.get(&temp.record_hash()).filter(|lease| lease.is_live()).cloned();
            let same = before.remove(&temp).filter(|(was, _)| stamp.is_some() && *was == stamp);
            let since = same.map_or(now, |(_, since)| since);
            let is_dead = now.saturating_duration_since(since) >= DEAD_AFTER;
            if lease.is_some() || is_dead {
                self.doom(directory, temp, lease);
            } else if let Some(known) = self.directories.get_mut(directory)
                && known.seen.len() < MAX_SEEN
            {
                known.seen.insert(temp, (stamp, since));
            }
        }
        let Some(known) = self.directories.get_mut(directory) else { return };
        if known.seen.is_empty() && !std::mem::take(&mut known.in_use) {
            self.directories.remove(directory);
        } else {
            self.put_on_agenda(directory, now);
        }
    }

    /// The directory is not there, or cannot be looked at: it is out of mind until a task comes to it.
    pub fn forget(&mut self, directory: &str) {
        if let Some(due) = self.directories.remove(directory).and_then(|known| known.due) {
            self.agenda.remove(&(due, directory.into()));
        }
    }

    fn put_on_agenda(&mut self, directory: &str, now: Instant) {
        let Some((name, _)) = self.directories.get_key_value(directory) else { return };
        let name = Arc::clone(name);
        let Some(known) = self.directories.get_mut(directory) else { return };
        let Some(looked) = known.looked else { return }; // due already
        let is_stale = looked < known.assigned;
        let due = if is_stale { known.rests_until.max(now) } else { looked + LOOK_EVERY };
        match known.due {
            Some(earlier) if earlier <= due => return,
            Some(later) => drop(self.agenda.remove(&(later, Arc::clone(&name)))),
            None => {}
        }
        known.due = Some(due);
        self.agenda.insert((due, name));
    }

    fn remember(&mut self, owner: &Owner) {
        let hash = owner.temp.record_hash();
        if self.records.insert(hash, owner.lease.clone()).is_none() {
            self.latest.push_back(hash);
        }
        if self.latest.len() > MAX_RECORDS
            && let Some(oldest) = self.latest.pop_front()
        {
            self.records.remove(&oldest);
        }
    }

    fn doom(&mut self, directory: &str, temp: TempName, lease: Option<Lease>) {
        if self.doomed.len() < MAX_DOOMED {
            self.doomed.push_back((directory.into(), temp, lease));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::record;

    const HOUR: Duration = Duration::from_secs(3600);
    const STAMP: Stamp = Some((17, 42));

    /// One pod's view.
    struct Pod {
        strays: Strays,
        ours: Incarnation,
        lease: Lease,
        now: Instant,
    }

    impl Pod {
        fn new() -> Pod {
            let (ours, lease) = (Incarnation::random().unwrap(), Lease::new(1));
            Pod { strays: Strays::default(), ours, lease, now: Instant::now() }
        }

        fn begins(&mut self, directory: &str, offset: i64) -> Owner {
            let mut record = record(offset);
            record.lease = self.lease.clone();
            let owner = Owner::of(&record, self.ours);
            self.strays.begun(directory, &owner, self.now);
            owner
        }

        fn next(&mut self) -> Option<Errand> {
            self.strays.next(self.now)
        }

        fn is_sent_to(&mut self, directory: &str) {
            assert_eq!(self.next(), Some(Errand::Look { directory: directory.into() }));
        }

        fn finds(&mut self, directory: &str, found: &[(&TempName, Stamp)]) {
            let found = found.iter().map(|(temp, stamp)| ((*temp).clone(), *stamp));
            self.strays.looked(directory, found, self.ours, self.now);
        }

        fn removes(&mut self, directory: &str, temp: &TempName) {
            let remove = Errand::Remove { directory: directory.into(), temp: temp.clone() };
            assert_eq!(self.next(), Some(remove));
        }
    }

    /// What another pod's try at this record has left.
    fn of_another(offset: i64) -> TempName {
        crate::storage::tests::owner(offset).temp
    }

    #[test]
    fn the_next_owner_of_a_record_removes_what_its_last_one_left() {
        let mut pod = Pod::new();
        pod.begins("d", 1);
        pod.is_sent_to("d");
        let (begun, later) = (of_another(1), of_another(2));
        pod.finds("d", &[(&begun, STAMP), (&later, STAMP)]);
        pod.removes("d", &begun);
        assert_eq!(pod.next(), None, "the other record may be somebody's");
        pod.begins("d", 2);
        pod.removes("d", &later);
        assert_eq!(pod.next(), None);
    }

    #[test]
    fn a_record_whose_lease_has_ended_is_somebody_elses_and_so_is_its_temp_file() {
        let mut pod = Pod::new();
        pod.begins("d", 1);
        pod.is_sent_to("d");
        pod.lease.end();
        pod.finds("d", &[(&of_another(1), STAMP)]);
        assert_eq!(pod.next(), None);

        let mut pod = Pod::new();
        pod.begins("d", 1);
        pod.is_sent_to("d");
        pod.finds("d", &[(&of_another(1), STAMP)]);
        pod.lease.end(); // after it was doomed
        assert_eq!(pod.next(), None);
    }

    #[test]
    fn our_own_temp_files_are_left_alone_until_their_try_gives_them_up() {
        let mut pod = Pod::new();
        let owner = pod.begins("d", 1);
        pod.is_sent_to("d");
        pod.finds("d", &[(&owner.temp, STAMP)]);
        assert_eq!(pod.next(), None);
        pod.strays.left("d", owner.temp.clone());
        pod.removes("d", &owner.temp);
    }

    #[test]
    fn what_stands_unchanged_for_two_hours_is_dead_and_what_changes_is_not() {
        let mut pod = Pod::new();
        let (dead, slow, unknown) = (of_another(1), of_another(2), of_another(3));
        pod.begins("d", 9);
        for hour in 0..5 {
            pod.is_sent_to("d");
            let changes = Some((hour, 0));
            if hour <= 2 {
                pod.finds("d", &[(&dead, STAMP), (&slow, changes), (&unknown, None)]);
            } else {
                pod.finds("d", &[(&slow, changes), (&unknown, None)]);
            }
            if hour == 2 {
                pod.removes("d", &dead);
            }
            assert_eq!(pod.next(), None, "at hour {hour}");
            pod.now += HOUR;
        }
    }

    #[test]
    fn a_directory_is_looked_at_again_after_a_new_assignment_and_not_for_each_record() {
        let mut pod = Pod::new();
        pod.begins("d", 1);
        pod.is_sent_to("d");
        pod.finds("d", &[]);
        for offset in 2..100 {
            pod.begins("d", offset);
            assert_eq!(pod.next(), None);
        }
        pod.lease = Lease::new(2);
        pod.begins("d", 100);
        assert_eq!(pod.next(), None, "it was looked at a moment ago");
        pod.now += MIN_REST;
        pod.is_sent_to("d");
    }

    #[test]
    fn a_clean_directory_without_tasks_is_forgotten() {
        let mut pod = Pod::new();
        pod.begins("d", 1);
        pod.is_sent_to("d");
        pod.finds("d", &[]);
        pod.now += HOUR;
        pod.is_sent_to("d");
        pod.finds("d", &[]);
        pod.now += HOUR;
        assert_eq!(pod.next(), None);
        assert!(pod.strays.directories.is_empty() && pod.strays.agenda.is_empty());
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let mut pod = Pod::new();
        for number in 0..MAX_DIRECTORIES + 10 {
            pod.begins(&number.to_string(), 1);
        }
        for offset in 0..i64::try_from(MAX_RECORDS).unwrap() + 10 {
            pod.begins("0", offset);
        }
        assert_eq!(pod.strays.directories.len(), MAX_DIRECTORIES);
        assert_eq!(pod.strays.agenda.len(), MAX_DIRECTORIES);
        assert_eq!(pod.strays.records.len(), MAX_RECORDS);
        assert_eq!(pod.strays.latest.len(), MAX_RECORDS);
    }
}
