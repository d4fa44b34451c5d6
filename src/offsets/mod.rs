//! Which offsets are in flight and which are done, for each partition this pod owns.

mod lease;

pub use lease::Lease;
