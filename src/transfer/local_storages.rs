//! The local connections' files, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::give_up;
use crate::failure::{Code, TryError};
use crate::storage::{CallWatch, LocalStorage};

/// Clones share the content and each change of it. A storage stays valid for those that already have it.
#[derive(Clone, Debug, Default)]
pub struct LocalStorages(Arc<RwLock<BTreeMap<String, Arc<LocalStorage>>>>);

/// The local connections' storages at the time when they were requested, whatever happens to the connections since;
/// empty if there were none. Also monitors the calls of one task's tries.
#[derive(Clone, Debug, Default)]
pub struct LocalFiles {
    storage: Option<Arc<LocalStorage>>,
    watch: Arc<CallWatch>,
}

impl LocalFiles {
    /// # Errors
    /// `unknown_connection` if there was none called `name`.
    pub(super) fn storage(&self, name: &str) -> Result<&Arc<LocalStorage>, TryError> {
        self.storage.as_ref().ok_or_else(|| {
            give_up(Code::UnknownConnection, format!("there is no local connection called {name:?}"))
        })
    }

    /// The same storages, with a monitor of their own.
    #[must_use]
    pub fn for_task(&self) -> LocalFiles {
        LocalFiles { storage: self.storage.clone(), watch: Arc::default() }
    }

    /// Whether a call has been in the file system for longer than `after`, even if it is no longer awaited.
    #[must_use]
    pub fn is_hanging(&self, after: Duration) -> bool {
        let longest = self.storage.as_ref().and_then(|storage| storage.longest_call());
        longest.is_some_and(|(_, time)| time > after)
    }

    /// Monitors how long calls into the file system take.
    #[must_use]
    pub fn watch(&self) -> &Arc<CallWatch> {
        &self.watch
    }
}

impl LocalStorages {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<LocalStorage>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A connection's current storage.
    #[must_use]
    pub fn files(&self, name: &str) -> LocalFiles {
        LocalFiles { storage: self.get(name), watch: Arc::default() }
    }

    /// Later requests get these.
    pub fn replace(&self, storages: BTreeMap<String, Arc<LocalStorage>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = storages;
    }

    /// The hanging calls, one line for each local connection that has any.
    #[must_use]
    pub fn hanging(&self) -> Vec<String> {
        let storages = self.all();
        let hanging = storages.iter().filter_map(|(name, storage)| {
            let (what, time) = storage.longest_call()?;
            Some(format!("local connection {name}: {what}, for {} s", time.as_secs()))
        });
        hanging.collect()
    }

    /// The current storages.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Arc<LocalStorage>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<BTreeMap<String, LocalStorage>> for LocalStorages {
    fn from(storages: BTreeMap<String, LocalStorage>) -> Self {
        let shared = storages.into_iter().map(|(name, storage)| (name, Arc::new(storage)));
        LocalStorages(Arc::new(RwLock::new(shared.collect())))
    }
}

/// Storages that differ by their name only.
#[cfg(test)]
impl LocalFiles {
    pub fn called(name: &str) -> LocalFiles {
        let base_path = std::env::temp_dir();
        let connection = crate::config::LocalConnection { name: name.to_owned(), base_path };
        let storage = Some(Arc::new(LocalStorage::open(&connection).unwrap()));
        LocalFiles { storage, watch: Arc::default() }
    }

    pub fn name(&self) -> Option<&str> {
        self.storage.as_ref().map(|storage| storage.name())
    }
}
