//! The local connections' storages, each with a sweep for temp files of the dead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::Error;
use crate::config::{Change, Connections, LocalConnection};
use crate::storage::{Names, Storage, StorageError};
use crate::transfer::Storages;

/// Opens a connection's directory. Blocks.
pub(in super::super) fn open(
    connection: &LocalConnection,
    sweep_every: Duration,
) -> Result<Storage, StorageError> {
    Ok(Storage::open(connection)?.sweeping_every(sweep_every))
}

/// Opens all of them.
pub(in super::super) fn open_all(
    connections: &Connections,
    sweep_every: Duration,
) -> Result<Storages, Error> {
    let mut storages = BTreeMap::new();
    for (name, connection) in &connections.local {
        let storage = open(connection, sweep_every)
            .map_err(|error| Error::Storage { connection: name.clone(), reason: error.to_string() })?;
        storages.insert(name.clone(), storage);
    }
    Ok(storages.into())
}

/// What is open, and swept.
#[derive(Debug)]
pub(in super::super) struct OpenStorages {
    storages: Storages,
    names: Names,
    tasks: TaskTracker,
    /// Ends all sweeps.
    stop: CancellationToken,
    /// Ends one.
    sweeps: BTreeMap<String, CancellationToken>,
}

impl OpenStorages {
    /// Begins to sweep them, until `stop`.
    pub fn sweep(storages: Storages, names: Names, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let mut open = OpenStorages { storages, names, tasks, stop, sweeps: BTreeMap::new() };
        for (name, storage) in open.storages.all() {
            open.begin(name, &storage);
        }
        open
    }

    /// Tries that begin from now on find what is in `opened`, and nothing of what is removed; those that are under way
    /// go on with what they have.
    pub fn change(&mut self, changes: &BTreeMap<String, Change>, opened: &BTreeMap<String, Arc<Storage>>) {
        let mut storages = self.storages.all();
        for name in changes.keys() {
            if let Some(sweep) = self.sweeps.remove(name) {
                sweep.cancel();
            }
            match opened.get(name) {
                Some(storage) => {
                    storages.insert(name.clone(), Arc::clone(storage));
                    self.begin(name.clone(), storage);
                }
                None => drop(storages.remove(name)),
            }
        }
        self.storages.replace(storages);
    }

    fn begin(&mut self, name: String, storage: &Arc<Storage>) {
        let stop = self.stop.child_token();
        self.tasks.spawn(Storage::clone(storage).sweep(self.names.clone(), stop.clone()));
        self.sweeps.insert(name, stop);
    }
}
