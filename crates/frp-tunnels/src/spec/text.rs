//! How local services and probes are written, in files and on the command line.

use std::str::FromStr;

use super::validation::is_host;
use super::{ClientPlugin, LocalService, Probe};

impl FromStr for LocalService {
    type Err = String;

    /// `5432`, `host:5432`, `[::1]:5432` or `unix:/run/service.sock`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Plugin(ClientPlugin::UnixSocket(path.into())));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        match port.filter(|_| is_host(host)) {
            Some(port) => Ok(Self::address(host, port)),
            None => Err(format!("{text:?} is not one of PORT, HOST:PORT, unix:PATH (a port is 1 to 65535)")),
        }
    }
}

impl FromStr for Probe {
    type Err = String;

    /// `accepted`, `local`, `open`, `greeting`, `greeting:220`, `http:/healthz` or `http:/healthz=200`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        match (word, rest) {
            ("accepted", "") => Ok(Self::Accepted),
            ("local", "") => Ok(Self::LocalService),
            ("open", "") => Ok(Self::Open),
            ("greeting", expected) => Ok(Self::Greeting(expected.to_owned())),
            ("http", path) => {
                let (path, status) = match path.rsplit_once('=') {
                    Some((path, status)) => (path, Some(status)),
                    None => (path, None),
                };
                let status =
                    status.map(|status| status.parse::<u16>().ok().filter(|code| (100..600).contains(code)));
                match status {
                    Some(None) => Err(format!("{text:?}: no status code")),
                    status => Ok(Self::Http { path: path.to_owned(), status: status.flatten() }),
                }
            }
            _ => Err(format!(
                "{text:?} is not one of accepted, local, open, greeting[:TEXT], http:PATH[=STATUS]"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read() {
        let address = |text: &str| match text.parse::<LocalService>() {
            Ok(LocalService::Address { host, port }) => Some((host, port)),
            _ => None,
        };
        assert_eq!(address("5432"), Some(("127.0.0.1".into(), 5432)));
        assert_eq!(address("db.local:5432"), Some(("db.local".into(), 5432)));
        assert_eq!(address("[::1]:80"), Some(("::1".into(), 80)));
        for wrong in ["", "0", "x", "host:", ":80", "host:70000", "a b:1"] {
            assert!(wrong.parse::<LocalService>().is_err(), "{wrong}");
        }
        assert!(matches!("unix:/x".parse(), Ok(LocalService::Plugin(ClientPlugin::UnixSocket(_)))));
    }

    #[test]
    fn probes_are_read() {
        assert_eq!("greeting:220".parse(), Ok(Probe::Greeting("220".into())));
        assert_eq!(
            "http:/healthz=204".parse(),
            Ok(Probe::Http { path: "/healthz".into(), status: Some(204) })
        );
        assert_eq!("http:/x".parse(), Ok(Probe::Http { path: "/x".into(), status: None }));
        for wrong in ["", "tcp", "http:/x=abc", "open:x"] {
            assert!(wrong.parse::<Probe>().is_err(), "{wrong}");
        }
    }
}
