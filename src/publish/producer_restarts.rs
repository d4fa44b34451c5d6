//! How often a producer that has failed for good is recreated. Pure; the time is an argument.

use std::time::{Duration, Instant};

/// So many in a row, without an answer published in between, and the pod gives up (after some two minutes): a new
/// process on another node may have more luck.
pub const MAX_CONSECUTIVE_RESTARTS: u32 = 10;
/// Before the first one, then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct ProducerRestarts {
    in_a_row: u32,
    not_before: Option<Instant>,
}

impl ProducerRestarts {
    /// The producer failed for good: false where it has done so too often.
    pub fn record_failure(&mut self, now: Instant) -> bool {
        let wait = FIRST_WAIT.saturating_mul(1 << self.in_a_row.min(16)).min(LONGEST_WAIT);
        self.not_before = Some(now + wait);
        self.in_a_row += 1;
        self.in_a_row <= MAX_CONSECUTIVE_RESTARTS
    }

    /// The producer is renewed, which is no failure of its own.
    pub fn pause(&mut self, now: Instant) {
        self.not_before = self.not_before.max(Some(now + FIRST_WAIT));
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| now >= not_before)
    }

    /// The producer works.
    pub fn published(&mut self) {
        *self = ProducerRestarts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_and_the_number_is_bounded_until_something_was_published() {
        let (mut restarts, mut now) = (ProducerRestarts::default(), Instant::now());
        let begun = now;
        for _ in 0..MAX_CONSECUTIVE_RESTARTS {
            assert!(restarts.record_failure(now));
            assert!(!restarts.is_due(now));
            while !restarts.is_due(now) {
                now += FIRST_WAIT;
            }
        }
        let took = now - begun;
        assert!(took > Duration::from_secs(60) && took < Duration::from_secs(300), "{took:?}");
        assert!(!restarts.record_failure(now));
        restarts.published();
        for _ in 0..=MAX_CONSECUTIVE_RESTARTS {
            restarts.pause(now);
            assert!(!restarts.is_due(now) && restarts.is_due(now + FIRST_WAIT));
            now += FIRST_WAIT;
        }
        assert!(restarts.record_failure(now), "what was renewed does not count");
        restarts.published();
        assert!(restarts.is_due(now) && restarts.record_failure(now));
    }
}
