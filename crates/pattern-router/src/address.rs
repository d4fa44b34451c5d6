//! Which addresses may be dialled: those of configured networks, never this machine's own, link-local (which include
//! the clouds' metadata services), multicast or unspecified ones. Checked on the address that is actually dialled,
//! after every look-up, so that an answer that changes in between has no effect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Private networks (RFC 1918, RFC 4193): where pods usually are.
pub const DEFAULT_NETWORKS: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
/// Metadata services outside the link-local networks: AWS over IPv6, Alibaba, and Azure's wire server.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// What a pod's address must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// A pod's address lies in one of them.
    pub networks: Vec<IpNet>,
    /// For pods on this machine: tests and a single machine without containers.
    pub allow_loopback: bool,
}

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    #[error("{0} is a loopback address")]
    Loopback(IpAddr),
    #[error("{0} is link-local")]
    LinkLocal(IpAddr),
    #[error("{0} is a metadata service")]
    Metadata(IpAddr),
    #[error("{0} is not the address of one host")]
    NotUnicast(IpAddr),
    #[error("{0} is in none of the configured networks")]
    OtherNetwork(IpAddr),
    #[error("{0} is the router's own address")]
    Own(IpAddr),
}

impl AddressPolicy {
    /// The address to dial, with IPv4-mapped addresses converted to IPv4.
    pub fn check(&self, address: IpAddr) -> Result<IpAddr, AddressRefusal> {
        let address = address.to_canonical();
        if METADATA.contains(&address) {
            return Err(AddressRefusal::Metadata(address));
        }
        if is_link_local(address) {
            return Err(AddressRefusal::LinkLocal(address));
        }
        if is_not_unicast(address) {
            return Err(AddressRefusal::NotUnicast(address));
        }
        if address.is_loopback() {
            return if self.allow_loopback { Ok(address) } else { Err(AddressRefusal::Loopback(address)) };
        }
        // Addresses with an embedded IPv4 address are dialled through a gateway, to wherever that leads.
        if let Some(inner) = embedded_ipv4(address) {
            AddressPolicy { networks: self.networks.clone(), allow_loopback: false }
                .check(IpAddr::V4(inner))?;
        }
        if self.networks.iter().any(|network| network.contains(&address)) {
            Ok(address)
        } else {
            Err(AddressRefusal::OtherNetwork(address))
        }
    }

    /// Whether a connected socket leads back to this machine: the system chooses one of its own addresses to reach
    /// itself.
    pub fn check_connected(&self, local: IpAddr, peer: IpAddr) -> Result<(), AddressRefusal> {
        let (local, peer) = (local.to_canonical(), peer.to_canonical());
        if local == peer && !(self.allow_loopback && peer.is_loopback()) {
            return Err(AddressRefusal::Own(peer));
        }
        Ok(())
    }
}

/// Also deprecated site-local addresses (RFC 3879), which are not in use.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => matches!(v6.segments().first(), Some(0xfe80..=0xfeff)),
    }
}

fn is_not_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets().first(), Some(0 | 224..)),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    }
}

/// IPv4-compatible (RFC 4291), NAT64 (RFC 6052) and 6to4 (RFC 3056) addresses.
fn embedded_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let from = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(from(high, low))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> AddressPolicy {
        let networks = DEFAULT_NETWORKS.iter().map(|n| n.parse().unwrap()).collect();
        AddressPolicy { networks, allow_loopback: false }
    }

    /// Known ways around an address filter; other filters have missed each of these lines.
    #[test]
    fn server_side_request_forgery_table() {
        let everything = AddressPolicy {
            networks: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            allow_loopback: false,
        };
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "240.0.0.1",
            "ff02::1",
            "::127.0.0.1",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(policy().check(address).is_err(), "{address} by the default networks");
            assert!(everything.check(address).is_err(), "{address} where every network is allowed");
        }
        for address in ["8.8.8.8", "100.64.0.1", "2001:4860::1", "172.32.0.1", "192.169.0.1", "11.0.0.1"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(policy().check(address), Err(AddressRefusal::OtherNetwork(address)));
        }
        for address in ["10.1.2.3", "172.31.255.255", "192.168.0.1", "fd12::1", "::ffff:10.1.2.3"] {
            assert!(policy().check(address.parse().unwrap()).is_ok(), "{address}");
        }
    }

    #[test]
    fn loopback_is_dialled_only_where_it_is_allowed() {
        let local = AddressPolicy { allow_loopback: true, ..policy() };
        assert!(local.check("127.0.0.1".parse().unwrap()).is_ok());
        assert!(local.check("169.254.169.254".parse().unwrap()).is_err());
        assert!(local.check("2002:7f00:1::".parse().unwrap()).is_err());
    }

    #[test]
    fn a_socket_that_leads_back_is_refused() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(policy().check_connected(ip("10.0.0.5"), ip("10.0.0.5")).is_err());
        assert!(policy().check_connected(ip("::ffff:10.0.0.5"), ip("10.0.0.5")).is_err());
        assert!(policy().check_connected(ip("10.0.0.5"), ip("10.0.0.6")).is_ok());
        let local = AddressPolicy { allow_loopback: true, ..policy() };
        assert!(local.check_connected(ip("127.0.0.1"), ip("127.0.0.1")).is_ok());
    }

    proptest! {
        #[test]
        fn what_passes_is_in_a_network_and_canonical(bits: u128, v4: u32, six: bool) {
            let address = if six { IpAddr::from(bits.to_be_bytes()) } else { IpAddr::from(v4.to_be_bytes()) };
            if let Ok(checked) = policy().check(address) {
                prop_assert_eq!(checked, checked.to_canonical());
                prop_assert!(!checked.is_loopback() && !checked.is_multicast() && !checked.is_unspecified());
                prop_assert!(policy().networks.iter().any(|n| n.contains(&checked)));
            }
        }
    }
}
