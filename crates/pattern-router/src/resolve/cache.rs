//! The cache in front of a resolver: concurrent look-ups of an id are combined.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;

use super::{LookupError, PodRecord, SharedResolver, within};
use crate::metrics::Metrics;

/// How many ids are cached; the least recently used are evicted.
const MAX_ENTRIES: u64 = 65_536;
/// How long a negative answer is cached.
const MISS_FOR: Duration = Duration::from_secs(1);
/// A refused connect triggers a new look-up, but not more often than this.
const REFRESH_AFTER: Duration = Duration::from_millis(200);
/// How long the previous answer is used while the resolver does not answer.
const STALE_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
struct CachedAnswer {
    answer: Result<Arc<PodRecord>, LookupError>,
    at: Instant,
}

/// A resolver with its cache.
#[derive(Debug)]
pub struct Directory {
    resolver: SharedResolver,
    answers: Cache<String, CachedAnswer>,
    /// The last positive answers, for when the resolver is unavailable.
    known: Cache<String, Arc<PodRecord>>,
    hold: Duration,
    timeout: Duration,
}

impl Directory {
    pub fn new(resolver: SharedResolver, hold: Duration, timeout: Duration) -> Directory {
        let hold = hold.max(Duration::from_millis(1));
        Directory {
            resolver,
            answers: Cache::builder().max_capacity(MAX_ENTRIES).time_to_live(hold).build(),
            known: Cache::builder().max_capacity(MAX_ENTRIES).time_to_live(hold + STALE_FOR).build(),
            hold,
            timeout,
        }
    }

    pub fn resolver(&self) -> &SharedResolver {
        &self.resolver
    }

    /// How long a caller may keep an answer.
    pub fn hold(&self) -> Duration {
        if self.resolver.is_local() { self.hold.min(MISS_FOR) } else { self.hold }
    }

    /// The pod of an id. With `refresh` a recent answer is not sufficient: its address refused a connect.
    pub async fn find(
        &self,
        id: &str,
        refresh: bool,
        metrics: &Metrics,
    ) -> Result<Arc<PodRecord>, LookupError> {
        if self.resolver.is_local() {
            return self.resolver.look_up(id).await.map(Arc::new);
        }
        let is_stale = |cached: &CachedAnswer| {
            let age = cached.at.elapsed();
            (refresh && age > REFRESH_AFTER) || (cached.answer.is_err() && age > MISS_FOR)
        };
        let entry = self.answers.entry_by_ref(id).or_insert_with_if(self.ask(id, metrics), is_stale).await;
        entry.into_value().answer
    }

    async fn ask(&self, id: &str, metrics: &Metrics) -> CachedAnswer {
        let answer = within(self.timeout, self.resolver.look_up(id)).await;
        let at = Instant::now();
        let (outcome, answer) = match answer {
            Ok(record) => {
                let record = Arc::new(record);
                self.known.insert(id.to_owned(), Arc::clone(&record)).await;
                ("found", Ok(record))
            }
            Err(LookupError::NotFound) => {
                self.known.invalidate(id).await;
                ("not_found", Err(LookupError::NotFound))
            }
            Err(LookupError::Unavailable(reason)) => {
                tracing::warn!(event = "resolve_failed", id, reason, "resolving the name failed");
                let stale = self.known.get(id).await;
                ("failed", stale.ok_or(LookupError::Unavailable(reason)))
            }
        };
        metrics.lookups.with_label_values(&[outcome]).inc();
        CachedAnswer { answer, at }
    }
}
