//! The pod's tunnels: opened as connections.ini says, watched, and reported to whoever sends connections through them.
//! The only module that names the crate `frp_tunnels`.
//!
//! ```text
//! pod_tunnels   all of them: started, changed at a reload, told to the dispatcher
//! open_tunnel   one: opened at a free address, its state, and whether something comes through it
//! translate     sections of connections.ini in the words of `frp_tunnels`
//! for_commands  tunnels for `check` and `submit`, which have no pod
//! ```

mod for_commands;
mod open_tunnel;
mod pod_tunnels;
mod translate;

pub use for_commands::{CommandTunnels, TunnelFinding};
pub use pod_tunnels::PodTunnels;

/// To be called first in `main`: frpc's process begins as this program, which makes sure that it does not outlive the pod.
pub fn become_child_if_requested() {
    frp_tunnels::process::exec_child::run_if_requested();
}
