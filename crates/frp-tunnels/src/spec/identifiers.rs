//! Names of tunnels: given, or chosen by a strategy.

use std::collections::BTreeSet;

use super::{LocalService, TunnelKind, TunnelSpec};

/// frps keys proxies by `user.name`; longer names break its dashboard's and our table.
pub const MAX_NAME_LENGTH: usize = 100;

/// How a tunnel without a name is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IdStrategy {
    /// Random (RFC 9562, version 4): unique among all clients of a server.
    Uuid,
    /// `tunnel-1`, `tunnel-2` …: the first number that is free.
    Sequential { prefix: String },
    /// From kind and target: `tcp-5432`, `http-app.example.com`, with `-2` … if that is taken.
    #[default]
    Descriptive,
}

/// Letters, digits, `.`, `_` and `-`: what frp's API, its store and Prometheus all take. A `/` makes a proxy
/// that frp's store API can never remove.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_LENGTH
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A free name: the given one as it is (the caller refuses it if it is taken), or the strategy's. Only
/// [`IdStrategy::Uuid`] uses `random`.
pub fn choose_identifier(
    strategy: &IdStrategy,
    spec: &TunnelSpec,
    taken: &BTreeSet<String>,
    random: [u8; 16],
) -> String {
    if let Some(name) = &spec.name {
        return name.clone();
    }
    match strategy {
        IdStrategy::Uuid => uuid::Builder::from_random_bytes(random).into_uuid().to_string(),
        IdStrategy::Sequential { prefix } => first_free(taken, 1, |number| format!("{prefix}-{number}")),
        IdStrategy::Descriptive => {
            let stem = descriptive(spec);
            first_free(taken, 1, |number| if number == 1 { stem.clone() } else { format!("{stem}-{number}") })
        }
    }
}

fn first_free(taken: &BTreeSet<String>, first: usize, name: impl Fn(usize) -> String) -> String {
    // among one more candidates than there are names, one is free
    let candidates = first..=first + taken.len();
    let free = candidates.clone().map(&name).find(|candidate| !taken.contains(candidate));
    free.unwrap_or_else(|| name(*candidates.end()))
}

/// Kind and target; whatever a name may not hold becomes `-`.
fn descriptive(spec: &TunnelSpec) -> String {
    let target = match &spec.kind {
        TunnelKind::Http(http) => http.domains.first().or(http.subdomain.as_ref()).cloned(),
        TunnelKind::Https(https) => https.domains.first().or(https.subdomain.as_ref()).cloned(),
        TunnelKind::TcpMux(mux) => mux.domains.domains.first().or(mux.domains.subdomain.as_ref()).cloned(),
        TunnelKind::StcpVisitor(visitor) | TunnelKind::SudpVisitor(visitor) => {
            Some(visitor.server_name.clone())
        }
        TunnelKind::XtcpVisitor(visitor) => Some(visitor.visitor.server_name.clone()),
        _ => None,
    };
    let target = target.unwrap_or_else(|| match spec.kind.local() {
        Some(LocalService::Address { host, port }) if host == "127.0.0.1" || host == "localhost" => {
            port.to_string()
        }
        Some(LocalService::Address { host, port }) => format!("{host}-{port}"),
        Some(LocalService::Plugin(_)) => "plugin".to_owned(),
        None => "visitor".to_owned(),
    });
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = format!("{}-{target}", spec.kind.label()).chars().map(keep).collect();
    // room for the number that may be added
    name.chars().take(MAX_NAME_LENGTH - 8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(port: u16) -> TunnelSpec {
        TunnelSpec::tcp(LocalService::port(port), None)
    }

    #[test]
    fn a_descriptive_name_says_kind_and_target() {
        let none = BTreeSet::new();
        let name = |spec: &TunnelSpec| choose_identifier(&IdStrategy::Descriptive, spec, &none, [0; 16]);
        assert_eq!(name(&tcp(5432)), "tcp-5432");
        let http = TunnelSpec::http(LocalService::port(80), vec!["*.example.com".into()]);
        assert_eq!(name(&http), "http--.example.com");
        let remote = TunnelSpec::tcp(LocalService::address("fe80::1%eth0", 21), None);
        assert_eq!(name(&remote), "tcp-fe80--1-eth0-21");
    }

    #[test]
    fn a_given_name_is_kept() {
        let spec = tcp(1).named("database");
        assert_eq!(choose_identifier(&IdStrategy::Uuid, &spec, &BTreeSet::new(), [7; 16]), "database");
    }

    proptest! {
        #[test]
        fn every_strategy_gives_valid_and_unique_names(host in "\\PC{0,300}", ports in prop::collection::vec(any::<u16>(), 1..20), seed: u8) {
            for strategy in [
                IdStrategy::Uuid,
                IdStrategy::Sequential { prefix: "tunnel".into() },
                IdStrategy::Descriptive,
            ] {
                let mut taken = BTreeSet::new();
                for (at, port) in ports.iter().enumerate() {
                    let spec = TunnelSpec::tcp(LocalService::address(&host, *port), None);
                    let mut random = [seed; 16];
                    random[0] = u8::try_from(at).unwrap();
                    let name = choose_identifier(&strategy, &spec, &taken, random);
                    prop_assert!(is_valid_name(&name), "{name:?}");
                    prop_assert!(taken.insert(name));
                }
            }
        }
    }
}
