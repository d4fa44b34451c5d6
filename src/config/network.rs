//! The network path to a server: who opens data connections, from which address, and through which proxy.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::connection::FtpConnection;
use super::key::FieldAccess;
use super::kind::{KeyValue, quoted};
use crate::tunnel::TunnelEntrance;

/// How control and data connections are established.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    pub data: DataConnectionMode,
    /// Data connections use the address in PASV's reply, not the control connection's.
    pub trusts_pasv: bool,
    pub proxy: Option<ProxyServer>,
    /// The local address of connections.
    pub source: Option<IpAddr>,
    /// After this much silence TCP probes whether the server is still there; `None` never does.
    pub keepalive: Option<Duration>,
    /// The section of the tunnel that leads to the server.
    pub via: Option<String>,
    /// The tunnel's local entrance. Set when a session is opened; not a key.
    pub entrance: Option<TunnelEntrance>,
}

/// Which side opens the data connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DataConnectionMode {
    #[default]
    Passive,
    /// The server opens them.
    Active {
        /// The address sent to the server, if it is not the control connection's own end.
        announced: Option<IpAddr>,
        /// Any port, if `None`.
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

/// SOCKS5's limit for user names and passwords.
const MAX_CREDENTIAL_BYTES: usize = 255;

pub(super) const PASSIVE: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        ftp.network.data = match value {
            KeyValue::Flag(false) => DataConnectionMode::Active { announced: None, ports: None },
            _ => DataConnectionMode::Passive,
        };
        Ok(())
    },
    get: |ftp| KeyValue::Flag(ftp.network.data == DataConnectionMode::Passive),
};

/// Has no effect in passive mode, but is checked.
pub(super) const ACTIVE_ADDRESS: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        let address = address(value)?;
        if let DataConnectionMode::Active { announced, .. } = &mut ftp.network.data {
            *announced = Some(address);
        }
        Ok(())
    },
    get: |ftp| match ftp.network.data {
        DataConnectionMode::Active { announced: Some(address), .. } => KeyValue::Text(address.to_string()),
        _ => KeyValue::Unset,
    },
};

/// Has no effect in passive mode, but is checked.
pub(super) const ACTIVE_PORTS: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        let range = ports(&value.into_text())?;
        if let DataConnectionMode::Active { ports, .. } = &mut ftp.network.data {
            *ports = Some(range);
        }
        Ok(())
    },
    get: |ftp| match &ftp.network.data {
        DataConnectionMode::Active { ports: Some(range), .. } => {
            KeyValue::Text(format!("{}-{}", range.start(), range.end()))
        }
        _ => KeyValue::Unset,
    },
};

pub(super) const PASV_ADDRESS: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        ftp.network.trusts_pasv = value.into_text() == "server";
        Ok(())
    },
    get: |ftp| KeyValue::Text(if ftp.network.trusts_pasv { "server" } else { "control" }.to_owned()),
};

pub(super) const SOCKS_PROXY: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| set_proxy(ftp, ProxyKind::Socks5, value),
    get: |ftp| shown_proxy(ftp, ProxyKind::Socks5),
};

pub(super) const HTTP_PROXY: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| set_proxy(ftp, ProxyKind::Http, value),
    get: |ftp| shown_proxy(ftp, ProxyKind::Http),
};

fn set_proxy(ftp: &mut FtpConnection, kind: ProxyKind, value: KeyValue) -> Result<(), String> {
    let Some(proxy) = proxy(kind, value.into_text().trim())? else { return Ok(()) };
    if ftp.network.proxy.is_some() {
        return Err("socks_proxy is set as well; expected one of them".to_owned());
    }
    ftp.network.proxy = Some(proxy);
    Ok(())
}

/// Its user and password are compared, but not shown.
fn shown_proxy(ftp: &FtpConnection, kind: ProxyKind) -> KeyValue {
    let Some(proxy) = ftp.network.proxy.as_ref().filter(|proxy| proxy.kind == kind) else {
        return KeyValue::Unset;
    };
    let shown = format!("{}:{}", proxy.host, proxy.port);
    let user = proxy.user.as_ref().map(|(user, pass)| (user, pass.expose_secret()));
    KeyValue::Hidden { content: format!("{user:?} {shown}").into_bytes(), shown }
}

pub(super) const SOURCE_ADDRESS: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        ftp.network.source = Some(address(value)?);
        Ok(())
    },
    get: |ftp| ftp.network.source.map_or(KeyValue::Unset, |source| KeyValue::Text(source.to_string())),
};

pub(super) const VIA: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        ftp.network.via = Some(value.into_text());
        Ok(())
    },
    get: |ftp| ftp.network.via.clone().map_or(KeyValue::Unset, KeyValue::Text),
};

fn address(value: KeyValue) -> Result<IpAddr, String> {
    let text = value.into_text();
    text.trim().parse().map_err(|_| format!("found {}; expected an IP address", quoted(&text)))
}

pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(low, high)| {
        let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        (low > 0 && low <= high).then_some(low..=high)
    });
    range.ok_or_else(|| format!("found {}; expected a range such as 50000-50099", quoted(text)))
}

/// `[user[:password]@]host:port`, for HTTP preceded by `http://`. Nothing of it is ever shown.
fn proxy(kind: ProxyKind, text: &str) -> Result<Option<ProxyServer>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (scheme, expected) = match kind {
        ProxyKind::Socks5 => ("socks5://", "is not a proxy; expected [user:password@]host:port"),
        ProxyKind::Http => ("http://", "is not a proxy; expected http://[user:password@]host:port"),
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
