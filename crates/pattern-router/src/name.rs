//! The name grammar: `{port}-{id}.domain`, split at the *first* dash, so that an id may contain dashes itself.
//!
//! Host names are compared case-insensitively (RFC 9110, section 4.2.3); a trailing dot and a port after the name are
//! accepted; user information, lists and any other character are not.

use std::fmt;

/// The longest label that DNS allows (RFC 1035, section 2.3.4).
pub const MAX_LABEL: usize = 63;
/// The length of `65535-` in a label: it determines the longest id that fits with every port.
pub const LONGEST_PORT_PREFIX: usize = 6;
/// The longest host name that DNS allows.
const MAX_HOST: usize = 253;

/// The domain whose names are routed, and the port in the address bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedDomain {
    /// With its leading dot, in lower case.
    suffix: String,
    public_port: Option<u16>,
}

/// A requested port of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodName {
    /// 1 to 65535.
    pub port: u16,
    /// In lower case; 1 to 61 characters of `[a-z0-9-]`, no dash at either end.
    pub id: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.port, self.id)
    }
}

/// Why a `Host` does not name a port of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Another domain's name, for which this router is not responsible (421).
    #[error("this name is not below the routed domain")]
    OtherDomain,
    #[error("the host is not a host name with an optional port")]
    NotAHost,
    #[error("expected PORT-ID before the domain, like 3000-ws123")]
    NotPortAndId,
    #[error("the port must be a number from 1 to 65535 without a sign or leading zeros")]
    BadPort,
    #[error("the id may hold letters, digits and dashes, with no dash at its beginning or end; IDN as xn--")]
    BadId,
    #[error("PORT-ID is longer than 63 characters, the most that DNS allows")]
    TooLong,
}

/// Why a text is not a domain to route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    #[error("expected a domain name like pool.example.com, with its public port if that is not 80 or 443")]
    NotADomain,
    #[error("the port after the domain must be a number from 1 to 65535")]
    BadPort,
    #[error("the domain is so long that PORT-ID.domain exceeds 253 characters")]
    TooLong,
}

impl Default for RoutedDomain {
    /// A placeholder for a configuration that will be rejected anyway.
    fn default() -> Self {
        RoutedDomain { suffix: ".invalid".to_owned(), public_port: None }
    }
}

impl RoutedDomain {
    /// `pool.example.com` or `pool.example.com:8443`, where 8443 is the port that browsers see.
    pub fn parse(text: &str) -> Result<RoutedDomain, DomainError> {
        let (name, public_port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(plain_port(port.as_bytes()).ok_or(DomainError::BadPort)?)),
            None => (text, None),
        };
        let name = name.strip_prefix('.').unwrap_or(name).to_ascii_lowercase();
        if !name.split('.').all(|label| is_label(label.as_bytes())) {
            return Err(DomainError::NotADomain);
        }
        if name.len() + 1 + MAX_LABEL > MAX_HOST {
            return Err(DomainError::TooLong);
        }
        Ok(RoutedDomain { suffix: format!(".{name}"), public_port })
    }

    /// Without a leading dot.
    pub fn name(&self) -> &str {
        self.suffix.get(1..).unwrap_or_default()
    }

    pub fn public_port(&self) -> Option<u16> {
        self.public_port
    }

    /// The maximum length of an id that fits with every port.
    pub fn longest_id(&self) -> usize {
        MAX_LABEL - LONGEST_PORT_PREFIX
    }

    /// `3000-ws123.pool.example.com[.][:443]` → port 3000 of ws123.
    pub fn parse_host(&self, host: &[u8]) -> Result<PodName, NameError> {
        let name = without_port(host).ok_or(NameError::NotAHost)?;
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() || name.len() > MAX_HOST || !name.iter().all(|b| is_host_byte(*b)) {
            return Err(NameError::NotAHost);
        }
        let at = name.len().checked_sub(self.suffix.len()).ok_or(NameError::OtherDomain)?;
        let (label, end) = name.split_at(at);
        if !end.eq_ignore_ascii_case(self.suffix.as_bytes()) || label.is_empty() {
            return Err(NameError::OtherDomain);
        }
        parse_label(label)
    }

    /// Whether a host (without its port) is the domain or beneath it.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let Some(at) = host.len().checked_sub(self.suffix.len()) else {
            return host.eq_ignore_ascii_case(self.name());
        };
        host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(&self.suffix))
    }

    /// The host that a browser shows for a port of a pod, with the public port.
    pub fn host_of(&self, name: &PodName) -> String {
        match self.public_port {
            Some(port) => format!("{name}{}:{port}", self.suffix),
            None => format!("{name}{}", self.suffix),
        }
    }
}

fn parse_label(label: &[u8]) -> Result<PodName, NameError> {
    if label.len() > MAX_LABEL {
        return Err(NameError::TooLong);
    }
    let dash = label.iter().position(|b| *b == b'-').ok_or(NameError::NotPortAndId)?;
    let (port, id) = label.split_at(dash);
    let port = plain_port(port).ok_or(NameError::BadPort)?;
    let id = id.get(1..).unwrap_or_default();
    if !is_label(id) {
        return Err(NameError::BadId);
    }
    let id = String::from_utf8(id.to_ascii_lowercase()).map_err(|_| NameError::BadId)?;
    Ok(PodName { port, id })
}

/// Whether an id can be part of a name at all.
pub fn is_pod_id(id: &str) -> bool {
    is_label(id.as_bytes()) && !id.bytes().any(|b| b.is_ascii_uppercase()) && id.len() <= MAX_LABEL - 2
}

/// A name without its optional port of 1 to 5 digits.
fn without_port(host: &[u8]) -> Option<&[u8]> {
    let Some(colon) = host.iter().position(|b| *b == b':') else { return Some(host) };
    let (name, port) = host.split_at(colon);
    let digits = port.get(1..).unwrap_or_default();
    let fits = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then_some(name)
}

/// 1 to 65535 in digits, without a sign or leading zeros: `080`, `+80` and `89618` are rejected.
pub fn plain_port(text: &[u8]) -> Option<u16> {
    if text.is_empty()
        || text.len() > 5
        || text.first() == Some(&b'0')
        || !text.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL
        && label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && label.first() != Some(&b'-')
        && label.last() != Some(&b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn domain() -> RoutedDomain {
        RoutedDomain::parse("Pool.Example.com").unwrap()
    }

    fn parse(host: &str) -> Result<(u16, String), NameError> {
        domain().parse_host(host.as_bytes()).map(|n| (n.port, n.id))
    }

    #[test]
    fn names_of_the_mission_are_read() {
        for (host, port, id) in [
            ("3000-ws123.pool.example.com", 3000, "ws123"),
            ("8080-ftp-pooler-0.pool.example.com", 8080, "ftp-pooler-0"),
            ("1-a.pool.example.com:443", 1, "a"),
            ("65535-A.POOL.example.COM.", 65535, "a"),
            ("65535-a.pool.example.com.:8443", 65535, "a"),
            ("80-xn--bcher-kva.pool.example.com", 80, "xn--bcher-kva"),
            ("80-3000-ws.pool.example.com", 80, "3000-ws"),
        ] {
            assert_eq!(parse(host), Ok((port, id.to_owned())), "{host}");
        }
    }

    #[test]
    fn other_spellings_of_a_port_are_refused() {
        for port in
            ["0", "080", "00080", "65536", "89618", "99999", "+80", "-80", " 80", "8o80", "", "0x50", "１"]
        {
            let got = parse(&format!("{port}-ws.pool.example.com"));
            assert!(matches!(got, Err(NameError::BadPort | NameError::NotAHost)), "{port}: {got:?}");
        }
    }

    #[test]
    fn ids_hosts_and_domains_that_are_none_are_told_apart() {
        let long = "a".repeat(60);
        for (host, error) in [
            ("80-.pool.example.com", NameError::BadId),
            ("80--a.pool.example.com", NameError::BadId),
            ("80-a-.pool.example.com", NameError::BadId),
            ("80-a_b.pool.example.com", NameError::BadId),
            ("80-a.b.pool.example.com", NameError::BadId),
            ("80.pool.example.com", NameError::NotPortAndId),
            (&format!("65535-{long}.pool.example.com"), NameError::TooLong),
            ("pool.example.com", NameError::OtherDomain),
            (".pool.example.com", NameError::OtherDomain),
            ("80-a.evil.com", NameError::OtherDomain),
            ("80-apool.example.com", NameError::OtherDomain),
            ("", NameError::NotAHost),
            (":80", NameError::NotAHost),
            ("80-a.pool.example.com:", NameError::NotAHost),
            ("80-a.pool.example.com:abc", NameError::NotAHost),
            ("80-a.pool.example.com:123456", NameError::NotAHost),
            ("80-a.pool.example.com:80:80", NameError::NotAHost),
            ("x@80-a.pool.example.com", NameError::NotAHost),
            ("80-a.pool.example.com/x", NameError::NotAHost),
            ("80-a.pool.example.com, evil", NameError::NotAHost),
            ("80-bücher.pool.example.com", NameError::NotAHost),
            ("[::1]:80", NameError::NotAHost),
        ] {
            assert_eq!(parse(host), Err(error), "{host}");
        }
    }

    #[test]
    fn domains_are_checked() {
        assert_eq!(RoutedDomain::parse("pool.test:8443").unwrap().public_port(), Some(8443));
        assert_eq!(RoutedDomain::parse("").unwrap_err(), DomainError::NotADomain);
        assert_eq!(RoutedDomain::parse("a..b").unwrap_err(), DomainError::NotADomain);
        assert_eq!(RoutedDomain::parse("*.a.b").unwrap_err(), DomainError::NotADomain);
        assert_eq!(RoutedDomain::parse("a.b:0").unwrap_err(), DomainError::BadPort);
        assert_eq!(RoutedDomain::parse(&"abc.".repeat(60)).unwrap_err(), DomainError::NotADomain);
        assert_eq!(RoutedDomain::parse(&vec!["abc"; 60].join(".")).unwrap_err(), DomainError::TooLong);
        assert!(domain().covers("pool.example.com") && domain().covers("x.POOL.example.com."));
        assert!(!domain().covers("xpool.example.com") && !domain().covers("example.com"));
    }

    proptest! {
        #[test]
        fn every_good_name_comes_back(port in 1u16.., id in "[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", upper: bool) {
            let mut host = format!("{port}-{id}.pool.example.com");
            if upper { host.make_ascii_uppercase(); }
            prop_assert_eq!(parse(&host), Ok((port, id.clone())));
            let name = PodName { port, id };
            let shown = domain().host_of(&name);
            prop_assert_eq!(domain().parse_host(shown.as_bytes()), Ok(name));
        }

        #[test]
        fn no_input_panics_and_what_is_read_is_in_the_grammar(host: Vec<u8>) {
            if let Ok(name) = domain().parse_host(&host) {
                prop_assert!(name.port > 0 && is_pod_id(&name.id));
            }
        }

        #[test]
        fn near_misses_stay_in_the_grammar(host in "[0-9+]{0,7}-?[a-zA-Z0-9_.-]{0,70}\\.pool\\.example\\.com\\.?(:[0-9]{0,6})?") {
            if let Ok(name) = domain().parse_host(host.as_bytes()) {
                prop_assert!(is_pod_id(&name.id));
                let canonical = format!("{name}.pool.example.com");
                prop_assert!(host.to_ascii_lowercase().starts_with(&canonical));
            }
        }
    }
}
