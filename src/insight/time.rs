//! The API's format of times.

use jiff::Timestamp;
use serde::Serializer;

use crate::text::rfc3339;

pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
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
