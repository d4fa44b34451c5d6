//! The settings while they are read: those that a key sets by itself, and the parts of those that several keys make together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::read::ValueReader;
use crate::rate::RateLimit;
use crate::settings::{AuthMode, CertificateFiles, ResolverSettings, Settings};
use crate::ticket::MIN_SECRET;

/// Filled key by key from the table, then completed by [`ConfigDraft::finish`].
#[derive(Default)]
pub(super) struct ConfigDraft {
    pub settings: Settings,
    pub host: Option<IpAddr>,
    pub port: u16,
    pub admin_host: Option<IpAddr>,
    pub admin_port: Option<u16>,
    pub resolver: ResolverDraft,
    pub certificate_files: Vec<PathBuf>,
    pub key_files: Vec<PathBuf>,
    pub rate: u32,
    pub rate_burst: u32,
}

#[derive(Default)]
pub(super) struct ResolverDraft {
    pub kind: ResolverKind,
    pub addresses: Vec<(String, IpAddr)>,
    pub name: String,
    pub namespace: Option<String>,
    pub selector: Option<String>,
    pub id_label: Option<String>,
    pub lookup_url: Option<String>,
    pub lookup_token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ResolverKind {
    List,
    #[default]
    Dns,
    Kubernetes,
    Http,
}

impl ResolverKind {
    pub const NAMES: [(&'static str, ResolverKind); 4] = [
        ("list", ResolverKind::List),
        ("dns", ResolverKind::Dns),
        ("kubernetes", ResolverKind::Kubernetes),
        ("http", ResolverKind::Http),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }
}

impl ConfigDraft {
    /// Completes the settings, and checks values that are valid alone but not together.
    pub fn finish(self, reader: &mut ValueReader) -> Settings {
        let ConfigDraft { mut settings, resolver, .. } = self;
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        settings.sockets.listen = SocketAddr::new(self.host.unwrap_or(unspecified), self.port);
        settings.sockets.admin =
            self.admin_port.map(|port| SocketAddr::new(self.admin_host.unwrap_or(unspecified), port));
        settings.resolver = resolver.finish(reader);
        settings.certificates = certificates(self.certificate_files, self.key_files, reader);
        settings.limits.rate = RateLimit::new(self.rate, self.rate_burst);
        check_auth(reader, &settings);
        check_together(reader, &settings);
        settings
    }
}

impl ResolverDraft {
    fn finish(self, reader: &mut ValueReader) -> ResolverSettings {
        let kinds_of_keys = [
            ("name", ResolverKind::Dns),
            ("lookup_url", ResolverKind::Http),
            ("selector", ResolverKind::Kubernetes),
        ];
        for (key, kind) in kinds_of_keys {
            if reader.is_set(key) && kind != self.kind {
                reader.error(key, format!("has no meaning with pods: {}", self.kind.name()));
            }
        }
        match self.kind {
            ResolverKind::List => {
                if self.addresses.is_empty() {
                    let problem = "is required with pods: list, such as addresses: {ws0: 10.1.2.3}";
                    reader.error("addresses", problem);
                }
                ResolverSettings::List(self.addresses)
            }
            ResolverKind::Dns => {
                check_placeholder(reader, "name", &self.name, "{id}.workspaces");
                if self.name.split_once('.').is_some_and(|(first, _)| !first.contains("{id}")) {
                    reader.error("name", "expected {id} in the first label, such as {id}.workspaces");
                }
                ResolverSettings::Dns { name: self.name }
            }
            ResolverKind::Kubernetes => {
                if self.selector.is_none() {
                    let problem = "is required with pods: kubernetes; only pods that match it are reached";
                    reader.error("selector", problem);
                }
                ResolverSettings::Kubernetes {
                    namespace: self.namespace,
                    selector: self.selector.unwrap_or_default(),
                    id_label: self.id_label,
                }
            }
            ResolverKind::Http => {
                let url = self.lookup_url.unwrap_or_default();
                check_placeholder(reader, "lookup_url", &url, "http://api.example/pods/{id}");
                ResolverSettings::Http { url, token_file: self.lookup_token_file }
            }
        }
    }
}

/// The text must contain `{id}` exactly once.
fn check_placeholder(reader: &mut ValueReader, key: &str, text: &str, example: &str) {
    if text.is_empty() {
        reader.error(key, format!("is required: {{id}} once, such as {example}"));
    } else if text.matches("{id}").count() != 1 {
        reader.error(key, format!("expected {{id}} once, such as {example}"));
    }
}

fn certificates(
    certificates: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    reader: &mut ValueReader,
) -> Vec<CertificateFiles> {
    if certificates.len() != keys.len() {
        reader.error("tls_key", format!("{} certificates and {} keys", certificates.len(), keys.len()));
    }
    let pairs = certificates.into_iter().zip(keys);
    pairs.map(|(certificate, key)| CertificateFiles { certificate, key }).collect()
}

fn check_auth(reader: &mut ValueReader, settings: &Settings) {
    let auth = &settings.auth;
    if auth.mode == AuthMode::Session {
        match (&auth.secret, &auth.secret_file) {
            (None, None) => reader.error("secret_file", "auth: session needs secret or secret_file"),
            (Some(_), Some(_)) => reader.error("secret_file", "set either secret or secret_file"),
            (Some(secret), None) if secret.expose_secret().len() < MIN_SECRET => {
                reader.error("secret", format!("is shorter than {MIN_SECRET} characters"));
            }
            _ => {}
        }
        let url = auth.login_url.as_ref().and_then(|url| url.parse::<hyper::Uri>().ok());
        if url.as_ref().and_then(|url| url.host()).is_some_and(|host| settings.domain.covers(host)) {
            reader.error("login_url", "is below the routed domain: its cookies would be in reach of pods");
        }
    }
    if auth.mode == AuthMode::Forward && auth.auth_url.is_none() {
        reader.error("auth_url", "auth: forward needs auth_url");
    }
}

fn check_together(reader: &mut ValueReader, settings: &Settings) {
    if settings.pool.hard < settings.pool.soft {
        reader.error("pod_connections_max", "is less than pod_connections");
    }
    if settings.ports.is_empty() {
        reader.error("ports", "names no port: nothing could be reached");
    }
    if settings.addresses.networks.is_empty() && !settings.addresses.allow_loopback {
        reader.error("networks", "names no network: no pod could be reached");
    }
    if settings.proxy_protocol && settings.trusted.is_empty() {
        reader.error("proxy_protocol", "needs trusted: from which proxies is a PROXY header accepted?");
    }
    let (listen, admin) = (settings.sockets.listen, settings.sockets.admin);
    if admin.is_some_and(|admin| admin.port() == listen.port() && admin.port() != 0) {
        reader.error("admin_port", "is the same as port");
    }
    if settings.admin_token.is_some() && settings.admin_token_file.is_some() {
        reader.error("admin_token_file", "set either admin_token or admin_token_file");
    }
}
