//! Values of arguments: times, sizes, and how far back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::{parse_duration, parse_size};

/// A duration as the configuration takes it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration such as 30s, 1h30m or 1d".to_owned())
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "expected a size such as 500, 64K or 1.5Gi".to_owned())
}

/// A moment: how long ago, or RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeArgument {
    Ago(Duration),
    At(Timestamp),
}

impl TimeArgument {
    /// The moment, seen from `now`.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            TimeArgument::At(at) => at,
            TimeArgument::Ago(ago) => now.checked_sub(span(ago)).unwrap_or(Timestamp::MIN),
        }
    }

    /// The moment after `now` that a duration means.
    #[must_use]
    pub fn after(self, now: Timestamp) -> Timestamp {
        match self {
            TimeArgument::At(at) => at,
            TimeArgument::Ago(time) => now.checked_add(span(time)).unwrap_or(Timestamp::MAX),
        }
    }
}

fn span(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

pub(super) fn moment(text: &str) -> Result<TimeArgument, String> {
    if let Some(ago) = parse_duration(text) {
        return Ok(TimeArgument::Ago(ago));
    }
    text.parse().map(TimeArgument::At).map_err(|_| {
        "expected a duration such as 90s, 1h or 7d, or a time such as 2025-01-15T10:30:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_duration_ago_or_a_time() {
        let now: Timestamp = "2025-01-15T10:30:00Z".parse().unwrap();
        assert_eq!(moment("1d").unwrap().before(now).to_string(), "2025-01-14T10:30:00Z");
        assert_eq!(moment("90s").unwrap().after(now).to_string(), "2025-01-15T10:31:30Z");
        assert_eq!(moment("2024-01-01T00:00:00Z").unwrap().before(now).to_string(), "2024-01-01T00:00:00Z");
        assert!(moment("yesterday").is_err());
        assert_eq!(moment("99999999w").unwrap().before(now), Timestamp::MIN);
    }
}
