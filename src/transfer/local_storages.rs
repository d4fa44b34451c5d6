//! The local connections' files, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::give_up;
use crate::failure::{Code, TryError};
use crate::storage::LocalStorage;

/// Clones share what is in it, and each change of it. Whoever has a storage keeps it.
#[derive(Clone, Debug, Default)]
pub struct LocalStorages(Arc<RwLock<BTreeMap<String, Arc<LocalStorage>>>>);

/// A local connection's files as they lay when they were asked for, whatever becomes of the connection since; nothing
/// where there was none.
#[derive(Clone, Debug, Default)]
pub struct LocalFiles(Option<Arc<LocalStorage>>);

impl LocalFiles {
    /// # Errors
    /// `unknown_connection`, where there was none called `name`.
    pub(super) fn storage(&self, name: &str) -> Result<&Arc<LocalStorage>, TryError> {
        self.0.as_ref().ok_or_else(|| {
            give_up(Code::UnknownConnection, format!("there is no local connection called {name:?}"))
        })
    }
}

impl LocalStorages {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<LocalStorage>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A connection's files as they lie now.
    #[must_use]
    pub fn files(&self, name: &str) -> LocalFiles {
        LocalFiles(self.get(name))
    }

    /// Whoever asks from now on finds these.
    pub fn replace(&self, storages: BTreeMap<String, Arc<LocalStorage>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = storages;
    }

    /// As they are now.
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

/// Files that differ from others by their name only.
#[cfg(test)]
impl LocalFiles {
    pub fn called(name: &str) -> LocalFiles {
        let base_path = std::env::temp_dir();
        let connection = crate::config::LocalConnection { name: name.to_owned(), base_path };
        LocalFiles(Some(Arc::new(LocalStorage::open(&connection).unwrap())))
    }

    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|storage| storage.name())
    }
}
