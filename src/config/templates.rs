//! The files of a new installation: every key with its default and its meaning.

use std::fmt::Write;

use super::connection_keys::{FTP_KEYS, LOCAL_KEYS};
use super::key::{ConfigKey, KeyDefault};
use super::kind::KeyKind;
use super::settings::SETTINGS;

/// Maximum width of a comment.
const WIDTH: usize = 100;

/// config/config.yaml: every key, commented out where it has no fixed default.
#[must_use]
pub fn config_yaml() -> String {
    let mut out = String::from(
        "# FTP Pooler's configuration: every key with its default. docs/CONFIGURATION.md has ranges and units.\n\
         # Each key can be overridden by the environment: FTP_POOLER__KAFKA__CONSUMER_GROUP=my-group\n",
    );
    let mut section = "";
    for key in SETTINGS {
        if key.section() != section {
            if section == "kafka" {
                out.push_str(PROPERTIES);
            }
            section = key.section();
            let _ = writeln!(out, "\n{section}:");
        }
        match key.default {
            KeyDefault::Is(text) => {
                out.push_str(&comment(key.doc, "  # "));
                let _ = writeln!(out, "  {}: {}", key.name(), yaml_value(key, text));
            }
            KeyDefault::Described(what) => {
                out.push_str(&comment(&format!("{} Default: {what}.", key.doc), "  # "));
                let _ = writeln!(out, "  # {}:", key.name());
            }
            KeyDefault::Required => {}
        }
    }
    out.push_str(FEEDS);
    out
}

const FEEDS: &str = "\n# Directories whose new files become tasks by themselves: docs/FEEDS.md\nfeeds: []\n\
     # - name: invoices\n\
     #   from: remote-ftp:/outbox/\n\
     #   to: local:/in/invoices/\n\
     #   every: 30s\n\
     #   include: ['*.csv']\n";

const PROPERTIES: &str = "  # Any property of librdkafka, such as those for SASL and TLS. A password belongs into the\n  \
     # environment: FTP_POOLER__KAFKA__PROPERTIES__SASL_PASSWORD\n  \
     properties: {}\n  \
     #   security.protocol: sasl_ssl\n  \
     #   sasl.mechanism: SCRAM-SHA-512\n  \
     #   sasl.username: ftp-pooler\n";

/// config/connections.ini: one FTP server and one directory, every further key commented out, and a tunnel.
#[must_use]
pub fn connections_ini() -> String {
    let mut out = String::from(
        "# The connections that tasks name, as in rclone.conf. docs/CONFIGURATION.md explains each key.\n\
         # A value is everything after the `=`: nothing in it is an escape, a quote or a comment.\n\
         # Each key can be overridden by the environment: FTP_POOLER__CONNECTIONS__REMOTE_FTP__PASS=secret\n\
         \n[remote-ftp]\ntype = ftp\nhost = ftp.example.com\nport = 21\nuser = username\npass = password\npassive = true\n",
    );
    let told = ["type", "host", "port", "user", "pass", "passive"];
    for key in FTP_KEYS.iter().filter(|key| !told.contains(&key.path)) {
        out.push_str(&comment(key.doc, "# "));
        let _ = match key.default {
            KeyDefault::Is(text) => writeln!(out, "# {} = {text}", key.path),
            _ => writeln!(out, "# {} =", key.path),
        };
    }
    out.push_str("\n[local]\ntype = local\n");
    for key in LOCAL_KEYS.iter().filter(|key| key.path == "base_path") {
        out.push_str(&comment(key.doc, "# "));
    }
    out.push_str("base_path = /data/storage\n");
    out.push_str(TUNNEL);
    out
}

const TUNNEL: &str = "
# A tunnel of frp, the way to servers without a public address: their sections name it in `via`.
# docs/CONFIGURATION.md has all keys of such a section.
#[tunnel-plant]
#type = frp
#server = frps.example.com:7000
#token_file = /run/secrets/frp-token
#tls_ca = /etc/ftp-pooler/frps-ca.pem
#target_user = plant
#secret_file = /run/secrets/plant-key
#passive_ports = 50000-50049
";

fn yaml_value<T>(key: &ConfigKey<T>, text: &str) -> String {
    match key.kind {
        KeyKind::Servers => {
            let servers: Vec<String> = text.split(',').map(|server| format!("\"{server}\"")).collect();
            format!("[{}]", servers.join(", "))
        }
        KeyKind::Host => format!("\"{text}\""),
        // YAML 1.1, and so Helm, reads it as false.
        _ if text == "off" => format!("\"{text}\""),
        _ => text.to_owned(),
    }
}

/// The text as comment lines, wrapped between words.
fn comment(text: &str, lead: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && lead.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{lead}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{lead}{line}");
    out
}
