//! Keeps librdkafka from saying the same over and over: with the brokers away each of its threads complains
//! several times a second. Pure; the time is an argument.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same complaint is told once in this time, with how often it was not told meanwhile.
pub const QUIET: Duration = Duration::from_secs(30);
/// Kinds of complaint that are remembered; one more, and those of long ago are forgotten.
const MAX_KINDS: usize = 64;

/// What was complained about lately.
#[derive(Debug, Default)]
pub struct Noise {
    kinds: Mutex<HashMap<String, Kind>>,
}

#[derive(Debug)]
struct Kind {
    told: Instant,
    untold: u64,
}

impl Noise {
    /// Whether a complaint is to be told now: how often it has not been since it was told last.
    pub fn tell(&self, complaint: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let name = kind_of(complaint);
        if let Some(kind) = kinds.get_mut(&name) {
            if now.saturating_duration_since(kind.told) < QUIET {
                kind.untold += 1;
                return None;
            }
            let untold = std::mem::take(&mut kind.untold);
            kind.told = now;
            return Some(untold);
        }
        if kinds.len() >= MAX_KINDS {
            kinds.retain(|_, kind| now.saturating_duration_since(kind.told) < QUIET);
        }
        if kinds.len() < MAX_KINDS {
            kinds.insert(name, Kind { told: now, untold: 0 });
        }
        Some(0)
    }
}

/// What stays the same where librdkafka repeats itself: without the thread's name, digits (times, brokers' numbers,
/// counts) and what it appends in parentheses. Its error events say the same as its log lines, in this form.
fn kind_of(complaint: &str) -> String {
    let bare = match complaint.split_once("]: ") {
        Some((thread, rest)) if thread.starts_with("[thrd:") => rest,
        _ => complaint,
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
    fn the_same_complaint_is_told_once_in_a_while_with_a_count() {
        let (noise, start) = (Noise::default(), Instant::now());
        assert_eq!(noise.tell(REFUSED, start), Some(0));
        for _ in 0..100 {
            assert_eq!(noise.tell(REFUSED_AGAIN, start + Duration::from_secs(1)), None);
        }
        assert_eq!(noise.tell("another", start), Some(0));
        assert_eq!(noise.tell(REFUSED, start + QUIET), Some(100));
        assert_eq!(noise.tell(REFUSED, start + QUIET), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_new_is_kept_quiet() {
        let (noise, start) = (Noise::default(), Instant::now());
        for kind in 0..1_000 {
            let name: String = std::iter::repeat_n('x', kind).collect();
            assert_eq!(noise.tell(&name, start), Some(0));
        }
        assert_eq!(noise.kinds.lock().unwrap().len(), MAX_KINDS);
        assert_eq!(noise.tell("later", start + QUIET), Some(0));
        assert_eq!(noise.kinds.lock().unwrap().len(), 1);
    }
}
