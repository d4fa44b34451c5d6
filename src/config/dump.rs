//! The configuration as it holds, after all layers, without its secrets.

use std::fmt::Write;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::digest::Algorithm;

use super::{
    ApiToken, CertificateTrust, Config, ConfiguredConnections, DataConnectionMode, DeliveryGuarantee,
    FtpConnection, KafkaConfig, LocalConnection, NetworkOptions, ProxyKind, RenameOver, TlsMode, TlsOptions,
    duration, size,
};

impl Config {
    /// The effective configuration as YAML. Passwords and librdkafka's properties are `(set)` or `(empty)`.
    #[must_use]
    pub fn to_yaml_redacted(&self) -> String {
        let mut yaml = Yaml::default();
        yaml.kafka(&self.kafka);
        yaml.section("retry");
        yaml.plain("enabled", self.retry.enabled);
        yaml.plain("delay", duration::show(self.retry.delay));
        yaml.plain("max_deferral", duration::show(self.retry.max_deferral));
        yaml.section("pool");
        yaml.plain("max_sessions_per_pod", self.pool.max_sessions_per_pod);
        yaml.plain("max_sessions_per_connection", self.pool.max_sessions_per_connection);
        yaml.plain("session_timeout_seconds", seconds(self.pool.session_timeout));
        yaml.plain("max_waiting_tasks", self.pool.max_waiting_tasks);
        yaml.plain("max_waiting_bytes", size::show(self.pool.max_waiting_bytes as u64));
        yaml.plain("slow_task", duration::show(self.pool.slow_task));
        for (name, listen) in [("api", &self.api), ("metrics", &self.metrics)] {
            yaml.section(name);
            yaml.text("host", &listen.host);
            yaml.plain("port", listen.port);
            if name == "api" {
                yaml.token(self.api_token.as_deref());
            }
        }
        yaml.section("shutdown");
        yaml.plain("drain_seconds", seconds(self.shutdown.drain));
        yaml.section("reload");
        yaml.plain("every", duration::show(self.reload.every.unwrap_or_default()));
        yaml.section("sweep");
        yaml.plain("every", duration::show(self.sweep.every));
        yaml.section("traces");
        match &self.traces.endpoint {
            Some(endpoint) => yaml.text("endpoint", endpoint),
            None => yaml.plain("endpoint", "null"),
        }
        yaml.plain("percent", self.traces.percent);
        yaml.section("pod");
        yaml.text("name", &self.pod.name);
        yaml.section("transfer");
        yaml.text("hash", self.transfer.hash.map_or("none", Algorithm::name));
        yaml.connections(&self.connections);
        yaml.out
    }
}

/// Lines of YAML, two blanks a level.
#[derive(Default)]
struct Yaml {
    out: String,
    depth: usize,
}

impl Yaml {
    fn kafka(&mut self, kafka: &KafkaConfig) {
        self.section("kafka");
        let servers: Vec<String> = kafka.bootstrap_servers.iter().map(|server| quoted(server)).collect();
        self.plain("bootstrap_servers", format_args!("[{}]", servers.join(", ")));
        self.text("consumer_group", &kafka.consumer_group);
        self.text("input_topic", &kafka.input_topic);
        self.text("result_topic", &kafka.result_topic);
        self.text("fail_topic", &kafka.fail_topic);
        self.text("retry_topic", &kafka.retry_topic);
        let delivery = match kafka.delivery {
            DeliveryGuarantee::AtLeastOnce => "at_least_once",
            DeliveryGuarantee::ExactlyOnce => "exactly_once",
        };
        self.text("delivery", delivery);
        self.plain("static_membership", kafka.static_membership);
        if kafka.properties.is_empty() {
            return self.plain("properties", "{}");
        }
        self.open("properties");
        for (name, value) in &kafka.properties {
            self.plain(&scalar(name), redacted(value));
        }
        self.close();
    }

    fn token(&mut self, token: Option<&ApiToken>) {
        self.plain("token", if token.is_some() { "(set)" } else { "(empty)" });
        match token.and_then(|token| token.file.as_deref()) {
            Some(file) => self.text("token_file", file),
            None => self.plain("token_file", "null"),
        }
    }

    fn connections(&mut self, connections: &ConfiguredConnections) {
        self.section("connections");
        for (name, ftp) in &connections.ftp {
            self.open(&scalar(name));
            self.ftp(ftp);
            self.close();
        }
        for (name, local) in &connections.local {
            self.open(&scalar(name));
            self.local(local);
            self.close();
        }
    }

    fn ftp(&mut self, ftp: &FtpConnection) {
        self.text("type", "ftp");
        self.text("host", &ftp.host);
        self.plain("port", ftp.port);
        self.text("user", &ftp.user);
        self.plain("pass", redacted(&ftp.pass));
        self.tls(&ftp.tls);
        self.way(&ftp.network);
        match &ftp.path_root {
            Some(root) => self.text("path_root", root),
            None => self.plain("path_root", "null"),
        }
        self.plain("disable_epsv", ftp.disable_epsv);
        self.plain("disable_utf8", ftp.disable_utf8);
        self.text(
            "charset",
            &ftp.charset.map_or("utf-8".to_owned(), |charset| charset.name().to_ascii_lowercase()),
        );
        match ftp.time_offset {
            Some(offset) => self.text("time_offset", &offset.to_string()),
            None => self.plain("time_offset", "null"),
        }
        match ftp.encoding {
            Some(encoding) => self.text("encoding", &encoding.names()),
            None => self.plain("encoding", "null"),
        }
        self.plain("writing_mdtm", ftp.writing_mdtm);
        self.plain("max_sessions", ftp.max_sessions);
        match ftp.idle_timeout {
            Some(idle) => self.plain("idle_timeout", duration::show(idle)),
            None => self.plain("idle_timeout", "null"),
        }
        match ftp.max_session_age {
            Some(age) => self.plain("max_session_age", duration::show(age)),
            None => self.plain("max_session_age", "null"),
        }
        self.text(
            "rename_over",
            match ftp.rename_over {
                RenameOver::Auto => "auto",
                RenameOver::DeleteFirst => "delete_first",
            },
        );
        self.plain("max_session_transfers", ftp.max_session_transfers.unwrap_or_default());
        self.plain("resume", ftp.resume);
        self.plain("max_file_size", size::show(ftp.max_file_size));
        self.plain("min_rate", size::show(ftp.min_rate.bytes_per_second));
        self.plain("min_rate_window", duration::show(ftp.min_rate.window));
        self.plain("connect_timeout", duration::show(ftp.timeouts.connect));
        self.plain("greeting_timeout", duration::show(ftp.timeouts.greeting));
        self.plain("login_timeout", duration::show(ftp.timeouts.login));
        self.plain("reply_timeout", duration::show(ftp.timeouts.reply));
        self.plain("first_byte_timeout", duration::show(ftp.timeouts.first_byte));
        self.plain("stall_timeout", duration::show(ftp.timeouts.stall));
        self.plain("close_timeout", duration::show(ftp.timeouts.close));
        self.plain("shut_timeout", duration::show(ftp.timeouts.close));
        self.plain("hash_timeout", duration::show(ftp.timeouts.hash));
    }

    fn tls(&mut self, tls: &TlsOptions) {
        self.plain("tls", tls.mode == TlsMode::Implicit);
        self.plain("explicit_tls", tls.mode == TlsMode::Explicit);
        self.plain("disable_tls13", tls.tls12_only);
        let trust = match &tls.trust {
            CertificateTrust::System => "the system's authorities".to_owned(),
            CertificateTrust::Authorities(authorities) => {
                format!("{} authorities of tls_ca", authorities.len())
            }
            CertificateTrust::Pinned(pins) => format!("{} pinned certificates", pins.len()),
            CertificateTrust::Anything => "any certificate".to_owned(),
        };
        self.text("trusted", &trust);
    }

    fn way(&mut self, way: &NetworkOptions) {
        self.plain("passive", way.data == DataConnectionMode::Passive);
        if let DataConnectionMode::Active { announced, ports } = &way.data {
            match announced {
                Some(address) => self.text("active_address", &address.to_string()),
                None => self.plain("active_address", "null"),
            }
            match ports {
                Some(ports) => self.plain("active_ports", format_args!("{}-{}", ports.start(), ports.end())),
                None => self.plain("active_ports", "null"),
            }
        }
        self.text("pasv_address", if way.trusts_pasv { "server" } else { "control" });
        for (key, kind) in [("socks_proxy", ProxyKind::Socks5), ("http_proxy", ProxyKind::Http)] {
            match way.proxy.as_ref().filter(|proxy| proxy.kind == kind) {
                // Its user and password are nobody's business.
                Some(proxy) => self.text(key, &format!("{}:{}", proxy.host, proxy.port)),
                None => self.plain(key, "null"),
            }
        }
        match way.source {
            Some(source) => self.text("source_address", &source.to_string()),
            None => self.plain("source_address", "null"),
        }
        self.plain("keepalive", duration::show(way.keepalive.unwrap_or_default()));
    }

    fn local(&mut self, local: &LocalConnection) {
        self.text("type", "local");
        self.text("base_path", &local.base_path.display().to_string());
    }

    fn section(&mut self, name: &str) {
        self.depth = 0;
        self.open(name);
    }

    fn open(&mut self, name: &str) {
        self.line(format_args!("{name}:"));
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn text(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key}: {}", scalar(value)));
    }

    fn plain(&mut self, key: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{key}: {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "{:indent$}{line}", "", indent = self.depth * 2);
    }
}

/// For keys that say `seconds`: a plain number where it is a whole one.
fn seconds(time: Duration) -> String {
    if time.subsec_nanos() == 0 { time.as_secs().to_string() } else { duration::show(time) }
}

fn redacted(secret: &SecretString) -> &'static str {
    if secret.expose_secret().is_empty() { "(empty)" } else { "(set)" }
}

/// A text as it can stand in YAML: plain where nothing could read it as something else, else in quotes.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let means_more = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    if is_word && !means_more { text.to_owned() } else { quoted(text) }
}

/// JSON's quotes are YAML's, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
