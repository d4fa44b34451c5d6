//! How long no answer came after what happened.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::events::Event;

/// The longest time without an answer after each kind of event, while there were tasks to be answered.
#[derive(Debug, Default)]
pub struct Gaps {
    longest: BTreeMap<Event, EventGap>,
    /// What happened last.
    current: Option<Event>,
    last_answer: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct EventGap {
    times: usize,
    longest: Duration,
}

impl Gaps {
    /// A gap that lasts belongs to what happens now, from now on.
    pub fn happened(&mut self, event: Event, now: Instant) {
        self.longest.entry(event).or_default().times += 1;
        self.current = Some(event);
        self.last_answer = Some(now);
    }

    /// Looks whether `answers` are more than last time. Without `open` tasks nothing is waited for.
    pub fn look(&mut self, has_new: bool, has_open: bool, now: Instant) {
        let since = *self.last_answer.get_or_insert(now);
        if let Some(gap) = self.current.and_then(|event| self.longest.get_mut(&event))
            && has_open
        {
            gap.longest = gap.longest.max(now.saturating_duration_since(since));
        }
        if has_new || !has_open {
            self.last_answer = Some(now);
        }
    }

    /// A row of the report's table for each kind.
    pub fn rows(&self, run: &str) -> String {
        let row = |(event, gap): (&Event, &EventGap)| {
            format!("| {run} | {event:?} | {} | {:.1} |\n", gap.times, gap.longest.as_secs_f64())
        };
        self.longest.iter().map(row).collect()
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .longest
            .iter()
            .map(|(event, gap)| format!("{event:?} {}x {:.1} s", gap.times, gap.longest.as_secs_f64()));
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

#[test]
fn a_gap_belongs_to_what_happened_last_and_is_none_without_tasks() {
    let begin = Instant::now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    let mut gaps = Gaps::default();
    gaps.look(true, true, at(0));
    gaps.look(false, true, at(50));
    gaps.look(true, true, at(51));
    gaps.happened(Event::KillLeader, at(51));
    gaps.look(false, true, at(55));
    gaps.look(true, true, at(58));
    gaps.look(false, false, at(90));
    gaps.happened(Event::Kill, at(90));
    gaps.look(true, true, at(92));
    assert_eq!(gaps.to_string(), "Kill 1x 2.0 s, KillLeader 1x 7.0 s");
    assert_eq!(gaps.rows("3 brokers").lines().last(), Some("| 3 brokers | KillLeader | 1 | 7.0 |"));
}
