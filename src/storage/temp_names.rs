//! Generates temp names, parses those of others, and determines which records are done.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::temp_name::{Incarnation, TempName, TempNamespace};
use crate::offsets::CommittedOffsets;
use crate::record::Origin;

/// How long one query to Kafka may take; it is repeated later.
const ASK_WITHIN: Duration = Duration::from_secs(6);
/// After an unanswered query, none is sent for this long.
const SILENCE: Duration = Duration::from_secs(10);

/// This process's temp names. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TempNames {
    shared: Arc<TempNamesInner>,
}

#[derive(Debug)]
struct TempNamesInner {
    incarnation: Incarnation,
    committed_offsets: Arc<dyn CommittedOffsets>,
    group: String,
    topics: Vec<Arc<str>>,
    namespace: OnceLock<TempNamespace>,
    /// Kafka recently gave no answer.
    silent_until: Mutex<Option<Instant>>,
}

impl TempNames {
    /// For the records of `topics`, as read by this consumer group.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn new(
        committed_offsets: Arc<dyn CommittedOffsets>,
        group: &str,
        topics: impl IntoIterator<Item = Arc<str>>,
    ) -> Result<TempNames, getrandom::Error> {
        let (group, topics) = (group.to_owned(), topics.into_iter().collect());
        let (incarnation, namespace) = (Incarnation::random()?, OnceLock::new());
        let silent_until = Mutex::default();
        Ok(TempNames {
            shared: Arc::new(TempNamesInner {
                incarnation,
                committed_offsets,
                group,
                topics,
                namespace,
                silent_until,
            }),
        })
    }

    /// This process's.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// A new name for a try at this record.
    #[must_use]
    pub fn name_for(&self, record: &Origin) -> TempName {
        TempName::new(record, self.shared.incarnation, self.namespace())
    }

    /// The same name, which also identifies the source that the file is a part of: see [`TempName::is_of_same_source`].
    #[must_use]
    pub fn part_of(&self, temp: &TempName, source: &[u8]) -> TempName {
        temp.part_of(source, self.namespace())
    }

    /// Parses a name found in a directory; `None` if it is not one of the pooler's.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<TempName> {
        TempName::parse(name, self.namespace())
    }

    /// Those whose records are done, according to the group's commits. `None` if Kafka does not answer: they may be
    /// asked for again.
    pub async fn of_done_records(&self, temps: Vec<TempName>) -> Option<Vec<TempName>> {
        if temps.is_empty() {
            return Some(Vec::new());
        }
        if self.is_silent() {
            return None;
        }
        let committed_offsets = Arc::clone(&self.shared.committed_offsets);
        let asked = tokio::task::spawn_blocking(move || {
            let records: Vec<Origin> = temps.iter().filter_map(TempName::origin).cloned().collect();
            let done = committed_offsets.are_done(&records)?;
            let done = temps.into_iter().filter(|temp| temp.origin().is_some()).zip(done);
            Some(done.filter_map(|(temp, done)| done.then_some(temp)).collect())
        });
        let told = timeout(ASK_WITHIN, asked).await.ok()?.ok()?;
        if told.is_none() {
            *self.silence() = Some(Instant::now() + SILENCE);
        }
        told
    }

    fn is_silent(&self) -> bool {
        self.silence().is_some_and(|until| Instant::now() < until)
    }

    fn silence(&self) -> MutexGuard<'_, Option<Instant>> {
        self.shared.silent_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn namespace(&self) -> &TempNamespace {
        let TempNamesInner { incarnation, committed_offsets, group, topics, namespace, .. } = &*self.shared;
        namespace.get_or_init(|| {
            let cluster = committed_offsets.cluster().unwrap_or_else(|| {
                // Then no other process can read our names, nor we theirs: what we leave remains until it is old
                // enough.
                tracing::warn!(
                    event = "cluster_id_missing",
                    "the Kafka cluster has no id; orphaned temp files remain for two hours"
                );
                format!("{incarnation} {}", std::process::id())
            });
            TempNamespace::new(cluster.as_bytes(), group, topics)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A group that has committed `low` in every partition; `None`: Kafka is away.
    #[derive(Debug, Default)]
    struct FakeCommitted {
        cluster: Option<String>,
        low: Option<i64>,
        asked: AtomicUsize,
    }

    impl CommittedOffsets for FakeCommitted {
        fn cluster(&self) -> Option<String> {
            self.cluster.clone()
        }

        fn are_done(&self, records: &[Origin]) -> Option<Vec<bool>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let low = self.low?;
            Some(records.iter().map(|record| record.offset < low).collect())
        }
    }

    fn names(committed_offsets: FakeCommitted) -> (TempNames, Arc<FakeCommitted>) {
        let committed_offsets = Arc::new(committed_offsets);
        (
            TempNames::new(Arc::<FakeCommitted>::clone(&committed_offsets), "group", ["ftp-tasks".into()])
                .unwrap(),
            committed_offsets,
        )
    }

    fn temps(names: &TempNames) -> Vec<TempName> {
        let at = |offset| Origin { topic: "ftp-tasks".into(), partition: 1, offset };
        [4, 5, 6].map(|offset| names.name_for(&at(offset))).into()
    }

    #[tokio::test]
    async fn those_are_told_whose_records_are_done() {
        let cluster = Some("cluster".to_owned());
        let (names, _) = names(FakeCommitted { cluster, low: Some(6), asked: AtomicUsize::new(0) });
        let temps = temps(&names);
        assert_eq!(names.of_done_records(temps.clone()).await.unwrap(), temps[..2]);
    }

    #[tokio::test]
    async fn where_kafka_does_not_say_nothing_is_told_and_it_is_left_in_peace_for_a_while() {
        let (names, kafka) = names(FakeCommitted::default());
        for _ in 0..3 {
            assert_eq!(names.of_done_records(temps(&names)).await, None);
        }
        assert_eq!(kafka.asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn without_a_clusters_id_nobody_else_reads_our_names() {
        let (ours, _) = names(FakeCommitted::default());
        let (theirs, _) = names(FakeCommitted::default());
        let temp = &temps(&ours)[0];
        assert!(ours.read(temp.as_str()).unwrap().origin().is_some());
        assert!(theirs.read(temp.as_str()).unwrap().origin().is_none());
    }
}
