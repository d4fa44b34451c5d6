//! frpc's administration API: what it says of its proxies, reload, stop.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;

use crate::http_request::{HttpAnswer, HttpQuestion, HttpRequestError, ask};
use crate::render::AdminEndpoint;

/// frpc answers in milliseconds; a stopped process would never.
const DEADLINE: Duration = Duration::from_secs(5);

/// One proxy as frpc sees it. Visitors are not reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProxyReport {
    pub name: String,
    /// `new`, `wait start`, `running`, `start error`, `check failed`, `closed`.
    pub status: String,
    #[serde(default)]
    pub err: String,
    /// `host:port`, `:port`, or domains.
    #[serde(default)]
    pub remote_addr: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("frpc's administration API: {0}")]
    Request(#[from] HttpRequestError),
    /// The configuration was not taken; the old one is in force.
    #[error("frpc refuses the configuration: {0}")]
    Refused(String),
    #[error("frpc's administration API answered {0}")]
    Status(u16),
    #[error("frpc's administration API did not answer with a status: {0}")]
    Format(#[from] serde_json::Error),
}

/// Asks one frpc.
#[derive(Debug, Clone)]
pub struct AdminClient {
    endpoint: AdminEndpoint,
}

impl AdminClient {
    pub fn new(endpoint: AdminEndpoint) -> Self {
        Self { endpoint }
    }

    /// Empty while frpc has no session with frps.
    pub async fn status(&self) -> Result<Vec<ProxyReport>, AdminError> {
        let answer = self.request(Method::GET, "/api/status").await?;
        if !answer.status.is_success() {
            return Err(AdminError::Status(answer.status.as_u16()));
        }
        // {"tcp": [{…}], "http": null}
        let by_type: BTreeMap<String, Option<Vec<ProxyReport>>> = serde_json::from_slice(&answer.body)?;
        Ok(by_type.into_values().flatten().flatten().collect())
    }

    /// Makes frpc read its configuration again, strictly. Success means that it was read, not that all is up.
    pub async fn reload(&self) -> Result<(), AdminError> {
        let answer = self.request(Method::GET, "/api/reload?strictConfig=true").await?;
        match answer.status.as_u16() {
            200 => Ok(()),
            400 => Err(AdminError::Refused(message_of(&answer.body))),
            other => Err(AdminError::Status(other)),
        }
    }

    /// Asks it to end; it does so within 100 ms.
    pub async fn stop(&self) -> Result<(), AdminError> {
        let answer = self.request(Method::POST, "/api/stop").await?;
        if answer.status.is_success() { Ok(()) } else { Err(AdminError::Status(answer.status.as_u16())) }
    }

    async fn request(&self, method: Method, path: &str) -> Result<HttpAnswer, HttpRequestError> {
        let address = format!("127.0.0.1:{}", self.endpoint.port);
        let credentials = Some((self.endpoint.user.as_str(), &self.endpoint.password));
        ask(HttpQuestion { address: &address, method, path, host: None, credentials, deadline: DEADLINE })
            .await
    }
}

/// `{"Code":400,"Msg":"invalid argument: …"}`, or plain text (frpc before 0.70).
fn message_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Message {
        #[serde(rename = "Msg")]
        message: String,
    }
    let text = || String::from_utf8_lossy(body).trim().to_owned();
    serde_json::from_slice::<Message>(body).map_or_else(|_| text(), |message| message.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_both_forms_are_read() {
        assert_eq!(message_of(br#"{"Code":400,"Msg":"invalid argument: x"}"#), "invalid argument: x");
        assert_eq!(message_of(b"plain\n"), "plain");
    }
}
