//! The settings that a connection's sessions are opened with, until it is reconfigured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::FtpConnection;

/// One generation of a connection: its configuration, and what its sessions have learned about its server.
#[derive(Debug)]
pub(super) struct SessionSettings<K> {
    connection: Arc<FtpConnection>,
    server_profile: Arc<K>,
    version: SettingsVersion,
}

impl<K: Default> SessionSettings<K> {
    pub fn new(connection: Arc<FtpConnection>) -> Arc<Self> {
        Arc::new(SessionSettings {
            connection,
            server_profile: Arc::default(),
            version: SettingsVersion::default(),
        })
    }
}

impl<K> SessionSettings<K> {
    pub fn connection(&self) -> &FtpConnection {
        &self.connection
    }

    pub fn server_profile(&self) -> &Arc<K> {
        &self.server_profile
    }

    pub fn version(&self) -> &SettingsVersion {
        &self.version
    }
}

/// Whether settings are still those of their connection. Cheap to check; the accounting knows the same about each
/// session, so that it keeps none that is outdated.
#[derive(Clone, Debug, Default)]
pub struct SettingsVersion(Arc<AtomicBool>);

impl SettingsVersion {
    /// Whether the connection has been reconfigured or removed: what happens with these settings says nothing about it.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn mark_outdated(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
