//! Where a tunnel begins and ends, in words and for probes.

use crate::client::Tracked;
use crate::probe::ProbeTarget;
use crate::spec::{ClientPlugin, LocalService, TunnelKind, TunnelSpec};

/// `host:port`, with brackets around an IPv6 address.
fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The service behind a tunnel, or a visitor's far tunnel.
pub(crate) fn target_of(spec: &TunnelSpec) -> String {
    match &spec.kind {
        TunnelKind::StcpVisitor(visitor) | TunnelKind::SudpVisitor(visitor) => visitor.server_name.clone(),
        TunnelKind::XtcpVisitor(xtcp) => xtcp.visitor.server_name.clone(),
        kind => match kind.local() {
            Some(LocalService::Address { host, port }) => joined(host, *port),
            Some(LocalService::Plugin(plugin)) => plugin_name(plugin).to_owned(),
            None => String::new(),
        },
    }
}

fn plugin_name(plugin: &ClientPlugin) -> &'static str {
    match plugin {
        ClientPlugin::HttpProxy(_) => "http_proxy",
        ClientPlugin::Socks5(_) => "socks5",
        ClientPlugin::StaticFiles { .. } => "static_files",
        ClientPlugin::UnixSocket(_) => "unix_socket",
        ClientPlugin::HttpsToHttp { .. } => "https_to_http",
    }
}

/// The port in `host:port`, `:port` or `a.test:80,b.test:80`, as frps reports it.
fn reported_port(reported: &str) -> Option<u16> {
    let first = reported.split(',').next()?;
    first.rsplit_once(':')?.1.split('/').next()?.parse().ok()
}

/// Where others reach it.
pub(crate) fn address_of(tracked: &Tracked, server_host: &str) -> Option<String> {
    let port = tracked.remote_address.as_deref().and_then(reported_port);
    match &tracked.spec.kind {
        TunnelKind::Tcp(ports) | TunnelKind::Udp(ports) => {
            port.or(ports.remote_port).map(|port| joined(server_host, port))
        }
        TunnelKind::Http(http) => {
            let host = http.domains.first().cloned().or_else(|| reported_host(tracked))?;
            let path = http.paths.first().map_or("", String::as_str);
            Some(url("http", 80, &host, port, path))
        }
        TunnelKind::Https(https) => {
            let host = https.domains.first().cloned().or_else(|| reported_host(tracked))?;
            Some(url("https", 443, &host, port, ""))
        }
        TunnelKind::TcpMux(mux) => {
            let host = mux.domains.domains.first().cloned().or_else(|| reported_host(tracked))?;
            Some(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
        }
        kind => kind.bind().map(|bind| bind.to_string()),
    }
}

fn reported_host(tracked: &Tracked) -> Option<String> {
    let first = tracked.remote_address.as_deref()?.split(',').next()?;
    let host = first.rsplit_once(':').map_or(first, |(host, _)| host);
    (!host.is_empty()).then(|| host.to_owned())
}

fn url(scheme: &str, usual_port: u16, host: &str, port: Option<u16>, path: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    match port.filter(|port| *port != usual_port) {
        Some(port) => format!("{scheme}://{host}:{port}{path}"),
        None => format!("{scheme}://{host}{path}"),
    }
}

pub(crate) fn probe_target(tracked: &Tracked, server_host: &str) -> ProbeTarget {
    let local = match tracked.spec.kind.local() {
        Some(LocalService::Address { host, port }) => Some(joined(host, *port)),
        _ => None,
    };
    let port = tracked.remote_address.as_deref().and_then(reported_port);
    let (through, host) = match &tracked.spec.kind {
        TunnelKind::Tcp(ports) => (port.or(ports.remote_port).map(|port| joined(server_host, port)), None),
        TunnelKind::Http(http) => {
            let domain = http.domains.first().cloned().or_else(|| reported_host(tracked));
            let domain = domain.map(|domain| domain.replacen('*', "probe", 1));
            // frps says with the first status at which port it serves domains
            let is_reported = tracked.remote_address.is_some();
            (is_reported.then(|| joined(server_host, port.unwrap_or(80))), domain)
        }
        kind => (kind.bind().map(|bind| bind.to_string()), None),
    };
    ProbeTarget { through, local, host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_in_what_frps_reports() {
        for (reported, port) in [
            (":6000", Some(6000)),
            ("frps.test:6000", Some(6000)),
            ("a.test:8080,b.test:8080", Some(8080)),
            ("a.test", None),
            ("", None),
        ] {
            assert_eq!(reported_port(reported), port, "{reported}");
        }
    }

    #[test]
    fn urls_name_a_port_only_where_it_is_not_the_usual_one() {
        assert_eq!(url("http", 80, "a.test", Some(80), ""), "http://a.test/");
        assert_eq!(url("http", 80, "a.test", Some(8080), "/app"), "http://a.test:8080/app");
    }
}
