//! See [`super`].

use super::*;
use crate::storage::TempNames;
use crate::storage::tests::{names, record};

const HOUR: Duration = Duration::from_secs(3600);
const STAMP: TempFileStamp = Some((17, 42));

/// One pod's view.
struct Pod {
    orphans: OrphanTracker,
    names: TempNames,
    lease: Lease,
    now: Instant,
}

impl Pod {
    fn new() -> Pod {
        let (names, lease) = (names(), Lease::new(1));
        Pod { orphans: OrphanTracker::new(HOUR), names, lease, now: Instant::now() }
    }

    fn begins(&mut self, directory: &str, offset: i64) -> FileOwner {
        let mut record = record(offset);
        record.lease = self.lease.clone();
        let owner = FileOwner::of(&record, &self.names);
        self.orphans.begun(directory, &owner, self.now);
        owner
    }

    fn next(&mut self) -> Option<CleanupAction> {
        self.orphans.next(self.now)
    }

    fn is_sent_to(&mut self, directory: &str) {
        assert_eq!(self.next(), Some(CleanupAction::Scan { directory: directory.into() }));
    }

    fn finds(&mut self, directory: &str, found: &[(&TempName, TempFileStamp)]) -> Vec<TempName> {
        let found = found.iter().map(|(temp, stamp)| ((*temp).clone(), *stamp));
        self.orphans.scanned(directory, found, self.names.incarnation(), self.now)
    }

    fn removes(&mut self, directory: &str, temp: &TempName) {
        let remove = CleanupAction::Remove { directory: directory.into(), temp: temp.clone(), tries: 0 };
        assert_eq!(self.next(), Some(remove));
    }
}

/// What another pod's try at this record has left.
fn of_another(offset: i64) -> TempName {
    crate::storage::tests::owner(offset).temp
}

fn of_another_installation(names: &TempNames) -> TempName {
    let theirs = TempNames::new(Arc::new(()), "another group", ["ftp-tasks".into()]).unwrap();
    names.read(theirs.name_for(&record(1).origin).as_str()).unwrap()
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
    pod.lease.end(); // after its removal was queued
    assert_eq!(pod.next(), None);
}

#[test]
fn what_a_done_record_has_left_goes_whoevers_it_was() {
    let mut pod = Pod::new();
    pod.begins("d", 1);
    pod.is_sent_to("d");
    let (done, under_way) = (of_another(2), of_another(3));
    let asked = pod.finds("d", &[(&done, STAMP), (&under_way, STAMP)]);
    assert_eq!(asked, [done.clone(), under_way.clone()]);
    assert_eq!(pod.next(), None, "nothing is known yet");
    pod.orphans.judged("d", vec![done.clone()]);
    pod.removes("d", &done);
    assert_eq!(pod.next(), None);
    // It is asked again with the next look.
    pod.now += HOUR;
    pod.is_sent_to("d");
    assert_eq!(pod.finds("d", &[(&under_way, STAMP)]), [under_way]);
}

#[test]
fn what_another_installation_made_is_never_judged_by_our_records() {
    let mut pod = Pod::new();
    let theirs = of_another_installation(&pod.names);
    pod.begins("d", 1);
    pod.is_sent_to("d");
    assert_eq!(pod.finds("d", &[(&theirs, STAMP)]), []);
    assert_eq!(pod.next(), None);
    pod.begins("d", 1);
    assert_eq!(pod.next(), None);
}

#[test]
fn a_look_in_vain_is_repeated_soon() {
    let mut pod = Pod::new();
    pod.begins("d", 1);
    pod.is_sent_to("d");
    pod.orphans.scan_failed("d", pod.now);
    assert_eq!(pod.next(), None);
    pod.now += RECHECK_INTERVAL;
    pod.is_sent_to("d");
    pod.finds("d", &[]);
    pod.orphans.scan_failed("d", pod.now); // Kafka did not say
    pod.now += RECHECK_INTERVAL;
    pod.is_sent_to("d");
}

#[test]
fn a_removal_in_vain_is_repeated_some_times() {
    let mut pod = Pod::new();
    let owner = pod.begins("d", 1);
    pod.is_sent_to("d");
    pod.finds("d", &[]);
    pod.orphans.left("d", owner.temp.clone());
    let mut removals = 0;
    while let Some(CleanupAction::Remove { directory, temp, tries }) = pod.next() {
        removals += 1;
        pod.orphans.removal_failed(directory, temp, tries, pod.now);
        assert_eq!(pod.next(), None, "not at once");
        pod.now += REMOVE_RETRY_INTERVAL;
    }
    assert_eq!(removals, REMOVALS);
}

#[test]
fn what_an_earlier_try_has_left_goes_with_the_next_try_at_the_same_record() {
    let mut pod = Pod::new();
    let (one, other) = (pod.begins("d", 1), pod.begins("d", 2));
    pod.is_sent_to("d");
    pod.orphans.left("d", one.temp.clone());
    pod.orphans.left("d", other.temp.clone());
    pod.orphans.left("e", one.temp.clone());
    let again = pod.begins("d", 1);
    assert_eq!(pod.orphans.take_leftovers("d", &again), std::slice::from_ref(&one.temp));
    assert_eq!(pod.orphans.take_leftovers("d", &again), []);
    pod.removes("d", &other.temp);
    pod.removes("e", &one.temp);
}

#[test]
fn after_an_assignment_a_look_is_urgent_and_later_it_waits_for_idleness() {
    let mut pod = Pod::new();
    pod.begins("d", 1);
    pod.begins("e", 2);
    let urgent = |pod: &mut Pod| pod.orphans.next_urgent(pod.now);
    assert_eq!(urgent(&mut pod), Some(CleanupAction::Scan { directory: "d".into() }));
    let begun = pod.now;
    pod.now += Duration::from_secs(1);
    pod.finds("d", &[]);
    pod.orphans.rest(begun, pod.now);
    assert_eq!(urgent(&mut pod), None, "it takes a fifth of the time at most");
    pod.now += Duration::from_secs(4);
    assert_eq!(urgent(&mut pod), Some(CleanupAction::Scan { directory: "e".into() }));
    pod.finds("e", &[]);
    pod.now += URGENT_WITHIN;
    pod.begins("f", 3);
    assert_eq!(urgent(&mut pod), None);
    assert!(pod.orphans.has_work(pod.now));
    pod.is_sent_to("f");
}

#[test]
fn our_own_temp_files_are_left_alone_until_their_try_gives_them_up() {
    let mut pod = Pod::new();
    let owner = pod.begins("d", 1);
    pod.is_sent_to("d");
    pod.finds("d", &[(&owner.temp, STAMP)]);
    assert_eq!(pod.next(), None);
    pod.orphans.left("d", owner.temp.clone());
    pod.removes("d", &owner.temp);
}

#[test]
fn what_stands_unchanged_for_two_hours_is_dead_and_what_changes_is_not() {
    let mut pod = Pod::new();
    let [dead, slow, unknown] = [(); 3].map(|()| of_another_installation(&pod.names));
    let under_way = of_another(1); // its record's owner will see to it
    pod.begins("d", 9);
    for hour in 0..5 {
        pod.is_sent_to("d");
        let changes = Some((hour, 0));
        if hour <= 2 {
            pod.finds("d", &[(&dead, STAMP), (&slow, changes), (&unknown, None), (&under_way, STAMP)]);
        } else {
            pod.finds("d", &[(&slow, changes), (&unknown, None), (&under_way, STAMP)]);
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
    assert_eq!(pod.next(), None, "it was scanned at a moment ago");
    pod.now += MIN_SCAN_PAUSE;
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
    assert!(pod.orphans.directories.is_empty() && pod.orphans.scan_schedule.is_empty());
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
    assert_eq!(pod.orphans.directories.len(), MAX_DIRECTORIES);
    assert_eq!(pod.orphans.scan_schedule.len(), MAX_DIRECTORIES);
    assert_eq!(pod.orphans.records.len(), MAX_RECORDS);
    assert_eq!(pod.orphans.latest.len(), MAX_RECORDS);
}

#[test]
fn what_a_record_expects_is_kept_for_it_whoever_finds_it() {
    let mut pod = Pod::new();
    // Found before the record begins.
    pod.begins("d", 9);
    pod.is_sent_to("d");
    let (before, others) = (of_another(1), of_another(2));
    pod.finds("d", &[(&before, STAMP), (&others, STAMP)]);
    let mut record = record(1);
    record.lease = pod.lease.clone();
    let owner = FileOwner::of(&record, &pod.names);
    pod.orphans.expect("d", &owner);
    pod.orphans.begun("d", &owner, pod.now);
    assert_eq!(pod.next(), None, "it is not removed");
    assert_eq!(pod.orphans.search("d", &owner, pod.now), AdoptionSearch::Over);
    // Found by somebody else while it is expected.
    pod.now += HOUR;
    pod.is_sent_to("d");
    assert_eq!(pod.orphans.search("d", &owner, pod.now), AdoptionSearch::UnderWay);
    let meanwhile = of_another(1);
    pod.finds("d", &[(&before, STAMP), (&meanwhile, STAMP), (&others, STAMP)]);
    let found: Vec<TempName> = pod.orphans.take_expected(&owner).into_iter().map(|(temp, _)| temp).collect();
    assert_eq!(found, [before.clone(), meanwhile.clone()]);
    assert_eq!(pod.next(), None);
    // What is not wanted is removed, and what is given back stands until the record begins again.
    pod.orphans.return_unadopted("d", vec![(before.clone(), STAMP)]);
    pod.orphans.not_wanted("d", &owner, [meanwhile.clone()]);
    pod.removes("d", &meanwhile);
    assert_eq!(pod.next(), None);
    pod.begins("d", 1);
    pod.removes("d", &before);
}

#[test]
fn what_is_about_to_be_removed_can_still_be_expected() {
    let mut pod = Pod::new();
    let owner = pod.begins("d", 1);
    pod.is_sent_to("d");
    let left = of_another(1);
    pod.finds("d", &[(&left, STAMP)]);
    pod.orphans.expect("d", &owner);
    assert_eq!(pod.next(), None);
    assert_eq!(pod.orphans.take_expected(&owner), [(left, None)]);
}

#[test]
fn a_directory_is_searched_by_one_and_once_in_an_assignment() {
    let mut pod = Pod::new();
    let owner = pod.begins("d", 1);
    assert_eq!(pod.orphans.search("d", &owner, pod.now), AdoptionSearch::Scan);
    assert_eq!(pod.orphans.search("d", &owner, pod.now), AdoptionSearch::UnderWay);
    assert_eq!(pod.next(), None, "it is the sweep's look too");
    pod.finds("d", &[]);
    assert_eq!(pod.orphans.search("d", &owner, pod.now), AdoptionSearch::Over);
    // Another assignment.
    pod.now += MIN_SCAN_PAUSE;
    pod.lease = Lease::new(2);
    let owner = pod.begins("d", 1);
    let search = pod.orphans.search("d", &owner, pod.now);
    assert_eq!(search, AdoptionSearch::Scan);
    // One that fails is repeated later.
    pod.orphans.scan_failed("d", pod.now);
    assert_eq!(pod.orphans.search("d", &owner, pod.now), AdoptionSearch::Over);
    pod.now += RECHECK_INTERVAL;
    pod.is_sent_to("d");
}
