//! The local connections' storages, each with a sweep for temp files of the dead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::AppError;
use super::replaced::ReplacedStorages;
use crate::config::{ConfiguredConnections, ConnectionChange, LocalConnection};
use crate::storage::{LocalStorage, StorageError, TempNames};
use crate::transfer::LocalStorages;

/// Opens a connection's directory. Blocks.
pub(in super::super) fn open(
    connection: &LocalConnection,
    sweep_every: Duration,
) -> Result<LocalStorage, StorageError> {
    Ok(LocalStorage::open(connection)?.sweeping_every(sweep_every))
}

/// Opens all of them.
pub(in super::super) fn open_all(
    connections: &ConfiguredConnections,
    sweep_every: Duration,
) -> Result<LocalStorages, AppError> {
    let mut storages = BTreeMap::new();
    for (name, connection) in &connections.local {
        let storage = open(connection, sweep_every)
            .map_err(|error| AppError::Storage { connection: name.clone(), reason: error.to_string() })?;
        storages.insert(name.clone(), storage);
    }
    Ok(storages.into())
}

/// What is open, and swept.
#[derive(Debug)]
pub(in super::super) struct OpenStorages {
    storages: LocalStorages,
    names: TempNames,
    tasks: TaskTracker,
    /// Ends all sweeps.
    stop: CancellationToken,
    /// Ends one.
    sweeps: BTreeMap<String, CancellationToken>,
    replaced: ReplacedStorages,
}

impl OpenStorages {
    /// Begins to sweep them, until `stop`.
    pub fn sweep(
        storages: LocalStorages,
        names: TempNames,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sweeps, replaced) = (BTreeMap::new(), ReplacedStorages::default());
        let mut open = OpenStorages { storages, names, tasks, stop, sweeps, replaced };
        for (name, storage) in open.storages.all() {
            open.begin(name, &storage);
        }
        open
    }

    /// Those that tries which began earlier still have.
    pub fn replaced(&self) -> ReplacedStorages {
        self.replaced.clone()
    }

    /// Tries that start from now on find what is in `opened`, and nothing of what is removed; running ones continue
    /// with the storages they have, which are swept until the last of them has ended.
    pub fn change(
        &mut self,
        changes: &BTreeMap<String, ConnectionChange>,
        opened: &BTreeMap<String, Arc<LocalStorage>>,
    ) {
        let mut storages = self.storages.all();
        let mut replaced = Vec::new();
        for name in changes.keys() {
            let before = match opened.get(name) {
                Some(storage) => storages.insert(name.clone(), Arc::clone(storage)),
                None => storages.remove(name),
            };
            replaced.extend(before.zip(self.sweeps.remove(name)));
            if let Some(storage) = opened.get(name) {
                self.begin(name.clone(), storage);
            }
        }
        self.storages.replace(storages);
        self.replaced.check();
        for (storage, sweep) in replaced {
            if self.replaced.keep(storage, sweep) {
                self.tasks.spawn(self.replaced.clone().watch(self.stop.clone()));
            }
        }
    }

    fn begin(&mut self, name: String, storage: &Arc<LocalStorage>) {
        let stop = self.stop.child_token();
        self.tasks.spawn(LocalStorage::clone(storage).sweep(self.names.clone(), stop.clone()));
        self.sweeps.insert(name, stop);
    }
}
