//! The state of a deferred task, in our own headers of its record in the retry topic.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Header, Origin};

/// Headers with this prefix belong to the retry topic, and stay within the pooler.
pub const OWN_HEADER_PREFIX: &str = "ftp-pooler-";

const GROUP: &str = "ftp-pooler-group";
const NOT_BEFORE: &str = "ftp-pooler-not-before";
const ATTEMPTS: &str = "ftp-pooler-attempts";
const ORIGIN: &str = "ftp-pooler-origin";
const ORIGIN_TIME: &str = "ftp-pooler-origin-time";
const SINCE: &str = "ftp-pooler-deferred-since";
const BEGUN: &str = "ftp-pooler-begun";

/// One stay in the retry topic. Times are written in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryState {
    /// The consumer group that deferred the task: several may share a retry topic.
    pub group: Arc<str>,
    /// The task is not processed before this.
    pub not_before: Timestamp,
    /// How many tries were started so far.
    pub attempts: u32,
    /// The origin of the task's first record, which its files' names and marks refer to.
    pub origin: Origin,
    /// That record's own time, milliseconds since the epoch.
    pub origin_ms: Option<i64>,
    /// When it was first deferred.
    pub since: Timestamp,
    /// When its first try began.
    pub begun: Option<Timestamp>,
}

impl RetryState {
    pub fn headers(&self) -> Vec<Header> {
        let Origin { topic, partition, offset } = &self.origin;
        let mut headers = vec![
            header(GROUP, self.group.to_string()),
            header(NOT_BEFORE, self.not_before.as_millisecond().to_string()),
            header(ATTEMPTS, self.attempts.to_string()),
            header(ORIGIN, format!("{topic}/{partition}/{offset}")),
            header(SINCE, self.since.as_millisecond().to_string()),
        ];
        headers.extend(self.origin_ms.map(|time| header(ORIGIN_TIME, time.to_string())));
        headers.extend(self.begun.map(|begun| header(BEGUN, begun.as_millisecond().to_string())));
        headers
    }

    /// Parses a record's headers; `None` if they are not in the form that [`RetryState::headers`] writes.
    pub fn read(headers: &[Header]) -> Option<RetryState> {
        Some(RetryState {
            group: text(headers, GROUP)?.into(),
            not_before: time(headers, NOT_BEFORE)?,
            attempts: text(headers, ATTEMPTS)?.parse().ok()?,
            origin: origin(text(headers, ORIGIN)?)?,
            origin_ms: text(headers, ORIGIN_TIME).and_then(|time| time.parse().ok()),
            since: time(headers, SINCE)?,
            begun: time(headers, BEGUN),
        })
    }
}

/// Removes our own headers: on any topic but the retry topic they were forged by a producer.
pub fn remove_own(headers: &mut Vec<Header>) {
    headers.retain(|header| !header.key.starts_with(OWN_HEADER_PREFIX));
}

fn header(key: &str, value: String) -> Header {
    Header { key: key.to_owned(), value: Some(value.into_bytes()) }
}

/// The last header counts, as in Kafka's own clients.
fn text<'a>(headers: &'a [Header], key: &str) -> Option<&'a str> {
    let header = headers.iter().rev().find(|header| header.key == key)?;
    std::str::from_utf8(header.value.as_deref()?).ok()
}

fn time(headers: &[Header], key: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(text(headers, key)?.parse().ok()?).ok()
}

/// A topic's name contains no slash.
fn origin(text: &str) -> Option<Origin> {
    let mut parts = text.splitn(3, '/');
    let topic = parts.next().filter(|topic| !topic.is_empty())?.into();
    Some(Origin { topic, partition: parts.next()?.parse().ok()?, offset: parts.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_retry_state_reads_back_as_it_was_written(
            not_before in 0_i64..4_000_000_000_000,
            attempts: u32,
            (partition, offset) in (0_i32.., 0_i64..),
            begun in prop::option::of(0_i64..4_000_000_000_000),
        ) {
            let at = |ms| Timestamp::from_millisecond(ms).unwrap();
            let origin = Origin { topic: "ftp-tasks".into(), partition, offset };
            let state = RetryState {
                group: "a/group".into(), not_before: at(not_before), attempts, origin, origin_ms: begun,
                since: at(not_before / 2), begun: begun.map(at),
            };
            let mut headers = vec![header("trace", "1".into())];
            headers.extend(state.headers());
            prop_assert_eq!(RetryState::read(&headers), Some(state));
            remove_own(&mut headers);
            prop_assert_eq!(headers.len(), 1);
        }

        #[test]
        fn headers_that_are_none_of_ours_are_no_retry_state(keys in prop::collection::vec("[a-z-]{0,30}", 0..9)) {
            let headers: Vec<_> = keys.iter().map(|key| header(key, "1".into())).collect();
            prop_assert_eq!(RetryState::read(&headers), None);
        }
    }

    #[test]
    fn a_header_that_cannot_be_read_makes_it_no_retry_state() {
        for bad in ["", "ftp-tasks/0", "ftp-tasks/x/1", "/0/1"] {
            assert_eq!(origin(bad), None, "{bad:?}");
        }
    }
}
