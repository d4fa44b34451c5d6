pub mod client;
pub mod pod;
pub mod router;

pub use client::{Answer, Client, get};
pub use pod::{Pod, PodConnection};
pub use router::{RouterProcess, until};
