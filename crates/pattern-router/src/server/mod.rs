//! Clients' connections: workers that accept them, their protocol, their limits and their end.
//!
//! ```text
//! listener        workers: a thread with its own runtime for each core, all listening on one port
//! connection      one client's connection, from its first byte to its last
//! io              its socket, plain or TLS, counted and timed
//! proxy_protocol  the PROXY protocol of a trusted load balancer, versions 1 and 2
//! tls             certificates by SNI, reloaded when their files change
//! ```

mod connection;
mod io;
mod listener;
mod proxy_protocol;
mod tls;

pub use listener::{ListenError, bind, run_worker};
pub use tls::{CertificateError, CertificateStore, ClientTls, load_client_tls};
