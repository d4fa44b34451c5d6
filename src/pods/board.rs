//! All pods, as announced. Pure: time is an argument.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::announcement::{GONE_AFTER, PodAnnouncement};
use super::pool_snapshot::{
    OpenFailures, PodPresence, PodSummary, PoolSnapshot, all_feeds, summed_by_connection,
};
use crate::batch::BatchAnswers;

/// A pod that is gone is shown for this long, and then forgotten.
const GONE_SHOWN: Duration = Duration::from_secs(3_600);
/// The same for one that has announced that it stops.
const STOPPED_SHOWN: Duration = Duration::from_secs(600);
/// The maximum number of pods that are remembered.
const MAX_PODS: usize = 1_000;

/// The age of a record that has just been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordAge {
    /// It was appended just now.
    New,
    /// It was written earlier; the time is now this, in milliseconds since the epoch.
    Replayed { now_ms: i64 },
}

/// The pods of one group. Cheap to clone; written by one thread, read by all.
#[derive(Clone, Debug)]
pub struct PoolBoard {
    group: Arc<str>,
    /// The local pod; empty for an observer that is not part of the pool.
    me: Arc<str>,
    shared: Arc<Mutex<BoardPods>>,
}

#[derive(Debug, Default)]
struct BoardPods {
    pods: BTreeMap<String, BoardEntry>,
    unavailable: Option<String>,
}

#[derive(Debug)]
struct BoardEntry {
    said: PodAnnouncement,
    read_at: Instant,
    age_when_read: Duration,
}

impl BoardEntry {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.read_at) + self.age_when_read
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.age(now) >= GONE_AFTER
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.age(now) >= if self.said.leaves { STOPPED_SHOWN } else { GONE_SHOWN }
    }

    /// `is_reading`: the others' announcements are being read.
    fn presence(&self, is_reading: bool, now: Instant) -> PodPresence {
        match &self.said {
            said if said.leaves => PodPresence::Stopped,
            _ if self.is_silent(now) && !is_reading => PodPresence::Unknown,
            _ if self.is_silent(now) => PodPresence::Gone,
            said if !said.healthy => PodPresence::Stuck,
            said if said.draining => PodPresence::Draining,
            said if !said.ready => PodPresence::NotReady,
            _ => PodPresence::Up,
        }
    }
}

impl PoolBoard {
    /// The board of this group's pods, of which `me` is one.
    #[must_use]
    pub fn new(group: &str, me: &str) -> PoolBoard {
        PoolBoard { group: group.into(), me: me.into(), shared: Arc::default() }
    }

    /// Applies a record of the coordination topic; those of other kinds and other groups are ignored.
    pub fn take(&self, key: &[u8], value: Option<&[u8]>, age: RecordAge, now: Instant) {
        if !PodAnnouncement::is_key(key) {
            return;
        }
        let mut board = self.board();
        let Some(value) = value else {
            board.pods.retain(|pod, _| PodAnnouncement::key_of(&self.group, pod).as_bytes() != key);
            return;
        };
        let Some(said) = PodAnnouncement::decode(value).filter(|said| *said.group == *self.group) else {
            return;
        };
        if board.pods.len() >= MAX_PODS && !board.pods.contains_key(&said.pod) {
            return;
        }
        let age_when_read = match age {
            RecordAge::New => Duration::ZERO,
            RecordAge::Replayed { now_ms } => {
                Duration::from_millis(u64::try_from(now_ms.saturating_sub(said.at_ms)).unwrap_or(0))
            }
        };
        board.pods.insert(said.pod.clone(), BoardEntry { said, read_at: now, age_when_read });
    }

    /// Why the other pods cannot be known; `None` once they can.
    pub fn set_unavailable(&self, why: Option<String>) {
        self.board().unavailable = why;
    }

    /// This pod's own announcement: shown at once, whether Kafka is reachable or not.
    #[must_use]
    pub fn snapshot(&self, own: Option<PodAnnouncement>, now: Instant) -> PoolSnapshot {
        let board = self.board();
        let is_reading = self.me.is_empty()
            || board.pods.get(&*self.me).is_some_and(|known| !known.said.leaves && !known.is_silent(now));
        let summary = |known: &BoardEntry| {
            let is_this_pod = *known.said.pod == *self.me;
            PodSummary::new(&known.said, known.presence(is_reading, now), known.age(now), is_this_pod)
        };
        let shown =
            || board.pods.values().filter(|known| *known.said.pod != *self.me && !known.is_forgotten(now));
        let mut pods: Vec<PodSummary> = shown().map(summary).collect();
        let mut counted: Vec<&PodAnnouncement> = shown()
            .filter(|known| known.presence(is_reading, now).is_counted())
            .map(|known| &known.said)
            .collect();
        let own = own.map(|said| BoardEntry { said, read_at: now, age_when_read: Duration::ZERO });
        pods.extend(own.as_ref().map(summary));
        counted.extend(own.as_ref().map(|known| &known.said));
        pods.sort_by_cached_key(|pod| (pod.state.rank(), natural(&pod.pod)));
        let unavailable = board.unavailable.clone().or_else(|| {
            let is_alone = pods.iter().all(|pod| pod.state != PodPresence::Unknown);
            (!is_alone).then(|| format!("nothing has been read from Kafka for {} s", GONE_AFTER.as_secs()))
        });
        let everybody = shown().chain(own.as_ref()).map(|known| &known.said);
        PoolSnapshot {
            unavailable,
            open_failures: OpenFailures::of(everybody),
            feeds: all_feeds(&counted),
            connections: summed_by_connection(&counted),
            pods,
        }
    }

    /// The answers to tasks of open batches by the other pods, including pods that are gone; and the time from which none of
    /// them is missing, in seconds since the epoch.
    #[must_use]
    pub fn batch_answers(&self) -> (BTreeMap<String, BatchAnswers>, i64) {
        let board = self.board();
        let (mut answers, mut exact_since) = (BTreeMap::<String, BatchAnswers>::new(), i64::MIN);
        for BoardEntry { said, .. } in board.pods.values().filter(|known| *known.said.pod != *self.me) {
            exact_since = exact_since.max(said.batches_exact_since());
            for (id, of) in &said.batches {
                *answers.entry(id.clone()).or_default() += *of;
            }
        }
        (answers, exact_since)
    }

    /// What was announced last under this pod's name, by this process or by one before it.
    #[must_use]
    pub fn own(&self) -> Option<PodAnnouncement> {
        self.board().pods.get(&*self.me).map(|known| known.said.clone())
    }

    /// The keys of pods that are gone for good. Only one pod should delete them: the first of the live ones, if that is
    /// this one.
    #[must_use]
    pub fn to_delete(&self, now: Instant) -> Vec<String> {
        let board = self.board();
        let is_live = |known: &&BoardEntry| !known.said.leaves && !known.is_silent(now);
        if board.pods.values().find(is_live).is_none_or(|first| *first.said.pod != *self.me) {
            return Vec::new();
        }
        let gone = board.pods.values().filter(|known| known.is_forgotten(now));
        gone.map(|known| known.said.key()).collect()
    }

    fn board(&self) -> MutexGuard<'_, BoardPods> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sorts `pod-10` after `pod-9`.
fn natural(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name.get(stem.len()..).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (stem.to_owned(), number, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::announcement::{AnnouncedConnection, AnnouncedFailures, PodFigures};
    use jiff::Timestamp;

    use super::*;
    use crate::feeds::FeedStatus;
    use crate::metrics::{SessionSnapshot, TaskSnapshot};

    fn said(pod: &str) -> PodAnnouncement {
        PodAnnouncement {
            group: "pool".into(),
            pod: pod.into(),
            healthy: true,
            ready: true,
            at_ms: 1_000_000,
            ..PodAnnouncement::default()
        }
    }

    fn take(board: &PoolBoard, said: &PodAnnouncement, now: Instant) {
        board.take(said.key().as_bytes(), Some(&said.encode()), RecordAge::New, now);
    }

    fn states(board: &PoolBoard, now: Instant) -> Vec<(String, PodPresence)> {
        let snapshot = board.snapshot(Some(said("pod-0")), now);
        snapshot.pods.into_iter().map(|pod| (pod.pod, pod.state)).collect()
    }

    fn state(board: &PoolBoard, pod: &str, now: Instant) -> Option<PodPresence> {
        states(board, now).into_iter().find_map(|(name, state)| (name == pod).then_some(state))
    }

    #[test]
    fn a_pod_that_falls_silent_is_gone_and_is_shown_as_that_for_an_hour() {
        let (board, begun) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        take(&board, &said("pod-1"), begun);
        for second in (0..3_700).step_by(5) {
            take(&board, &said("pod-0"), at(second));
        }
        // What was read last of pod-0 counts, wherever time is looked at from.
        assert_eq!(state(&board, "pod-1", at(19)), Some(PodPresence::Up));
        assert_eq!(state(&board, "pod-1", at(20)), Some(PodPresence::Gone));
        assert_eq!(state(&board, "pod-1", at(3_599)), Some(PodPresence::Gone));
        assert_eq!(state(&board, "pod-1", at(3_600)), None);
        assert_eq!(board.to_delete(at(3_600)), ["pod/pool/pod-1"]);
        board.take(b"pod/pool/pod-1", None, RecordAge::New, at(3_600));
        assert_eq!(board.to_delete(at(3_600)), [""; 0]);
        take(&board, &said("pod-1"), at(3_700));
        assert_eq!(state(&board, "pod-1", at(3_700)), Some(PodPresence::Up));
    }

    #[test]
    fn a_pod_that_stops_is_no_alarm() {
        let (board, now) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        take(&board, &said("pod-0"), now);
        let figures = PodFigures { partitions: "ftp-tasks[0-11]".into(), ..PodFigures::default() };
        take(&board, &PodAnnouncement { leaves: true, figures, ..said("pod-1") }, now);
        assert_eq!(state(&board, "pod-1", now), Some(PodPresence::Stopped));
        let pods = board.snapshot(None, now).pods;
        let stopped = pods.iter().find(|pod| pod.pod == "pod-1").unwrap();
        assert_eq!(stopped.figures, PodFigures::default(), "it owns no partitions any more");
        assert_eq!(state(&board, "pod-1", now + STOPPED_SHOWN), None);
    }

    #[test]
    fn what_is_not_read_is_not_known_to_be_gone() {
        let (board, begun) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        take(&board, &said("pod-0"), begun);
        take(&board, &said("pod-1"), begun);
        let later = begun + Duration::from_secs(40);
        assert_eq!(
            state(&board, "pod-1", later),
            Some(PodPresence::Unknown),
            "its own record is missing as well"
        );
        assert_eq!(state(&board, "pod-0", later), Some(PodPresence::Up), "it knows itself");
        let snapshot = board.snapshot(Some(said("pod-0")), later);
        assert_eq!(snapshot.unavailable.as_deref(), Some("nothing has been read from Kafka for 20 s"));
        assert_eq!(board.to_delete(begun + 2 * GONE_SHOWN), [""; 0], "nor does it delete anybody then");
        board.set_unavailable(Some("no topic".into()));
        assert_eq!(board.snapshot(None, begun).unavailable.as_deref(), Some("no topic"));
    }

    #[test]
    fn a_record_that_stood_there_is_as_old_as_its_clock_says() {
        let (board, now) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        let replay = |pod: &str, now_ms| {
            board.take(
                said(pod).key().as_bytes(),
                Some(&said(pod).encode()),
                RecordAge::Replayed { now_ms },
                now,
            );
        };
        replay("late", 1_000_000 + 25_000);
        replay("ahead", 1_000_000 - 5_000);
        take(&board, &said("pod-0"), now);
        assert_eq!(state(&board, "late", now), Some(PodPresence::Gone));
        assert_eq!(state(&board, "ahead", now), Some(PodPresence::Up), "a clock that is ahead is no age");
    }

    #[test]
    fn other_groups_and_other_records_are_passed_over_and_nothing_grows_without_bound() {
        let (board, now) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        take(&board, &PodAnnouncement { group: "other".into(), ..said("stranger") }, now);
        board.take(b"report/pod-9/7f", Some(&said("pod-9").encode()), RecordAge::New, now);
        board.take(b"pod/pool/x", Some(b"no json"), RecordAge::New, now);
        assert_eq!(states(&board, now), [("pod-0".to_owned(), PodPresence::Up)]);
        (0..MAX_PODS + 10).for_each(|n| take(&board, &said(&format!("p-{n}")), now));
        assert_eq!(board.snapshot(None, now).pods.len(), MAX_PODS);
    }

    #[test]
    fn those_in_trouble_come_first_then_names_in_their_order() {
        let (board, now) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        for pod in ["pod-10", "pod-9", "pod-2"] {
            take(&board, &said(pod), now);
        }
        take(&board, &PodAnnouncement { ready: false, ..said("pod-5") }, now);
        take(&board, &PodAnnouncement { healthy: false, ready: false, ..said("pod-7") }, now);
        take(&board, &PodAnnouncement { draining: true, ready: false, ..said("pod-6") }, now);
        take(&board, &PodAnnouncement { leaves: true, ..said("pod-1") }, now);
        let names: Vec<_> = states(&board, now).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["pod-7", "pod-5", "pod-6", "pod-0", "pod-2", "pod-9", "pod-10", "pod-1"]);
    }

    #[test]
    fn feeds_of_all_pods_are_shown_as_they_were_listed_last() {
        let (board, now) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        let feed = |name: &str, second| FeedStatus {
            feed: name.into(),
            listed_at: Some(Timestamp::from_second(second).unwrap()),
            ..FeedStatus::default()
        };
        take(&board, &PodAnnouncement { feeds: vec![feed("b", 9), feed("c", 1)], ..said("pod-1") }, now);
        let own = PodAnnouncement { feeds: vec![feed("b", 7), feed("a", 1)], ..said("pod-0") };
        let feeds = board.snapshot(Some(own), now).feeds;
        let listed: Vec<_> =
            feeds.iter().map(|feed| (&*feed.feed, feed.listed_at.unwrap().as_second())).collect();
        assert_eq!(listed, [("a", 1), ("b", 9), ("c", 1)]);
    }

    #[test]
    fn failures_and_answers_to_batches_are_added_up_over_pods_that_are_gone_too() {
        let (board, begun) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        let failures = |answered, sent_again| AnnouncedFailures { answered, sent_again };
        let batches = |completed| BTreeMap::from([("b".to_owned(), BatchAnswers { completed, failed: 1 })]);
        let with = |pod: &str, started_at, failures, completed| PodAnnouncement {
            started_at,
            failures,
            batches: batches(completed),
            ..said(pod)
        };
        take(&board, &with("pod-1", 70, failures(5, 0), 3), begun);
        take(&board, &with("pod-2", 90, failures(2, 4), 4), begun);
        let later = begun + 2 * GONE_AFTER;
        let open = board.snapshot(Some(with("pod-0", 80, failures(1, 1), 9)), later).open_failures;
        assert_eq!(open, OpenFailures { since: 70, answered: 8, sent_again: 5, open: 3 });
        let (answers, exact_since) = board.batch_answers();
        assert_eq!((answers["b"], exact_since), (BatchAnswers { completed: 7, failed: 2 }, 90));
    }

    #[test]
    fn connections_are_added_up_over_the_pods_that_live() {
        let (board, now) = (PoolBoard::new("pool", "pod-0"), Instant::now());
        let connection = |breaker: &str, busy, granted| AnnouncedConnection {
            breaker: breaker.into(),
            sessions: SessionSnapshot { busy, ..SessionSnapshot::default() },
            tasks: TaskSnapshot { waiting: 4, ..TaskSnapshot::default() },
            tasks_per_second: 1.5,
            deferred: 3,
            error: (breaker != "closed").then(|| "connect: refused".to_owned()),
            max_sessions_total: Some(5),
            granted: Some(granted),
        };
        let with = |pod: &str, breaker: &str, busy, granted| PodAnnouncement {
            connections: BTreeMap::from([("far".to_owned(), connection(breaker, busy, granted))]),
            ..said(pod)
        };
        take(&board, &with("pod-1", "open", 1, 2), now);
        take(&board, &PodAnnouncement { leaves: true, ..with("pod-2", "closed", 9, 9) }, now);
        let snapshot = board.snapshot(Some(with("pod-0", "closed", 2, 3)), now);
        let [far] = &snapshot.connections[..] else { panic!("{snapshot:?}") };
        assert_eq!((far.breaker, far.pods_down, far.sessions.busy, far.tasks.waiting), ("open", 1, 3, 8));
        assert_eq!((far.deferred, far.error.as_deref()), (6, Some("connect: refused")));
        assert_eq!((far.max_sessions_total, far.granted), (Some(5), Some(5)));
        let holders: Vec<_> = far.holders.iter().map(|one| (&*one.pod, one.sessions, one.granted)).collect();
        assert_eq!(holders, [("pod-0", 2, 3), ("pod-1", 1, 2)]);
    }
}
