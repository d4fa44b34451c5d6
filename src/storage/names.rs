//! Makes temp names, reads those of others, and finds out whose record is done with.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::temp_name::{Incarnation, Realm, TempName};
use crate::offsets::Witness;
use crate::record::Origin;

/// How long one question to Kafka may take; it is asked again later.
const ASK_WITHIN: Duration = Duration::from_secs(6);
/// After a question without an answer none is asked for so long.
const SILENCE: Duration = Duration::from_secs(10);

/// This process's temp names. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Names {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    incarnation: Incarnation,
    witness: Arc<dyn Witness>,
    group: String,
    topics: Vec<Arc<str>>,
    realm: OnceLock<Realm>,
    /// Kafka gave no answer a moment ago.
    silent_until: Mutex<Option<Instant>>,
}

impl Names {
    /// For the records of `topics`, as this consumer group reads them.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn new(
        witness: Arc<dyn Witness>,
        group: &str,
        topics: impl IntoIterator<Item = Arc<str>>,
    ) -> Result<Names, getrandom::Error> {
        let (group, topics) = (group.to_owned(), topics.into_iter().collect());
        let (incarnation, realm) = (Incarnation::random()?, OnceLock::new());
        let silent_until = Mutex::default();
        Ok(Names { shared: Arc::new(Shared { incarnation, witness, group, topics, realm, silent_until }) })
    }

    /// This process's.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// A new name for a try at this record.
    #[must_use]
    pub fn name_for(&self, record: &Origin) -> TempName {
        TempName::new(record, self.shared.incarnation, self.realm())
    }

    /// Reads a name found in a directory; `None` where it is not one of the pooler's.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<TempName> {
        TempName::parse(name, self.realm())
    }

    /// Those of the given whose records are done with, by what the group has committed. `None` where Kafka does not
    /// say: then they may be asked for again.
    pub async fn of_done_records(&self, temps: Vec<TempName>) -> Option<Vec<TempName>> {
        if temps.is_empty() {
            return Some(Vec::new());
        }
        if self.is_silent() {
            return None;
        }
        let witness = Arc::clone(&self.shared.witness);
        let asked = tokio::task::spawn_blocking(move || {
            let records: Vec<Origin> = temps.iter().filter_map(TempName::origin).cloned().collect();
            let done = witness.are_done(&records)?;
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

    fn realm(&self) -> &Realm {
        let Shared { incarnation, witness, group, topics, realm, .. } = &*self.shared;
        realm.get_or_init(|| {
            let cluster = witness.cluster().unwrap_or_else(|| {
                // Then nobody else can read our names, nor we theirs: what we leave stands until it is old.
                tracing::warn!("the Kafka cluster has no id: temp files of dead pods stand for two hours");
                format!("{incarnation} {}", std::process::id())
            });
            Realm::new(cluster.as_bytes(), group, topics)
        })
    }
}
