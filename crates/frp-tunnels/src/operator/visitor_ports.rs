//! Ports of the operator's pod at which visitors listen. Services lead to them from the ports that users see, so two
//! FTP servers with the same passive ports can both be visited.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// One port of one tunnel: the Tunnel's name, and the port of its Service.
pub type VisitorKey = (String, u16);

/// Which ports are given out. What is given stays, as long as it is wanted: live connections run through it.
#[derive(Debug)]
pub struct VisitorPorts {
    range: RangeInclusive<u16>,
    given: BTreeMap<VisitorKey, u16>,
    taken: BTreeSet<u16>,
    /// Where the search goes on: a port that was let go is not given out at once.
    next: u16,
}

impl VisitorPorts {
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let next = *range.start();
        Self { range, given: BTreeMap::new(), taken: BTreeSet::new(), next }
    }

    /// The port of this key, a new one where it has none; `None`: all are taken.
    pub fn port(&mut self, key: VisitorKey) -> Option<u16> {
        if let Some(port) = self.given.get(&key) {
            return Some(*port);
        }
        let (first, last) = (*self.range.start(), *self.range.end());
        let port = (self.next..=last).chain(first..self.next).find(|port| !self.taken.contains(port))?;
        self.next = if port == last { first } else { port + 1 };
        self.taken.insert(port);
        self.given.insert(key, port);
        Some(port)
    }

    /// Gives back every port of a Tunnel that is not among these.
    pub fn keep(&mut self, tunnels: &BTreeSet<&str>) {
        self.given.retain(|(tunnel, _), _| tunnels.contains(tunnel.as_str()));
        self.taken = self.given.values().copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_port_is_given_twice_and_what_is_given_stays(
            steps in prop::collection::vec((0_u8..6, 1_u16..5, any::<bool>()), 0..80)
        ) {
            let mut ports = VisitorPorts::new(20_000..=20_009);
            let mut model: BTreeMap<VisitorKey, u16> = BTreeMap::new();
            for (tunnel, port, is_wanted) in steps {
                let name = tunnel.to_string();
                if is_wanted {
                    let key = (name, port);
                    let given = ports.port(key.clone());
                    match model.get(&key) {
                        Some(before) => prop_assert_eq!(given, Some(*before)),
                        None if model.len() == 10 => prop_assert_eq!(given, None),
                        None => {
                            let given = given.unwrap();
                            prop_assert!((20_000..=20_009).contains(&given));
                            prop_assert!(model.values().all(|other| *other != given));
                            model.insert(key, given);
                        }
                    }
                } else {
                    model.retain(|(other, _), _| *other != name);
                    let kept: Vec<String> = model.keys().map(|(tunnel, _)| tunnel.clone()).collect();
                    ports.keep(&kept.iter().map(String::as_str).collect());
                }
            }
        }
    }
}
