//! `config`: what a plain frpc needs for the same tunnels.

use serde_json::{Value, json};

use super::args::ConfigArgs;
use super::output::Output;
use super::{CommandError, CommandExit};
use crate::render::{RenderedTunnel, render_for_frpc};
use crate::spec::{IdStrategy, choose_identifier};
use crate::tunnel_file::read_tunnel_file;

pub(super) fn config(args: &ConfigArgs, output: Output) -> Result<(), CommandError> {
    let wrong = |error: &dyn std::fmt::Display| CommandError::new(CommandExit::Configuration, error);
    let file = read_tunnel_file(&args.file).map_err(|error| wrong(&error))?;
    let mut taken = std::collections::BTreeSet::new();
    let mut names = Vec::new();
    for spec in &file.tunnels {
        let name = choose_identifier(&IdStrategy::Descriptive, spec, &taken, [0; 16]);
        taken.insert(name.clone());
        names.push(name);
        if let crate::spec::TunnelKind::Http(http) = &spec.kind
            && http.needs_rewriting()
        {
            tracing::warn!(
                event = "config_warning",
                "strip_path and wildcards are done by frp-tunnels itself: plain frpc passes whole prefixes"
            );
        }
    }
    let tunnels: Vec<_> = names
        .iter()
        .zip(&file.tunnels)
        .map(|(name, spec)| RenderedTunnel { name, spec, attempt: 0, rewriting: None })
        .collect();
    let mut config = render_for_frpc(&file.client.server, &tunnels).map_err(|error| wrong(&error))?;
    if !args.show_secrets {
        hide_secrets(&mut config);
    }
    let text = serde_json::to_string_pretty(&config).map_err(|error| wrong(&error))?;
    output.raw(format!("{}\n", crate::render::escape_templates(&text)).as_bytes());
    Ok(())
}

/// The keys of frp whose values are secrets.
const SECRET_KEYS: [&str; 7] =
    ["token", "secretKey", "groupKey", "httpPassword", "password", "clientSecret", "proxyURL"];

fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if SECRET_KEYS.contains(&key.as_str()) && value.is_string() {
                    *value = json!(format!("<{key}>"));
                } else {
                    hide_secrets(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let mut config = json!({"auth": {"token": "hidden"}, "proxies": [{"secretKey": "hidden", "plugin": {"password": "hidden"}}], "metadatas": {"token": "hidden"}});
        hide_secrets(&mut config);
        assert!(!config.to_string().contains("hidden"), "{config}");
    }
}
