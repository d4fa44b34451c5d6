//! Values of arguments: times, sizes, and how far back.

use std::time::Duration;

pub use crate::config::TimeArgument;
use crate::config::{parse_duration, parse_size};

/// A duration as in the configuration.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration such as 30s, 1h30m or 1d".to_owned())
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "expected a size such as 500, 64K or 1.5Gi".to_owned())
}

pub(super) fn moment(text: &str) -> Result<TimeArgument, String> {
    TimeArgument::parse(text)
}
