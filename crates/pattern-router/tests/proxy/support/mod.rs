pub mod client;
pub mod http2;
pub mod pod;
pub mod programs;
pub mod router;

pub use client::{Answer, Client, get};
pub use http2::{Http2Pod, http2_client};
pub use pod::{Pod, PodConnection};
pub use router::{RouterProcess, until};
