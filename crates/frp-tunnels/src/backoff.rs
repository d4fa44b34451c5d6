//! How long to wait before trying again.

use std::time::Duration;

/// Waits that double from [`Self::first`] to [`Self::longest`].
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// The next failure is the first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_grow_to_the_longest_and_stay_there(first in 1_u64..10_000, longest in 10_000_u64..100_000, count in 1..200) {
            let mut backoff = Backoff::new(Duration::from_millis(first), Duration::from_millis(longest));
            let waits: Vec<_> = (0..count).map(|_| backoff.next_wait()).collect();
            prop_assert_eq!(waits[0], Duration::from_millis(first));
            prop_assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(longest)));
            backoff.reset();
            prop_assert_eq!(backoff.next_wait(), Duration::from_millis(first));
        }
    }
}
