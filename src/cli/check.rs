//! `ftp-pooler check`: tries Kafka and every connection, and prints what it found.
//!
//! ```text
//! try_server   what is tried of a server: its login, its login directory, and if asked for a file
//! report       the findings as a table, and as JSON
//! ```

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

mod report;
mod try_server;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::args::{ConfigFiles, LogOptions};
use super::lag;
use super::output::{self, OutputFormat};
use super::pool_pods::PoolPods;
use super::{CommandError, EXIT_OK, EXIT_UNAVAILABLE, say};
use crate::app::CommandTunnels;
use crate::client::{KafkaFinding, KafkaProbe, probe};
use crate::config::{Config, LocalConnection};
use crate::storage::LocalStorage;
use report::CheckReport;

/// Servers tried at the same time.
const AT_ONCE: usize = 16;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct CheckArgs {
    #[command(flatten)]
    pub files: ConfigFiles,
    #[command(flatten)]
    pub log: LogOptions,

    /// Check the files alone: no Kafka, no server, no directory is tried
    #[arg(long, conflicts_with = "deep")]
    pub offline: bool,

    /// Also write a small file to each server's login directory, compare its size, and remove it
    #[arg(long)]
    pub deep: bool,

    /// Also print the configuration that holds, with all defaults and without its secrets
    #[arg(long)]
    pub show_config: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

const EXAMPLES: &str = "\
Kafka, each topic, server and directory is tried from here, with a deadline each; no group is joined, and no
pod is disturbed. What this user may do is asked for all that the configuration needs: topics, groups, transactional ids
(feeds, sessions over all pods). On a server this
logs in and lists the login directory, over a data connection, which is what firewalls and TLS break most often; nothing is
changed there without --deep. In each local base_path a file of one byte is written and removed.

A server that accepts no more sessions because this pool's pods have them all is busy, which is not a failure.

Examples:
  ftp-pooler check
  ftp-pooler check --offline --show-config          the files alone: what do they say?
  ftp-pooler check --deep
  ftp-pooler check --output json | jq '.findings[] | select(.ok | not)'

Exit codes:
   0  everything is available
  69  something failed (marked FAIL)
  78  the configuration is wrong; every error is listed";

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CheckFinding {
    /// `kafka`, `topic`, `group`, `id` (a transactional one), `frp`, `ftp`, `local` or `pool`.
    kind: &'static str,
    name: String,
    found: Found,
}

/// What was found, or what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Well(String),
    /// A server without a session to spare.
    Busy(String),
    Failed(String),
}

impl From<Result<String, String>> for Found {
    fn from(found: Result<String, String>) -> Self {
        found.map_or_else(Found::Failed, Found::Well)
    }
}

/// Prints what was found; the exit code says whether it is all well.
pub(super) fn run(args: &CheckArgs) -> Result<u8, CommandError> {
    args.log.filter()?;
    let sources = args.files.to_sources();
    let config = Config::load(&sources)?;
    for warning in config.warnings(&sources) {
        output::note(&format!("warning: {warning}"));
    }
    let shown = args.show_config.then(|| config.to_yaml_redacted());
    if args.output == OutputFormat::Table
        && let Some(yaml) = &shown
    {
        say(io::stdout(), yaml);
    }
    let findings = if args.offline {
        None
    } else {
        let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
        Some(runtime.block_on(check(&config, args.deep)))
    };
    let report = CheckReport { config: &config, shown: shown.as_deref(), findings: findings.as_deref() };
    match args.output {
        OutputFormat::Table => say(io::stdout(), report.table().trim_end()),
        OutputFormat::Json => output::print_json(&report.document()),
    }
    Ok(if report.failed() == 0 { EXIT_OK } else { EXIT_UNAVAILABLE })
}

/// Tries everything that the configuration names; each try has its own deadline.
async fn check(config: &Config, is_deep: bool) -> Vec<CheckFinding> {
    let of_kafka = config.clone();
    let kafka = tokio::task::spawn_blocking(move || kafka_findings(&of_kafka));
    let (kafka, mut ftp) = tokio::join!(kafka, ftp_findings(config, is_deep));
    let mut findings = kafka.unwrap_or_default();
    if ftp.iter().any(|finding| matches!(finding.found, Found::Busy(_))) {
        let pods = PoolPods::new(config);
        let sessions = tokio::task::spawn_blocking(move || pods.sessions()).await.unwrap_or_default();
        for finding in &mut ftp {
            judge_busy(finding, &sessions);
        }
    }
    findings.extend(ftp);
    findings.extend(config.connections.local.values().map(|connection| local_finding(connection)));
    findings.extend(pool_finding(config));
    findings
}

fn kafka_findings(config: &Config) -> Vec<CheckFinding> {
    let brokers = config.kafka.bootstrap_servers.join(",");
    match probe(config) {
        Err(error) => vec![CheckFinding { kind: "kafka", name: brokers, found: Found::Failed(error) }],
        Ok(KafkaProbe { answered_within, findings: others }) => {
            let found = Found::Well(format!("answers in {} ms", answered_within.as_millis()));
            let mut findings = vec![CheckFinding { kind: "kafka", name: brokers, found }];
            findings.extend(others.into_iter().map(|KafkaFinding { kind, name, found }| CheckFinding {
                kind,
                name,
                found: found.into(),
            }));
            findings.extend(halted_finding(config));
            findings
        }
    }
}

/// Partitions that no pod reads until an operator sets where to resume; where that cannot be seen, the findings about the
/// topics and the group say why.
fn halted_finding(config: &Config) -> Option<CheckFinding> {
    let halted = lag::look(config, 0).ok()?.halted();
    (!halted.is_empty()).then(|| CheckFinding {
        kind: "group",
        name: config.kafka.consumer_group.clone(),
        found: Found::Failed(format!(
            "no pod reads {}: the committed offset is none of the topic's; ftp-pooler offsets reset sets it",
            halted.join(", ")
        )),
    })
}

/// Each tunnel, then each server: one behind a tunnel that does not come up is not tried.
async fn ftp_findings(config: &Config, is_deep: bool) -> Vec<CheckFinding> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let tunnels = Arc::new(CommandTunnels::open(config, None).await);
    let mut tries = JoinSet::new();
    for connection in config.connections.ftp.values() {
        let (connection, turns, tunnels) = (connection.clone(), turns.clone(), tunnels.clone());
        tries.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let found = match tunnels.entering(&connection).await {
                Ok(connection) => try_server::try_server(&connection, is_deep).await,
                Err(error) => Found::Failed(error),
            };
            CheckFinding { kind: "ftp", name: connection.name.clone(), found }
        });
    }
    let found = tunnels.findings().await.into_iter();
    let found =
        found.map(|tunnel| CheckFinding { kind: "frp", name: tunnel.tunnel, found: tunnel.found.into() });
    let mut findings: Vec<_> = found.collect();
    let mut servers = tries.join_all().await;
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    findings.extend(servers);
    findings
}

/// Whose sessions use up a server's room: if this pool's do, it is not a failure. `sessions` are those that pods have
/// reported, by connection.
fn judge_busy(finding: &mut CheckFinding, sessions: &BTreeMap<String, u64>) {
    let Found::Busy(said) = &finding.found else { return };
    finding.found = match sessions.get(&finding.name) {
        Some(count @ 1..) => {
            let sessions = output::count(*count, "session");
            Found::Busy(format!("by this pool, which has {sessions} there: {said}"))
        }
        _ => Found::Failed(format!("{said} (no pod of this pool says that it has a session there)")),
    };
}

fn local_finding(connection: &LocalConnection) -> CheckFinding {
    let found = LocalStorage::open(connection).and_then(|storage| storage.check()).and_then(|state| {
        state.writable?;
        Ok(format!("{}: {} free", connection.base_path.display(), output::bytes(state.free)))
    });
    let found = found.map_err(|error| error.to_string()).into();
    CheckFinding { kind: "local", name: connection.name.clone(), found }
}

/// The total bandwidth of a pod's connections, if it is limited.
fn pool_finding(config: &Config) -> Option<CheckFinding> {
    let key = "pool.bandwidth";
    let limited = try_server::limited(key, &config.pool.bandwidth);
    let found = Found::Well(format!("all connections of a pod together{limited}"));
    (!limited.is_empty()).then(|| CheckFinding { kind: "pool", name: key.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_busy_only_where_a_pod_has_sessions_there() {
        let found = |name: &str| {
            let found = Found::Busy("server_busy: 421".to_owned());
            let mut finding = CheckFinding { kind: "ftp", name: name.to_owned(), found };
            judge_busy(&mut finding, &BTreeMap::from([("a".to_owned(), 3), ("idle".to_owned(), 0)]));
            finding.found
        };
        let busy = "by this pool, which has 3 sessions there: server_busy: 421";
        assert_eq!(found("a"), Found::Busy(busy.to_owned()));
        assert!(matches!(found("idle"), Found::Failed(_)) && matches!(found("other"), Found::Failed(_)));
    }
}
