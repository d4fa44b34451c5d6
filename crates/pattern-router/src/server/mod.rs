//! Clients' connections: workers that accept them, their protocol, their limits and their end.

mod connection;
mod io;
mod listener;
mod proxy_protocol;
mod tls;

pub use listener::{ListenError, bind, run_worker};
pub use tls::{CertificateError, CertificateStore, ClientTls, load_client_tls};
