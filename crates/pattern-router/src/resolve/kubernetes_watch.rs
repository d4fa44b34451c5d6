//! The list and the watch of pods:
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>.

use std::sync::Weak;
use std::time::Duration;

use bytes::BytesMut;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Resolver;
use super::kubernetes::{KubernetesApi, KubernetesError, KubernetesResolver, PodObject};
use crate::http_client::{HttpClient, client_tls};

/// The number of pods on one page of a list.
const PAGE: usize = 500;
/// The maximum size of a page in bytes.
const MAX_PAGE: usize = 64 * 1024 * 1024;
/// The maximum size of a watch event in bytes; a larger one ends the watch.
const MAX_EVENT: usize = 4 * 1024 * 1024;
/// The API server ends a watch after this many seconds.
const WATCH_SECONDS: u64 = 240;
/// A watch without a byte for this long is dead; bookmarks come every minute.
const SILENT_FOR: Duration = Duration::from_secs(WATCH_SECONDS + 30);
const LIST_WITHIN: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("{0}")]
    Http(String),
    #[error("the API server answered {0}")]
    Status(StatusCode),
    #[error("wrong answer: {0}")]
    Wrong(String),
    /// The resource version is too old: list again at once.
    #[error("the watch has expired")]
    Expired,
}

#[derive(Debug, Deserialize)]
struct PodList {
    metadata: ListMetadata,
    items: Vec<PodObject>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

#[derive(Debug, Deserialize)]
struct WatchEvent<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Lists and watches until the resolver is dropped.
pub fn spawn(
    api: KubernetesApi,
    resolver: Weak<Resolver>,
) -> Result<tokio::task::AbortHandle, KubernetesError> {
    let tls = client_tls(api.ca_file.as_deref()).map_err(|reason| {
        let path = api.ca_file.clone().unwrap_or_default();
        KubernetesError::File { path, reason }
    })?;
    let watch = PodWatch { client: HttpClient::new(tls), api, resolver };
    Ok(tokio::spawn(watch.run()).abort_handle())
}

struct PodWatch {
    client: HttpClient,
    api: KubernetesApi,
    resolver: Weak<Resolver>,
}

impl PodWatch {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        while self.resolver.strong_count() > 0 {
            match self.list_and_watch().await {
                Ok(()) | Err(WatchError::Expired) => pause = FIRST_PAUSE,
                Err(error) => {
                    tracing::warn!(event = "kubernetes_unreachable", %error, "the Kubernetes API server cannot be reached; retrying");
                    self.with(|resolver| resolver.trouble(format!("the Kubernetes API server: {error}")));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    /// Returns when the pods must be listed again.
    async fn list_and_watch(&self) -> Result<(), WatchError> {
        let mut version = tokio::time::timeout(LIST_WITHIN, self.list())
            .await
            .map_err(|_| WatchError::Http(format!("no list within {LIST_WITHIN:?}")))??;
        loop {
            // A watch that ends regularly continues where it ended.
            version = self.watch(version).await?;
        }
    }

    fn with(&self, act: impl FnOnce(&KubernetesResolver)) {
        if let Some(Resolver::Kubernetes(resolver)) = self.resolver.upgrade().as_deref() {
            act(resolver);
        }
    }

    async fn list(&self) -> Result<String, WatchError> {
        let (mut pods, mut next) = (Vec::new(), String::new());
        loop {
            let query = if next.is_empty() {
                format!("limit={PAGE}")
            } else {
                format!("limit={PAGE}&continue={next}")
            };
            let body = self.ask(&query).await?;
            let body = Limited::new(body, MAX_PAGE)
                .collect()
                .await
                .map_err(|error| WatchError::Http(error.to_string()))?;
            let page: PodList = serde_json::from_slice(&body.to_bytes())
                .map_err(|error| WatchError::Wrong(error.to_string()))?;
            let label = self.api.id_label.as_deref();
            pods.extend(page.items.into_iter().filter_map(|pod| {
                let watched = pod.watched(label)?;
                Some((pod.metadata.name, watched))
            }));
            next = utf8_percent_encode(&page.metadata.r#continue, NON_ALPHANUMERIC).to_string();
            if next.is_empty() {
                self.with(|resolver| resolver.replace(pods));
                return Ok(page.metadata.resource_version);
            }
        }
    }

    /// Applies events; returns the last resource version.
    async fn watch(&self, version: String) -> Result<String, WatchError> {
        let query = format!(
            "watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
            utf8_percent_encode(&version, NON_ALPHANUMERIC)
        );
        let (mut body, mut buffer, mut version) = (self.ask(&query).await?, BytesMut::new(), version);
        loop {
            let frame = tokio::time::timeout(SILENT_FOR, body.frame()).await;
            let Ok(frame) = frame else { return Ok(version) };
            let Some(frame) = frame else { return Ok(version) };
            let frame = frame.map_err(|error| WatchError::Http(error.to_string()))?;
            self.with(KubernetesResolver::heard);
            buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                if let Some(newer) = self.apply(&line)? {
                    version = newer;
                }
            }
            if buffer.len() > MAX_EVENT {
                return Err(WatchError::Wrong(format!("an event exceeds {MAX_EVENT} bytes")));
            }
        }
    }

    fn apply(&self, line: &[u8]) -> Result<Option<String>, WatchError> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let wrong = |error: serde_json::Error| WatchError::Wrong(error.to_string());
        let event: WatchEvent<'_> = serde_json::from_slice(line).map_err(wrong)?;
        if event.r#type == "ERROR" {
            let gone = event.object.get().contains("410");
            return Err(if gone {
                WatchError::Expired
            } else {
                WatchError::Wrong(event.object.get().to_owned())
            });
        }
        let pod: PodObject = serde_json::from_str(event.object.get()).map_err(wrong)?;
        match event.r#type {
            "ADDED" | "MODIFIED" => {
                let watched = pod.watched(self.api.id_label.as_deref());
                self.with(|resolver| resolver.apply(pod.metadata.name.clone(), watched));
            }
            "DELETED" => self.with(|resolver| resolver.apply(pod.metadata.name.clone(), None)),
            _ => {}
        }
        Ok(Some(pod.metadata.resource_version).filter(|version| !version.is_empty()))
    }

    async fn ask(&self, query: &str) -> Result<Incoming, WatchError> {
        let api = &self.api;
        let selector = utf8_percent_encode(&api.selector, NON_ALPHANUMERIC);
        let url =
            format!("{}/api/v1/namespaces/{}/pods?labelSelector={selector}&{query}", api.url, api.namespace);
        let uri: Uri = url.parse().map_err(|_| WatchError::Wrong("the API server's address".to_owned()))?;
        // Read each time: a mounted token is replaced every hour.
        let token = tokio::fs::read_to_string(&api.token_file)
            .await
            .map_err(|error| WatchError::Http(format!("{}: {error}", api.token_file.display())))?;
        let mut token = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| WatchError::Http("the service account's token is not one".to_owned()))?;
        token.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, token);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let asked = tokio::time::timeout(LIST_WITHIN, self.client.open(uri, headers)).await;
        let answer = asked.map_err(|_| WatchError::Http(format!("no answer within {LIST_WITHIN:?}")))?;
        let answer = answer.map_err(|error| WatchError::Http(error.to_string()))?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            StatusCode::GONE => Err(WatchError::Expired),
            other => Err(WatchError::Status(other)),
        }
    }
}
