//! The local connections' files, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::storage::Storage;

/// Clones share what is in it, and each change of it. Whoever has a storage goes on with it.
#[derive(Clone, Debug, Default)]
pub struct Storages(Arc<RwLock<BTreeMap<String, Arc<Storage>>>>);

impl Storages {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Storage>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Tries that begin from now on find these.
    pub fn replace(&self, storages: BTreeMap<String, Arc<Storage>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = storages;
    }

    /// As they are now.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Arc<Storage>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<BTreeMap<String, Storage>> for Storages {
    fn from(storages: BTreeMap<String, Storage>) -> Self {
        let shared = storages.into_iter().map(|(name, storage)| (name, Arc::new(storage)));
        Storages(Arc::new(RwLock::new(shared.collect())))
    }
}
