//! What a tunnel is, as typed values: its kind, where its traffic goes, and how "it works" is proven.
//!
//! ```text
//! validation   all errors of a tunnel at once, each with its tunnel, its key and the remedy
//! conflicts    tunnels that cannot exist together, or take each other's requests
//! identifiers  names of tunnels: given, or chosen by a strategy
//! paths        paths of HTTP tunnels: prefixes by segments, with `*` for one whole segment
//! text         how local services and probes are written
//! ```

mod conflicts;
mod identifiers;
mod paths;
mod text;
mod validation;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

pub use conflicts::{Conflict, ConflictKind, conflicts, conflicts_with};
pub use identifiers::{IdStrategy, MAX_NAME_LENGTH, choose_identifier, is_valid_name};
pub use paths::{PathOverlap, PathPattern, PathPatternError, overlap};
pub(crate) use validation::is_host as validation_is_host;
pub use validation::{Mistake, mistakes, mistakes_of_all};

/// One tunnel as it is wanted.
#[derive(Debug, Clone)]
pub struct TunnelSpec {
    /// `[A-Za-z0-9._-]`, unique within a client; `None`: chosen by the client's [`IdStrategy`].
    pub name: Option<String>,
    pub kind: TunnelKind,
    pub transport: TunnelTransport,
    /// Several proxies behind one remote port or domain, which frps balances round robin.
    pub group: Option<BalancingGroup>,
    /// frpc withdraws the proxy from frps while the local service fails its check.
    pub health_check: Option<HealthCheck>,
    /// Sent to frps with the proxy, where server plugins read it.
    pub metadata: BTreeMap<String, String>,
    /// What must succeed before the tunnel counts as connected; `None`: the kind's default.
    pub probe: Option<Probe>,
}

impl TunnelSpec {
    /// A tunnel of this kind, with nothing else set.
    pub fn new(kind: TunnelKind) -> Self {
        Self {
            name: None,
            kind,
            transport: TunnelTransport::default(),
            group: None,
            health_check: None,
            metadata: BTreeMap::new(),
            probe: None,
        }
    }

    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    #[must_use]
    pub fn probed_by(mut self, probe: Probe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// The local service at `host:port`, at a remote port of frps (`None`: frps chooses one).
    pub fn tcp(local: LocalService, remote_port: Option<u16>) -> Self {
        Self::new(TunnelKind::Tcp(PortTunnel { local, remote_port }))
    }

    /// A web service under these domains.
    pub fn http(local: LocalService, domains: Vec<String>) -> Self {
        Self::new(TunnelKind::Http(HttpTunnel::new(local, domains)))
    }

    /// A service that only the visitors which know the key reach.
    pub fn stcp(local: LocalService, secret_key: SecretString) -> Self {
        Self::new(TunnelKind::Stcp(SecretTunnel { local, secret_key, allow_users: Vec::new() }))
    }

    /// A loopback address that leads to another client's secret tunnel.
    pub fn stcp_visitor(server_name: &str, secret_key: SecretString, bind: SocketAddr) -> Self {
        let server_name = server_name.to_owned();
        Self::new(TunnelKind::StcpVisitor(Visitor { server_name, server_user: None, secret_key, bind }))
    }
}

/// What frp calls the type of a proxy or visitor.
#[derive(Debug, Clone)]
pub enum TunnelKind {
    Tcp(PortTunnel),
    Udp(PortTunnel),
    Http(HttpTunnel),
    Https(DomainTunnel),
    /// Several TCP services behind one port, distinguished by the host of an HTTP CONNECT.
    TcpMux(TcpMuxTunnel),
    Stcp(SecretTunnel),
    Sudp(SecretTunnel),
    Xtcp(SecretTunnel),
    StcpVisitor(Visitor),
    SudpVisitor(Visitor),
    XtcpVisitor(XtcpVisitor),
}

impl TunnelKind {
    /// frp's word for it; a visitor has that of its proxy.
    pub fn frp_type(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Http(_) => "http",
            Self::Https(_) => "https",
            Self::TcpMux(_) => "tcpmux",
            Self::Stcp(_) | Self::StcpVisitor(_) => "stcp",
            Self::Sudp(_) | Self::SudpVisitor(_) => "sudp",
            Self::Xtcp(_) | Self::XtcpVisitor(_) => "xtcp",
        }
    }

    /// Its name in files, listings and metrics: frp's, with `-visitor` for a visitor.
    pub fn label(&self) -> &'static str {
        match self {
            Self::StcpVisitor(_) => "stcp-visitor",
            Self::SudpVisitor(_) => "sudp-visitor",
            Self::XtcpVisitor(_) => "xtcp-visitor",
            other => other.frp_type(),
        }
    }

    pub fn is_visitor(&self) -> bool {
        matches!(self, Self::StcpVisitor(_) | Self::SudpVisitor(_) | Self::XtcpVisitor(_))
    }

    /// The service that a proxy leads to; visitors have none.
    pub fn local(&self) -> Option<&LocalService> {
        match self {
            Self::Tcp(tunnel) | Self::Udp(tunnel) => Some(&tunnel.local),
            Self::Http(tunnel) => Some(&tunnel.local),
            Self::Https(tunnel) => Some(&tunnel.local),
            Self::TcpMux(tunnel) => Some(&tunnel.domains.local),
            Self::Stcp(tunnel) | Self::Sudp(tunnel) | Self::Xtcp(tunnel) => Some(&tunnel.local),
            Self::StcpVisitor(_) | Self::SudpVisitor(_) | Self::XtcpVisitor(_) => None,
        }
    }

    /// The address at which a visitor listens.
    pub fn bind(&self) -> Option<SocketAddr> {
        match self {
            Self::StcpVisitor(visitor) | Self::SudpVisitor(visitor) => Some(visitor.bind),
            Self::XtcpVisitor(visitor) => Some(visitor.visitor.bind),
            _ => None,
        }
    }
}

/// Where a proxy's connections end.
#[derive(Debug, Clone)]
pub enum LocalService {
    /// A host name or IP address, as frpc sees it, and a port.
    Address {
        host: String,
        port: u16,
    },
    Plugin(ClientPlugin),
}

impl LocalService {
    /// A port of this machine.
    pub fn port(port: u16) -> Self {
        Self::address("127.0.0.1", port)
    }

    pub fn address(host: &str, port: u16) -> Self {
        Self::Address { host: host.to_owned(), port }
    }
}

/// A service that frpc itself offers.
#[derive(Debug, Clone)]
pub enum ClientPlugin {
    /// A forward proxy to every host that frpc reaches.
    HttpProxy(Option<BasicAuth>),
    /// As above. Plain FTP downloads hang through it: it never closes one direction (frp issue 1251).
    Socks5(Option<BasicAuth>),
    StaticFiles {
        directory: PathBuf,
        strip_prefix: Option<String>,
        auth: Option<BasicAuth>,
    },
    UnixSocket(PathBuf),
    /// TLS ends in frpc; the service behind speaks plain HTTP.
    HttpsToHttp {
        local: String,
        certificate: PathBuf,
        key: PathBuf,
    },
}

/// A user and password of HTTP's Basic scheme (RFC 7617), or of SOCKS5 (RFC 1929).
#[derive(Debug, Clone)]
pub struct BasicAuth {
    pub user: String,
    pub password: SecretString,
}

#[derive(Debug, Clone)]
pub struct PortTunnel {
    pub local: LocalService,
    /// `None`: frps chooses a free one.
    pub remote_port: Option<u16>,
}

#[derive(Debug, Clone)]
pub struct DomainTunnel {
    pub local: LocalService,
    /// Full names, or `*.example.com`.
    pub domains: Vec<String>,
    /// A label under frps' `subDomainHost`.
    pub subdomain: Option<String>,
}

#[derive(Debug, Clone)]
pub struct HttpTunnel {
    pub local: LocalService,
    pub domains: Vec<String>,
    pub subdomain: Option<String>,
    /// The paths that are taken; none: all. A wildcard segment (`/api/*/users`) or [`Self::strip_path`]
    /// puts the rewriting proxy between frpc and the service.
    pub paths: Vec<String>,
    /// The matched prefix is taken off before the service sees the path.
    pub strip_path: bool,
    pub auth: Option<BasicAuth>,
    /// The `Host` that the service sees.
    pub host_header: Option<String>,
    pub request_headers: BTreeMap<String, String>,
    pub response_headers: BTreeMap<String, String>,
    /// Only requests of this HTTP user come here.
    pub route_by_user: Option<String>,
}

impl HttpTunnel {
    pub fn new(local: LocalService, domains: Vec<String>) -> Self {
        Self {
            local,
            domains,
            subdomain: None,
            paths: Vec::new(),
            strip_path: false,
            auth: None,
            host_header: None,
            request_headers: BTreeMap::new(),
            response_headers: BTreeMap::new(),
            route_by_user: None,
        }
    }

    /// Whether frps' own matching (longest string prefix, nothing stripped) does not suffice.
    pub fn needs_rewriting(&self) -> bool {
        self.strip_path || self.paths.iter().any(|path| path.contains('*'))
    }
}

#[derive(Debug, Clone)]
pub struct TcpMuxTunnel {
    pub domains: DomainTunnel,
    pub auth: Option<BasicAuth>,
    pub route_by_user: Option<String>,
}

/// stcp, sudp or xtcp: no port of frps, only visitors that know the key.
#[derive(Debug, Clone)]
pub struct SecretTunnel {
    pub local: LocalService,
    pub secret_key: SecretString,
    /// Users whose visitors are let in, `*` for all; none: only the own user's. A user is what a client says
    /// that it is, so the key is the boundary.
    pub allow_users: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Visitor {
    /// The name of the far proxy.
    pub server_name: String,
    /// The user of the far frpc; `None`: the own one.
    pub server_user: Option<String>,
    pub secret_key: SecretString,
    pub bind: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct XtcpVisitor {
    pub visitor: Visitor,
    pub protocol: HolePunching,
    /// Keep the hole open while nothing uses it.
    pub keep_open: bool,
    /// The stcp visitor that takes over if hole punching fails, and after how long.
    pub fallback: Option<(String, Duration)>,
}

/// What runs over a punched hole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HolePunching {
    /// frp's own default opens its stream only when the visitor sends first: a protocol whose server speaks
    /// first (FTP, SSH, SMTP) hangs. KCP has no such condition.
    Quic,
    #[default]
    Kcp,
}

#[derive(Debug, Clone, Default)]
pub struct TunnelTransport {
    /// A second encryption, inside the TLS of the session; three times the CPU.
    pub encryption: bool,
    pub compression: bool,
    /// Bytes per second, for both directions together.
    pub bandwidth_limit: Option<BandwidthLimit>,
    pub proxy_protocol: Option<ProxyProtocol>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandwidthLimit {
    /// frp knows whole KiB only.
    pub kib_per_second: u32,
    pub at_server: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    V1,
    V2,
}

#[derive(Debug, Clone)]
pub struct BalancingGroup {
    pub name: String,
    pub key: SecretString,
}

#[derive(Debug, Clone)]
pub struct HealthCheck {
    pub kind: HealthCheckKind,
    pub timeout: Duration,
    pub interval: Duration,
    pub max_failed: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheckKind {
    Tcp,
    /// A GET of this path that is answered by 200.
    Http(String),
}

/// What shows that a tunnel works: frp says "running" also where nothing can pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// frps' acceptance suffices.
    Accepted,
    /// The local service accepts a connection.
    LocalService,
    /// A connection through the tunnel is not closed by the far side at once. Proves a protocol in which the
    /// client speaks first.
    Open,
    /// The service behind greets with this text (FTP: `220`; SSH: `SSH-`; empty: any byte).
    Greeting(String),
    /// A GET of this path through the tunnel is answered by the service, not by frps.
    Http { path: String, status: Option<u16> },
}

impl TunnelSpec {
    /// The probe that was asked for, or what fits the kind.
    pub fn effective_probe(&self) -> Probe {
        self.probe.clone().unwrap_or_else(|| match &self.kind {
            TunnelKind::Tcp(_) | TunnelKind::StcpVisitor(_) | TunnelKind::XtcpVisitor(_) => Probe::Open,
            TunnelKind::Http(http) if http.auth.is_none() => {
                Probe::Http { path: probe_path(http), status: None }
            }
            TunnelKind::Stcp(_) | TunnelKind::Xtcp(_) | TunnelKind::Https(_) | TunnelKind::TcpMux(_) => {
                Probe::LocalService
            }
            TunnelKind::Http(_) => Probe::LocalService,
            TunnelKind::Udp(_) | TunnelKind::Sudp(_) | TunnelKind::SudpVisitor(_) => Probe::Accepted,
        })
    }
}

/// A path that the tunnel matches: its first, each wildcard filled.
fn probe_path(http: &HttpTunnel) -> String {
    http.paths.first().map_or_else(|| "/".to_owned(), |path| path.replace('*', "probe"))
}
