//! Sections of connections.ini in the words of `frp_tunnels`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use frp_tunnels::client::{ClientSettings, Timing};
use frp_tunnels::failure::{Failure as FrpFailure, FailureClass};
use frp_tunnels::near_side::FtpNearSide;
use frp_tunnels::server_settings::{SecretSource, ServerSettings, TlsSettings, TransportProtocol};
use frp_tunnels::spec::{Probe, TunnelSpec};

use crate::config::{Config, FrpTunnel, PemFile};
use crate::failure::{Code, Failure};
use crate::tunnel::EntranceKind;

/// The port of control connections at a tunnel's own address: an unprivileged one.
const CONTROL_PORT: u16 = 2121;
/// Addresses that are tried for a tunnel before it is reported that none is free.
const ADDRESSES_TRIED: u32 = 64;
/// Probes are sent from here, where it is known whether sessions are open; frpc's client only sends the first one.
const CLIENTS_OWN_PROBES: Duration = Duration::from_secs(24 * 3600);
/// The tunnels of one frpc: only the configuration limits them.
const MAX_TUNNELS: usize = 100_000;

/// What a pod's tunnels have in common.
#[derive(Clone, Debug)]
pub(super) struct PodIdentity {
    pub pod: String,
    pub group: String,
    pub frpc: Option<PathBuf>,
    pub addresses: crate::config::AddressRange,
}

impl PodIdentity {
    pub fn of(config: &Config) -> Self {
        PodIdentity {
            pod: config.pod.name.clone(),
            group: config.kafka.consumer_group.clone(),
            frpc: config.tunnels.frpc.as_ref().map(PathBuf::from),
            addresses: config.tunnels.addresses,
        }
    }
}

/// How frpc's client is to be run for this tunnel.
pub(super) fn client_settings(
    tunnel: &FrpTunnel,
    identity: &PodIdentity,
) -> Result<ClientSettings, FrpFailure> {
    let wrong = |message: String| FrpFailure::new(FailureClass::ConfigurationInvalid, message);
    let mut servers = Vec::new();
    for server in &tunnel.servers {
        servers.push(server.parse().map_err(wrong)?);
    }
    let first = servers.first().cloned().ok_or_else(|| wrong("no server".to_owned()))?;
    let path = |file: &Option<PemFile>| file.as_ref().map(|file| file.path.clone());
    let server = ServerSettings {
        servers,
        user: Some(user(tunnel, identity)),
        protocol: tunnel.protocol.parse::<TransportProtocol>().map_err(wrong)?,
        tls: TlsSettings {
            enabled: tunnel.tls,
            ca: path(&tunnel.tls_ca),
            server_name: tunnel.tls_name.clone(),
            certificate: path(&tunnel.tls_certificate),
            key: path(&tunnel.tls_key),
        },
        keepalive: tunnel.keepalive,
        ..ServerSettings::new(first).with_token(SecretSource::Value(tunnel.token.clone()))
    };
    let timing = Timing {
        connect_deadline: tunnel.up_within,
        probe_interval: CLIENTS_OWN_PROBES,
        ..Timing::default()
    };
    let frpc = identity.frpc.clone();
    let logs_tunnels = false; // a line for each port; `open_tunnel` says what they come to
    Ok(ClientSettings { frpc, timing, max_tunnels: MAX_TUNNELS, logs_tunnels, ..ClientSettings::new(server) })
}

fn user(tunnel: &FrpTunnel, identity: &PodIdentity) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let own = || identity.group.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    tunnel.user.clone().unwrap_or_else(own)
}

/// Where a tunnel is to begin, and the visitors that make it; the first one's probe proves it.
pub(super) struct PlannedTunnel {
    pub entrance: EntranceKind,
    pub visitors: Vec<TunnelSpec>,
    pub probe: Probe,
}

impl PlannedTunnel {
    /// At an address that is free. `attempt` counts those before. `greets`: the server speaks first.
    pub fn new(
        tunnel: &FrpTunnel,
        identity: &PodIdentity,
        attempt: u32,
        greets: bool,
    ) -> Result<PlannedTunnel, FrpFailure> {
        let control = control_port(tunnel);
        let address = free_address(tunnel, identity, control, attempt)?;
        let near = FtpNearSide {
            name: tunnel.name.clone(),
            server_user: tunnel.target_user.clone(),
            secret_key: tunnel.secret.clone(),
            address: IpAddr::V4(address),
        };
        let at = SocketAddr::new(IpAddr::V4(address), control);
        Ok(match tunnel.passive_ports.clone() {
            Some(ports) => {
                // any reply proves it, also that of a server which is full
                let probe = if greets { Probe::Greeting(String::new()) } else { Probe::Open };
                let mut visitors = near.visitors(control, ports);
                if let Some(first) = visitors.first_mut() {
                    first.probe = Some(probe.clone());
                }
                PlannedTunnel { entrance: EntranceKind::Ports(at), visitors, probe }
            }
            None => PlannedTunnel {
                entrance: EntranceKind::Proxy(at),
                visitors: vec![near.proxy_visitor(control)],
                probe: Probe::Open,
            },
        })
    }
}

/// Not one of the passive ports.
fn control_port(tunnel: &FrpTunnel) -> u16 {
    let is_free = |port: &u16| tunnel.passive_ports.as_ref().is_none_or(|ports| !ports.contains(port));
    (CONTROL_PORT..=u16::MAX).find(is_free).unwrap_or(CONTROL_PORT)
}

/// Pods on one machine may share its loopback: each starts its search at another address.
fn free_address(
    tunnel: &FrpTunnel,
    identity: &PodIdentity,
    control: u16,
    attempt: u32,
) -> Result<Ipv4Addr, FrpFailure> {
    let begin = place(&[&identity.group, &identity.pod, &tunnel.name]);
    let ports = tunnel.passive_ports.clone().map(Vec::from_iter).unwrap_or_default();
    let mut last = None;
    for offset in 0..ADDRESSES_TRIED.min(identity.addresses.count()) {
        let address = identity.addresses.nth(begin.wrapping_add(attempt).wrapping_add(offset));
        // the first and the last of a range denote a network, if interpreted that way
        if matches!(address.octets(), [_, _, _, 0 | 255]) {
            continue;
        }
        match is_free(address, std::iter::once(control).chain(ports.iter().copied())) {
            Ok(()) => return Ok(address),
            Err(error) => last = Some(format!("{address}: {error}")),
        }
    }
    let why = last.unwrap_or_else(|| "there is none".to_owned());
    let message = format!("no address of tunnels.addresses ({}) is free: {why}", identity.addresses);
    Err(FrpFailure::new(FailureClass::BindAddressTaken, message))
}

fn is_free(address: Ipv4Addr, ports: impl Iterator<Item = u16>) -> std::io::Result<()> {
    let held: Result<Vec<TcpListener>, _> = ports.map(|port| TcpListener::bind((address, port))).collect();
    held.map(drop)
}

/// The same for the same names, and evenly spread (FNV-1a).
fn place(names: &[&str]) -> u32 {
    let bytes = names.iter().flat_map(|name| name.bytes().chain(std::iter::once(0)));
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// As a task is answered, should its try have needed the tunnel.
pub(super) fn task_failure(tunnel: &str, failure: &FrpFailure) -> Failure {
    let message = format!("tunnel [{tunnel}]: {}: {}", failure.class, failure.message);
    Failure::new(Code::ConnectFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AddressRange;

    fn identity(prefix: u8) -> PodIdentity {
        let addresses = AddressRange { first: Ipv4Addr::new(127, 78, 0, 0), prefix };
        PodIdentity { pod: "pod-0".into(), group: "the group".into(), frpc: None, addresses }
    }

    fn tunnel(passive: Option<std::ops::RangeInclusive<u16>>) -> FrpTunnel {
        FrpTunnel {
            name: "plant".into(),
            servers: vec!["frps.test:7000".into()],
            secret: "k".into(),
            token: "t".into(),
            protocol: "tcp".into(),
            keepalive: Duration::from_secs(10),
            passive_ports: passive,
            ..FrpTunnel::default()
        }
    }

    #[test]
    fn a_tunnel_begins_at_an_address_of_its_own_that_is_free() {
        let (identity, tunnel) = (identity(28), tunnel(Some(2121..=2123)));
        let first = PlannedTunnel::new(&tunnel, &identity, 0, true).unwrap();
        let EntranceKind::Ports(at) = first.entrance else { panic!("{:?}", first.entrance) };
        assert_eq!((at.port(), first.visitors.len()), (2124, 4), "the control port is no passive port");
        let _taken = TcpListener::bind((at.ip(), 2122)).unwrap();
        let second = PlannedTunnel::new(&tunnel, &identity, 0, true).unwrap();
        assert_ne!(second.entrance, first.entrance);
    }

    #[test]
    fn the_group_is_the_user_where_none_is_set() {
        let settings = client_settings(&tunnel(None), &identity(16)).unwrap();
        assert_eq!(settings.server.user.as_deref(), Some("the-group"));
        assert_eq!(settings.server.mistakes(), [""; 0]);
        let own = FrpTunnel { user: Some("mine".into()), ..tunnel(None) };
        let settings = client_settings(&own, &identity(16)).unwrap();
        assert_eq!(settings.server.user.as_deref(), Some("mine"));
    }

    #[test]
    fn an_implicit_tls_server_is_not_expected_to_greet() {
        let planned = PlannedTunnel::new(&tunnel(Some(50_000..=50_001)), &identity(16), 0, false).unwrap();
        assert_eq!(planned.probe, Probe::Open);
        let proxied = PlannedTunnel::new(&tunnel(None), &identity(16), 0, true).unwrap();
        assert!(matches!(proxied.entrance, EntranceKind::Proxy(_)) && proxied.visitors.len() == 1);
    }
}
