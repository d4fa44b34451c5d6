//! Limits how often librdkafka's messages are logged: with the brokers away each of its threads repeats itself
//! several times a second. Pure; the time is an argument.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same message is logged once in this time, with how often it was suppressed meanwhile.
pub const QUIET: Duration = Duration::from_secs(30);
/// Kinds of message that are remembered; one more, and the outdated ones are forgotten.
const MAX_KINDS: usize = 64;

/// The messages that were logged lately.
#[derive(Debug, Default)]
pub struct LogThrottle {
    kinds: Mutex<HashMap<String, Kind>>,
}

#[derive(Debug)]
struct Kind {
    logged: Instant,
    suppressed: u64,
}

impl LogThrottle {
    /// Whether a message may be logged now: how often it was suppressed since it was logged last.
    pub fn admit(&self, message: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let name = kind_of(message);
        if let Some(kind) = kinds.get_mut(&name) {
            if now.saturating_duration_since(kind.logged) < QUIET {
                kind.suppressed += 1;
                return None;
            }
            let suppressed = std::mem::take(&mut kind.suppressed);
            kind.logged = now;
            return Some(suppressed);
        }
        if kinds.len() >= MAX_KINDS {
            kinds.retain(|_, kind| now.saturating_duration_since(kind.logged) < QUIET);
        }
        if kinds.len() < MAX_KINDS {
            kinds.insert(name, Kind { logged: now, suppressed: 0 });
        }
        Some(0)
    }
}

/// What stays the same where librdkafka repeats itself: without the thread's name, digits (times, brokers' numbers,
/// counts) and what it appends in parentheses. Its error events say the same as its log lines, in this form.
fn kind_of(message: &str) -> String {
    let bare = match message.split_once("]: ") {
        Some((thread, rest)) if thread.starts_with("[thrd:") => rest,
        _ => message,
    };
    let bare = bare.split(" (after ").next().unwrap_or(bare);
    bare.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: \
                           Connection refused (after 0ms in state CONNECT)";
    const REFUSED_AGAIN: &str = "127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused \
                                 (after 3ms in state CONNECT, 9 identical error(s) suppressed)";

    #[test]
    fn the_same_message_is_logged_once_in_a_while_with_a_count() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        assert_eq!(throttle.admit(REFUSED, start), Some(0));
        for _ in 0..100 {
            assert_eq!(throttle.admit(REFUSED_AGAIN, start + Duration::from_secs(1)), None);
        }
        assert_eq!(throttle.admit("another", start), Some(0));
        assert_eq!(throttle.admit(REFUSED, start + QUIET), Some(100));
        assert_eq!(throttle.admit(REFUSED, start + QUIET), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_new_is_suppressed() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        for kind in 0..1_000 {
            let name: String = std::iter::repeat_n('x', kind).collect();
            assert_eq!(throttle.admit(&name, start), Some(0));
        }
        assert_eq!(throttle.kinds.lock().unwrap().len(), MAX_KINDS);
        assert_eq!(throttle.admit("later", start + QUIET), Some(0));
        assert_eq!(throttle.kinds.lock().unwrap().len(), 1);
    }
}
