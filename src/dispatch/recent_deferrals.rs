//! How many tasks of a connection are in the retry topic, as far as this pod knows: those that it has deferred within
//! the time that each one stays there. Nothing else is stored, and a pod that has just started soon has the number.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many steps the time is divided into, which is the count's precision.
const STEPS: u32 = 30;

/// By connection. The lock is never held across an await.
#[derive(Debug)]
pub(super) struct RecentDeferrals {
    /// How long a task stays in the retry topic.
    stay: Duration,
    counts: Mutex<HashMap<String, VecDeque<(Instant, u64)>>>,
}

impl RecentDeferrals {
    pub fn new(stay: Duration) -> Self {
        RecentDeferrals { stay, counts: Mutex::default() }
    }

    /// A task is deferred now.
    pub fn note(&self, connection: &str, now: Instant) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.contains_key(connection) {
            counts.insert(connection.to_owned(), VecDeque::new());
        }
        let Some(steps) = counts.get_mut(connection) else { return };
        drop_old(steps, self.stay, now);
        match steps.back_mut() {
            Some((begun, count)) if now.saturating_duration_since(*begun) < self.stay / STEPS => *count += 1,
            _ => steps.push_back((now, 1)),
        }
    }

    /// How many are there now.
    pub fn count(&self, connection: &str, now: Instant) -> u64 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(steps) = counts.get_mut(connection) else { return 0 };
        drop_old(steps, self.stay, now);
        steps.iter().map(|(_, count)| count).sum()
    }

    /// The connection was removed.
    pub fn forget(&self, connection: &str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
    }
}

fn drop_old(steps: &mut VecDeque<(Instant, u64)>, stay: Duration, now: Instant) {
    while steps.front().is_some_and(|(begun, _)| now.saturating_duration_since(*begun) >= stay) {
        steps.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_counts_for_as_long_as_it_stays_in_the_topic() {
        let (recent, begun) = (RecentDeferrals::new(Duration::from_secs(30)), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for second in 0..20 {
            recent.note("far", at(second));
            recent.note("far", at(second));
        }
        assert_eq!((recent.count("far", at(20)), recent.count("near", at(20))), (40, 0));
        assert_eq!(recent.count("far", at(34)), 30, "the first five seconds' have come back");
        assert_eq!(recent.count("far", at(60)), 0);
        recent.note("far", at(61));
        recent.forget("far");
        assert_eq!(recent.count("far", at(61)), 0);
    }

    #[test]
    fn many_deferrals_take_no_more_room() {
        let (recent, begun) = (RecentDeferrals::new(Duration::from_secs(30)), Instant::now());
        for n in 0..100_000 {
            recent.note("far", begun + Duration::from_micros(200 * n));
        }
        assert_eq!(recent.count("far", begun + Duration::from_secs(20)), 100_000);
        assert!(recent.counts.lock().unwrap()["far"].len() <= STEPS as usize + 1);
    }
}
