//! Which failures were sent again already: the input topic shows it, by a header on the records sent.
//!
//! The header and the record are one, and records are sent in transactions of one transactional id. Initialising that
//! id waits until the predecessor's open transaction is committed or aborted, and no predecessor commits after that
//! (KIP-98). So what is read from the input topic afterwards, up to its end, is complete.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::client::{ClientError, Cluster, Ends, Range, Reader};
use crate::config::KafkaConfig;
use crate::record::RETRY_OF;

/// A record that was sent after a failure may have an earlier time: pods' clocks and ours differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(600);

/// A failure's position in the failure topic.
pub(super) type FailurePosition = (i32, i64);

/// What [`RETRY_OF`] holds for these failures.
pub(super) fn header(topic: &str, positions: &[FailurePosition]) -> String {
    let one = |(partition, offset): &FailurePosition| format!("{topic}/{partition}/{offset}");
    positions.iter().map(one).collect::<Vec<_>>().join(",")
}

fn positions<'a>(header: &'a str, topic: &'a str) -> impl Iterator<Item = FailurePosition> + 'a {
    header.split(',').filter_map(move |one| {
        let (partition, offset) = one.strip_prefix(topic)?.strip_prefix('/')?.split_once('/')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    })
}

/// What the input topic shows.
#[derive(Debug)]
pub(super) struct RetryEvidence {
    pub sent: HashSet<FailurePosition>,
    /// Nothing that was sent from then on is missing.
    complete_from: Option<Timestamp>,
}

impl RetryEvidence {
    /// Reads what was sent since the earliest of the failures. To be called once no other process can send.
    ///
    /// # Errors
    /// The brokers do not answer, or a producer's transaction stays open.
    pub fn read(
        kafka: &KafkaConfig,
        cluster: &Cluster,
        earliest: Timestamp,
    ) -> Result<RetryEvidence, ClientError> {
        let input: Arc<str> = kafka.input_topic.as_str().into();
        let ends = cluster.required_ends(&input)?;
        let early = earliest.as_millisecond() - i64::try_from(CLOCKS_DIFFER.as_millis()).unwrap_or(0);
        let from = cluster.offsets_at(&input, &ends, early)?.offsets;
        let range = |(partition, ends): (&i32, &Ends)| {
            let from = from.get(partition).copied().unwrap_or(ends.begin);
            Range { topic: Arc::clone(&input), partition: *partition, from, to: ends.end }
        };
        let ranges: Vec<Range> = ends.iter().map(range).collect();
        let mut sent = HashSet::new();
        Reader::read_all(kafka, &ranges, |message| {
            if let Some(header) = message.header(RETRY_OF) {
                sent.extend(positions(header, &kafka.fail_topic));
            }
            true
        })?;
        let complete_from = complete_from(kafka, cluster, &input, &ends)?;
        Ok(RetryEvidence { sent, complete_from })
    }

    /// The same as a snapshot, which other senders may outdate at once; `None` if there is no input topic.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn read_if_there(
        kafka: &KafkaConfig,
        cluster: &Cluster,
        earliest: Timestamp,
    ) -> Result<Option<RetryEvidence>, ClientError> {
        match RetryEvidence::read(kafka, cluster, earliest) {
            Err(ClientError::NoTopic(_)) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Whether it is known of a failure of that time whether it was sent again.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.complete_from.is_none_or(|from| at >= from)
    }
}

/// From when on the input topic holds everything that was sent; `None` where nothing was ever removed from it.
fn complete_from(
    kafka: &KafkaConfig,
    cluster: &Cluster,
    input: &Arc<str>,
    ends: &BTreeMap<i32, Ends>,
) -> Result<Option<Timestamp>, ClientError> {
    let begun: Vec<(i32, Ends)> =
        ends.iter().filter(|(_, ends)| ends.begin > 0).map(|(at, e)| (*at, *e)).collect();
    if begun.is_empty() {
        return Ok(None);
    }
    // What the topic keeps by its own settings is kept, also where a partition has had nothing for long.
    let kept = cluster.retention(input)?;
    let by_settings = kept.and_then(|kept| {
        let kept = jiff::SignedDuration::try_from(kept).ok()?;
        Timestamp::now().checked_sub(kept).ok()
    });
    if let Some(from) = by_settings {
        return Ok(Some(from));
    }
    // Otherwise the first remaining record decides: everything since its time is available.
    let first: Vec<Range> = begun
        .iter()
        .map(|(partition, ends)| Range {
            topic: Arc::clone(input),
            partition: *partition,
            from: ends.begin,
            to: (ends.begin + 1).min(ends.end),
        })
        .collect();
    let mut times = BTreeMap::new();
    Reader::read_all(kafka, &first, |message| {
        times.insert(message.partition, message.timestamp_ms);
        true
    })?;
    let time_of = |(partition, _): &(i32, Ends)| {
        let ms = times.get(partition).copied().flatten();
        ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
    };
    Ok(begun.iter().map(time_of).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_failures_of_this_topic_alone() {
        let header = header("ftp-failures", &[(0, 12), (3, 4)]);
        assert_eq!(header, "ftp-failures/0/12,ftp-failures/3/4");
        assert_eq!(positions(&header, "ftp-failures").collect::<Vec<_>>(), [(0, 12), (3, 4)]);
        assert_eq!(positions(&header, "other").count(), 0);
        assert_eq!(positions("ftp-failures/x/1,,/,ftp-failures/1", "ftp-failures").count(), 0);
    }

    #[test]
    fn what_was_removed_from_the_input_topic_cannot_tell() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let evidence =
            RetryEvidence { sent: HashSet::new(), complete_from: Some(at("2025-01-02T00:00:00Z")) };
        assert!(evidence.covers(at("2025-01-02T00:00:00Z")) && !evidence.covers(at("2025-01-01T23:59:59Z")));
        assert!(RetryEvidence { complete_from: None, ..evidence }.covers(Timestamp::MIN));
    }
}
