//! Forwards HTTP/1.1 requests to one upstream service, as an intermediary may (RFC 9110, section 7.6): hop-by-hop
//! fields are removed, bodies are streamed, and an upgrade (WebSocket, RFC 6455) becomes a byte relay.
//!
//! It knows nothing about routes, paths or access: the caller changes the request before and the response after.
//!
//! ```text
//! forwarder   one upstream service, with its pooled connections
//! hop_by_hop  header fields that concern one connection only
//! ```

mod forwarder;
mod hop_by_hop;

pub use forwarder::{ForwardError, ForwardLimits, Forwarder};
pub use hop_by_hop::{remove_hop_by_hop, upgrade_protocol};
