//! Times as the API writes them.

use jiff::Timestamp;
use serde::Serializer;

/// RFC 3339 in UTC, with milliseconds: `2025-01-15T10:30:00.000Z`.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

/// The same, or null.
pub(super) mod option {
    use super::{Serializer, Timestamp};

    #[expect(clippy::ref_option, reason = "serde's way to call it")]
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits_of_a_second() {
        assert_eq!(rfc3339("2025-01-15T10:30:00Z".parse().unwrap()), "2025-01-15T10:30:00.000Z");
        assert_eq!(rfc3339("2025-01-15T10:30:00.1239Z".parse().unwrap()), "2025-01-15T10:30:00.123Z");
    }
}
