//! Where files are needed: one loopback address for an FTP server behind a tunnel, or the address of the HTTP proxy
//! that leads to it. The other end is [`crate::far_side`].

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use secrecy::SecretString;

use crate::far_side::{CONTROL_TUNNEL, PROXY_TUNNEL, data_tunnel};
use crate::spec::{Probe, TunnelKind, TunnelSpec, Visitor};

/// An FTP server that a far `frp-tunnels serve` offers.
#[derive(Debug, Clone)]
pub struct FtpNearSide {
    /// Names of the visitors begin with it.
    pub name: String,
    /// The far client's user; `None`: the own one.
    pub server_user: Option<String>,
    pub secret_key: SecretString,
    /// One for each FTP server, so that data ports are what the server says: 127.0.0.0/8 has enough.
    pub address: IpAddr,
}

impl FtpNearSide {
    /// A visitor for the control connection at this port, and one for each passive port at its own number. The
    /// control connection's greeting proves all: data ports listen only when the server is asked.
    pub fn visitors(&self, control_port: u16, passive: RangeInclusive<u16>) -> Vec<TunnelSpec> {
        let control = self.visitor(&self.name, CONTROL_TUNNEL, control_port);
        let control = control.probed_by(Probe::Greeting("220".to_owned()));
        let data = |port| {
            let name = format!("{}-{port}", self.name);
            self.visitor(&name, &data_tunnel(port), port).probed_by(Probe::Accepted)
        };
        std::iter::once(control).chain(passive.map(data)).collect()
    }

    /// A visitor for the far side's CONNECT proxy.
    pub fn proxy_visitor(&self, port: u16) -> TunnelSpec {
        self.visitor(&self.name, PROXY_TUNNEL, port).probed_by(Probe::Open)
    }

    fn visitor(&self, name: &str, far: &str, port: u16) -> TunnelSpec {
        TunnelSpec::new(TunnelKind::StcpVisitor(Visitor {
            server_name: far.to_owned(),
            server_user: self.server_user.clone(),
            secret_key: self.secret_key.clone(),
            bind: SocketAddr::new(self.address, port),
        }))
        .named(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_data_port_is_at_its_own_number() {
        let near = FtpNearSide {
            name: "plant".into(),
            server_user: Some("plant".into()),
            secret_key: "k".into(),
            address: [127, 77, 0, 1].into(),
        };
        let visitors = near.visitors(2121, 50_000..=50_001);
        let binds: Vec<_> =
            visitors.iter().filter_map(|spec| spec.kind.bind()).map(|bind| bind.to_string()).collect();
        assert_eq!(binds, ["127.77.0.1:2121", "127.77.0.1:50000", "127.77.0.1:50001"]);
        assert!(crate::spec::mistakes_of_all(&visitors).is_empty());
    }
}
