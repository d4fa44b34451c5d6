//! The files of a feed that have become tasks, as its owner has written them: on the feed's own partition.

use std::collections::BTreeSet;

use super::feeds_topic::read_partition;
use crate::client::ClientError;
use crate::config::Config;
use crate::feeds::{FeedRecord, PathHash, partition_of};

/// Those of `paths` that the feed does not know.
///
/// # Errors
/// The brokers do not answer.
pub(super) fn unknown_paths(
    config: &Config,
    feed: &str,
    paths: &[String],
) -> Result<Vec<String>, ClientError> {
    let mut missing: BTreeSet<PathHash> = paths.iter().map(|path| hash_of(path)).collect();
    let wanted = missing.clone();
    read_partition(config, partition_of(feed), |record| note(&record, feed, &wanted, &mut missing))?;
    Ok(paths.iter().filter(|path| missing.contains(&hash_of(path))).cloned().collect())
}

/// A path as it is given: below the feed's source.
pub(super) fn hash_of(path: &str) -> PathHash {
    PathHash::of(path.trim_start_matches('/'))
}

/// The last record of a file counts.
fn note(record: &FeedRecord, of: &str, wanted: &BTreeSet<PathHash>, missing: &mut BTreeSet<PathHash>) {
    if let FeedRecord::File { feed, hash, taken } = record
        && feed == of
        && wanted.contains(hash)
    {
        if taken.is_some() {
            missing.remove(hash);
        } else {
            missing.insert(*hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_from_its_last_record() {
        let json = br#"{"path":"a","size":1,"task_id":"t","at":"now"}"#;
        let record = |feed: &str, path: &str, value: Option<&[u8]>| {
            let hash = hash_of(path);
            let (key, _) = FeedRecord::File { feed: feed.to_owned(), hash, taken: None }.encode();
            FeedRecord::decode(key.as_bytes(), value).unwrap()
        };
        let wanted: BTreeSet<PathHash> = ["/a", "b", "c"].map(hash_of).into();
        let mut missing = wanted.clone();
        for record in [
            record("in", "a", Some(json)),
            record("in", "b", Some(json)),
            record("in", "b", None),
            record("other", "c", Some(json)),
            record("in", "d", Some(json)),
        ] {
            note(&record, "in", &wanted, &mut missing);
        }
        assert_eq!(missing, ["b", "c"].map(hash_of).into());
    }
}
