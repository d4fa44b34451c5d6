//! `server init`, `run`, `status` and `plugin`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::routing::post;
use axum::{Json, Router};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use service_kit::http;
use service_kit::signals::SignalRequest;
use tokio_util::sync::CancellationToken;

use super::args::{ServerInitArgs, ServerPluginArgs, ServerRunArgs, ServerStatusArgs, ServerTemplate};
use super::output::{Output, table};
use super::run::signals;
use super::{CommandError, CommandExit};
use crate::frps::{
    ClientRules, FrpsConfiguration, FrpsError, FrpsSupervisor, FrpsTemplate, PluginRequest, ask_status,
    decide, read_client_rules, render_template,
};

/// The API's port in the production template.
const API_PORT: u16 = 7500;
const LOG_DAYS: u32 = 14;
const MAX_PORTS_PER_CLIENT: u32 = 50;

fn configuration(error: impl std::fmt::Display) -> CommandError {
    CommandError::new(CommandExit::Configuration, error)
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> CommandError + '_ {
    move |error| CommandError::new(CommandExit::Io, format!("{}: {error}", path.display()))
}

/// Writes a file that only its owner may read; an existing one is kept.
fn write_new(path: &Path, content: &SecretString) -> Result<bool, CommandError> {
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            file.write_all(content.expose_secret().as_bytes()).map_err(io(path))?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io(path)(error)),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(io(path))
}

pub(super) fn init(args: &ServerInitArgs, output: Output) -> Result<(), CommandError> {
    std::fs::create_dir_all(&args.directory).map_err(io(&args.directory))?;
    let directory = absolute(&args.directory)?;
    let (token_file, config) = (directory.join("token"), directory.join("frps.toml"));
    let token = crate::random::secret().map_err(|error| CommandError::new(CommandExit::Software, error))?;
    let is_production = args.template == ServerTemplate::Production;
    let certificate = match (&args.certificate, &args.key) {
        (Some(certificate), Some(key)) => Some((absolute(certificate)?, absolute(key)?)),
        (None, None) => None,
        _ => return Err(configuration("--certificate, --key: both or neither")),
    };
    let password =
        crate::random::secret().map_err(|error| CommandError::new(CommandExit::Software, error))?;
    let template = FrpsTemplate {
        port: args.port,
        token_file: token_file.clone(),
        allow_ports: (is_production || !args.allow_ports.is_empty()).then(|| args.allow_ports.clone()),
        http_port: args.http_port,
        https_port: args.https_port,
        subdomain_host: args.subdomain_host.clone(),
        certificate,
        client_ca: args.client_ca.as_deref().map(absolute).transpose()?,
        api: Some((API_PORT, password)),
        log: is_production.then(|| (directory.join("frps.log"), LOG_DAYS)),
        max_ports_per_client: is_production.then_some(MAX_PORTS_PER_CLIENT),
        plugin: args.plugin,
    };
    let token_is_new = write_new(&token_file, &token)?;
    if !write_new(&config, &render_template(&template))? {
        return Err(CommandError::new(
            CommandExit::Io,
            format!("{} exists already, and kept", config.display()),
        ));
    }
    let kept = if token_is_new { "" } else { " (was there, and is kept)" };
    let text = format!(
        "wrote {}\ntoken {}{kept}\nnext: frp-tunnels server run --config {}",
        config.display(),
        token_file.display(),
        config.display()
    );
    let value = json!({ "config": config.display().to_string(), "token_file": token_file.display().to_string(), "token_is_new": token_is_new });
    output.result(&text, &value);
    Ok(())
}

pub(super) async fn run(args: ServerRunArgs, _output: Output) -> Result<(), CommandError> {
    let mut signals = signals()?;
    let started = FrpsSupervisor::start(&args.config, args.frps.as_deref()).await;
    let mut frps = started.map_err(|error| match error {
        FrpsError::Process(_) | FrpsError::Ended(_) => CommandError::new(CommandExit::Unavailable, error),
        _ => configuration(error),
    })?;
    loop {
        tokio::select! {
            () = frps.keep_running() => {}
            request = signals.next() => match request {
                SignalRequest::Stop => break,
                // certbot's hook
                SignalRequest::Reload => frps.restart_if_changed().await,
            },
        }
    }
    frps.stop().await;
    Ok(())
}

pub(super) async fn status(args: ServerStatusArgs, output: Output) -> Result<(), CommandError> {
    let found = FrpsConfiguration::read(&args.config).map_err(configuration)?;
    let status =
        ask_status(&found).await.map_err(|error| CommandError::new(CommandExit::Unavailable, error))?;
    let process = status.process.as_ref().map(|process| {
        json!({
            "pid": process.pid,
            "name": process.name,
            "resident_bytes": process.resident_bytes,
            "cpu_seconds": process.cpu_seconds,
            "open_files": process.open_files,
            "threads": process.threads,
        })
    });
    let value = json!({
        "port": found.bind_port,
        "process": process,
        "server": status.server,
        "clients": status.clients,
        "tunnels": status.proxies,
    });
    output.result(&status_text(&value), &value);
    if status.process.is_none() && status.server.is_none() {
        let message = format!("no process listens on port {}", found.bind_port);
        return Err(CommandError::new(CommandExit::Unavailable, message));
    }
    Ok(())
}

fn status_text(value: &Value) -> String {
    let show = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let mut lines = Vec::new();
    let process = value.get("process").filter(|process| process.is_object());
    lines.push(process.map_or_else(
        || "process: none of ours listens there".to_owned(),
        |process| {
            let field = |key| show(process.get(key));
            format!(
                "process: {} {}, {} bytes resident, {} s CPU, {} files",
                field("name"),
                field("pid"),
                field("resident_bytes"),
                field("cpu_seconds"),
                field("open_files")
            )
        },
    ));
    if let Some(server) = value.get("server").filter(|server| server.is_object()) {
        let field = |key| show(server.get(key));
        lines.push(format!(
            "server: frps {}, {} clients, {} connections, {} bytes in, {} bytes out",
            field("version"),
            field("clientCounts"),
            field("curConns"),
            field("totalTrafficIn"),
            field("totalTrafficOut")
        ));
    }
    let tunnels = value.get("tunnels").and_then(Value::as_array).cloned().unwrap_or_default();
    let columns =
        ["name", "type", "status", "connections", "traffic_in_bytes_today", "traffic_out_bytes_today"];
    let rows: Vec<Vec<String>> = tunnels
        .iter()
        .map(|tunnel| columns.iter().map(|column| show(tunnel.get(*column))).collect())
        .collect();
    lines.push(table(&["TUNNEL", "TYPE", "STATUS", "CONNECTIONS", "IN TODAY", "OUT TODAY"], &rows));
    lines.join("\n")
}

/// The rules as they are in the file, read again when it changes.
#[derive(Debug)]
struct RulesFile {
    path: PathBuf,
    current: Mutex<(Option<SystemTime>, Arc<Vec<ClientRules>>)>,
}

impl RulesFile {
    /// A mistake in the file leaves the rules as they were.
    fn rules(&self) -> Arc<Vec<ClientRules>> {
        let modified = std::fs::metadata(&self.path).and_then(|found| found.modified()).ok();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if modified.is_some() && modified != current.0 {
            self.read(modified, &mut current);
        }
        current.1.clone()
    }

    fn read(&self, modified: Option<SystemTime>, current: &mut (Option<SystemTime>, Arc<Vec<ClientRules>>)) {
        current.0 = modified;
        match read_client_rules(&self.path) {
            Ok(rules) => current.1 = Arc::new(rules),
            Err(error) => {
                tracing::error!(event = "plugin_rules_rejected", %error, "rules rejected: the previous rules stay in force");
            }
        }
    }

    /// Tokens' files have no part in the file's time.
    fn read_now(&self) {
        let modified = std::fs::metadata(&self.path).and_then(|found| found.modified()).ok();
        self.read(modified, &mut self.current.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

pub(super) async fn plugin(args: ServerPluginArgs, output: Output) -> Result<(), CommandError> {
    let mut signals = signals()?;
    let rules = read_client_rules(&args.clients).map_err(configuration)?;
    let modified = std::fs::metadata(&args.clients).and_then(|found| found.modified()).ok();
    let rules =
        Arc::new(RulesFile { path: args.clients.clone(), current: Mutex::new((modified, Arc::new(rules))) });
    let audit = match &args.audit_log {
        Some(path) => {
            let mut options = std::fs::OpenOptions::new();
            Some(Arc::new(Mutex::new(
                options.append(true).create(true).mode(0o600).open(path).map_err(io(path))?,
            )))
        }
        None => None,
    };
    let asked = rules.clone();
    let handler = move |Json(request): Json<PluginRequest>| async move {
        let (decision, record) = decide(&asked.rules(), &request, jiff::Timestamp::now());
        let line = format!("{}\n", record.0);
        match &audit {
            Some(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = file.write_all(line.as_bytes()) {
                    tracing::error!(event = "audit_log_failed", %error, line, "the audit log cannot be written");
                }
            }
            None => output.raw(line.as_bytes()),
        }
        Json(decision.to_json())
    };
    let listener = http::bind("--listen", &args.listen.ip().to_string(), args.listen.port())
        .await
        .map_err(configuration)?;
    let stop = CancellationToken::new();
    let routes = Router::new().route("/handler", post(handler));
    let server = tokio::spawn(http::serve(listener, routes, stop.clone()));
    while signals.next().await == SignalRequest::Reload {
        rules.read_now();
    }
    stop.cancel();
    let _ = server.await;
    Ok(())
}
