//! `ls` and `status`: what a running command says of its tunnels.

use std::io::IsTerminal as _;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::args::{ApiArgs, StatusArgs};
use super::output::{Output, table};
use super::run::signals;
use super::{CommandError, CommandExit};
use crate::http_request::{HttpQuestion, ask};

const DEADLINE: Duration = Duration::from_secs(10);
/// Between two polls of `status`.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its first column.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

pub(super) async fn list(args: ApiArgs, output: Output) -> Result<(), CommandError> {
    let tunnels = tunnels(&args).await?;
    print(&tunnels, "", output);
    Ok(())
}

/// Again and again on a terminal; elsewhere, whenever something has changed.
pub(super) async fn status(args: StatusArgs, output: Output) -> Result<(), CommandError> {
    let mut signals = signals()?;
    let mut last = None;
    let is_terminal = std::io::stdout().is_terminal() && !output.is_json() && !args.once;
    loop {
        let tunnels = tunnels(&args.api).await?;
        if last.as_ref() != Some(&tunnels) {
            print(&tunnels, if is_terminal { CLEAR } else { "" }, output);
        }
        if args.once {
            let is_connected =
                |tunnel: &Value| tunnel.get("state").and_then(Value::as_str) == Some("connected");
            let waiting: Vec<_> = tunnels
                .iter()
                .filter(|tunnel| !is_connected(tunnel))
                .map(|tunnel| text(tunnel, "name"))
                .collect();
            return if waiting.is_empty() {
                Ok(())
            } else {
                Err(CommandError::new(
                    CommandExit::Unavailable,
                    format!("not connected: {}", waiting.join(", ")),
                ))
            };
        }
        last = Some(tunnels);
        tokio::select! {
            () = tokio::time::sleep(STATUS_INTERVAL) => {}
            () = signals.stop() => return Ok(()),
        }
    }
}

async fn tunnels(args: &ApiArgs) -> Result<Vec<Value>, CommandError> {
    let unavailable = |error: String| {
        CommandError::new(CommandExit::Unavailable, format!("{error} (is `frp-tunnels up` running there?)"))
    };
    let question = HttpQuestion {
        address: &args.api,
        method: Method::GET,
        path: "/api/v1/tunnels",
        host: None,
        credentials: None,
        deadline: DEADLINE,
    };
    let answer = ask(question).await.map_err(|error| unavailable(error.to_string()))?;
    let value: Value =
        serde_json::from_slice(&answer.body).map_err(|error| unavailable(error.to_string()))?;
    match value.get("tunnels").and_then(Value::as_array) {
        Some(tunnels) => Ok(tunnels.clone()),
        None => Err(unavailable(format!("{} answered {}", args.api, answer.status))),
    }
}

fn text(tunnel: &Value, key: &str) -> String {
    tunnel.get(key).and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn print(tunnels: &[Value], before: &str, output: Output) {
    if output.is_json() {
        for tunnel in tunnels {
            output.result("", tunnel);
        }
        return;
    }
    let rows: Vec<Vec<String>> = tunnels.iter().map(row).collect();
    let head = ["NAME", "TYPE", "STATE", "ADDRESS", "TARGET", "SINCE", "ERROR"];
    output.raw(before.as_bytes());
    output.result(&table(&head, &rows), &Value::Null);
}

fn row(tunnel: &Value) -> Vec<String> {
    let error = tunnel.get("error").filter(|error| !error.is_null());
    let error = error.map(|error| format!("{}: {}", text(error, "class"), text(error, "message")));
    let since = text(tunnel, "since").split('.').next().unwrap_or("-").trim_end_matches('Z').to_owned();
    vec![
        text(tunnel, "name"),
        text(tunnel, "type"),
        text(tunnel, "state"),
        text(tunnel, "address"),
        text(tunnel, "target"),
        since,
        error.unwrap_or_default(),
    ]
}
