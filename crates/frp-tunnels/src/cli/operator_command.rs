//! `operator`: tunnels that are declared as Kubernetes resources.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use service_kit::health::Health;
use service_kit::http;
use tokio_util::sync::CancellationToken;

use super::args::PortRange;
use super::output::Output;
use super::run::signals;
use super::{CommandError, CommandExit, api};
use crate::exposition::Exposition;
use crate::operator::{OperatorPlace, OperatorSettings, resource_definitions, run};

#[derive(Debug, Args)]
pub(crate) struct OperatorArgs {
    /// Print the definitions of the resources (YAML for `kubectl apply`) and end
    #[arg(long)]
    print_definitions: bool,
    /// The namespace whose Tunnels and `TunnelServers` are kept
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// IP address of this pod: visitors listen there
    #[arg(long, env = "POD_IP", required_unless_present = "print_definitions")]
    address: Option<IpAddr>,
    /// This operator's name in the Lease, unlike that of every other one
    #[arg(long, env = "POD_NAME", required_unless_present = "print_definitions")]
    identity: Option<String>,
    /// The Lease whose holder works
    #[arg(long, default_value = "frp-tunnels-operator")]
    lease: String,
    /// FIRST-LAST of this pod at which visitors listen
    #[arg(long, default_value = "20000-29999")]
    visitor_ports: PortRange,
    /// What follows SERVICE.NAMESPACE. in the names of Services
    #[arg(long, default_value = "svc")]
    service_domain: String,
    /// Of a frps that a `TunnelServer` asks for
    #[arg(long, env = "FRP_TUNNELS_IMAGE", default_value = concat!("frp-tunnels:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// HOST:PORT for /health, /ready, /metrics and the tunnels' JSON
    #[arg(long, default_value = "0.0.0.0:7420")]
    listen: SocketAddr,
    /// frpc's path (default: `FRP_TUNNELS_FRPC`, beside this program, PATH, /usr/local/bin, /opt/frp, ~/bin)
    #[arg(long)]
    frpc: Option<PathBuf>,
}

pub(super) async fn operator(args: OperatorArgs, output: Output) -> Result<(), CommandError> {
    if args.print_definitions {
        output.raw(resource_definitions().as_bytes());
        return Ok(());
    }
    let missing = |key: &str| CommandError::new(CommandExit::Usage, format!("{key} is missing"));
    let settings = OperatorSettings {
        place: OperatorPlace {
            namespace: args.namespace,
            service_domain: args.service_domain,
            own_address: args.address.ok_or_else(|| missing("--address"))?,
        },
        lease: args.lease,
        identity: args.identity.ok_or_else(|| missing("--identity"))?,
        frpc: args.frpc,
        visitor_ports: args.visitor_ports.range(),
        image: args.image,
    };
    let mut signals = signals()?;
    let software = |error: prometheus::Error| CommandError::new(CommandExit::Software, error);
    let (exposition, health) = (Exposition::new().map_err(software)?, Arc::new(Health::default()));
    let stop = CancellationToken::new();
    let listener = http::bind("--listen", &args.listen.ip().to_string(), args.listen.port()).await;
    let listener = listener.map_err(|error| CommandError::new(CommandExit::Configuration, error))?;
    let routes = api::routes(health.clone(), exposition.clone());
    let serving_until = CancellationToken::new();
    let server = tokio::spawn(http::serve(listener, routes, serving_until.clone()));
    let operating = tokio::spawn(run(settings, exposition, health.clone(), stop.clone()));
    let mut operating = std::pin::pin!(operating);
    let ended = tokio::select! {
        () = signals.stop() => {
            health.set_draining();
            stop.cancel();
            operating.await
        }
        ended = &mut operating => ended,
    };
    serving_until.cancel();
    let _ = server.await;
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(CommandError::new(CommandExit::Configuration, error)),
        Err(error) => Err(CommandError::new(CommandExit::Software, error)),
    }
}
