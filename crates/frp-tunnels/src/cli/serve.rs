//! `serve`: the far side of an FTP server behind NAT.

use super::args::ServeArgs;
use super::output::Output;
use super::run::{client, open_error, secret, signals};
use super::up::Monitor;
use super::{CommandError, CommandExit};
use crate::client::TunnelStack;
use crate::far_side::{FtpConnectProxy, FtpFarSide, MAX_PASSIVE_PORTS};
use crate::spec::LocalService;

pub(super) async fn serve(args: ServeArgs, output: Output) -> Result<(), CommandError> {
    let mut signals = signals()?;
    let server = far_side(&args)?;
    let mut proxy = None;
    let specs = match &args.passive_ports {
        Some(range) if range.count() > MAX_PASSIVE_PORTS => {
            let message =
                format!("--passive-ports: {} ports are more than {MAX_PASSIVE_PORTS}", range.count());
            return Err(CommandError::new(CommandExit::Configuration, message));
        }
        Some(range) => server.tunnels(range.range()),
        None => {
            let started =
                FtpConnectProxy::start(&server, args.ftp_name.clone(), args.data_ports.range()).await;
            let started = started.map_err(|error| CommandError::new(CommandExit::Io, error))?;
            let address = started.address();
            proxy = Some(started);
            vec![server.proxy_tunnel(address)]
        }
    };
    let mut settings = args.connection.settings();
    settings.max_tunnels = settings.max_tunnels.max(specs.len());
    if args.allow_user.is_empty() {
        tracing::warn!("no --allow-user: only visitors of this client's own user are let in");
    }
    let client = client(settings).await?;
    let mut stack = TunnelStack::default();
    for spec in specs {
        stack.push(client.add(spec).await.map_err(|error| open_error(&error))?);
    }
    let monitor = Monitor::start(&client, args.listen).await?;
    let served = monitor.run(&client, &mut signals, output, None).await;
    stack.close_all().await;
    client.shutdown().await;
    drop(proxy);
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
