//! The pod's tunnels: opened according to connections.ini, monitored, and reported to the users of connections through
//! them. The only module that names the crate `frp_tunnels`.
//!
//! ```text
//! pod_tunnels   all of them: started, changed at a reload, reported to the dispatcher
//! open_tunnel   one: opened at a free address, its state, and whether it works
//! translate     sections of connections.ini converted for `frp_tunnels`
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
