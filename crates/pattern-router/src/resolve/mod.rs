//! Resolves a pod: an id's address, and what its owner allows. Answers are cached for a short while; a refused connect
//! triggers a new look-up at once.
//!
//! ```text
//! cache             the cache in front of a resolver: one look-up of an id at a time
//! dns               a headless service's name for each pod
//! http              the application is asked: `GET …/{id}`
//! kubernetes        pods of one namespace by a selector, from memory
//! kubernetes_watch  the list and the watch that keep it up to date
//! ```

mod cache;
mod dns;
mod http;
mod kubernetes;
mod kubernetes_watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use cache::Directory;
pub use dns::DnsResolver;
pub use http::HttpResolver;
pub use kubernetes::{KubernetesApi, KubernetesError, KubernetesResolver};

use crate::pool::UpstreamProtocol;

/// A pod, as returned by the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodRecord {
    /// In the order in which they are tried.
    pub addresses: Vec<IpAddr>,
    /// The ports that may be reached, if the resolver lists them: restricted to those of the configuration.
    pub ports: Option<Vec<PodPort>>,
    /// Who has access, by name or role; if both lists are empty, any session has.
    pub users: Vec<String>,
    pub roles: Vec<String>,
}

/// A port that the resolver names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodPort {
    pub port: u16,
    /// Accessible without a session.
    pub public: bool,
    /// Its protocol, if the resolver knows it.
    pub protocol: Option<UpstreamProtocol>,
}

impl PodRecord {
    pub fn at(address: IpAddr) -> PodRecord {
        PodRecord { addresses: vec![address], ..PodRecord::default() }
    }

    /// Whether the pod's owner gives this user access.
    pub fn allows(&self, user: &str, roles: &[String]) -> bool {
        (self.users.is_empty() && self.roles.is_empty())
            || self.users.iter().any(|one| one == user)
            || self.roles.iter().any(|one| roles.contains(one))
    }
}

/// Why a pod has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error("there is no such pod")]
    NotFound,
    /// The message is for logs: it may contain internal names.
    #[error("the look-up failed: {0}")]
    Unavailable(String),
}

/// The source of pods' addresses.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Resolver {
    List(std::collections::HashMap<String, IpAddr>),
    Dns(DnsResolver),
    Kubernetes(KubernetesResolver),
    Http(HttpResolver),
}

impl Resolver {
    pub async fn look_up(&self, id: &str) -> Result<PodRecord, LookupError> {
        match self {
            Resolver::List(addresses) => {
                addresses.get(id).map(|address| PodRecord::at(*address)).ok_or(LookupError::NotFound)
            }
            Resolver::Dns(dns) => dns.look_up(id).await,
            Resolver::Kubernetes(kubernetes) => kubernetes.look_up(id),
            Resolver::Http(http) => http.look_up(id).await,
        }
    }

    /// Whether answers come from this process's memory, and need no cache.
    pub fn is_local(&self) -> bool {
        matches!(self, Resolver::List(_) | Resolver::Kubernetes(_))
    }

    /// Why it cannot answer yet, if it cannot.
    pub fn not_ready(&self) -> Option<String> {
        match self {
            Resolver::Kubernetes(kubernetes) => kubernetes.not_ready(),
            _ => None,
        }
    }
}

/// A look-up with a time limit.
pub(crate) async fn within(
    limit: Duration,
    what: impl Future<Output = Result<PodRecord, LookupError>>,
) -> Result<PodRecord, LookupError> {
    tokio::time::timeout(limit, what)
        .await
        .unwrap_or_else(|_| Err(LookupError::Unavailable(format!("no answer within {limit:?}"))))
}

/// A resolver and its shared state.
pub type SharedResolver = Arc<Resolver>;
