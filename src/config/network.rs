//! The way to a server: who opens data connections, from which address, and through which proxy.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;

use super::connection_keys as keys;
use super::keys::Key;
use super::kind::quoted;
use super::section_reader::Reading;

/// How control and data connections come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    pub data: DataConnectionMode,
    /// The data connection goes to the address that PASV names, not to the control connection's.
    pub trusts_pasv: bool,
    pub proxy: Option<ProxyServer>,
    /// The address of this pod that connections begin at.
    pub source: Option<IpAddr>,
    /// Silence after which TCP asks whether the server is still there; `None` never does.
    pub keepalive: Option<Duration>,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        let keepalive = Some(Duration::from_secs(60));
        NetworkOptions {
            data: DataConnectionMode::Passive,
            trusts_pasv: false,
            proxy: None,
            source: None,
            keepalive,
        }
    }
}

/// Who opens the data connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DataConnectionMode {
    #[default]
    Passive,
    /// The server does.
    Active {
        /// What it is told, where that is not the control connection's own end.
        announced: Option<IpAddr>,
        /// Any, where there is none.
        ports: Option<RangeInclusive<u16>>,
    },
}

/// A proxy for control and data connections.
#[derive(Debug, Clone)]
pub struct ProxyServer {
    pub kind: ProxyKind,
    pub host: String,
    pub port: u16,
    pub user: Option<(String, SecretString)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// RFC 1928 and 1929.
    Socks5,
    /// HTTP's CONNECT.
    Http,
}

/// SOCKS5 takes no longer name or password.
const MAX_CREDENTIAL_BYTES: usize = 255;

/// Takes the keys about the way.
pub(super) fn take(reading: &mut Reading<'_>) -> NetworkOptions {
    let announced = address(reading, &keys::ACTIVE_ADDRESS);
    let ports = read_with(reading, &keys::ACTIVE_PORTS, ports);
    let active = reading.entries.get(keys::PASSIVE.path).cloned();
    // A value that is no truth at all is a mistake, and reads as false.
    let data = if reading.flag(&keys::PASSIVE) {
        DataConnectionMode::Passive
    } else {
        DataConnectionMode::Active { announced, ports }
    };
    let socks = read_with(reading, &keys::SOCKS_PROXY, |text| proxy(ProxyKind::Socks5, text));
    let http_entry = reading.entries.get(keys::HTTP_PROXY.path).cloned();
    let http = read_with(reading, &keys::HTTP_PROXY, |text| proxy(ProxyKind::Http, text));
    if let (Some(Some(_)), Some(Some(_))) = (&socks, &http) {
        reading.wrong(
            keys::HTTP_PROXY.path,
            http_entry.as_ref(),
            "socks_proxy is set as well; expected one of them",
        );
    }
    let proxy = socks.flatten().or(http.flatten());
    if proxy.is_some() && data != DataConnectionMode::Passive {
        let problem = "a server cannot open connections through a proxy; expected true";
        reading.wrong(keys::PASSIVE.path, active.as_ref(), problem);
    }
    let keepalive = Some(reading.time(&keys::KEEPALIVE)).filter(|time| !time.is_zero());
    NetworkOptions {
        data,
        trusts_pasv: reading.text(&keys::PASV_ADDRESS) == "server",
        proxy,
        source: address(reading, &keys::SOURCE_ADDRESS),
        keepalive,
    }
}

fn address(reading: &mut Reading<'_>, key: &Key) -> Option<IpAddr> {
    read_with(reading, key, |text| {
        text.parse().map_err(|_| format!("found {}; expected an IP address", quoted(text)))
    })
}

fn read_with<T>(
    reading: &mut Reading<'_>,
    key: &Key,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let entry = reading.entries.get(key.path).cloned();
    let text = reading.text_if_set(key)?;
    match read(text.trim()) {
        Ok(value) => Some(value),
        Err(problem) => {
            reading.wrong(key.path, entry.as_ref(), problem);
            None
        }
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(low, high)| {
        let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        (low > 0 && low <= high).then_some(low..=high)
    });
    range.ok_or_else(|| format!("found {}; expected a range such as 50000-50099", quoted(text)))
}

/// `[user[:password]@]host:port`, for HTTP with `http://` before it. Nothing of it is ever shown.
fn proxy(kind: ProxyKind, text: &str) -> Result<Option<ProxyServer>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (scheme, expected) = match kind {
        ProxyKind::Socks5 => ("socks5://", "is no proxy; expected [user:password@]host:port"),
        ProxyKind::Http => ("http://", "is no proxy; expected http://[user:password@]host:port"),
    };
    let text = text.strip_prefix(scheme).unwrap_or(text).trim_end_matches('/');
    let (user, address) = match text.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, text),
    };
    let user = user.map(|user| user.split_once(':').unwrap_or((user, "")));
    let (host, port) = address.rsplit_once(':').ok_or(expected)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(expected)?;
    let fits = |text: &str| text.len() <= MAX_CREDENTIAL_BYTES && !text.contains(char::is_control);
    if host.is_empty()
        || text.contains("://")
        || host.contains(['/', ' ', '@'])
        || user.is_some_and(|(user, pass)| user.is_empty() || !fits(user) || !fits(pass))
    {
        return Err(expected.to_owned());
    }
    let user = user.map(|(user, pass)| (user.to_owned(), SecretString::from(pass)));
    Ok(Some(ProxyServer { kind, host: host.to_owned(), port, user }))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn proxies_are_read_as_rclone_writes_them() {
        let full = proxy(ProxyKind::Socks5, "anna:se:cr@t@proxy.example:1080").unwrap().unwrap();
        let (user, pass) = full.user.unwrap();
        assert_eq!((full.host.as_str(), full.port, user.as_str()), ("proxy.example", 1080, "anna"));
        assert_eq!(pass.expose_secret(), "se:cr@t");
        let bare = proxy(ProxyKind::Http, "http://[::1]:3128/").unwrap().unwrap();
        assert!((bare.host.as_str(), bare.port) == ("::1", 3128) && bare.user.is_none());
        assert!(proxy(ProxyKind::Http, "").unwrap().is_none());
        for wrong in ["proxy", "proxy:0", "proxy:x", "@proxy:1", "ftp://a:secret@proxy:1", ":1"] {
            let problem = proxy(ProxyKind::Socks5, wrong).unwrap_err();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn a_range_of_ports_has_a_begin_and_an_end() {
        assert_eq!(ports("50000-50099"), Ok(50_000..=50_099));
        for wrong in ["", "5", "0-5", "6-5", "1-70000", "a-b"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }
}
