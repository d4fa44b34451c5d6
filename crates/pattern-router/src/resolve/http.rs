//! `http`: the application is asked, which has a database: `GET …/{id}` returns
//! `{"address": "10.1.2.3", "ports": [{"port": 3000, "public": false, "protocol": "http"}], "users": […], "roles": […]}`,
//! or 404.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;

use super::dns::ID_PLACEHOLDER;
use super::{LookupError, PodPort, PodRecord};
use crate::http_client::HttpClient;
use crate::pool::UpstreamProtocol;

/// The maximum number of ports, users and roles of one pod.
const MAX_LISTED: usize = 1024;

/// Asks the application for a pod's address.
#[derive(Debug)]
pub struct HttpResolver {
    client: HttpClient,
    /// Contains [`ID_PLACEHOLDER`].
    url: String,
    token_file: Option<PathBuf>,
    timeout: Duration,
}

#[derive(Debug, Deserialize)]
struct PodAnswer {
    #[serde(default)]
    address: Option<IpAddr>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    ports: Option<Vec<PortAnswer>>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct PortAnswer {
    port: u16,
    #[serde(default)]
    public: bool,
    protocol: Option<ProtocolAnswer>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProtocolAnswer {
    Http,
    Https,
    H2c,
}

impl HttpResolver {
    pub fn new(
        client: HttpClient,
        url: String,
        token_file: Option<PathBuf>,
        timeout: Duration,
    ) -> HttpResolver {
        HttpResolver { client, url, token_file, timeout }
    }

    pub async fn look_up(&self, id: &str) -> Result<PodRecord, LookupError> {
        let unavailable = |reason: String| LookupError::Unavailable(reason);
        let uri: Uri = self.url.replace(ID_PLACEHOLDER, id).parse().map_err(|_| LookupError::NotFound)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(path) = &self.token_file {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|error| unavailable(format!("{}: {error}", path.display())))?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| unavailable(format!("{}: not a token", path.display())))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let answer = self
            .client
            .get(uri, headers, self.timeout)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        match answer.status {
            StatusCode::OK => parse(&answer.body),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(LookupError::NotFound),
            other => Err(unavailable(format!("answered {other}"))),
        }
    }
}

fn parse(body: &[u8]) -> Result<PodRecord, LookupError> {
    let answer: PodAnswer = serde_json::from_slice(body)
        .map_err(|error| LookupError::Unavailable(format!("wrong answer: {error}")))?;
    let lists = [answer.addresses.len(), answer.users.len(), answer.roles.len()];
    let ports = answer.ports.as_ref().map_or(0, Vec::len);
    if lists.into_iter().chain([ports]).any(|length| length > MAX_LISTED) {
        return Err(LookupError::Unavailable(format!("wrong answer: a list exceeds {MAX_LISTED} entries")));
    }
    let addresses: Vec<IpAddr> = answer.address.into_iter().chain(answer.addresses).collect();
    if addresses.is_empty() {
        return Err(LookupError::NotFound);
    }
    let ports = answer.ports.map(|ports| {
        ports
            .into_iter()
            .map(|one| PodPort { port: one.port, public: one.public, protocol: one.protocol.map(Into::into) })
            .collect()
    });
    Ok(PodRecord { addresses, ports, users: answer.users, roles: answer.roles })
}

impl From<ProtocolAnswer> for UpstreamProtocol {
    fn from(protocol: ProtocolAnswer) -> UpstreamProtocol {
        match protocol {
            ProtocolAnswer::Http => UpstreamProtocol::Http1,
            ProtocolAnswer::Https => UpstreamProtocol::Tls,
            ProtocolAnswer::H2c => UpstreamProtocol::Http2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let pod = parse(br#"{"address":"10.1.2.3","ports":[{"port":3000,"public":true,"protocol":"h2c"},{"port":4000}],"roles":["dev"]}"#).unwrap();
        assert_eq!(pod.addresses, ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        let ports = pod.ports.as_ref().unwrap();
        assert!(ports[0].public && ports[0].protocol == Some(UpstreamProtocol::Http2) && !ports[1].public);
        assert!(pod.allows("x", &["dev".into()]) && !pod.allows("x", &[]));
        assert_eq!(parse(b"{}"), Err(LookupError::NotFound));
        for wrong in [
            &b"[]"[..],
            b"{\"address\":\"somewhere\"}",
            b"",
            b"{\"address\":\"10.0.0.1\",\"ports\":[{\"port\":70000}]}",
        ] {
            assert!(matches!(parse(wrong), Err(LookupError::Unavailable(_))));
        }
    }
}
