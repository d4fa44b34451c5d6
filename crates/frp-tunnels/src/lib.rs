//! Tunnels through [frp](https://github.com/fatedier/frp), managed: typed, validated, supervised, changed while they
//! run, and called connected when something has come through them. The guide is `docs/tunnels/README.md`.
//!
//! In reading order:
//!
//! - [`spec`]: what a tunnel is; mistakes, conflicts, names. Pure.
//! - [`server_settings`]: where frps is, and who we are.
//! - [`client`]: all tunnels of one frpc, opened, watched and closed. Its decisions are pure.
//! - [`state`], [`events`], [`failure`]: what is told of a tunnel. Pure.
//! - [`tunnel_file`]: the file of `up`.
//! - [`rewriting`]: paths that frps cannot strip or match.
//! - [`far_side`], [`near_side`]: an FTP server behind NAT.
//! - [`frps`]: the server's side.
//! - [`cli`], [`exposition`]: the command, and what it shows.
//! - `operator` (feature `operator`): tunnels as Kubernetes resources.
//!
//! Below them: `places`, where a tunnel begins and ends; `loopback_server`, which [`rewriting`] and [`far_side`] serve with; [`render`] (frp's configuration) and [`lines`] (frpc's log), both pure; [`process`], the one module
//! that starts processes; [`admin`], the one that speaks frpc's API; [`binary`], [`probe`], [`backoff`], [`random`],
//! [`http_request`].

pub mod spec;

pub mod server_settings;

pub mod client;

pub mod events;
pub mod failure;
pub mod state;

pub mod tunnel_file;

pub mod rewriting;

pub mod far_side;
pub mod near_side;

pub mod frps;

pub mod cli;
pub mod exposition;

#[cfg(feature = "operator")]
pub mod operator;

pub mod admin;
pub mod backoff;
pub mod binary;
pub mod http_request;
pub mod lines;
mod loopback_server;
mod places;
pub mod probe;
pub mod process;
pub mod random;
pub mod render;
