//! When a feed is listed next. Pure; the time is an argument.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::FeedSchedule;

/// After a listing that failed; doubled each time, at most [`LONGEST_BACKOFF`]. A feed that lists more often begins with that.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
/// How often the pause for settling files is doubled: a file that keeps changing does not keep its feed busy.
const MAX_DOUBLINGS: u32 = 12;

/// What there was so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListingPast {
    /// When the feed was first known.
    pub known_since: Timestamp,
    /// The last listing.
    pub begun: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// In a row, up to now.
    pub failures: u32,
    /// Some files found have to stay unchanged for longer.
    pub is_settling: bool,
    /// Listings for their sake since the last regular one.
    pub rechecks: u32,
}

/// When the next listing is due; a time that was missed is due at once, and once.
pub(super) fn next_listing(
    schedule: &FeedSchedule,
    settle: Duration,
    past: &ListingPast,
    now: Timestamp,
) -> Timestamp {
    let regular = regular(schedule, past, now);
    let Some(ended) = past.ended else { return regular };
    if past.failures > 0 {
        return later(ended, backoff(schedule, past.failures));
    }
    if past.is_settling {
        let pause = settle.saturating_mul(1 << past.rechecks.min(MAX_DOUBLINGS));
        return regular.min(later(ended, pause));
    }
    regular
}

fn regular(schedule: &FeedSchedule, past: &ListingPast, now: Timestamp) -> Timestamp {
    match (schedule, past.begun) {
        (FeedSchedule::Every(_), None) => past.known_since,
        // if the clock was set back, no longer than usual
        (FeedSchedule::Every(every), Some(begun)) => later(begun.min(now), *every),
        (cron, begun) => cron.next_after(begun.unwrap_or(past.known_since)).unwrap_or(Timestamp::MAX),
    }
}

fn backoff(schedule: &FeedSchedule, failures: u32) -> Duration {
    let first = match schedule {
        FeedSchedule::Every(every) => FIRST_BACKOFF.min(*every),
        FeedSchedule::Cron(_) => FIRST_BACKOFF,
    };
    first.saturating_mul(1 << (failures - 1).min(20)).min(LONGEST_BACKOFF)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(10);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn every(seconds: u64) -> FeedSchedule {
        FeedSchedule::Every(Duration::from_secs(seconds))
    }

    fn past(begun: i64, ended: i64) -> ListingPast {
        ListingPast {
            known_since: at(0),
            begun: Some(at(begun)),
            ended: Some(at(ended)),
            failures: 0,
            is_settling: false,
            rechecks: 0,
        }
    }

    #[test]
    fn a_feed_is_listed_at_once_and_then_again_and_again() {
        let new = ListingPast { begun: None, ended: None, ..past(0, 0) };
        assert_eq!(next_listing(&every(60), SETTLE, &new, at(5)), at(0));
        assert_eq!(next_listing(&every(60), SETTLE, &past(10, 15), at(20)), at(70));
        assert_eq!(
            next_listing(&every(60), SETTLE, &past(1_000, 1_001), at(20)),
            at(80),
            "the clock was set back"
        );
    }

    #[test]
    fn files_that_settle_are_looked_at_sooner_and_ever_more_seldom() {
        let settling = ListingPast { is_settling: true, ..past(10, 15) };
        assert_eq!(next_listing(&every(60), SETTLE, &settling, at(20)), at(25));
        let again = ListingPast { rechecks: 1, ..settling };
        assert_eq!(next_listing(&every(60), SETTLE, &again, at(20)), at(35));
        assert_eq!(
            next_listing(&every(5), SETTLE, &settling, at(20)),
            at(15),
            "not later than it is due anyway"
        );
    }

    #[test]
    fn a_listing_that_failed_is_tried_again_soon_and_ever_more_seldom() {
        let failed = |failures| ListingPast { failures, ..past(10, 15) };
        assert_eq!(next_listing(&every(3_600), SETTLE, &failed(1), at(20)), at(45));
        assert_eq!(next_listing(&every(3_600), SETTLE, &failed(2), at(20)), at(75));
        assert_eq!(next_listing(&every(5), SETTLE, &failed(1), at(20)), at(20));
        assert_eq!(next_listing(&every(5), SETTLE, &failed(50), at(20)), at(615));
    }
}
