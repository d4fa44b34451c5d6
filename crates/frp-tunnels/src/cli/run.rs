//! One tunnel from the command line: opened, reported, kept until a signal.

use serde_json::json;
use service_kit::signals::{SignalRequest, Signals};

use super::args::{ConnectionArgs, HttpArgs, PortArgs, TunnelArgs, VisitArgs};
use super::output::Output;
use super::{CommandError, CommandExit};
use crate::client::{ClientError, OpenError, Tunnel, TunnelClient};
use crate::server_settings::SecretSource;
use crate::spec::{BasicAuth, HttpTunnel, PortTunnel, TunnelKind, TunnelSpec, Visitor};
use crate::state::TunnelState;

pub(super) async fn tcp(args: PortArgs, output: Output) -> Result<(), CommandError> {
    let kind = TunnelKind::Tcp(PortTunnel { local: args.local, remote_port: args.remote_port });
    one(kind, &args.tunnel, &args.connection, output).await
}

pub(super) async fn udp(args: PortArgs, output: Output) -> Result<(), CommandError> {
    let kind = TunnelKind::Udp(PortTunnel { local: args.local, remote_port: args.remote_port });
    one(kind, &args.tunnel, &args.connection, output).await
}

pub(super) async fn http(args: HttpArgs, output: Output) -> Result<(), CommandError> {
    let mut http = HttpTunnel::new(args.local, args.domain);
    http.subdomain = args.subdomain;
    http.paths = args.path;
    http.strip_path = args.strip_path;
    http.host_header = args.host_header;
    if let (Some(user), Some(file)) = (args.http_user, args.password_file) {
        http.auth = Some(BasicAuth { user, password: secret(file)? });
    }
    one(TunnelKind::Http(http), &args.tunnel, &args.connection, output).await
}

pub(super) async fn visit(args: VisitArgs, output: Output) -> Result<(), CommandError> {
    let secret_key = secret(args.secret_file)?;
    let VisitArgs { server_name, server_user, bind, tunnel, connection, .. } = args;
    let kind = TunnelKind::StcpVisitor(Visitor { server_name, server_user, secret_key, bind });
    one(kind, &tunnel, &connection, output).await
}

/// A secret whose file is named on the command line.
pub(super) fn secret(file: std::path::PathBuf) -> Result<secrecy::SecretString, CommandError> {
    SecretSource::File(file).read().map_err(|error| CommandError::new(CommandExit::Configuration, error))
}

/// Finds frpc; what is wrong here is a matter of configuration.
pub(super) async fn client(settings: crate::client::ClientSettings) -> Result<TunnelClient, CommandError> {
    TunnelClient::start(settings).await.map_err(|error| match error {
        ClientError::Binary(error) => CommandError::new(CommandExit::Configuration, error),
        ClientError::Settings(_) => CommandError::new(CommandExit::Configuration, error),
    })
}

pub(super) fn open_error(error: &OpenError) -> CommandError {
    let exit = match error {
        OpenError::Invalid(_) => CommandExit::Configuration,
        _ => CommandExit::Unavailable,
    };
    CommandError::new(exit, error)
}

pub(super) fn signals() -> Result<Signals, CommandError> {
    Signals::listen().map_err(|error| CommandError::new(CommandExit::Software, error))
}

async fn one(
    kind: TunnelKind,
    args: &TunnelArgs,
    connection: &ConnectionArgs,
    output: Output,
) -> Result<(), CommandError> {
    let mut signals = signals()?;
    let mut spec = TunnelSpec::new(kind);
    spec.name.clone_from(&args.name);
    spec.probe.clone_from(&args.probe);
    let client = client(connection.settings()).await?;
    let mut tunnel = client.add(spec).await.map_err(|error| open_error(&error))?;
    let result = watch(&mut tunnel, args.exit_on_failure, &mut signals, output).await;
    tunnel.close().await;
    client.shutdown().await;
    result
}

/// Says each change of the tunnel's state, until a signal.
async fn watch(
    tunnel: &mut Tunnel,
    exit_on_failure: bool,
    signals: &mut Signals,
    output: Output,
) -> Result<(), CommandError> {
    let mut reported = None;
    loop {
        let state = tokio::select! {
            status = tunnel.changed() => status.state,
            request = signals.next() => {
                if request == SignalRequest::Stop {
                    return Ok(());
                }
                continue;
            }
        };
        // an address that becomes known is a change, too
        let now = Some((state.clone(), tunnel.address().filter(|_| state == TunnelState::Connected)));
        if now != reported {
            report(tunnel, &state, output);
            reported = now;
        }
        if let TunnelState::Failed(failure) = state
            && exit_on_failure
        {
            return Err(CommandError::new(CommandExit::Unavailable, format!("{}: {failure}", tunnel.name())));
        }
    }
}

fn report(tunnel: &Tunnel, state: &TunnelState, output: Output) {
    let (name, address) = (tunnel.name(), tunnel.address());
    let at = match (&address, state) {
        (Some(address), TunnelState::Connected) => format!(" at {address}"),
        _ => String::new(),
    };
    let failure = state.failure();
    let value = json!({
        "tunnel": name,
        "state": state.label(),
        "address": address,
        "class": failure.map(|failure| failure.class.label()),
        "message": failure.map(|failure| failure.message.clone()),
    });
    output.result(&format!("{name}: {state}{at}"), &value);
}
