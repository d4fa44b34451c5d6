//! frps.toml in today's form, with its reasons as comments.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::PortRange;

/// What a configuration is written from. Paths are absolute.
#[derive(Debug, Clone)]
pub struct FrpsTemplate {
    pub port: u16,
    pub token_file: PathBuf,
    /// `None`: every port.
    pub allow_ports: Option<Vec<PortRange>>,
    pub http_port: Option<u16>,
    pub https_port: Option<u16>,
    pub subdomain_host: Option<String>,
    /// Certificate and key of frps.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub client_ca: Option<PathBuf>,
    /// Port and password of the API on loopback.
    pub api: Option<(u16, SecretString)>,
    /// The log file and its days; `None`: standard output.
    pub log: Option<(PathBuf, u32)>,
    pub max_ports_per_client: Option<u32>,
    pub plugin: Option<SocketAddr>,
}

/// A basic string of TOML. frp reads every file as a template first, so its braces are written as escapes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '{' => quoted.push_str("\\u007b"),
            c if c.is_control() => quoted.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn path(path: &std::path::Path) -> String {
    quoted(&path.to_string_lossy())
}

/// The text of frps.toml. It holds the API's password: 0600.
pub fn render_template(template: &FrpsTemplate) -> SecretString {
    let mut lines = vec![
        "# Written by `frp-tunnels server init`. frps reads it at its start only:".to_owned(),
        "# `frp-tunnels server run` restarts frps when this file or a file that it names changes.".to_owned(),
        String::new(),
        "bindAddr = \"0.0.0.0\"".to_owned(),
        format!("bindPort = {}", template.port),
        String::new(),
        "# Every client needs it; rotation: change the file, and the file of each client.".to_owned(),
        "auth.method = \"token\"".to_owned(),
        format!(
            "auth.tokenSource = {{ type = \"file\", file = {{ path = {} }} }}",
            path(&template.token_file)
        ),
        String::new(),
    ];
    tls(template, &mut lines);
    lines
        .push("# A peer that is gone is noticed after this and ten seconds more (frp's own: 30).".to_owned());
    lines.push("transport.tcpMuxKeepaliveInterval = 10".to_owned());
    lines.push(String::new());
    ports(template, &mut lines);
    if let Some((port, password)) = &template.api {
        lines.push("# For `frp-tunnels server status`, /metrics and /healthz; loopback only.".to_owned());
        lines.push("webServer.addr = \"127.0.0.1\"".to_owned());
        lines.push(format!("webServer.port = {port}"));
        lines.push("webServer.user = \"admin\"".to_owned());
        lines.push(format!("webServer.password = {}", quoted(password.expose_secret())));
        lines.push("enablePrometheus = true".to_owned());
        lines.push(String::new());
    }
    match &template.log {
        Some((file, days)) => {
            lines.push(format!("log.to = {}", path(file)));
            lines.push(format!("log.maxDays = {days}"));
        }
        None => lines.push("log.disablePrintColor = true".to_owned()),
    }
    lines.push("log.level = \"info\"".to_owned());
    if let Some(address) = &template.plugin {
        lines.push(String::new());
        lines.push(
            "# `frp-tunnels server plugin`: a token for each client, rules, audit log. Where it is away,"
                .to_owned(),
        );
        lines.push("# frps refuses.".to_owned());
        lines.push("[[httpPlugins]]".to_owned());
        lines.push("name = \"frp-tunnels\"".to_owned());
        lines.push(format!("addr = \"{address}\""));
        lines.push("path = \"/handler\"".to_owned());
        lines.push(
            "ops = [\"Login\", \"NewProxy\", \"CloseProxy\", \"Ping\", \"NewWorkConn\", \"NewUserConn\"]"
                .to_owned(),
        );
    }
    lines.push(String::new());
    SecretString::from(lines.join("\n"))
}

fn tls(template: &FrpsTemplate, lines: &mut Vec<String>) {
    lines.push(
        "# Login and data are encrypted; without a certificate of a CA that clients check, anybody on the"
            .to_owned(),
    );
    lines.push("# way can be frps.".to_owned());
    lines.push("transport.tls.force = true".to_owned());
    if let Some((certificate, key)) = &template.certificate {
        lines.push(format!("transport.tls.certFile = {}", path(certificate)));
        lines.push(format!("transport.tls.keyFile = {}", path(key)));
    }
    if let Some(ca) = &template.client_ca {
        lines.push("# Clients need a certificate of this CA.".to_owned());
        lines.push(format!("transport.tls.trustedCaFile = {}", path(ca)));
    }
    lines.push(String::new());
}

fn ports(template: &FrpsTemplate, lines: &mut Vec<String>) {
    match template.allow_ports.as_deref() {
        None => {
            lines.push("# Clients may take any port: set allowPorts before others get the token.".to_owned());
        }
        Some([]) => {
            // an empty list would allow all
            lines.push(
                "# No port for clients, only secret tunnels and domains: frps has this one itself."
                    .to_owned(),
            );
            lines.push(format!("allowPorts = [{{ single = {} }}]", template.port));
        }
        Some(ranges) => {
            let range = |range: &PortRange| {
                let (first, last) = range.range().into_inner();
                if first == last {
                    format!("{{ single = {first} }}")
                } else {
                    format!("{{ start = {first}, end = {last} }}")
                }
            };
            let ranges: Vec<_> = ranges.iter().map(range).collect();
            lines.push(format!("allowPorts = [{}]", ranges.join(", ")));
        }
    }
    if let Some(most) = template.max_ports_per_client {
        lines.push(format!("maxPortsPerClient = {most}"));
    }
    for (key, port) in [("vhostHTTPPort", template.http_port), ("vhostHTTPSPort", template.https_port)] {
        if let Some(port) = port {
            lines.push(format!("{key} = {port}"));
        }
    }
    if let Some(host) = &template.subdomain_host {
        lines.push(format!("subDomainHost = {}", quoted(host)));
    }
    lines.push(String::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> FrpsTemplate {
        FrpsTemplate {
            port: 7000,
            token_file: "/etc/frp/to{{ken".into(),
            allow_ports: Some(vec!["6000-6009".parse().unwrap(), "7022".parse().unwrap()]),
            http_port: Some(80),
            https_port: None,
            subdomain_host: Some("t.example.com".into()),
            certificate: Some(("/c.pem".into(), "/k.pem".into())),
            client_ca: Some("/ca.pem".into()),
            api: Some((7500, "p{{ .Envs.HOME }}'\"".into())),
            log: Some(("/var/log/frps.log".into(), 14)),
            max_ports_per_client: Some(20),
            plugin: Some("127.0.0.1:7410".parse().unwrap()),
        }
    }

    #[test]
    fn it_is_toml_without_templates_and_says_what_was_asked_for() {
        let text = render_template(&template());
        let text = text.expose_secret();
        assert!(!text.contains("{{"), "{text}");
        let value: toml::Table = text.parse().unwrap();
        assert_eq!(value["auth"]["tokenSource"]["file"]["path"].as_str(), Some("/etc/frp/to{{ken"));
        assert_eq!(value["webServer"]["password"].as_str(), Some("p{{ .Envs.HOME }}'\""));
        assert_eq!(value["allowPorts"][0]["end"].as_integer(), Some(6009));
        assert_eq!(value["httpPlugins"][0]["addr"].as_str(), Some("127.0.0.1:7410"));
        assert_eq!(value["transport"]["tls"]["force"].as_bool(), Some(true));
    }

    #[test]
    fn no_port_is_not_every_port() {
        let text = render_template(&FrpsTemplate { allow_ports: Some(Vec::new()), ..template() });
        assert!(text.expose_secret().contains("allowPorts = [{ single = 7000 }]"));
    }
}
