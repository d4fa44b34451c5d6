//! The minimum speed of a data connection: no byte for too long, or too few over a longer time. Pure: time is an
//! argument.

use std::time::Duration;

use crate::config::{MinRate, SessionTimeouts};

use super::fault::{Fault, Wait};

/// The speed of one transfer. Only time spent waiting for the data connection counts, not the time that the pooler's
/// other side takes.
#[derive(Debug)]
pub(super) struct TransferRate {
    rate: MinRate,
    /// Since the start of the window.
    waited: Duration,
    bytes: u64,
    /// Bytes are received, and none has arrived yet.
    is_first: bool,
}

impl TransferRate {
    /// `receives`: the server sends.
    pub fn new(rate: MinRate, receives: bool) -> TransferRate {
        TransferRate { rate, waited: Duration::ZERO, bytes: 0, is_first: receives }
    }

    /// How long to wait for the next bytes, and which key sets that limit.
    pub fn limit(&self, timeouts: &SessionTimeouts) -> (Wait, Duration) {
        let usual = if self.is_first {
            (Wait::FirstByte, timeouts.first_byte)
        } else {
            (Wait::Stall, timeouts.stall)
        };
        let left = self.rate.window.saturating_sub(self.waited);
        if self.needed() > 0 && !self.is_first && left < usual.1 { (Wait::Rate, left) } else { usual }
    }

    /// Records that this many bytes have moved after this wait.
    pub fn moved(&mut self, bytes: usize, waited: Duration) {
        if std::mem::take(&mut self.is_first) {
            return;
        }
        self.bytes += bytes as u64;
        self.waited += waited;
        if self.bytes >= self.needed() {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
    }

    /// A wait that ended at [`TransferRate::limit`], named after its key.
    pub fn too_slow(&self, fault: Fault) -> Fault {
        match fault {
            Fault::TimedOut { wait: Wait::Rate, .. } => Fault::TimedOut {
                waiting_for: format!("{} bytes on the data connection", self.needed()),
                wait: Wait::Rate,
                limit: self.rate.window,
            },
            fault => fault,
        }
    }

    /// How many bytes each window must have.
    fn needed(&self) -> u64 {
        self.rate.bytes_per_second.saturating_mul(self.rate.window.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(bytes_per_second: u64) -> TransferRate {
        let mut rate = TransferRate::new(MinRate { bytes_per_second, window: 60 * SECOND }, true);
        rate.moved(1, 30 * SECOND);
        rate
    }

    fn timeouts() -> SessionTimeouts {
        SessionTimeouts { first_byte: 40 * SECOND, ..SessionTimeouts::all(20 * SECOND) }
    }

    #[test]
    fn the_first_byte_has_its_own_time_and_each_later_one_the_stalls() {
        let started = TransferRate::new(MinRate { bytes_per_second: 10, window: SECOND }, true);
        assert_eq!(started.limit(&timeouts()), (Wait::FirstByte, 40 * SECOND));
        assert_eq!(rate(10).limit(&timeouts()), (Wait::Stall, 20 * SECOND));
        let upload = TransferRate::new(MinRate { bytes_per_second: 0, window: SECOND }, false);
        assert_eq!(upload.limit(&timeouts()), (Wait::Stall, 20 * SECOND));
    }

    #[test]
    fn bytes_that_drip_end_with_the_window() {
        let mut rate = rate(10);
        for _ in 0..4 {
            rate.moved(100, 12 * SECOND);
        }
        assert_eq!(rate.limit(&timeouts()), (Wait::Rate, 12 * SECOND));
        rate.moved(100, 12 * SECOND);
        assert_eq!(rate.limit(&timeouts()), (Wait::Rate, Duration::ZERO));
        rate.moved(100, Duration::ZERO);
        assert_eq!(rate.limit(&timeouts()), (Wait::Stall, 20 * SECOND), "600 bytes in a minute are enough");
    }

    #[test]
    fn without_a_rate_any_drip_will_do() {
        let mut rate = rate(0);
        for _ in 0..1000 {
            rate.moved(1, 19 * SECOND);
        }
        assert_eq!(rate.limit(&timeouts()), (Wait::Stall, 20 * SECOND));
    }

    #[test]
    fn a_drip_is_told_with_the_bytes_that_were_needed() {
        let fault = Fault::TimedOut { waiting_for: String::new(), wait: Wait::Rate, limit: SECOND };
        let Fault::TimedOut { waiting_for, wait, limit } = rate(64).too_slow(fault) else { panic!() };
        assert_eq!(
            (waiting_for.as_str(), wait, limit),
            ("3840 bytes on the data connection", Wait::Rate, 60 * SECOND)
        );
    }
}
