//! A transfer's progress: written by the transfer, read by the status API.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The size is not known.
const UNKNOWN: u64 = u64::MAX;
/// The minimum time over which a rate is measured.
const RATE_OVER: Duration = Duration::from_secs(1);

/// The phase of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TransferPhase {
    /// It waits for its login.
    Login,
    /// It has a session, and no byte has moved: names, sizes and hashes are being requested.
    Begin,
    /// Bytes move.
    Transfer,
    /// All bytes have moved: they are being verified, made durable, renamed.
    Finish,
}

impl TransferPhase {
    /// One word, from a closed list.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            TransferPhase::Login => "login",
            TransferPhase::Begin => "begin",
            TransferPhase::Transfer => "transfer",
            TransferPhase::Finish => "finish",
        }
    }

    const fn of(number: u8) -> TransferPhase {
        match number {
            0 => TransferPhase::Login,
            1 => TransferPhase::Begin,
            2 => TransferPhase::Transfer,
            _ => TransferPhase::Finish,
        }
    }
}

/// One try's gauge. Writing it takes no lock.
#[derive(Debug)]
pub struct ProgressGauge {
    phase: AtomicU8,
    /// Bytes that an earlier try has left.
    from: AtomicU64,
    bytes: AtomicU64,
    size: AtomicU64,
    /// The last reading, for the rate since then.
    seen: Mutex<Option<GaugeReading>>,
}

#[derive(Clone, Copy, Debug)]
struct GaugeReading {
    at: Instant,
    bytes: u64,
    rate: f64,
}

impl Default for ProgressGauge {
    fn default() -> Self {
        ProgressGauge {
            phase: AtomicU8::new(TransferPhase::Login as u8),
            from: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            size: AtomicU64::new(UNKNOWN),
            seen: Mutex::new(None),
        }
    }
}

impl ProgressGauge {
    pub fn enter(&self, phase: TransferPhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Bytes move from now on: `from` exist from an earlier try, `size` are expected in total.
    pub fn begin(&self, from: u64, size: Option<u64>) {
        self.from.store(from, Ordering::Relaxed);
        self.bytes.store(from, Ordering::Relaxed);
        self.size.store(size.unwrap_or(UNKNOWN), Ordering::Relaxed);
        self.enter(TransferPhase::Transfer);
    }

    /// Adds bytes that have moved.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    #[must_use]
    pub fn phase(&self) -> TransferPhase {
        TransferPhase::of(self.phase.load(Ordering::Relaxed))
    }

    /// How many bytes of the file exist, including those of an earlier try if it is resumed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The expected size of the file.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        Some(self.size.load(Ordering::Relaxed)).filter(|size| *size != UNKNOWN)
    }

    /// The rate in bytes a second since the last reading, which is at least [`RATE_OVER`] ago; at the first reading
    /// since the try `began`.
    pub fn rate(&self, began: Instant, now: Instant) -> f64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.bytes();
        let (since, before) = match *seen {
            Some(GaugeReading { at, rate, .. }) if now.saturating_duration_since(at) < RATE_OVER => {
                return rate;
            }
            Some(GaugeReading { at, bytes, .. }) => (at, bytes),
            None => (began, self.from.load(Ordering::Relaxed)),
        };
        let over = now.saturating_duration_since(since).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
        let moved = bytes.saturating_sub(before) as f64;
        let rate = if over > 0.0 { moved / over } else { 0.0 };
        *seen = Some(GaugeReading { at: now, bytes, rate });
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_since_the_last_look() {
        let (gauge, began) = (ProgressGauge::default(), Instant::now());
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        assert_eq!(gauge.phase(), TransferPhase::Login);
        gauge.begin(1_000, Some(9_000));
        gauge.add(2_000);
        let rates = |seconds: f64| format!("{:.0}", gauge.rate(began, at(seconds)));
        assert_eq!(rates(2.0), "1000", "what was there before has not moved");
        gauge.add(3_000);
        assert_eq!(rates(2.5), "1000", "too soon for another one");
        assert_eq!(rates(3.0), "3000");
        assert_eq!(rates(4.0), "0", "it stands still");
        assert_eq!(
            (gauge.bytes(), gauge.size(), gauge.phase()),
            (6_000, Some(9_000), TransferPhase::Transfer)
        );
    }

    #[test]
    fn every_phase_is_read_as_it_was_written() {
        let gauge = ProgressGauge::default();
        for phase in
            [TransferPhase::Finish, TransferPhase::Begin, TransferPhase::Transfer, TransferPhase::Login]
        {
            gauge.enter(phase);
            assert_eq!(gauge.phase(), phase);
        }
        gauge.begin(0, None);
        assert_eq!(gauge.size(), None);
    }
}
