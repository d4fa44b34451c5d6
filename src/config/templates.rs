//! The files that a new installation begins with: every key with its default and what it means.

use std::fmt::Write;

use super::connection_keys::{self, LOCAL};
use super::keys::{ALL, Key, Standard};
use super::kind::Kind;

/// Columns of a remark at most.
const WIDTH: usize = 100;

/// config/config.yaml: every key, commented out where it has no fixed default.
#[must_use]
pub fn config_yaml() -> String {
    let mut out = String::from(
        "# FTP Pooler's configuration: every key with its default. docs/CONFIGURATION.md has ranges and units.\n\
         # Each key can be overridden by the environment: FTP_POOLER__KAFKA__CONSUMER_GROUP=my-group\n",
    );
    let mut section = "";
    for key in ALL {
        if key.section() != section {
            if section == "kafka" {
                out.push_str(PROPERTIES);
            }
            section = key.section();
            let _ = writeln!(out, "\n{section}:");
        }
        match key.standard {
            Standard::Is(text) => {
                out.push_str(&remark(key.doc, "  # "));
                let _ = writeln!(out, "  {}: {}", key.name(), yaml_value(key, text));
            }
            Standard::Told(what) => {
                out.push_str(&remark(&format!("{} Default: {what}.", key.doc), "  # "));
                let _ = writeln!(out, "  # {}:", key.name());
            }
            Standard::Required => {}
        }
    }
    out
}

const PROPERTIES: &str = "  # Any property of librdkafka's, such as those for SASL and TLS. A password is better off in the\n  \
     # environment: FTP_POOLER__KAFKA__PROPERTIES__SASL_PASSWORD\n  \
     properties: {}\n  \
     #   security.protocol: sasl_ssl\n  \
     #   sasl.mechanism: SCRAM-SHA-512\n  \
     #   sasl.username: ftp-pooler\n";

/// config/connections.ini: one connection of each type, every further key commented out.
#[must_use]
pub fn connections_ini() -> String {
    let mut out = String::from(
        "# The connections that tasks name, as in rclone.conf. docs/CONFIGURATION.md says what each key means.\n\
         # A value is everything behind the `=`: nothing in it is an escape, a quote or a remark.\n\
         # Each key can be overridden by the environment: FTP_POOLER__CONNECTIONS__REMOTE_FTP__PASS=secret\n\
         \n[remote-ftp]\ntype = ftp\nhost = ftp.example.com\nport = 21\nuser = username\npass = password\npassive = true\n",
    );
    let told = ["type", "host", "port", "user", "pass", "passive"];
    for key in connection_keys::FTP.iter().filter(|key| !told.contains(&key.path)) {
        out.push_str(&remark(key.doc, "# "));
        let _ = match key.standard {
            Standard::Is(text) => writeln!(out, "# {} = {text}", key.path),
            _ => writeln!(out, "# {} =", key.path),
        };
    }
    out.push_str("\n[local]\ntype = local\n");
    for key in LOCAL.iter().filter(|key| key.path == "base_path") {
        out.push_str(&remark(key.doc, "# "));
    }
    out.push_str("base_path = /data/storage\n");
    out
}

fn yaml_value(key: &Key, text: &str) -> String {
    match key.kind {
        Kind::Servers => {
            let servers: Vec<String> = text.split(',').map(|server| format!("\"{server}\"")).collect();
            format!("[{}]", servers.join(", "))
        }
        Kind::Host => format!("\"{text}\""),
        _ => text.to_owned(),
    }
}

/// The text as remark lines, broken between words.
fn remark(text: &str, lead: &str) -> String {
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
