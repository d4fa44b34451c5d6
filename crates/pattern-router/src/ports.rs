//! Lists of ports: `8080, 3000-3999`.

use std::fmt;
use std::str::FromStr;

/// Kubelet, kube-proxy, controller manager, scheduler and etcd: reachable only if listed individually, never by a
/// range.
const CONTROL_PLANE: [std::ops::RangeInclusive<u16>; 2] = [10_248..=10_259, 2_379..=2_380];
/// Ports below this are reachable only if listed individually.
const FIRST_UNPRIVILEGED: u16 = 1024;
/// The maximum number of items in a list.
const MAX_PARTS: usize = 1024;

/// Single ports and ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortList {
    single: Vec<u16>,
    ranges: Vec<(u16, u16)>,
}

/// Why a text is not a list of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortListError {
    #[error("'{0}' is not a port from 1 to 65535 or a range like 3000-3999")]
    NotAPort(String),
    #[error("'{0}' ends before it begins")]
    Backwards(String),
    #[error("has more than {MAX_PARTS} parts")]
    TooMany,
}

impl PortList {
    /// Whether it contains the port; system ports and those of the control plane must be listed individually.
    pub fn contains(&self, port: u16) -> bool {
        let sensitive = port < FIRST_UNPRIVILEGED || CONTROL_PLANE.iter().any(|range| range.contains(&port));
        let in_range = || self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&port));
        self.single.contains(&port) || (!sensitive && in_range())
    }

    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && self.ranges.is_empty()
    }
}

impl FromStr for PortList {
    type Err = PortListError;

    fn from_str(text: &str) -> Result<Self, PortListError> {
        let port = |part: &str| crate::name::plain_port(part.trim().as_bytes());
        let mut list = PortList::default();
        let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.len() > MAX_PARTS {
            return Err(PortListError::TooMany);
        }
        for part in parts {
            let wrong = || PortListError::NotAPort(part.to_owned());
            let Some((first, last)) = part.split_once('-') else {
                list.single.push(port(part).ok_or_else(wrong)?);
                continue;
            };
            let (first, last) = (port(first).ok_or_else(wrong)?, port(last).ok_or_else(wrong)?);
            if last < first {
                return Err(PortListError::Backwards(part.to_owned()));
            }
            list.ranges.push((first, last));
        }
        Ok(list)
    }
}

impl fmt::Display for PortList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = self.single.iter().map(ToString::to_string);
        let ranges = self.ranges.iter().map(|(first, last)| format!("{first}-{last}"));
        f.write_str(&single.chain(ranges).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_ports_and_ranges() {
        let list: PortList = "8080, 3000-3999,".parse().unwrap();
        assert!(list.contains(8080) && list.contains(3000) && list.contains(3999));
        assert!(!list.contains(4000) && !list.contains(2999));
        assert_eq!(list.to_string(), "8080, 3000-3999");
    }

    #[test]
    fn sensitive_ports_need_naming() {
        let all: PortList = "1-65535".parse().unwrap();
        for port in [22, 80, 1023, 2379, 2380, 10250, 10255] {
            assert!(!all.contains(port), "{port}");
            assert!(port.to_string().parse::<PortList>().unwrap().contains(port));
        }
        assert!(all.contains(1024) && all.contains(65535) && all.contains(10260));
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["0", "080", "x", "1-", "-1", "70000", "1--2"] {
            assert!(matches!(text.parse::<PortList>(), Err(PortListError::NotAPort(_))), "{text}");
        }
        assert!(matches!("9-8".parse::<PortList>(), Err(PortListError::Backwards(_))));
    }
}
