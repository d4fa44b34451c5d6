//! A time that may be missing, as text: RFC 3339, as exact as it is; those of a status with milliseconds, as all times of the
//! API are.

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

#[expect(clippy::ref_option, reason = "serde's way to call it")]
pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// With three digits of a second.
pub(super) mod milliseconds {
    use jiff::Timestamp;
    use serde::Serializer;

    pub(in crate::feeds) use super::deserialize;
    use crate::text::rfc3339;

    #[expect(clippy::ref_option, reason = "serde's way to call it")]
    pub(in crate::feeds) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.serialize_str(&rfc3339(*at)),
            None => serializer.serialize_none(),
        }
    }
}
