//! The sections of connections.ini, overridden and extended by the environment, as typed connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::config::{Value, ValueKind};

use super::connection::{ConfiguredConnections, FtpConnection, LocalConnection};
use super::connection_keys::{FTP_KEYS, LOCAL_KEYS, PASSIVE, TYPE, TYPES, VIA};
use super::environment::{ConnectionVariable, normalized};
use super::errors::{ErrorCollector, SourceLocation};
use super::ini::{self, IniSection};
use super::kind::KeyValue;
use super::load::FilesInUse;
use super::network::DataConnectionMode;
use super::rclone_keys::RCLONE_ONLY_KEYS;
use super::section_reader::{SectionReader, SectionScope};
use super::settings::DeliveryGuarantee;
use super::tls::TlsMode;
use super::tree::{ConfigTree, ValueOrigin, defaults};
use super::tunnel::{FRP_KEYS, FrpTunnel, is_frp_name};
use crate::text::nearest;

/// `max_sessions_total`.
pub(super) const TOTAL: &str = "max_sessions_total";
/// The error if `kafka.delivery` is `at_least_once`.
pub(super) const TOTAL_NEEDS_TRANSACTIONS: &str = "needs brokers with transactions, by which the pods share the sessions: expected 0, or kafka.delivery exactly_once";

/// OpenSSL forgets a TLS session 300 s after it was created; after that no data connection can resume it.
const TLS_SESSION_AGE: Duration = Duration::from_secs(270);

/// `close_timeout` with `via`: 20 MB of an upload may still be in the tunnel when its last byte is written.
const TUNNEL_CLOSE: Duration = Duration::from_secs(600);
/// `stall_timeout` with `via`: frp's flow control works in steps of 3 MiB, which a slow server takes long to read.
const TUNNEL_STALL: Duration = Duration::from_secs(300);

/// The path of connections.ini and its content; `None` if it does not exist.
pub(super) struct ConnectionsFile<'a> {
    pub path: &'a str,
    pub text: Option<&'a str>,
    /// It had connections when it was last read: then it must still have some, whatever the environment adds. A file
    /// that is truncated, or that a mount shows empty for a moment, must not remove them all.
    pub had_connections: bool,
}

/// The connections' values in each source, to be merged.
pub(super) struct ConnectionSources {
    pub defaults: ConfigTree,
    pub file: ConfigTree,
    pub environment: ConfigTree,
    /// Where the file's sections start.
    lines: BTreeMap<String, usize>,
    /// The hint for each connection that only the environment defines, which may have been meant to be in the file.
    hints: BTreeMap<String, String>,
}

/// What typed connections need besides their own keys.
pub(super) struct ConnectionContext<'a> {
    /// The path of connections.ini, for errors.
    pub path: &'a str,
    /// `pool.max_sessions_per_connection`.
    pub max_sessions: usize,
    /// `pool.max_sessions_total`.
    pub max_sessions_total: Option<usize>,
    /// `kafka.delivery`.
    pub delivery: DeliveryGuarantee,
    pub files: &'a FilesInUse,
}

impl<'a> ConnectionContext<'a> {
    /// For use without a config.yaml.
    pub fn alone(path: &'a str, max_sessions: usize, files: &'a FilesInUse) -> Self {
        let delivery = DeliveryGuarantee::default();
        ConnectionContext { path, max_sessions, max_sessions_total: None, delivery, files }
    }
}

/// Reads the file, and sorts the variables into its sections.
pub(super) fn collect(
    file: &ConnectionsFile<'_>,
    variables: Vec<ConnectionVariable>,
    errors: &mut ErrorCollector,
) -> ConnectionSources {
    let sections = file.text.map(|text| ini::read(text, file.path, errors)).unwrap_or_default();
    if file.text.is_some() && sections.is_empty() && (file.had_connections || variables.is_empty()) {
        errors.in_file(file.path, None, "has no connection; expected sections such as [remote-ftp]");
    }
    let mut sources = ConnectionSources {
        defaults: ConfigTree::default(),
        file: ConfigTree::default(),
        environment: ConfigTree::default(),
        lines: BTreeMap::new(),
        hints: BTreeMap::new(),
    };
    for (name, IniSection { line, values }) in sections {
        sources.lines.insert(name.clone(), line);
        sources.file.connections.insert(name, values);
    }
    for variable in variables {
        sources.add(variable, errors);
    }
    for name in sources.lines.keys().chain(sources.hints.keys()) {
        let of = |tree: &ConfigTree| Some(tree.connections.get(name)?.get(TYPE)?.kind.clone());
        let defaults = match of(&sources.environment).or_else(|| of(&sources.file)).map(type_named) {
            Some(Ok(SectionType::Ftp)) => defaults(FTP_KEYS),
            Some(Ok(SectionType::Local)) => defaults(LOCAL_KEYS),
            Some(Ok(SectionType::Frp)) => defaults(FRP_KEYS),
            _ => continue,
        };
        sources.defaults.connections.insert(name.clone(), defaults);
    }
    sources
}

impl ConnectionSources {
    /// A variable refers to the section of its name, or defines a new connection.
    fn add(&mut self, variable: ConnectionVariable, errors: &mut ErrorCollector) {
        let ConnectionVariable { name, key, value } = variable;
        let mut matches = self.lines.keys().filter(|known| normalized(known) == name);
        let target = match (matches.next(), matches.next()) {
            (Some(one), None) => one.clone(),
            (Some(one), Some(other)) => {
                let ValueOrigin::Variable(variable) = ValueOrigin::of(&value) else { return };
                let problem = format!("means [{one}] as well as [{other}]; rename one of them");
                return errors.add(SourceLocation::Environment, variable, problem);
            }
            (None, _) => {
                let new = name.replace('_', "-");
                let near = nearest(&new, self.lines.keys().map(String::as_str));
                let hint = near.map(|near| format!("; did you mean [{near}]?")).unwrap_or_default();
                self.hints.insert(new.clone(), hint);
                new
            }
        };
        self.environment.connections.entry(target).or_default().insert(key, value);
    }

    /// The merged values of each connection as typed connections.
    pub fn read(
        &self,
        merged: BTreeMap<String, BTreeMap<String, Value>>,
        context: &ConnectionContext<'_>,
        errors: &mut ErrorCollector,
    ) -> ConfiguredConnections {
        let mut connections =
            ConfiguredConnections { in_file: !self.lines.is_empty(), ..ConfiguredConnections::default() };
        let sections = SectionTypes::of(&merged);
        let files = SectionTypes::with_tunnels(context.files, &merged);
        for (name, values) in merged {
            let connection = Some(SectionScope { name: &name, line: self.lines.get(&name).copied() });
            let mut reader = SectionReader { file: context.path, connection, values, errors, files: &files };
            match section_type(&mut reader, self.hints.get(&name)) {
                Some(SectionType::Ftp) => {
                    let ftp = ftp(&name, &mut reader, context, &sections);
                    connections.ftp.insert(name, Arc::new(ftp));
                }
                Some(SectionType::Local) => {
                    let local = local(&name, &mut reader);
                    connections.local.insert(name, Arc::new(local));
                }
                Some(SectionType::Frp) => {
                    let tunnel = tunnel(&name, &mut reader);
                    connections.tunnels.insert(name, Arc::new(tunnel));
                }
                None => {}
            }
        }
        connections
    }
}

/// The type of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SectionType {
    Ftp,
    Local,
    Frp,
}

/// The type of each section, if it has a valid one: a connection refers to another section in `via`.
struct SectionTypes(BTreeMap<String, SectionType>);

impl SectionTypes {
    fn of(merged: &BTreeMap<String, BTreeMap<String, Value>>) -> SectionTypes {
        let kind = |values: &BTreeMap<String, Value>| type_named(values.get(TYPE)?.kind.clone()).ok();
        SectionTypes(merged.iter().filter_map(|(name, values)| Some((name.clone(), kind(values)?))).collect())
    }

    /// The error in this value of `via`, if any.
    fn mistake(&self, via: &str) -> Option<String> {
        match self.0.get(via) {
            Some(SectionType::Frp) => None,
            Some(_) => Some(format!("[{via}] is not a tunnel; expected a section with `type = frp`")),
            None => {
                let tunnels = self.0.iter().filter(|(_, kind)| **kind == SectionType::Frp);
                let near = nearest(via, tunnels.map(|(name, _)| name.as_str()));
                let hint = near.map(|near| format!("; did you mean [{near}]?"));
                let hint = hint.unwrap_or_else(|| "; expected one with `type = frp`".to_owned());
                Some(format!("no section is named [{via}]{hint}"))
            }
        }
    }

    /// A user of a connection's secrets also uses those of its tunnel.
    fn with_tunnels(files: &FilesInUse, merged: &BTreeMap<String, BTreeMap<String, Value>>) -> FilesInUse {
        let FilesInUse::Secrets { connections, api_token } = files else { return files.clone() };
        let via = |name: &String| match &merged.get(name)?.get(VIA)?.kind {
            ValueKind::String(via) => Some(via.clone()),
            _ => None,
        };
        let tunnels = connections.iter().filter_map(via).collect::<Vec<_>>();
        FilesInUse::Secrets { connections: [connections.clone(), tunnels].concat(), api_token: *api_token }
    }
}

/// Reads all connections of one text.
pub(super) fn read_text(
    file: &ConnectionsFile<'_>,
    context: &ConnectionContext<'_>,
    errors: &mut ErrorCollector,
) -> ConfiguredConnections {
    let sources = collect(file, Vec::new(), errors);
    let merged = ConfigTree::merge([sources.defaults.clone(), sources.file.clone()]);
    sources.read(merged.connections, context, errors)
}

/// The section's type. Without one nothing else in it can be checked.
fn section_type(reader: &mut SectionReader<'_>, hint: Option<&String>) -> Option<SectionType> {
    let Some(value) = reader.values.get(TYPE) else {
        match (hint, reader.values.first_key_value()) {
            (Some(hint), Some((key, value))) => {
                let (key, origin) = (key.clone(), ValueOrigin::of(value));
                let problem = format!("no section has this name, and a new connection needs its TYPE{hint}");
                reader.wrong(&key, Some(&origin), problem);
            }
            _ => reader.wrong(TYPE, None, format!("is missing; expected {}", TYPES.describe())),
        }
        return None;
    };
    let origin = ValueOrigin::of(value);
    type_named(value.kind.clone()).map_err(|problem| reader.wrong(TYPE, Some(&origin), problem)).ok()
}

fn type_named(kind: ValueKind) -> Result<SectionType, String> {
    let ValueKind::String(text) = kind else {
        return Err(format!("has no value; expected {}", TYPES.describe()));
    };
    let name = TYPES.read(&text).map(KeyValue::into_text).map_err(|problem| {
        let is_ftps = ["ftps", "ftpes"].iter().any(|other| text.trim().eq_ignore_ascii_case(other));
        if is_ftps {
            format!("{problem}; FTPS is `type = ftp` with `explicit_tls = true`, or `tls = true`")
        } else {
            problem
        }
    })?;
    Ok(match name.as_str() {
        "ftp" => SectionType::Ftp,
        "frp" => SectionType::Frp,
        _ => SectionType::Local,
    })
}

fn ftp(
    name: &str,
    reader: &mut SectionReader<'_>,
    context: &ConnectionContext<'_>,
    sections: &SectionTypes,
) -> FtpConnection {
    let origins: BTreeMap<String, ValueOrigin> =
        reader.values.iter().map(|(key, value)| (key.clone(), ValueOrigin::of(value))).collect();
    let (passive, total) = (origins.get(PASSIVE), origins.get(TOTAL));
    let ConnectionContext { max_sessions, max_sessions_total, delivery, .. } = *context;
    let mut ftp =
        FtpConnection { name: name.to_owned(), max_sessions, max_sessions_total, ..FtpConnection::default() };
    reader.read(FTP_KEYS, &mut ftp);
    if total.is_some() && ftp.max_sessions_total.is_some() && delivery == DeliveryGuarantee::AtLeastOnce {
        reader.wrong(TOTAL, total, TOTAL_NEEDS_TRANSACTIONS.to_owned());
    }
    if ftp.network.proxy.is_some() && ftp.network.data != DataConnectionMode::Passive {
        let problem = "a server cannot open connections through a proxy; expected true";
        reader.wrong(PASSIVE, passive, problem);
    }
    through_tunnel(&mut ftp, reader, &origins, sections);
    if ftp.tls.mode != TlsMode::Off {
        ftp.max_session_age = ftp.max_session_age.or(Some(TLS_SESSION_AGE));
    }
    take_rclone_only(reader);
    reader.refuse_the_rest(FTP_KEYS);
    ftp
}

/// Checks which options cannot be combined with a tunnel, and sets the defaults that differ with one.
fn through_tunnel(
    ftp: &mut FtpConnection,
    reader: &mut SectionReader<'_>,
    origins: &BTreeMap<String, ValueOrigin>,
    sections: &SectionTypes,
) {
    let Some(via) = ftp.network.via.clone() else { return };
    if let Some(problem) = sections.mistake(&via) {
        reader.wrong(VIA, origins.get(VIA), problem);
    }
    if ftp.network.data != DataConnectionMode::Passive {
        let problem = "a server cannot open connections through a tunnel (via); expected true";
        reader.wrong(PASSIVE, origins.get(PASSIVE), problem);
    }
    if ftp.network.trusts_pasv {
        let problem = "the server's own address leads nowhere through a tunnel (via); expected control";
        reader.wrong("pasv_address", origins.get("pasv_address"), problem);
    }
    for key in ["socks_proxy", "http_proxy", "source_address"] {
        let is_empty = ftp.network.proxy.is_none() && key != "source_address";
        if let Some(origin) = origins.get(key).filter(|_| !is_empty) {
            let problem = "goes together with no tunnel; expected either it or via";
            reader.wrong(key, Some(origin), problem);
        }
    }
    let is_default = |key: &str| matches!(origins.get(key), None | Some(ValueOrigin::Default));
    if is_default("close_timeout") && is_default("shut_timeout") {
        ftp.timeouts.close = TUNNEL_CLOSE;
    }
    if is_default("stall_timeout") {
        ftp.timeouts.stall = TUNNEL_STALL;
    }
}

/// rclone's keys that this version does not support: accepted if they change nothing here, otherwise an error.
fn take_rclone_only(reader: &mut SectionReader<'_>) {
    for key in RCLONE_ONLY_KEYS {
        let Some(value) = reader.values.remove(key.name) else { continue };
        if !key.is_harmless(&value) {
            let problem = format!("rclone's key {} is not supported in this version: {}", key.name, key.note);
            reader.wrong(key.name, Some(&ValueOrigin::of(&value)), problem);
        }
    }
}

fn local(name: &str, reader: &mut SectionReader<'_>) -> LocalConnection {
    let mut local = LocalConnection { name: name.to_owned(), ..LocalConnection::default() };
    reader.read(LOCAL_KEYS, &mut local);
    reader.values.remove("description");
    reader.refuse_the_rest(LOCAL_KEYS);
    local
}

fn tunnel(name: &str, reader: &mut SectionReader<'_>) -> FrpTunnel {
    let origins: BTreeMap<String, ValueOrigin> =
        reader.values.iter().map(|(key, value)| (key.clone(), ValueOrigin::of(value))).collect();
    let mut tunnel = FrpTunnel::named(name);
    reader.read(FRP_KEYS, &mut tunnel);
    if !is_frp_name(name) {
        let problem = "a tunnel's name has letters, digits, `.`, `_` and `-` only";
        reader.wrong(TYPE, origins.get(TYPE), problem);
    }
    for (key, other) in [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")] {
        if let Some(origin) = origins.get(key).filter(|_| !origins.contains_key(other)) {
            reader.wrong(key, Some(origin), format!("needs {other} as well"));
        }
    }
    if !tunnel.tls {
        for key in ["tls_ca", "tls_name", "tls_certificate"] {
            if let Some(origin) = origins.get(key) {
                reader.wrong(key, Some(origin), "has no effect without TLS; expected tls = true");
            }
        }
    }
    reader.refuse_the_rest(FRP_KEYS);
    tunnel
}
