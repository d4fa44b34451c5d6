//! What `check` prints: a table for people, failures last with their sum; one document for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CheckFinding, Found};
use crate::cli::output::{count, one_line};
use crate::config::Config;

pub(super) struct CheckReport<'a> {
    pub config: &'a Config,
    /// The configuration, with `--show-config`.
    pub shown: Option<&'a str>,
    /// `None` where the files alone were checked.
    pub findings: Option<&'a [CheckFinding]>,
}

impl CheckReport<'_> {
    pub fn failed(&self) -> usize {
        let findings = self.findings.unwrap_or_default();
        findings.iter().filter(|finding| matches!(finding.found, Found::Failed(_))).count()
    }

    pub fn document(&self) -> Value {
        let row = |CheckFinding { kind, name, found }: &CheckFinding| {
            let (state, text) = match found {
                Found::Well(text) => ("ok", text),
                Found::Busy(text) => ("busy", text),
                Found::Failed(text) => ("failed", text),
            };
            json!({"kind": kind, "name": name, "ok": state != "failed", "state": state, "found": text})
        };
        let findings: Vec<Value> = self.findings.unwrap_or_default().iter().map(row).collect();
        let mut document =
            json!({"offline": self.findings.is_none(), "failed": self.failed(), "findings": findings});
        if let (Some(yaml), Some(document)) = (self.shown, document.as_object_mut()) {
            document.insert("config".to_owned(), yaml.into());
        }
        document
    }

    /// In the order of the configuration, but failures last, where they are still on the screen.
    pub fn table(&self) -> String {
        let Some(findings) = self.findings else { return self.offline() };
        let rank = |finding: &&CheckFinding| match finding.found {
            Found::Well(_) => 0,
            Found::Busy(_) => 1,
            Found::Failed(_) => 2,
        };
        let mut sorted: Vec<&CheckFinding> = findings.iter().collect();
        sorted.sort_by_key(rank);
        let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
        let mut table = String::new();
        for CheckFinding { kind, name, found } in sorted {
            let (mark, text) = match found {
                Found::Well(text) => ("ok  ", text),
                Found::Busy(text) => ("busy", text),
                Found::Failed(text) => ("FAIL", text),
            };
            let _ = writeln!(table, "{}", one_line(&format!("{mark}  {kind:<5}  {name:<width$}  {text}")));
        }
        let _ = match self.failed() {
            0 => writeln!(table, "all {} checks are ok", findings.len()),
            failed => writeln!(table, "{failed} of {} checks failed", findings.len()),
        };
        table
    }

    fn offline(&self) -> String {
        let connections = &self.config.connections;
        format!(
            "the configuration is right: {}, {}; Kafka, servers and directories were not tried\n",
            count(connections.ftp.len() as u64, "FTP connection"),
            count(connections.local.len() as u64, "local connection"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_come_last_with_their_sum() {
        let finding = |name: &str, found: Found| CheckFinding { kind: "ftp", name: name.to_owned(), found };
        let findings = [
            finding("a", Found::Failed("not\nthere".to_owned())),
            finding("long-name", Found::Well("fine".to_owned())),
            finding("b", Found::Busy("by this pool".to_owned())),
        ];
        let config = Config::default();
        let report = CheckReport { config: &config, shown: None, findings: Some(&findings) };
        assert_eq!(
            report.document()["findings"][0],
            json!({"kind": "ftp", "name": "a", "ok": false, "state": "failed", "found": "not\nthere"})
        );
        let table = "ok    ftp    long-name  fine\nbusy  ftp    b          by this pool\n\
                     FAIL  ftp    a          not·there\n1 of 3 checks failed\n";
        assert_eq!(report.table(), table);
        let well = CheckReport { findings: Some(&findings[1..]), ..report };
        assert!(well.table().ends_with("all 2 checks are ok\n"), "{}", well.table());
    }
}
