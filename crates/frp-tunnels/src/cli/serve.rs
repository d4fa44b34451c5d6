//! `serve` and `visit-ftp`: both sides of an FTP server behind NAT.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use service_kit::signals::Signals;

use super::args::{PortRange, ServeArgs, VisitFtpArgs};
use super::output::Output;
use super::run::{client, open_error, secret, signals};
use super::up::Monitor;
use super::{CommandError, CommandExit};
use crate::client::{ClientSettings, TunnelStack};
use crate::far_side::{FtpConnectProxy, FtpFarSide, MAX_PASSIVE_PORTS};
use crate::near_side::FtpNearSide;
use crate::spec::{LocalService, TunnelSpec};

pub(super) async fn serve(args: ServeArgs, output: Output) -> Result<(), CommandError> {
    let mut signals = signals()?;
    let server = far_side(&args)?;
    let mut proxy = None;
    let specs = if let Some(range) = args.passive_ports {
        server.tunnels(passive(range)?)
    } else {
        let started = FtpConnectProxy::start(&server, args.ftp_name.clone(), args.data_ports.range()).await;
        let started = started.map_err(|error| CommandError::new(CommandExit::Io, error))?;
        let address = started.address();
        proxy = Some(started);
        vec![server.proxy_tunnel(address)]
    };
    let settings = args.connection.settings();
    if args.allow_user.is_empty() {
        tracing::warn!(
            event = "allow_user_missing",
            "no --allow-user: only visitors of this client's own user are let in"
        );
    }
    let kept = keep(settings, specs, args.listen, &mut signals, output).await;
    drop(proxy);
    kept
}

pub(super) async fn visit_ftp(args: VisitFtpArgs, output: Output) -> Result<(), CommandError> {
    let mut signals = signals()?;
    let near = FtpNearSide {
        name: args.name.clone(),
        server_user: args.server_user.clone(),
        secret_key: secret(args.secret_file.clone())?,
        address: args.bind.ip(),
    };
    let specs = match args.passive_ports {
        Some(range) => near.visitors(args.bind.port(), passive(range)?),
        None => vec![near.proxy_visitor(args.bind.port())],
    };
    keep(args.connection.settings(), specs, args.listen, &mut signals, output).await
}

fn passive(range: PortRange) -> Result<RangeInclusive<u16>, CommandError> {
    if range.count() > MAX_PASSIVE_PORTS {
        let message = format!("--passive-ports: {} ports are more than {MAX_PASSIVE_PORTS}", range.count());
        return Err(CommandError::new(CommandExit::Configuration, message));
    }
    Ok(range.range())
}

/// Opens all of them, and keeps them until a signal.
async fn keep(
    mut settings: ClientSettings,
    specs: Vec<TunnelSpec>,
    listen: Option<SocketAddr>,
    signals: &mut Signals,
    output: Output,
) -> Result<(), CommandError> {
    settings.max_tunnels = settings.max_tunnels.max(specs.len());
    let client = client(settings).await?;
    let monitor = Monitor::start(&client, listen).await?;
    let mut stack = TunnelStack::default();
    for spec in specs {
        stack.push(client.add(spec).await.map_err(|error| open_error(&error))?);
    }
    let served = monitor.run(&client, signals, output, None).await;
    stack.close_all().await;
    client.shutdown().await;
    served
}

fn far_side(args: &ServeArgs) -> Result<FtpFarSide, CommandError> {
    let wrong = |error: String| CommandError::new(CommandExit::Configuration, format!("--ftp: {error}"));
    match args.ftp.parse::<LocalService>().map_err(wrong)? {
        LocalService::Address { host, port } => {
            let secret_key = secret(args.secret_file.clone())?;
            Ok(FtpFarSide { host, port, secret_key, allow_users: args.allow_user.clone() })
        }
        LocalService::Plugin(_) => Err(wrong(format!("{:?} is not HOST:PORT", args.ftp))),
    }
}
