//! Forwards HTTP/1.1 requests to one service behind, as an intermediary may (RFC 9110, section 7.6): hop-by-hop
//! fields stay on their hop, bodies are streamed, and an upgrade (WebSocket, RFC 6455) becomes a byte relay.
//!
//! It decides nothing of routes, paths or access: whoever uses it changes the request before and the response
//! after.
//!
//! ```text
//! forwarder   one service behind, with its connections kept for the next request
//! hop_by_hop  fields that concern one connection only
//! ```

mod forwarder;
mod hop_by_hop;

pub use forwarder::{ForwardError, ForwardLimits, Forwarder};
pub use hop_by_hop::{remove_hop_by_hop, upgrade_protocol};
