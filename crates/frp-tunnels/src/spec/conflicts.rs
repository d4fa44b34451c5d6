//! Tunnels that cannot be there together, or that take each other's requests: found before frps refuses them.

use std::collections::{BTreeMap, BTreeSet};

use super::{HttpTunnel, PathOverlap, PathPattern, TunnelKind, TunnelSpec, overlap};

/// Two tunnels of one client that meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Indices into the slice that was given, the earlier one first.
    pub tunnels: (usize, usize),
    pub kind: ConflictKind,
    /// What they share, for people.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// frps or the system would refuse the second one.
    Refused,
    /// Both work, but one takes requests that the other's paths match, too.
    Overlap,
}

/// Everything in which these tunnels meet. Tunnels of one balancing group may share a place.
pub fn conflicts(tunnels: &[TunnelSpec]) -> Vec<Conflict> {
    let mut found = Vec::new();
    unique_places(tunnels, &mut found);
    for (second, tunnel) in tunnels.iter().enumerate() {
        for (first, earlier) in tunnels.iter().enumerate().take(second) {
            path_conflicts((first, second), earlier, tunnel, &mut found);
        }
    }
    found
}

/// What [`conflicts`] would find of `further` behind these tunnels, in a time that grows with their number and not with its
/// square: a client with a thousand tunnels asks for each that is added.
pub fn conflicts_with(tunnels: &[&TunnelSpec], further: &TunnelSpec) -> Vec<Conflict> {
    let (mut found, last) = (Vec::new(), tunnels.len());
    let mut wanted: BTreeSet<String> = places(further).into_iter().collect();
    for (at, tunnel) in tunnels.iter().enumerate() {
        for place in places(tunnel) {
            if wanted.remove(&place) && !same_group(tunnel, further) {
                found.push(taken_already(&place, (at, last)));
            }
        }
        path_conflicts((at, last), tunnel, further, &mut found);
    }
    found
}

fn taken_already(place: &str, tunnels: (usize, usize)) -> Conflict {
    Conflict { tunnels, kind: ConflictKind::Refused, message: format!("{place} is taken already") }
}

fn path_conflicts(
    tunnels: (usize, usize),
    earlier: &TunnelSpec,
    later: &TunnelSpec,
    found: &mut Vec<Conflict>,
) {
    if let (TunnelKind::Http(a), TunnelKind::Http(b)) = (&earlier.kind, &later.kind)
        && !same_group(earlier, later)
    {
        http_conflicts(tunnels, a, b, found);
    }
}

/// Names, remote ports, visitors' addresses and domains without paths: exactly one tunnel each.
fn unique_places(tunnels: &[TunnelSpec], found: &mut Vec<Conflict>) {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for (at, tunnel) in tunnels.iter().enumerate() {
        for place in places(tunnel) {
            match taken.get(&place) {
                Some(&first) if tunnels.get(first).is_some_and(|other| same_group(other, tunnel)) => {}
                Some(&first) => found.push(taken_already(&place, (first, at))),
                None => {
                    taken.insert(place, at);
                }
            }
        }
    }
}

fn places(tunnel: &TunnelSpec) -> Vec<String> {
    let mut places: Vec<String> = tunnel.name.iter().map(|name| format!("the name {name}")).collect();
    match &tunnel.kind {
        TunnelKind::Tcp(ports) => {
            places.extend(ports.remote_port.map(|port| format!("the remote port {port}/tcp")));
        }
        TunnelKind::Udp(ports) => {
            places.extend(ports.remote_port.map(|port| format!("the remote port {port}/udp")));
        }
        TunnelKind::Https(https) => {
            places.extend(hosts("https", &https.domains, https.subdomain.as_ref(), None));
        }
        TunnelKind::TcpMux(mux) => {
            let (domains, user) = (&mux.domains, mux.route_by_user.as_ref());
            places.extend(hosts("tcpmux", &domains.domains, domains.subdomain.as_ref(), user));
        }
        _ => {}
    }
    let protocol = if matches!(tunnel.kind, TunnelKind::SudpVisitor(_)) { "udp" } else { "tcp" };
    places.extend(tunnel.kind.bind().map(|bind| format!("the address {bind}/{protocol}")));
    places
}

fn hosts(kind: &str, domains: &[String], subdomain: Option<&String>, user: Option<&String>) -> Vec<String> {
    let user = user.map(|user| format!(" of the user {user}")).unwrap_or_default();
    let full =
        domains.iter().map(|domain| format!("the {kind} domain {}{user}", domain.to_ascii_lowercase()));
    full.chain(subdomain.map(|name| format!("the {kind} subdomain {name}{user}"))).collect()
}

fn same_group(a: &TunnelSpec, b: &TunnelSpec) -> bool {
    a.name.is_none_or_differs_from(b.name.as_deref())
        && matches!((&a.group, &b.group), (Some(a), Some(b)) if a.name == b.name)
}

/// Two tunnels of one name conflict, whatever their group.
trait DiffersFrom {
    fn is_none_or_differs_from(&self, other: Option<&str>) -> bool;
}

impl DiffersFrom for Option<String> {
    fn is_none_or_differs_from(&self, other: Option<&str>) -> bool {
        self.is_none() || self.as_deref() != other
    }
}

fn http_conflicts(tunnels: (usize, usize), a: &HttpTunnel, b: &HttpTunnel, found: &mut Vec<Conflict>) {
    if a.route_by_user != b.route_by_user {
        return;
    }
    let Some(host) = shared_host(a, b) else { return };
    for left in patterns(a) {
        for right in patterns(b) {
            let same_at_frps = left.literal_prefix() == right.literal_prefix();
            let (kind, message) = match overlap(&left, &right) {
                PathOverlap::Same => (ConflictKind::Refused, format!("{host}{left} is taken already")),
                _ if same_at_frps => {
                    let prefix = left.literal_prefix();
                    let message = format!(
                        "{host}{left} and {host}{right} both begin at {prefix} for frps: make them one tunnel"
                    );
                    (ConflictKind::Refused, message)
                }
                PathOverlap::Prefix => {
                    let (short, long) = if left.specificity().0 < right.specificity().0 {
                        (&left, &right)
                    } else {
                        (&right, &left)
                    };
                    (ConflictKind::Overlap, format!("{host}{long} is taken out of {host}{short}"))
                }
                PathOverlap::Wildcard => {
                    (ConflictKind::Overlap, format!("{host}{left} and {host}{right} share paths"))
                }
                PathOverlap::Disjoint => continue,
            };
            found.push(Conflict { tunnels, kind, message });
        }
    }
}

/// frps compares domains exactly, ignoring case: `*.example.com` and `a.example.com` do not conflict.
fn shared_host(a: &HttpTunnel, b: &HttpTunnel) -> Option<String> {
    let of = |tunnel: &HttpTunnel, name: &str| {
        tunnel.domains.iter().any(|domain| domain.eq_ignore_ascii_case(name))
    };
    let domain = a.domains.iter().find(|domain| of(b, domain)).map(|domain| domain.to_ascii_lowercase());
    domain.or_else(|| a.subdomain.clone().filter(|_| a.subdomain == b.subdomain))
}

/// Those that can be read; the validation names the others.
fn patterns(tunnel: &HttpTunnel) -> Vec<PathPattern> {
    if tunnel.paths.is_empty() {
        return PathPattern::parse("/").into_iter().collect();
    }
    tunnel.paths.iter().filter_map(|path| PathPattern::parse(path).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{BalancingGroup, LocalService};
    use super::*;

    fn http(path: &str) -> TunnelSpec {
        let mut spec = TunnelSpec::http(LocalService::port(80), vec!["a.test".into()]);
        if let TunnelKind::Http(http) = &mut spec.kind {
            http.paths = vec![path.into()];
        }
        spec
    }

    fn found(tunnels: &[TunnelSpec]) -> Vec<(ConflictKind, String)> {
        let all = conflicts(tunnels);
        assert_eq!(sorted(of_each_added(tunnels)), sorted(all.clone()), "one after the other as all at once");
        all.into_iter().map(|conflict| (conflict.kind, conflict.message)).collect()
    }

    /// What is found where each tunnel is added to those before it.
    fn of_each_added(tunnels: &[TunnelSpec]) -> Vec<Conflict> {
        let mut found = Vec::new();
        for (at, further) in tunnels.iter().enumerate() {
            let before: Vec<&TunnelSpec> = tunnels.iter().take(at).collect();
            found.extend(conflicts_with(&before, further));
        }
        found
    }

    fn sorted(mut conflicts: Vec<Conflict>) -> Vec<Conflict> {
        conflicts.sort_by(|a, b| (a.tunnels, &a.message).cmp(&(b.tunnels, &b.message)));
        conflicts
    }

    #[test]
    fn exact_prefix_and_wildcard_conflicts_are_told_apart() {
        use ConflictKind::{Overlap, Refused};
        let of = |a, b| found(&[http(a), http(b)]);
        assert_eq!(of("/a", "/a/"), [(Refused, "a.test/a is taken already".to_owned())]);
        assert_eq!(of("/a/b", "/a"), [(Overlap, "a.test/a/b is taken out of a.test/a".to_owned())]);
        assert_eq!(
            of("/api/*/u", "/api/7/u"),
            [(Overlap, "a.test/api/*/u and a.test/api/7/u share paths".to_owned())]
        );
        assert_eq!(of("/app", "/application"), []);
        let message = "a.test/api/*/u and a.test/api/*/o both begin at /api for frps: make them one tunnel";
        assert_eq!(of("/api/*/u", "/api/*/o"), [(Refused, message.to_owned())]);
    }

    #[test]
    fn a_port_a_name_and_an_address_are_taken_once() {
        let tcp = |name: &str| TunnelSpec::tcp(LocalService::port(1), Some(6000)).named(name);
        assert_eq!(
            found(&[tcp("a"), tcp("b")]),
            [(ConflictKind::Refused, "the remote port 6000/tcp is taken already".to_owned())]
        );
        assert_eq!(found(&[tcp("a"), tcp("a")]).len(), 2);
        let visitor = || TunnelSpec::stcp_visitor("far", "key".into(), "127.0.0.1:2121".parse().unwrap());
        assert_eq!(found(&[visitor(), visitor()]).len(), 1);
    }

    #[test]
    fn a_group_shares_its_place() {
        let member = |name: &str| {
            let mut spec = TunnelSpec::tcp(LocalService::port(1), Some(6000)).named(name);
            spec.group = Some(BalancingGroup { name: "web".into(), key: "k".into() });
            spec
        };
        assert_eq!(found(&[member("a"), member("b")]), []);
        assert_eq!(found(&[member("a"), member("a")]).len(), 2);
    }
}
