//! How long a transaction may be open: the configured time, or longer if Kafka is distant. Pure.

use std::time::Duration;

/// Requests that wait for each other in a transaction (partitions, answers, the group, its offsets, the end), and as many
/// again for what is slower than the median.
const ROUND_TRIPS: u32 = 10;
/// A dead pod's open transaction holds up its partitions' next owner for this long at most.
const LONGEST: Duration = Duration::from_secs(120);
/// In steps of this, so that it does not change with each measurement.
const STEP: Duration = Duration::from_secs(10);

/// A longer timeout than the present one, if round trips are so long that it would not be sufficient.
pub(super) fn longer(present: Duration, round_trip: Duration) -> Option<Duration> {
    let needed = round_trip.saturating_mul(ROUND_TRIPS).min(LONGEST);
    if needed <= present {
        return None;
    }
    let steps = needed.as_millis().div_ceil(STEP.as_millis());
    Some(STEP.saturating_mul(u32::try_from(steps).unwrap_or(1)))
}

/// The call that sends offsets begins again each time that it is made: three requests, where the coordinator is yet to be found.
pub(super) fn offsets_call(bound: Duration) -> Duration {
    bound * 3 / 10
}

/// Offsets that the coordinator does not take are tried for this long, then the transaction is aborted: it would not keep it
/// for much longer.
pub(super) fn offsets_patience(bound: Duration) -> Duration {
    bound * 8 / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESENT: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_near_broker_changes_nothing_and_a_far_one_gets_what_ten_round_trips_take() {
        for near in [0, 1, 100, 1_000] {
            assert_eq!(longer(PRESENT, Duration::from_millis(near)), None, "{near} ms");
        }
        assert_eq!(longer(PRESENT, Duration::from_millis(1_001)), Some(seconds(20)));
        assert_eq!(longer(PRESENT, seconds(4)), Some(seconds(40)));
        assert_eq!(longer(seconds(40), seconds(4)), None);
        assert_eq!(longer(PRESENT, seconds(60)), Some(LONGEST));
        assert_eq!(longer(LONGEST, seconds(60)), None);
    }

    #[test]
    fn the_offsets_have_time_for_their_requests_at_each_round_trip() {
        for round_trip in [1, 4, 12].map(seconds) {
            let bound = longer(PRESENT, round_trip).unwrap_or(PRESENT);
            assert!(offsets_call(bound) >= 3 * round_trip, "{round_trip:?}: {bound:?}");
            assert!(offsets_patience(bound) < bound);
        }
    }
}
