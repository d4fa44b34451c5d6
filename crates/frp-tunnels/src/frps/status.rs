//! What frps says of itself, and what the system says of its process.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::configuration::FrpsConfiguration;
use super::proc_files::{ProcessFigures, process_listening_at};
use crate::http_request::{HttpQuestion, HttpRequestError, ask};

const DEADLINE: Duration = Duration::from_secs(10);
/// The kinds of proxies that frps lists.
const KINDS: [&str; 7] = ["tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp"];

#[derive(Debug)]
pub struct FrpsStatus {
    /// `None`: no process listens at its port.
    pub process: Option<ProcessFigures>,
    /// As frps' API gives it; `None`: the API is off.
    pub server: Option<Value>,
    pub clients: Vec<Value>,
    pub proxies: Vec<Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum FrpsStatusError {
    #[error("frps' API: {0}")]
    Request(#[from] HttpRequestError),
    #[error("frps' API answered {0} to {1}")]
    Answer(u16, &'static str),
    #[error("frps' API answered what is no JSON: {0}")]
    Format(#[from] serde_json::Error),
}

/// Asks the API that the configuration names, and /proc.
pub async fn ask_status(configuration: &FrpsConfiguration) -> Result<FrpsStatus, FrpsStatusError> {
    let process = process_listening_at(configuration.bind_port);
    let mut status = FrpsStatus { process, server: None, clients: Vec::new(), proxies: Vec::new() };
    let Some(address) = &configuration.api_address else { return Ok(status) };
    status.server = Some(get(configuration, address, "/api/serverinfo").await?);
    // since frps 0.67
    if let Ok(clients) = get(configuration, address, "/api/clients").await {
        status.clients = clients.as_array().cloned().unwrap_or_default();
    }
    for kind in KINDS {
        let path = format!("/api/proxy/{kind}");
        let answer = get(configuration, address, &path).await?;
        let proxies = answer.get("proxies").and_then(Value::as_array).cloned().unwrap_or_default();
        status.proxies.extend(proxies.into_iter().map(|proxy| reduced(kind, &proxy)));
    }
    Ok(status)
}

/// Without the configuration that frps repeats.
fn reduced(kind: &str, proxy: &Value) -> Value {
    let pick = |key: &str| proxy.get(key).cloned().unwrap_or(Value::Null);
    json!({
        "name": pick("name"),
        "type": kind,
        "status": pick("status"),
        "connections": pick("curConns"),
        "traffic_in_bytes_today": pick("todayTrafficIn"),
        "traffic_out_bytes_today": pick("todayTrafficOut"),
        "client_version": pick("clientVersion"),
        "last_start": pick("lastStartTime"),
    })
}

async fn get(configuration: &FrpsConfiguration, address: &str, path: &str) -> Result<Value, FrpsStatusError> {
    let credentials = Some((configuration.api_user.as_str(), &configuration.api_password));
    let question =
        HttpQuestion { address, method: Method::GET, path, host: None, credentials, deadline: DEADLINE };
    let answer = ask(question).await?;
    if !answer.status.is_success() {
        return Err(FrpsStatusError::Answer(answer.status.as_u16(), "a question about its status"));
    }
    Ok(serde_json::from_slice(&answer.body)?)
}
