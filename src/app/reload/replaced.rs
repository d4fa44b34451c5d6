//! Storages that no new try finds any more, and in which some that began earlier still work.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::storage::LocalStorage;

/// The interval between two checks whether they are still in use.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Kept at most, each with a descriptor and a sweep: the one that was replaced first goes without.
const MAX_REPLACED: usize = 64;

/// They are swept as long as they are in use, and settled at the end like the present ones. Clones share them.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct ReplacedStorages(Arc<Mutex<VecDeque<ReplacedStorage>>>);

#[derive(Debug)]
struct ReplacedStorage {
    storage: Arc<LocalStorage>,
    /// Ends its sweep.
    sweep: CancellationToken,
}

impl ReplacedStorages {
    /// Keeps it until it is no longer in use. True if there was none before: call [`ReplacedStorages::watch`].
    pub(super) fn keep(&self, storage: Arc<LocalStorage>, sweep: CancellationToken) -> bool {
        let mut kept = self.lock();
        let was_empty = kept.is_empty();
        kept.push_back(ReplacedStorage { storage, sweep });
        if kept.len() > MAX_REPLACED
            && let Some(ReplacedStorage { storage, sweep }) = kept.pop_front()
        {
            let connection = storage.name();
            tracing::warn!(
                event = "replaced_storage_dropped",
                connection,
                "too many replaced directories in use: one is no longer cleaned of orphaned temp files"
            );
            sweep.cancel();
        }
        was_empty
    }

    /// Drops each once it is no longer in use, until there is none, or until `stop`.
    pub(super) async fn watch(self, stop: CancellationToken) {
        while self.check() && stop.run_until_cancelled(sleep(CHECK_INTERVAL)).await.is_some() {}
    }

    /// Drops those that are no longer in use; false if none is left.
    pub(super) fn check(&self) -> bool {
        let mut kept = self.lock();
        kept.retain(|ReplacedStorage { storage, sweep }| {
            let is_in_use = Arc::strong_count(storage) > 1 || storage.is_in_use();
            if !is_in_use {
                sweep.cancel(); // it does what is due
            }
            is_in_use
        });
        !kept.is_empty()
    }

    /// Waits until no call is in progress in any of them, nor in any of `present`; at most this long, for all
    /// concurrently. False if there still is one.
    pub async fn settle_with(&self, present: BTreeMap<String, Arc<LocalStorage>>, within: Duration) -> bool {
        let mut settling = JoinSet::new();
        let replaced: Vec<_> = self.lock().iter().map(|one| Arc::clone(&one.storage)).collect();
        for storage in present.into_values().chain(replaced) {
            settling.spawn(async move { storage.settled(within).await });
        }
        let mut all_settled = true;
        while let Some(settled) = settling.join_next().await {
            all_settled &= settled.unwrap_or(false);
        }
        all_settled
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ReplacedStorage>> {
        // Nothing panics while it holds the lock; at worst a storage is kept for longer.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
