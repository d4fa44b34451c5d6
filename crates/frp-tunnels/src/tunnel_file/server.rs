//! `[server]`: where frps is, who this client is, and its limits.

use crate::client::{ClientSettings, Timing};
use crate::server_settings::{
    Authentication, OidcSettings, ServerAddress, ServerSettings, TlsSettings, TransportProtocol,
};
use crate::spec::IdStrategy;

use super::Reader;
use super::section::Section;

/// `None`: it says wrong what nothing works without.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<ClientSettings> {
    let servers = addresses(reader, section);
    let mut server = ServerSettings::new(servers.first().cloned()?);
    server.servers = servers;
    server.user = reader.text(section, "user");
    server.authentication = authentication(reader, section);
    server.client_token = reader.secret_file(section, "client_token_file");
    server.protocol = reader.parsed::<TransportProtocol>(section, "protocol").unwrap_or_default();
    server.tls = TlsSettings {
        enabled: reader.flag(section, "tls").unwrap_or(true),
        ca: reader.path(section, "tls_ca"),
        server_name: reader.text(section, "tls_server_name"),
        certificate: reader.path(section, "tls_certificate"),
        key: reader.path(section, "tls_key"),
    };
    server.keepalive = reader.duration(section, "keepalive").unwrap_or(server.keepalive);
    server.dial_timeout = reader.duration(section, "dial_timeout").unwrap_or(server.dial_timeout);
    server.pool_count = reader.number(section, "pool_count", 0, 50).unwrap_or(server.pool_count);
    server.proxy_url = reader.secret(section, "proxy_url_file");
    server.metadata = reader.map(section, "metadata");
    server.stun_server = reader.text(section, "stun_server");
    for mistake in server.mistakes() {
        reader.add(section.start(), format!("server: {mistake}"));
    }
    let mut client = ClientSettings::new(server);
    client.frpc = reader.path(section, "frpc");
    client.public_host = reader.text(section, "public_host");
    client.max_tunnels = reader.number(section, "max_tunnels", 1, 10_000).unwrap_or(client.max_tunnels);
    client.max_queued = reader.number(section, "max_queued", 0, 10_000).unwrap_or(client.max_queued);
    client.queue_wait = reader.duration(section, "queue_wait").unwrap_or(client.queue_wait);
    client.id_strategy = id_strategy(reader, section);
    client.timing = timing(reader, section);
    reader.unknown_keys(section);
    Some(client)
}

fn addresses(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<ServerAddress> {
    let texts = reader.texts(section, "address");
    if texts.is_empty() && !section.has("address") {
        reader.add(section.start(), "server: address is missing");
    }
    let mut servers = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(server) => servers.push(server),
            Err(error) => reader.add(section.start(), format!("server: address: {error}")),
        }
    }
    servers
}

fn authentication(reader: &mut Reader<'_>, section: &Section<'_>) -> Authentication {
    let token = reader.secret_file(section, "token_file");
    let oidc = reader.table(section, "oidc").and_then(|oidc| {
        let settings = OidcSettings {
            client_id: reader.required(&oidc, "client_id")?,
            client_secret: reader.secret_file(&oidc, "client_secret_file")?,
            token_endpoint: reader.required(&oidc, "token_endpoint")?,
            audience: reader.text(&oidc, "audience"),
            scope: reader.text(&oidc, "scope"),
        };
        reader.unknown_keys(&oidc);
        Some(settings)
    });
    match (token, oidc) {
        (Some(_), Some(_)) => {
            reader.add(section.start(), "server: token_file and oidc exclude each other");
            Authentication::None
        }
        (Some(token), None) => Authentication::Token(token),
        (None, Some(oidc)) => Authentication::Oidc(oidc),
        (None, None) => Authentication::None,
    }
}

fn id_strategy(reader: &mut Reader<'_>, section: &Section<'_>) -> IdStrategy {
    let prefix = reader.text(section, "name_prefix").unwrap_or_else(|| "tunnel".to_owned());
    match reader.text(section, "names").as_deref() {
        None | Some("descriptive") => IdStrategy::Descriptive,
        Some("uuid") => IdStrategy::Uuid,
        Some("sequential") => IdStrategy::Sequential { prefix },
        Some(other) => {
            reader.add(
                section.start(),
                format!("server: names: {other:?} is not one of descriptive, sequential, uuid"),
            );
            IdStrategy::Descriptive
        }
    }
}

fn timing(reader: &mut Reader<'_>, section: &Section<'_>) -> Timing {
    let usual = Timing::default();
    Timing {
        connect_deadline: reader.duration(section, "connect_deadline").unwrap_or(usual.connect_deadline),
        session_loss_limit: reader
            .duration(section, "session_loss_limit")
            .unwrap_or(usual.session_loss_limit),
        probe_interval: reader.duration(section, "probe_interval").unwrap_or(usual.probe_interval),
        restart_longest: reader.duration(section, "restart_longest").unwrap_or(usual.restart_longest),
        ..usual
    }
}
