//! A token bucket: how many bytes may move now, or how long to wait for some. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How many slices a second has; one read or write takes a slice at most, so that transfers that share a limit
/// alternate in short steps.
const SLICES_PER_SECOND: u64 = 20;
/// How many slices an idle bucket accumulates: enough to make up for a timer that fires late, but no burst.
const SAVED_SLICES: u64 = 2;
/// The minimum size of a slice in bytes, if the rate permits that many a second: reading single bytes is inefficient.
const SMALLEST_SLICE: u64 = 512;

const NANOSECONDS: u128 = 1_000_000_000;

/// Bytes that may move, accumulated over time.
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// In bytes × nanoseconds of a second, so that no rate is rounded.
    saved: u128,
    /// The time up to which they are counted.
    at: Instant,
}

impl TokenBucket {
    /// An empty one.
    pub fn new(now: Instant) -> TokenBucket {
        TokenBucket { saved: 0, at: now }
    }

    /// Takes up to `want` bytes at `rate` bytes a second, a slice at most; or says how long to wait for them.
    pub fn take(&mut self, rate: u64, want: u64, now: Instant) -> Result<u64, Duration> {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        let earned = elapsed.saturating_mul(u128::from(rate));
        self.saved = self.saved.saturating_add(earned).min(u128::from(depth(rate)) * NANOSECONDS);
        self.at = self.at.max(now);
        let bytes = want.min(slice(rate));
        let price = u128::from(bytes) * NANOSECONDS;
        if let Some(left) = self.saved.checked_sub(price) {
            self.saved = left;
            Ok(bytes)
        } else {
            let wait = (price - self.saved).div_ceil(u128::from(rate.max(1)));
            Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
        }
    }

    /// Returns bytes that were taken, but have not moved.
    pub fn return_bytes(&mut self, bytes: u64) {
        self.saved = self.saved.saturating_add(u128::from(bytes) * NANOSECONDS);
    }
}

/// The maximum for one read or write.
fn slice(rate: u64) -> u64 {
    (rate / SLICES_PER_SECOND).max(rate.min(SMALLEST_SLICE)).max(1)
}

/// The maximum that is accumulated.
fn depth(rate: u64) -> u64 {
    slice(rate).saturating_mul(SAVED_SLICES)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whoever_always_wants_more_gets_the_rate_and_no_more() {
        for rate in [1 << 10, 512 << 10, 10 << 20, 1 << 40] {
            let start = Instant::now();
            let (mut bucket, mut now, mut moved) = (TokenBucket::new(start), start, 0);
            while now < start + 10 * SECOND {
                match bucket.take(rate, u64::MAX, now) {
                    Ok(bytes) => moved += bytes,
                    Err(wait) => now += wait,
                }
            }
            let off = (10 * rate).abs_diff(moved);
            assert!(off <= 2 * slice(rate), "{rate}: {moved}");
        }
    }

    #[test]
    fn an_idle_bucket_saves_a_tenth_of_a_second() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(start);
        let now = start + 3_600 * SECOND;
        let mut moved = 0;
        while let Ok(bytes) = bucket.take(1 << 20, u64::MAX, now) {
            moved += bytes;
        }
        assert!(moved <= (1 << 20) / 10, "{moved}");
    }

    #[derive(Clone, Debug)]
    enum Event {
        Passes(Duration),
        Takes { want: u64, given_back_percent: u64 },
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0u64..400_000_000).prop_map(|nanos| Event::Passes(Duration::from_nanos(nanos))),
            (1u64..1 << 19, prop_oneof![Just(0u64), Just(100), 0u64..=100])
                .prop_map(|(want, given_back_percent)| Event::Takes { want, given_back_percent }),
        ]
    }

    proptest! {
        /// Smooth: in no stretch of time, however short, does more move than its share and what was saved.
        #[test]
        fn no_stretch_of_time_has_more_than_its_share(
            rate in (1u64 << 10)..(1 << 31), events in vec(any_event(), 1..200)
        ) {
            let start = Instant::now();
            let (mut bucket, mut now) = (TokenBucket::new(start), start);
            let mut moved: Vec<(Instant, u64)> = Vec::new();
            for event in events {
                match event {
                    Event::Passes(time) => now += time,
                    Event::Takes { want, given_back_percent } => {
                        if let Ok(bytes) = bucket.take(rate, want, now) {
                            prop_assert!(bytes <= want);
                            let back = bytes * given_back_percent / 100;
                            bucket.return_bytes(back);
                            moved.push((now, bytes - back));
                        }
                    }
                }
            }
            for (index, (from, _)) in moved.iter().enumerate() {
                let mut bytes = 0;
                for (until, more) in &moved[index..] {
                    bytes += u128::from(*more);
                    let share = (*until - *from).as_nanos() * u128::from(rate) / NANOSECONDS;
                    prop_assert!(bytes <= share + u128::from(depth(rate)) + 1, "{bytes} in {:?}", *until - *from);
                }
            }
        }

        /// Nobody waits for ever: after the time that was said the bytes are there.
        #[test]
        fn what_was_waited_for_is_there(rate in (1u64 << 10)..(1 << 40), want in 1u64..1 << 20, used in 0u64..20) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(start);
            let mut now = start;
            for _ in 0..=used {
                if let Err(wait) = bucket.take(rate, want, now) {
                    prop_assert!(wait <= SECOND, "{wait:?}");
                    now += wait;
                    prop_assert!(bucket.take(rate, want, now).is_ok());
                }
            }
        }
    }
}
