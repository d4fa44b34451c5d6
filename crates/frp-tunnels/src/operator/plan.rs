//! What is to run, from what the resources say: one frpc for each TunnelServer and user, and what each Tunnel is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use super::resources::{ServerProtocol, ServerRunRequest, TunnelResource, TunnelServerResource};
use super::secret_values::{SecretValues, TLS_CERTIFICATE, TLS_KEY};
use super::translate::{
    ClusterFacts, Refusal, StatefulPods, TranslatedTunnel, VisitService, Wrong, translate,
};
use super::visitor_ports::VisitorPorts;
use crate::frps::PortRange;
use crate::render::fingerprint;
use crate::server_settings::{ServerAddress, TransportProtocol};
use crate::spec::{ConflictKind, TunnelSpec, conflicts, is_valid_name};

/// Where the operator's own frps listens.
pub const RUN_PORT: u16 = 7000;

/// Ports that clients of a frps in the cluster may take.
const MAX_SERVICE_PORTS: usize = 200;

/// The objects of one namespace as they are now.
#[derive(Debug, Clone, Default)]
pub struct ClusterObjects {
    pub servers: Vec<TunnelServerResource>,
    pub tunnels: Vec<TunnelResource>,
    pub stateful_sets: BTreeMap<String, StatefulPods>,
    pub secrets: SecretValues,
}

/// What the operator itself is.
#[derive(Debug, Clone)]
pub struct OperatorPlace {
    pub namespace: String,
    pub service_domain: String,
    pub own_address: IpAddr,
}

/// One frpc: a TunnelServer's name, and the user that it logs in as.
pub type ClientKey = (String, String);

#[derive(Debug, Default)]
pub struct Plan {
    pub clients: BTreeMap<ClientKey, PlannedClient>,
    /// By the Tunnel's name.
    pub tunnels: BTreeMap<String, Result<AcceptedTunnel, Refusal>>,
    /// By the TunnelServer's name.
    pub servers: BTreeMap<String, Result<PlannedServer, Refusal>>,
}

#[derive(Debug)]
pub struct PlannedClient {
    pub server: PlannedServer,
    pub parts: BTreeMap<String, PlannedPart>,
}

#[derive(Debug)]
pub struct PlannedPart {
    /// The Tunnel that it belongs to.
    pub owner: String,
    pub spec: TunnelSpec,
    /// Changes when anything that matters does.
    pub print: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedTunnel {
    pub client: ClientKey,
    /// Their names in the client, the one that tells the address first.
    pub parts: Vec<String>,
    pub service: Option<VisitService>,
}

/// A TunnelServer with its secrets' values, which only frpc's memory file sees.
#[derive(Debug, Clone)]
pub struct PlannedServer {
    pub addresses: Vec<ServerAddress>,
    pub token: Option<SecretString>,
    pub protocol: TransportProtocol,
    pub tls_enabled: bool,
    pub tls_server_name: Option<String>,
    pub ca: Option<SecretString>,
    /// Certificate and key of the client.
    pub certificate: Option<(SecretString, SecretString)>,
    pub public_host: Option<String>,
    user: String,
}

impl PlannedServer {
    /// Changes when frpc must be started anew.
    pub fn print(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let plain =
            (&self.addresses, self.protocol, self.tls_enabled, &self.tls_server_name, &self.public_host);
        hash.update(format!("{plain:?}"));
        let certificate = self.certificate.as_ref();
        let secrets = [
            self.token.as_ref(),
            self.ca.as_ref(),
            certificate.map(|(certificate, _)| certificate),
            certificate.map(|(_, key)| key),
        ];
        for secret in secrets {
            let text = secret.map(ExposeSecret::expose_secret);
            hash.update(format!("{:?}", text.map(str::len)));
            hash.update(text.unwrap_or_default());
        }
        hash.finalize().into()
    }

    /// For status: where frps is.
    pub fn address(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// What is to run. Ports that visitors have are kept in `ports`.
pub fn plan(objects: &ClusterObjects, place: &OperatorPlace, ports: &mut VisitorPorts) -> Plan {
    let mut plan = Plan::default();
    for server in objects.servers.iter().filter(|server| server.metadata.deletion_timestamp.is_none()) {
        let name = server.metadata.name.clone().unwrap_or_default();
        plan.servers.insert(name.clone(), planned_server(&name, server, objects, place));
    }
    let mut tunnels: Vec<&TunnelResource> =
        objects.tunnels.iter().filter(|tunnel| tunnel.metadata.deletion_timestamp.is_none()).collect();
    // whoever was there first keeps its place
    tunnels.sort_by_key(|tunnel| {
        let metadata = &tunnel.metadata;
        (metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.name.clone())
    });
    ports.keep(&tunnels.iter().filter_map(|tunnel| tunnel.metadata.name.as_deref()).collect());
    let mut made: BTreeMap<ClientKey, Vec<(String, TranslatedTunnel)>> = BTreeMap::new();
    let facts = ClusterFacts {
        namespace: &place.namespace,
        secrets: &objects.secrets,
        stateful_sets: &objects.stateful_sets,
        service_domain: &place.service_domain,
        own_address: place.own_address,
    };
    for tunnel in tunnels {
        let name = tunnel.metadata.name.clone().unwrap_or_default();
        match client_of(tunnel, &plan).and_then(|client| {
            let spec = &tunnel.spec;
            translate(&name, spec.expose.as_ref(), spec.visit.as_ref(), &facts, ports)
                .map(|translated| (client, translated))
        }) {
            Ok((client, translated)) => made.entry(client).or_default().push((name, translated)),
            Err(refusal) => {
                plan.tunnels.insert(name, Err(refusal));
            }
        }
    }
    for (client, tunnels) in made {
        plan_client(client, tunnels, &mut plan);
    }
    plan
}

/// The frpc that carries this Tunnel.
fn client_of(tunnel: &TunnelResource, plan: &Plan) -> Result<ClientKey, Refusal> {
    let server = tunnel.spec.server_name.clone();
    let refused = |reason, message| Err(Refusal { reason, message });
    match plan.servers.get(&server) {
        Some(Ok(planned)) => {
            let user = tunnel.spec.user.clone().unwrap_or_else(|| planned.user.clone());
            if is_valid_name(&user) {
                Ok((server, user))
            } else {
                refused("Invalid", format!("user: {user:?} must be letters, digits, \".\", \"_\" or \"-\""))
            }
        }
        Some(Err(refusal)) => {
            refused("ServerNotAccepted", format!("TunnelServer {server:?}: {}", refusal.message))
        }
        None => refused("ServerNotFound", format!("TunnelServer {server:?} is not there")),
    }
}

fn planned_server(
    name: &str,
    server: &TunnelServerResource,
    objects: &ClusterObjects,
    place: &OperatorPlace,
) -> Result<PlannedServer, Refusal> {
    let spec = &server.spec;
    let mut wrong = Wrong::default();
    let mut addresses = Vec::new();
    if spec.run.is_some() {
        let host = format!("{}.{}.{}", run_name(name), place.namespace, place.service_domain);
        addresses.push(ServerAddress { host, port: RUN_PORT });
    }
    if addresses.is_empty() && spec.addresses.is_empty() {
        wrong.invalid("addresses: at least one, or run");
    }
    addresses.extend(spec.addresses.iter().filter_map(|address| wrong.parsed("addresses", address)));
    if let Some(run) = &spec.run {
        check_run(run, spec.token_secret_ref.is_some(), &mut wrong);
    }
    let user = spec.user.clone().unwrap_or_else(|| place.namespace.clone());
    if !is_valid_name(&user) {
        wrong.invalid("user: must be letters, digits, \".\", \"_\" or \"-\"");
    }
    let secrets = &objects.secrets;
    let mut secret = |key: &str, found: Option<Result<SecretString, String>>| {
        wrong.take("SecretNotFound", found?.map_err(|error| format!("{key}: {error}")))
    };
    let token = spec.token_secret_ref.as_ref().map(|reference| secrets.get(reference, "token"));
    let token = secret("tokenSecretRef", token);
    let ca = spec.tls.ca_secret_ref.as_ref().map(|reference| secrets.get(reference, "ca.crt"));
    let ca = secret("tls.caSecretRef", ca);
    let own = |key: &str| spec.tls.certificate_secret_name.as_ref().map(|name| secrets.value(name, key));
    let certificate = secret("tls.certificateSecretName", own(TLS_CERTIFICATE));
    let certificate_key = secret("tls.certificateSecretName", own(TLS_KEY));
    if let Some(refusal) = wrong.refusal() {
        return Err(refusal);
    }
    Ok(PlannedServer {
        addresses,
        token,
        protocol: match spec.protocol {
            ServerProtocol::Tcp => TransportProtocol::Tcp,
            ServerProtocol::Kcp => TransportProtocol::Kcp,
            ServerProtocol::Quic => TransportProtocol::Quic,
            ServerProtocol::Websocket => TransportProtocol::Websocket,
            ServerProtocol::Wss => TransportProtocol::Wss,
        },
        tls_enabled: spec.tls.enabled,
        tls_server_name: spec.tls.server_name.clone(),
        ca,
        certificate: certificate.zip(certificate_key),
        public_host: spec.public_host.clone(),
        user,
    })
}

fn check_run(run: &ServerRunRequest, has_token: bool, wrong: &mut Wrong) {
    if !has_token {
        wrong.invalid("tokenSecretRef: is needed: without it everybody may use this frps");
    }
    let ranges = run.allow_ports.iter().filter_map(|text| wrong.parsed::<PortRange>("run.allowPorts", text));
    let ports: usize = ranges.map(|range| range.count()).sum();
    if ports > MAX_SERVICE_PORTS {
        wrong.invalid(format!(
            "run.allowPorts: {ports} ports are more than {MAX_SERVICE_PORTS}, each a port of the Service"
        ));
    }
}

/// The name of all objects of a frps that the operator runs.
pub fn run_name(server: &str) -> String {
    format!("{server}-frps")
}

/// Those that can be there together; a later one that takes another's place is refused whole.
fn plan_client(client: ClientKey, tunnels: Vec<(String, TranslatedTunnel)>, plan: &mut Plan) {
    let refused = refused_by_others(&tunnels);
    let Some(Ok(server)) = plan.servers.get(&client.0) else { return };
    let mut planned = PlannedClient { server: server.clone(), parts: BTreeMap::new() };
    for (name, made) in tunnels {
        if let Some(message) = refused.get(&name) {
            let refusal = Refusal { reason: "Conflict", message: message.clone() };
            plan.tunnels.insert(name, Err(refusal));
            continue;
        }
        let names = made.parts.iter().filter_map(|part| part.name.clone()).collect();
        for spec in made.parts {
            let print = fingerprint(&spec);
            let part = spec.name.clone().unwrap_or_default();
            planned.parts.insert(part, PlannedPart { owner: name.clone(), spec, print });
        }
        let accepted = AcceptedTunnel { client: client.clone(), parts: names, service: made.service };
        plan.tunnels.insert(name, Ok(accepted));
    }
    plan.clients.insert(client, planned);
}

fn refused_by_others(tunnels: &[(String, TranslatedTunnel)]) -> BTreeMap<String, String> {
    let mut specs = Vec::new();
    let mut owners: Vec<&str> = Vec::new();
    for (name, made) in tunnels {
        owners.extend(made.parts.iter().map(|_| name.as_str()));
        specs.extend(made.parts.iter().cloned());
    }
    let mut found: Vec<((usize, usize), String)> = conflicts(&specs)
        .into_iter()
        .filter(|conflict| conflict.kind == ConflictKind::Refused)
        .map(|conflict| (conflict.tunnels, conflict.message))
        .collect();
    found.sort_by_key(|((earlier, later), _)| (*later, *earlier));
    let mut refused: BTreeMap<String, String> = BTreeMap::new();
    let mut services: BTreeSet<&str> = BTreeSet::new();
    for ((earlier, later), message) in found {
        let (Some(&earlier), Some(&later)) = (owners.get(earlier), owners.get(later)) else { continue };
        // what is not there takes no place
        if earlier != later && !refused.contains_key(earlier) {
            refused.entry(later.to_owned()).or_insert_with(|| format!("{message} by Tunnel {earlier:?}"));
        }
    }
    for (name, made) in tunnels {
        if let Some(service) = made.service.as_ref().filter(|_| !refused.contains_key(name))
            && !services.insert(&service.name)
        {
            let message = format!("the Service {:?} is that of another Tunnel", service.name);
            refused.insert(name.clone(), message);
        }
    }
    refused
}
