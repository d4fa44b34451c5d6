//! Waiting for a condition, with a deadline and a reason.

use std::time::{Duration, Instant};

/// Between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `look` gives something.
///
/// # Panics
/// At the deadline, with `what` was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    match try_wait_for(within, look) {
        Some(found) => found,
        None => panic!("waited {within:?} in vain for: {what}"),
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// At the deadline, with `what` was waited for.
#[track_caller]
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, within, || condition().then_some(()));
}

/// Waits until `look` gives something; `None` at the deadline.
pub fn try_wait_for<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(INTERVAL);
    }
}
