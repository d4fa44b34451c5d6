//! A moment, as users write it: how long ago, or a time.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::duration;

/// A moment: how long ago, or RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeArgument {
    Ago(Duration),
    At(Timestamp),
}

impl TimeArgument {
    /// Parses `1d`, `90s`, `2025-01-15T10:30:00Z`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<TimeArgument, String> {
        if let Some(ago) = duration::parse(text) {
            return Ok(TimeArgument::Ago(ago));
        }
        text.parse().map(TimeArgument::At).map_err(|_| {
            "expected a duration such as 90s, 1h or 7d, or a time such as 2025-01-15T10:30:00Z".to_owned()
        })
    }

    /// The moment relative to `now`.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            TimeArgument::At(at) => at,
            TimeArgument::Ago(ago) => now.checked_sub(span(ago)).unwrap_or(Timestamp::MIN),
        }
    }

    /// The moment after `now`, if it is a duration.
    #[must_use]
    pub fn after(self, now: Timestamp) -> Timestamp {
        match self {
            TimeArgument::At(at) => at,
            TimeArgument::Ago(time) => now.checked_add(span(time)).unwrap_or(Timestamp::MAX),
        }
    }
}

impl fmt::Display for TimeArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeArgument::Ago(ago) => f.write_str(&duration::show(*ago)),
            TimeArgument::At(at) => at.fmt(f),
        }
    }
}

fn span(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_duration_ago_or_a_time() {
        let now: Timestamp = "2025-01-15T10:30:00Z".parse().unwrap();
        let moment = TimeArgument::parse;
        assert_eq!(moment("1d").unwrap().before(now).to_string(), "2025-01-14T10:30:00Z");
        assert_eq!(moment("90s").unwrap().after(now).to_string(), "2025-01-15T10:31:30Z");
        assert_eq!(moment("2024-01-01T00:00:00Z").unwrap().before(now).to_string(), "2024-01-01T00:00:00Z");
        assert!(moment("yesterday").is_err());
        assert_eq!(moment("99999999w").unwrap().before(now), Timestamp::MIN);
        for text in ["24h", "2024-01-01T00:00:00Z"] {
            assert_eq!(moment(text).unwrap().to_string(), text);
        }
    }
}
