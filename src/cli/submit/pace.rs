//! The rate of answers and bytes, and the remaining time: nothing while that is unknown. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is measured over this time.
const WINDOW: Duration = Duration::from_secs(30);
/// Between two samples.
const EVERY: Duration = Duration::from_millis(500);
/// A time left that is longer than this says nothing.
const LONGEST: Duration = Duration::from_secs(99 * 3_600);

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    answered: u64,
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Pace {
    /// The oldest is the one that the pace is counted from.
    looks: VecDeque<Look>,
    now: Look,
}

impl Pace {
    pub fn new(begun: Instant) -> Pace {
        let first = Look { at: begun, answered: 0, bytes: 0 };
        Pace { looks: VecDeque::from([first]), now: first }
    }

    pub fn look(&mut self, at: Instant, answered: u64, bytes: u64) {
        // A failed try loses its bytes: they have to be transferred again.
        self.now = Look { at, answered, bytes };
        if self.looks.back().is_none_or(|last| at.duration_since(last.at) >= EVERY) {
            self.looks.push_back(self.now);
        }
        while self.looks.get(1).is_some_and(|second| at.duration_since(second.at) >= WINDOW) {
            self.looks.pop_front();
        }
    }

    fn a_second(&self, of: fn(&Look) -> u64) -> f64 {
        let Some(first) = self.looks.front() else { return 0.0 };
        let seconds = self.now.at.duration_since(first.at).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let moved = of(&self.now).saturating_sub(of(first)) as f64;
        if seconds > 0.0 { moved / seconds } else { 0.0 }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
    pub fn bytes_a_second(&self) -> u64 {
        self.a_second(|look| look.bytes) as u64
    }

    /// The remaining time at this rate: by bytes if they are known, else by tasks.
    pub fn left(&self, total: u64, total_bytes: u64) -> Option<Duration> {
        let by_tasks = left(total.saturating_sub(self.now.answered), self.a_second(|look| look.answered));
        let bytes_left = total_bytes.saturating_sub(self.now.bytes);
        let by_bytes = left(bytes_left, self.a_second(|look| look.bytes));
        let estimate = if total_bytes > 0 && bytes_left > 0 { by_bytes } else { by_tasks };
        estimate.filter(|left| *left <= LONGEST)
    }
}

fn left(rest: u64, a_second: f64) -> Option<Duration> {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let seconds = rest as f64 / a_second;
    (rest > 0 && a_second > 0.0).then(|| Duration::try_from_secs_f64(seconds.ceil()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn bytes_of_one_large_file_tell_how_long_it_takes() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        assert_eq!(pace.left(1, 3 * GIB), None, "nothing has come yet");
        for second in 1..=10 {
            pace.look(begun + Duration::from_secs(second), 0, second * (100 << 20));
        }
        assert_eq!(pace.bytes_a_second(), 100 << 20);
        assert_eq!(pace.left(1, 3 * GIB), Some(Duration::from_secs(21)));
    }

    #[test]
    fn what_stands_still_has_no_time_left() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        pace.look(begun + Duration::from_secs(1), 10, 1_000);
        assert!(pace.left(20, 2_000).is_some());
        for second in 2..=60 {
            pace.look(begun + Duration::from_secs(second), 10, 1_000);
        }
        assert_eq!((pace.left(20, 2_000), pace.bytes_a_second()), (None, 0));
    }

    #[test]
    fn a_time_that_nobody_lives_to_see_is_not_told() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        pace.look(begun + Duration::from_secs(10), 1, 0);
        assert_eq!(pace.left(35_000, 0), Some(Duration::from_secs(349_990)));
        assert_eq!(pace.left(36_000, 0), None, "more than 99 hours");
        pace.look(begun + Duration::from_secs(20), 2, 0);
        assert_eq!(pace.left(2, 0), None, "nothing is left");
    }
}
