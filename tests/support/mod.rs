//! What the end-to-end suite stands on: a real Apache Kafka, a real vsftpd, servers that behave badly, and
//! the product itself, each as a child process that never outlives the test process.
//!
//! `scripts/install-deps.sh` puts the servers where these modules look for them.

#![allow(dead_code, reason = "each test binary, and each bench, uses its own part")]

pub mod certificate;
pub mod client;
pub mod collector;
pub mod far_network;
pub mod files;
pub mod ftp_server;
pub mod gate;
pub mod hostile;
pub mod http;
pub mod kafka;
pub mod kafka_admin;
pub mod kafka_cluster;
pub mod kafka_node;
pub mod kafka_proxy;
pub mod kafka_secured;
pub mod link;
pub mod mounted;
pub mod pod;
pub mod ports;
pub mod process;
pub mod pty;
pub mod scratch;
pub mod tunnel;
pub mod vsftpd;
pub mod wait;

use std::path::PathBuf;

/// Where `make deps` unpacks the servers: `.deps` in the checkout, or what `FTP_POOLER_DEPS` says.
pub fn deps_dir() -> PathBuf {
    std::env::var_os("FTP_POOLER_DEPS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".deps"), PathBuf::from)
}
