//! The connections that these tests' tasks speak of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ftp_pooler::config::{ConfiguredConnections, FtpConnection, LocalConnection, SessionTimeouts};

/// `remote-ftp` and `backup` on servers, `local` and `scratch` here.
pub fn connections() -> ConfiguredConnections {
    let mut connections = ConfiguredConnections::default();
    for name in ["remote-ftp", "backup"] {
        connections.ftp.insert(name.to_owned(), Arc::new(ftp(name)));
    }
    for name in ["local", "scratch"] {
        let base_path = PathBuf::from("/data/storage");
        connections
            .local
            .insert(name.to_owned(), Arc::new(LocalConnection { name: name.to_owned(), base_path }));
    }
    connections
}

pub fn ftp(name: &str) -> FtpConnection {
    let second = Duration::from_secs(1);
    FtpConnection {
        name: name.to_owned(),
        host: "ftp.example.com".to_owned(),
        port: 21,
        user: "username".to_owned(),
        pass: "password".to_owned().into(),
        max_sessions: 10,
        timeouts: SessionTimeouts::all(second),
        ..FtpConnection::default()
    }
}
