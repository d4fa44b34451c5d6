//! The validated configuration, in the types that the data plane uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use crate::address::AddressPolicy;
use crate::name::RoutedDomain;
use crate::pool::PoolBounds;
use crate::ports::PortList;
use crate::rate::RateLimit;

/// How a pod's address is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolverSettings {
    /// Ids and their addresses.
    List(Vec<(String, IpAddr)>),
    /// A headless service's name that contains `{id}`.
    Dns {
        name: String,
    },
    Kubernetes {
        namespace: Option<String>,
        selector: String,
        id_label: Option<String>,
    },
    /// The application is asked: a URL that contains `{id}`.
    Http {
        url: String,
        token_file: Option<PathBuf>,
    },
}

impl Default for ResolverSettings {
    fn default() -> Self {
        ResolverSettings::List(Vec::new())
    }
}

/// How access is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthMode {
    #[default]
    None,
    Session,
    Forward,
}

#[derive(Debug, Clone, Default)]
pub struct AuthSettings {
    pub mode: AuthMode,
    /// The secret itself, or a file that contains it and is read again when it changes.
    pub secret: Option<SecretString>,
    pub secret_file: Option<PathBuf>,
    pub login_url: Option<String>,
    pub auth_url: Option<String>,
    /// How long a session is valid.
    pub session: Duration,
}

/// The `Host` that a pod receives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostHeader {
    #[default]
    Keep,
    /// `localhost:{port}`, in `Origin` too.
    Localhost,
}

/// Deadlines; none if a phase may take any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// A client's TLS handshake, PROXY header and request head.
    pub head: Duration,
    pub connect: Duration,
    /// From the end of a request to the first byte of its response.
    pub answer: Duration,
    /// A client's connection between two requests.
    pub idle: Duration,
    /// A WebSocket or a response body without a byte.
    pub stream_idle: Option<Duration>,
    /// A request's body without a byte.
    pub body: Duration,
    /// A client that accepts none of the data sent.
    pub send: Duration,
    pub lookup: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_client: usize,
    /// In bytes.
    pub head: usize,
    /// In bytes; none: no limit.
    pub body: Option<u64>,
    pub rate: Option<RateLimit>,
}

/// A certificate chain and its key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    #[default]
    None,
    /// Rejected and failed requests.
    Errors,
    /// One in this many requests, and all rejected and failed ones.
    OneOf(u32),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Json,
    Human,
}

/// The addresses that the router listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sockets {
    pub listen: SocketAddr,
    pub admin: Option<SocketAddr>,
}

impl Default for Sockets {
    fn default() -> Self {
        Sockets { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), admin: None }
    }
}

/// The whole configuration. Its defaults are those of the key table.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub sockets: Sockets,
    pub admin_token: Option<SecretString>,
    pub admin_token_file: Option<PathBuf>,
    pub workers: usize,
    pub domain: RoutedDomain,
    pub ports: PortList,
    /// Ports of pods that use TLS.
    pub https_ports: PortList,
    /// Ports of pods that use HTTP/2 without TLS: gRPC.
    pub h2_ports: PortList,
    pub pod_ca_file: Option<PathBuf>,
    pub resolver: ResolverSettings,
    pub lookup_for: Duration,
    pub addresses: AddressPolicy,
    pub auth: AuthSettings,
    pub certificates: Vec<CertificateFiles>,
    pub trusted: Vec<IpNet>,
    pub proxy_protocol: bool,
    pub host_header: HostHeader,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub pool: PoolBounds,
    pub drain: Duration,
    pub reload_every: Duration,
    pub access_log: AccessLog,
    pub log_format: LogFormat,
}

impl Settings {
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}
