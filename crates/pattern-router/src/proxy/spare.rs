//! Copies of requests, to be resent if a connection ends without a response.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri, Version};

use super::body::UpstreamBody;

/// A copy of a request without a body. Its fields are a list, since copying a map costs twice as much, and hardly any
/// copy is used.
#[derive(Debug)]
pub struct SpareRequest {
    method: Method,
    uri: Uri,
    version: Version,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl SpareRequest {
    pub fn of(request: &Request<UpstreamBody>) -> SpareRequest {
        let mut fields = Vec::with_capacity(request.headers().len());
        fields.extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        let (method, uri) = (request.method().clone(), request.uri().clone());
        SpareRequest { method, uri, version: request.version(), fields }
    }

    pub fn into_request(self) -> Request<UpstreamBody> {
        let mut request = Request::new(UpstreamBody::Empty);
        (*request.method_mut(), *request.uri_mut()) = (self.method, self.uri);
        *request.version_mut() = self.version;
        for (name, value) in self.fields {
            request.headers_mut().append(name, value);
        }
        request
    }
}
