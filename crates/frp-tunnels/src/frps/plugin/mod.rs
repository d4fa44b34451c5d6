//! The server side of frps' HTTP plugin protocol: a token for each client, rules for its tunnels and its users'
//! addresses, and a line in the audit log for each decision. Clients that are not listed are refused.

mod rules;

use std::net::{IpAddr, SocketAddr};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

pub use rules::{ClientRules, ClientRulesError, read_client_rules};

/// Clients see it; this program's failure classification searches for it.
const PREFIX: &str = "refused by policy: ";

/// One request of frps.
#[derive(Debug, Deserialize)]
pub struct PluginRequest {
    pub op: String,
    pub content: PluginContent,
}

/// The fields of all operations that rules check.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PluginContent {
    /// A name at Login, an object with name, metadata and run id at the others.
    user: Value,
    /// At Login.
    metas: Option<std::collections::BTreeMap<String, SecretString>>,
    client_address: Option<String>,
    run_id: Option<String>,
    proxy_name: Option<String>,
    proxy_type: Option<String>,
    remote_port: Option<u16>,
    custom_domains: Option<Vec<String>>,
    subdomain: Option<String>,
    /// At `NewUserConn`.
    remote_addr: Option<String>,
}

/// What frps is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginDecision {
    Allow,
    Refuse(String),
}

impl PluginDecision {
    /// In frps' words.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Allow => json!({ "reject": false, "unchange": true }),
            Self::Refuse(reason) => json!({ "reject": true, "reject_reason": format!("{PREFIX}{reason}") }),
        }
    }
}

/// A line of the audit log; never with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord(pub Value);

/// Decides by the rules, and says what to write down.
pub fn decide(
    rules: &[ClientRules],
    request: &PluginRequest,
    at: jiff::Timestamp,
) -> (PluginDecision, AuditRecord) {
    let content = &request.content;
    let user = content.user_name();
    let decision = match rules.iter().find(|rules| rules.user == user) {
        None => Err(format!("the user {user:?} is unknown")),
        Some(rules) => match request.op.as_str() {
            "Login" => login(rules, content),
            "NewProxy" => new_proxy(rules, content),
            "NewUserConn" => new_connection(rules, content),
            "CloseProxy" | "Ping" | "NewWorkConn" => Ok(()),
            other => Err(format!("the operation {other:?} is unknown")),
        },
    };
    let reason = decision.err();
    let record = json!({
        "at": at.to_string(),
        "op": request.op,
        "user": user,
        "run_id": content.run_id(),
        "address": content.client_address.as_ref().or(content.remote_addr.as_ref()),
        "tunnel": content.proxy_name,
        "type": content.proxy_type,
        "remote_port": content.remote_port,
        "domains": content.custom_domains,
        "subdomain": content.subdomain,
        "decision": if reason.is_some() { "refused" } else { "allowed" },
        "reason": reason,
    });
    (reason.map_or(PluginDecision::Allow, PluginDecision::Refuse), AuditRecord(record))
}

fn login(rules: &ClientRules, content: &PluginContent) -> Result<(), String> {
    let sent = content.metas.as_ref().and_then(|metas| metas.get("token"));
    let is_right = sent.is_some_and(|sent| {
        rules.tokens.iter().any(|token| {
            let (sent, token) = (sent.expose_secret().as_bytes(), token.expose_secret().as_bytes());
            bool::from(sent.ct_eq(token))
        })
    });
    if !is_right {
        return Err("the client's token is wrong or missing".to_owned());
    }
    if rules.from.is_empty() {
        return Ok(());
    }
    let address = content.client_address.as_deref().and_then(ip_of);
    match address {
        Some(address) if rules.from.iter().any(|network| network.contains(&address)) => Ok(()),
        _ => Err("the client's address is not among those allowed".to_owned()),
    }
}

fn new_proxy(rules: &ClientRules, content: &PluginContent) -> Result<(), String> {
    let kind = content.proxy_type.as_deref().unwrap_or("tcp");
    if !rules.types.iter().any(|allowed| allowed == kind) {
        return Err(format!("tunnels of type {kind} are not allowed"));
    }
    if matches!(kind, "tcp" | "udp") && !rules.ports.is_empty() {
        let port = content.remote_port.unwrap_or(0);
        if !rules.ports.iter().any(|range| range.contains(port)) {
            return Err(format!("the port {port} is not among those allowed"));
        }
    }
    let domains = content.custom_domains.iter().flatten().map(String::as_str);
    if let Some(domain) = domains.into_iter().find(|domain| !rules.allows_domain(domain)) {
        return Err(format!("the domain {domain} is not among those allowed"));
    }
    if let Some(label) =
        content.subdomain.as_deref().filter(|label| !label.is_empty() && !rules.allows_domain(label))
    {
        return Err(format!("the subdomain {label} is not among those allowed"));
    }
    Ok(())
}

fn new_connection(rules: &ClientRules, content: &PluginContent) -> Result<(), String> {
    if rules.visitors.is_empty() {
        return Ok(());
    }
    let address = content.remote_addr.as_deref().and_then(ip_of);
    match address {
        Some(address) if rules.visitors.iter().any(|network| network.contains(&address)) => Ok(()),
        _ => Err("the address is not among those allowed".to_owned()),
    }
}

/// Of `host:port`, an IPv4 address inside an IPv6 one as itself.
fn ip_of(text: &str) -> Option<IpAddr> {
    let ip =
        text.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| text.parse::<IpAddr>()).ok()?;
    Some(ip.to_canonical())
}

impl PluginContent {
    fn user_name(&self) -> String {
        let name = match &self.user {
            Value::String(name) => Some(name.as_str()),
            Value::Object(user) => user.get("user").and_then(Value::as_str),
            _ => None,
        };
        name.unwrap_or_default().to_owned()
    }

    fn run_id(&self) -> Option<String> {
        let of_user = self.user.get("run_id").and_then(Value::as_str).map(str::to_owned);
        self.run_id.clone().or(of_user)
    }
}

#[cfg(test)]
mod tests;
