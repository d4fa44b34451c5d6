//! What makes no task, with its place.

use serde::Serialize;

use crate::task::{Rejected, UnknownOption};

/// Mistakes that are listed; of the others only the number is reported.
const NAMED: usize = 1_000;
/// The same for remarks.
const REMARKS: usize = 20;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct InputError {
    /// The line, from 1; or the file that a task was to be made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub task_id: Option<String>,
    pub code: &'static str,
    pub message: String,
}

/// All mistakes of a run, the first ones with their words.
#[derive(Debug, Default)]
pub(super) struct InputErrors {
    pub named: Vec<InputError>,
    pub count: u64,
    /// What is sent all the same, and may not be meant: the line, and one sentence.
    remarks: Vec<(u64, String)>,
    remark_count: u64,
}

impl InputErrors {
    /// Options of a task that the pool will ignore.
    pub fn remark(&mut self, line: u64, unknown: &[UnknownOption]) {
        for option in unknown {
            self.remark_count += 1;
            if self.remarks.len() < REMARKS {
                self.remarks.push((line, option.note()));
            }
        }
    }

    /// A line for each remark, as [`InputErrors::told`].
    pub fn remarks(&self, source: &str) -> Vec<String> {
        let told = |(line, remark): &(u64, String)| {
            crate::cli::output::one_line(&format!("{source}:{line}: warning: {remark}"))
        };
        let mut lines: Vec<String> = self.remarks.iter().map(told).collect();
        let more = self.remark_count - self.remarks.len() as u64;
        if more > 0 {
            lines.push(format!("… and {more} more warnings"));
        }
        lines
    }

    pub fn on_line(&mut self, line: u64, rejected: Rejected) {
        self.add(Some(line), None, rejected);
    }

    pub fn on_path(&mut self, path: &str, rejected: Rejected) {
        self.add(None, Some(path.to_owned()), rejected);
    }

    fn add(&mut self, line: Option<u64>, path: Option<String>, rejected: Rejected) {
        self.count += 1;
        if self.named.len() < NAMED {
            let Rejected { task_id, failure } = rejected;
            let (code, message) = (failure.code.as_str(), failure.message);
            self.named.push(InputError { line, path, task_id, code, message });
        }
    }

    /// A line for each; `source` is the file that has them.
    pub fn told(&self, source: &str) -> String {
        let mut lines: Vec<String> = self
            .named
            .iter()
            .map(|mistake| {
                let place = match (mistake.line, &mistake.path) {
                    (Some(line), _) => format!("{source}:{line}"),
                    (None, Some(path)) => path.clone(),
                    (None, None) => source.to_owned(),
                };
                crate::cli::output::one_line(&format!("{place}: {}: {}", mistake.code, mistake.message))
            })
            .collect();
        let more = self.count - self.named.len() as u64;
        if more > 0 {
            lines.push(format!("… and {more} more"));
        }
        lines.join("\n")
    }
}
