//! One Tunnel in the words of the library: the tunnels of frp that it is made of, and the Service that leads to a visitor.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use secrecy::SecretString;

use super::resources::{ExposeKind, ExposeSection, NamedPort, SecretKeyReference, VisitKind, VisitSection};
use super::secret_values::SecretValues;
use super::visitor_ports::VisitorPorts;
use crate::far_side::{CONTROL_TUNNEL, FtpFarSide, MAX_PASSIVE_PORTS, data_tunnel};
use crate::frps::PortRange;
use crate::spec::{
    BandwidthLimit, DomainTunnel, HolePunching, HttpTunnel, LocalService, PortTunnel, Probe, SecretTunnel,
    TcpMuxTunnel, TunnelKind, TunnelSpec, Visitor, XtcpVisitor, mistakes,
};

/// More pods of one StatefulSet than this are a mistake of ours or of theirs.
const MAX_PODS: u32 = 1000;

/// What is known of the cluster beside the Tunnel.
#[derive(Debug)]
pub struct ClusterFacts<'a> {
    pub namespace: &'a str,
    pub secrets: &'a SecretValues,
    pub stateful_sets: &'a BTreeMap<String, StatefulPods>,
    /// What follows `SERVICE.NAMESPACE.` in the names of Services.
    pub service_domain: &'a str,
    /// Where visitors listen: the operator's pod.
    pub own_address: IpAddr,
}

/// The pods that a StatefulSet is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatefulPods {
    pub replicas: u32,
    pub first_ordinal: u32,
    /// Its governing Service.
    pub service: String,
}

/// Why a resource was not accepted: a reason in CamelCase, and everything that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: &'static str,
    pub message: String,
}

/// What a Tunnel is made of.
#[derive(Debug, Default)]
pub struct TranslatedTunnel {
    pub parts: Vec<TunnelSpec>,
    pub service: Option<VisitService>,
}

/// A Service in front of visitors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitService {
    pub name: String,
    pub ports: Vec<VisitServicePort>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitServicePort {
    pub port: u16,
    /// Of the operator's pod.
    pub target: u16,
    pub is_udp: bool,
}

/// Everything that is wrong, each with its reason.
#[derive(Debug, Default)]
pub(super) struct Wrong(Vec<(&'static str, String)>);

impl Wrong {
    pub(super) fn invalid(&mut self, message: impl Into<String>) {
        self.0.push(("Invalid", message.into()));
    }

    pub(super) fn take<T>(&mut self, reason: &'static str, found: Result<T, String>) -> Option<T> {
        found.map_err(|message| self.0.push((reason, message))).ok()
    }

    pub(super) fn parsed<T: std::str::FromStr<Err = String>>(&mut self, key: &str, text: &str) -> Option<T> {
        self.take("Invalid", text.parse().map_err(|error| format!("{key}: {error}")))
    }

    pub(super) fn refusal(self) -> Option<Refusal> {
        let reason = self.0.first()?.0;
        let messages: Vec<String> = self.0.into_iter().map(|(_, message)| message).collect();
        Some(Refusal { reason, message: messages.join("; ") })
    }
}

/// What this Tunnel is made of, or all that is wrong with it.
pub fn translate(
    name: &str,
    expose: Option<&ExposeSection>,
    visit: Option<&VisitSection>,
    facts: &ClusterFacts<'_>,
    ports: &mut VisitorPorts,
) -> Result<TranslatedTunnel, Refusal> {
    let mut wrong = Wrong::default();
    let made = match (expose, visit) {
        (Some(expose), None) => exposed(name, expose, facts, &mut wrong),
        (None, Some(visit)) => visited(name, visit, facts, ports, &mut wrong),
        _ => {
            wrong.invalid("either expose or visit");
            TranslatedTunnel::default()
        }
    };
    // a half-read tunnel would only add mistakes that are none
    if wrong.0.is_empty() {
        for mistake in made.parts.iter().flat_map(mistakes) {
            wrong.invalid(mistake.to_string());
        }
    }
    wrong.refusal().map_or(Ok(made), Err)
}

fn key(
    reference: Option<&SecretKeyReference>,
    place: &str,
    facts: &ClusterFacts<'_>,
    wrong: &mut Wrong,
) -> Option<SecretString> {
    let Some(reference) = reference else {
        wrong
            .invalid(format!("{place}.keySecretRef: is needed: without a key everybody at frps may come in"));
        return None;
    };
    let found = facts.secrets.get(reference, "key");
    wrong.take("SecretNotFound", found.map_err(|error| format!("{place}.keySecretRef: {error}")))
}

fn exposed(
    name: &str,
    expose: &ExposeSection,
    facts: &ClusterFacts<'_>,
    wrong: &mut Wrong,
) -> TranslatedTunnel {
    misplaced_keys(expose, wrong);
    let targets = [
        expose.service.is_some(),
        expose.stateful_set.is_some(),
        expose.host.is_some(),
        expose.ftp.is_some(),
    ];
    if targets.iter().filter(|is_there| **is_there).count() != 1 {
        wrong.invalid("expose: exactly one of service, statefulSet, host and ftp");
        return TranslatedTunnel::default();
    }
    let mut parts = if expose.ftp.is_some() {
        ftp_parts(expose, facts, wrong).unwrap_or_default()
    } else {
        local_services(name, expose, facts, wrong)
            .into_iter()
            .filter_map(|(name, at, local)| Some(one_part(expose, local, at, facts, wrong)?.named(name)))
            .collect()
    };
    let probe = expose.probe.as_deref().and_then(|probe| wrong.parsed::<Probe>("expose.probe", probe));
    for part in &mut parts {
        part.transport.compression = expose.compression;
        part.transport.bandwidth_limit =
            expose.bandwidth_kib.map(|kib_per_second| BandwidthLimit { kib_per_second, at_server: false });
    }
    if let (Some(probe), Some(first)) = (probe, parts.first_mut().filter(|_| expose.ftp.is_some())) {
        // data ports listen only when the server is asked
        first.probe = Some(probe);
    } else if expose.ftp.is_none() {
        let probe = expose.probe.as_deref().and_then(|probe| probe.parse::<Probe>().ok());
        for part in &mut parts {
            part.probe.clone_from(&probe);
        }
    }
    TranslatedTunnel { parts, service: None }
}

/// Keys that this type does not have: they would be ignored in silence.
fn misplaced_keys(expose: &ExposeSection, wrong: &mut Wrong) {
    use ExposeKind::{Http, Https, Stcp, Sudp, Tcp, Tcpmux, Udp, Xtcp};
    let kinds: [(&str, bool, &[ExposeKind]); 7] = [
        ("remotePort", expose.remote_port.is_some(), &[Tcp, Udp]),
        ("domains", !expose.domains.is_empty(), &[Http, Https, Tcpmux]),
        ("subdomain", expose.subdomain.is_some(), &[Http, Https, Tcpmux]),
        ("paths", !expose.paths.is_empty(), &[Http]),
        ("stripPath", expose.strip_path, &[Http]),
        ("keySecretRef", expose.key_secret_ref.is_some(), &[Stcp, Sudp, Xtcp]),
        ("allowUsers", !expose.allow_users.is_empty(), &[Stcp, Sudp, Xtcp]),
    ];
    for (name, is_there, kinds) in kinds {
        if is_there && !kinds.contains(&expose.kind) {
            wrong.invalid(format!("expose.{name}: {:?} has no such key", expose.kind));
        }
    }
    if expose.ftp.is_some() && expose.kind != Stcp {
        wrong.invalid("expose.type: an FTP server is exposed as stcp");
    }
    if expose.stateful_set.is_some() && matches!(expose.kind, Http | Https | Tcpmux) {
        wrong.invalid(
            "expose.type: the pods of a StatefulSet would share one domain; give each a Tunnel of its own",
        );
    }
}

fn ftp_parts(expose: &ExposeSection, facts: &ClusterFacts<'_>, wrong: &mut Wrong) -> Option<Vec<TunnelSpec>> {
    let ftp = expose.ftp.as_ref()?;
    let secret_key = key(expose.key_secret_ref.as_ref(), "expose", facts, wrong);
    let passive = passive_ports("expose.ftp.passivePorts", &ftp.passive_ports, wrong);
    let (host, allow_users) = (ftp.host.clone(), expose.allow_users.clone());
    let far = FtpFarSide { host, port: ftp.port, secret_key: secret_key?, allow_users };
    Some(far.tunnels(passive?.range()))
}

fn passive_ports(place: &str, text: &str, wrong: &mut Wrong) -> Option<PortRange> {
    let range = wrong.parsed::<PortRange>(place, text)?;
    if range.count() > MAX_PASSIVE_PORTS {
        wrong.invalid(format!("{place}: {} ports are more than {MAX_PASSIVE_PORTS}", range.count()));
        return None;
    }
    Some(range)
}

/// Each with its name at frp, its place among its kind, and where it leads.
fn local_services(
    name: &str,
    expose: &ExposeSection,
    facts: &ClusterFacts<'_>,
    wrong: &mut Wrong,
) -> Vec<(String, u32, LocalService)> {
    let in_cluster = |name: &str| format!("{name}.{}.{}", facts.namespace, facts.service_domain);
    if let Some(NamedPort { name: service, port }) = &expose.service {
        return vec![(name.to_owned(), 0, LocalService::address(&in_cluster(service), *port))];
    }
    if let Some(NamedPort { name: host, port }) = &expose.host {
        return vec![(name.to_owned(), 0, LocalService::address(host, *port))];
    }
    let Some(NamedPort { name: set, port }) = &expose.stateful_set else { return Vec::new() };
    let Some(pods) = facts.stateful_sets.get(set) else {
        wrong.0.push(("TargetNotFound", format!("expose.statefulSet: StatefulSet {set:?} is not there")));
        return Vec::new();
    };
    let of_pod = |at: u32| {
        let ordinal = pods.first_ordinal.saturating_add(at);
        let host = in_cluster(&format!("{set}-{ordinal}.{}", pods.service));
        // no name of a resource has an underscore, so no other Tunnel has this name
        (format!("{name}_{ordinal}"), at, LocalService::address(&host, *port))
    };
    (0..pods.replicas.min(MAX_PODS)).map(of_pod).collect()
}

fn one_part(
    expose: &ExposeSection,
    local: LocalService,
    at: u32,
    facts: &ClusterFacts<'_>,
    wrong: &mut Wrong,
) -> Option<TunnelSpec> {
    let kind = match expose.kind {
        ExposeKind::Tcp | ExposeKind::Udp => {
            let remote_port = match expose.remote_port {
                Some(first) => Some(remote_port(first, at, wrong)?),
                None => None,
            };
            let ports = PortTunnel { local, remote_port };
            if expose.kind == ExposeKind::Tcp { TunnelKind::Tcp(ports) } else { TunnelKind::Udp(ports) }
        }
        ExposeKind::Http => {
            let mut http = HttpTunnel::new(local, expose.domains.clone());
            http.subdomain.clone_from(&expose.subdomain);
            http.paths.clone_from(&expose.paths);
            http.strip_path = expose.strip_path;
            TunnelKind::Http(http)
        }
        ExposeKind::Https | ExposeKind::Tcpmux => {
            let (domains, subdomain) = (expose.domains.clone(), expose.subdomain.clone());
            let domains = DomainTunnel { local, domains, subdomain };
            if expose.kind == ExposeKind::Https {
                TunnelKind::Https(domains)
            } else {
                TunnelKind::TcpMux(TcpMuxTunnel { domains, auth: None, route_by_user: None })
            }
        }
        ExposeKind::Stcp | ExposeKind::Sudp | ExposeKind::Xtcp => {
            let secret_key = key(expose.key_secret_ref.as_ref(), "expose", facts, wrong)?;
            let tunnel = SecretTunnel { local, secret_key, allow_users: expose.allow_users.clone() };
            match expose.kind {
                ExposeKind::Sudp => TunnelKind::Sudp(tunnel),
                ExposeKind::Xtcp => TunnelKind::Xtcp(tunnel),
                _ => TunnelKind::Stcp(tunnel),
            }
        }
    };
    Some(TunnelSpec::new(kind))
}

fn remote_port(first: u16, at: u32, wrong: &mut Wrong) -> Option<u16> {
    let port = u32::from(first).checked_add(at).and_then(|port| u16::try_from(port).ok());
    if port.is_none() {
        wrong.invalid(format!("expose.remotePort: pod {at} would have a port above 65535"));
    }
    port
}

/// A port of the far side and what proves it, before it has a port here.
struct FarPort {
    tunnel: String,
    service_port: u16,
    probe: Option<Probe>,
}

fn far_ports(visit: &VisitSection, wrong: &mut Wrong) -> Option<Vec<FarPort>> {
    let probe = match visit.probe.as_deref() {
        Some(probe) => Some(wrong.parsed::<Probe>("visit.probe", probe)?),
        None => None,
    };
    let Some(passive) = &visit.ftp_passive_ports else {
        let (Some(tunnel), Some(port)) = (&visit.tunnel, visit.port) else {
            wrong.invalid("visit.tunnel, visit.port: are needed, or visit.ftpPassivePorts");
            return None;
        };
        return Some(vec![FarPort { tunnel: tunnel.clone(), service_port: port, probe }]);
    };
    if visit.tunnel.is_some() || visit.kind != VisitKind::Stcp {
        wrong.invalid("visit.tunnel, visit.type: an FTP server's far tunnels are named and stcp already");
    }
    let passive = passive_ports("visit.ftpPassivePorts", passive, wrong)?;
    let control = visit.port.unwrap_or(21);
    if passive.contains(control) {
        wrong.invalid("visit.port: is one of the passive ports");
        return None;
    }
    let probe = Some(probe.unwrap_or_else(|| Probe::Greeting("220".to_owned())));
    let control = FarPort { tunnel: CONTROL_TUNNEL.to_owned(), service_port: control, probe };
    let data = |port| FarPort { tunnel: data_tunnel(port), service_port: port, probe: Some(Probe::Accepted) };
    Some(std::iter::once(control).chain(passive.range().map(data)).collect())
}

fn visited(
    name: &str,
    visit: &VisitSection,
    facts: &ClusterFacts<'_>,
    ports: &mut VisitorPorts,
    wrong: &mut Wrong,
) -> TranslatedTunnel {
    let secret_key = key(visit.key_secret_ref.as_ref(), "visit", facts, wrong);
    let (Some(far), Some(secret_key)) = (far_ports(visit, wrong), secret_key) else {
        return TranslatedTunnel::default();
    };
    let mut made = TranslatedTunnel::default();
    let mut service_ports = Vec::new();
    for (at, FarPort { tunnel, service_port, probe }) in far.into_iter().enumerate() {
        let Some(target) = ports.port((name.to_owned(), service_port)) else {
            wrong.0.push((
                "PortsExhausted",
                "no visitor port of the operator is free (--visitor-ports)".to_owned(),
            ));
            break;
        };
        let visitor = Visitor {
            server_name: tunnel,
            server_user: visit.user.clone(),
            secret_key: secret_key.clone(),
            bind: SocketAddr::new(facts.own_address, target),
        };
        let kind = match visit.kind {
            VisitKind::Stcp => TunnelKind::StcpVisitor(visitor),
            VisitKind::Sudp => TunnelKind::SudpVisitor(visitor),
            VisitKind::Xtcp => TunnelKind::XtcpVisitor(XtcpVisitor {
                visitor,
                protocol: HolePunching::default(),
                keep_open: true,
                fallback: None,
            }),
        };
        let part = if at == 0 { name.to_owned() } else { format!("{name}_{service_port}") };
        let mut spec = TunnelSpec::new(kind).named(part);
        spec.probe = probe;
        made.parts.push(spec);
        service_ports.push(VisitServicePort {
            port: service_port,
            target,
            is_udp: visit.kind == VisitKind::Sudp,
        });
    }
    let service_name = visit.service_name.clone().unwrap_or_else(|| name.to_owned());
    made.service = Some(VisitService { name: service_name, ports: service_ports });
    made
}
