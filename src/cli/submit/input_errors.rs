//! What makes no task, with its place.

use serde::Serialize;

use crate::task::Rejected;

/// Mistakes that are named; of more it tells the number.
const NAMED: usize = 1_000;

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
}

impl InputErrors {
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

    /// A line for each; `source` is the file they stand in.
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
