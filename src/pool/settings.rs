//! What the sessions of one connection are opened with, until its configuration changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::FtpConnection;

/// One generation of a connection: its keys, and what its sessions have found out about the server they lead to.
#[derive(Debug)]
pub(super) struct Settings<K> {
    connection: Arc<FtpConnection>,
    known: Arc<K>,
    version: Version,
}

impl<K: Default> Settings<K> {
    pub fn new(connection: Arc<FtpConnection>) -> Arc<Self> {
        Arc::new(Settings { connection, known: Arc::default(), version: Version::default() })
    }
}

impl<K> Settings<K> {
    pub fn connection(&self) -> &FtpConnection {
        &self.connection
    }

    pub fn known(&self) -> &Arc<K> {
        &self.known
    }

    pub fn version(&self) -> &Version {
        &self.version
    }
}

/// Whether settings are still those of their connection. Cheap to ask; the room knows the same of each session, so
/// that it puts none back that is outdated.
#[derive(Clone, Debug, Default)]
pub struct Version(Arc<AtomicBool>);

impl Version {
    /// The connection has other settings by now, or is no more: what happens with these tells nothing of it.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn outdate(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
