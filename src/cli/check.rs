//! `ftp-pooler check`: tries Kafka and every connection, and prints what it found.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{KafkaFinding, probe};
use crate::config::{Config, FtpConnection, KafkaConfig, LocalConnection, RetryConfig};
use crate::ftp::Session;
use crate::storage::LocalStorage;

/// Servers tried at the same time.
const AT_ONCE: usize = 16;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFinding {
    /// `kafka`, `topic`, `group`, `ftp` or `local`.
    pub kind: &'static str,
    pub name: String,
    /// What was found, or what is wrong.
    pub found: Result<String, String>,
}

/// Tries everything that the configuration names; each try has its own deadline.
pub async fn check(config: &Config) -> Vec<CheckFinding> {
    let (kafka, retry) = (config.kafka.clone(), config.retry.clone());
    let pod = config.pod.name.clone();
    let kafka = tokio::task::spawn_blocking(move || kafka_findings(&kafka, &retry, &pod));
    let (kafka, ftp) = tokio::join!(kafka, ftp_findings(config));
    let mut findings = kafka.unwrap_or_default();
    findings.extend(ftp);
    findings.extend(config.connections.local.values().map(|connection| local_finding(connection)));
    findings
}

fn kafka_findings(kafka: &KafkaConfig, retry: &RetryConfig, pod: &str) -> Vec<CheckFinding> {
    let begun = Instant::now();
    let brokers = kafka.bootstrap_servers.join(",");
    match probe(kafka, retry, pod) {
        Err(error) => vec![CheckFinding { kind: "kafka", name: brokers, found: Err(error) }],
        Ok(others) => {
            let found = Ok(format!("answers in {} ms", begun.elapsed().as_millis()));
            let mut findings = vec![CheckFinding { kind: "kafka", name: brokers, found }];
            findings.extend(others.into_iter().map(|KafkaFinding { kind, name, found }| CheckFinding {
                kind,
                name,
                found,
            }));
            findings
        }
    }
}

async fn ftp_findings(config: &Config) -> Vec<CheckFinding> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tries = JoinSet::new();
    for connection in config.connections.ftp.values() {
        let (connection, turns) = (connection.clone(), turns.clone());
        tries.spawn(async move {
            let _turn = turns.acquire_owned().await;
            ftp_finding(&connection).await
        });
    }
    let mut findings = tries.join_all().await;
    findings.sort_by(|a, b| a.name.cmp(&b.name));
    findings
}

async fn ftp_finding(connection: &FtpConnection) -> CheckFinding {
    let begun = Instant::now();
    let found = match Session::open(connection).await {
        Ok(session) => {
            let took = begun.elapsed().as_millis();
            session.close().await;
            Ok(format!("{}:{} logs {} in, {took} ms", connection.host, connection.port, connection.user))
        }
        Err(error) => Err(error.to_string()),
    };
    CheckFinding { kind: "ftp", name: connection.name.clone(), found }
}

fn local_finding(connection: &LocalConnection) -> CheckFinding {
    let found = LocalStorage::open(connection).and_then(|storage| storage.check()).and_then(|state| {
        state.writable?;
        Ok(format!("{}: {} GiB free", connection.base_path.display(), state.free >> 30))
    });
    let found = found.map_err(|error| error.to_string());
    CheckFinding { kind: "local", name: connection.name.clone(), found }
}

/// The findings for programs.
pub fn document(findings: &[CheckFinding]) -> serde_json::Value {
    let row = |CheckFinding { kind, name, found }: &CheckFinding| {
        let (is_ok, text) = match found {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        serde_json::json!({"kind": kind, "name": name, "ok": is_ok, "found": text})
    };
    serde_json::json!({"findings": findings.iter().map(row).collect::<Vec<_>>()})
}

/// The findings as a table for people.
pub fn table(findings: &[CheckFinding]) -> String {
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
    let mut table = String::new();
    for CheckFinding { kind, name, found } in findings {
        let (mark, text) = match found {
            Ok(text) => ("ok  ", text),
            Err(text) => ("FAIL", text),
        };
        let _ = writeln!(table, "{mark}  {kind:<5}  {name:<width$}  {text}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_finding_and_marks_what_failed() {
        let findings = [
            CheckFinding { kind: "ftp", name: "a".into(), found: Ok("fine".into()) },
            CheckFinding { kind: "local", name: "long-name".into(), found: Err("not there".into()) },
        ];
        assert_eq!(
            document(&findings)["findings"][1],
            serde_json::json!({"kind": "local", "name": "long-name", "ok": false, "found": "not there"})
        );
        assert_eq!(table(&findings), "ok    ftp    a          fine\nFAIL  local  long-name  not there\n");
    }
}
