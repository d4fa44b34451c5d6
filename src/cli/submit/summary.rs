//! What a run of `submit` says at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::answer_tally::{AnswerTally, FailureLine};
use super::input_errors::InputError;
use super::send::{OpenTask, SendEnd, SubmitRun};
use super::{FileCounts, SubmitProblems};
use crate::cli::output::{OutputFormat, bytes, count, note, one_line, print, print_json, rate, time};
use crate::cli::{EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OPEN};
use crate::listing::PassedOver;

/// Failures that the table for people names.
const SHOWN: usize = 10;

/// As `--output json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct SubmitSummary<'a> {
    /// What `ftp-pooler batch` calls them.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<&'a str>,
    /// Records that Kafka has.
    sent: u64,
    /// Lines or files that make no task.
    wrong: u64,
    mistakes: &'a [InputError],
    /// What was listed, and no task was made of.
    passed_over: &'a PassedOver,
    /// What was listed; absent where the tasks were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<FileCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<AnsweredCounts<'a>>,
    #[serde(skip)]
    to_send: u64,
    #[serde(skip)]
    problems: &'a SubmitProblems,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct AnsweredCounts<'a> {
    completed: u64,
    failed: u64,
    open: u64,
    bytes: u64,
    seconds: f64,
    failures_by_code: &'a BTreeMap<String, u64>,
    /// The first hundred.
    failures: &'a [FailureLine],
    /// The first twenty.
    open_task_ids: Vec<&'a str>,
    /// The same, with their files.
    open_tasks: &'a [OpenTask],
}

impl<'a> SubmitSummary<'a> {
    pub fn nothing_sent(problems: &'a SubmitProblems) -> SubmitSummary<'a> {
        let mistakes = &problems.mistakes;
        SubmitSummary {
            batch: None,
            sent: 0,
            wrong: mistakes.count,
            mistakes: &mistakes.named,
            passed_over: &problems.passed_over,
            files: problems.files,
            answers: None,
            to_send: 0,
            problems,
        }
    }

    pub fn of(
        run: &'a SubmitRun,
        to_send: u64,
        problems: &'a SubmitProblems,
        has_waited: bool,
        open_tasks: &'a [OpenTask],
    ) -> SubmitSummary<'a> {
        let tally = &run.tally;
        let answers = has_waited.then(|| AnsweredCounts::of(tally, run.took, open_tasks));
        SubmitSummary { sent: run.sent, answers, to_send, ..SubmitSummary::nothing_sent(problems) }
    }

    pub fn in_batch(self, batch: &'a str) -> SubmitSummary<'a> {
        SubmitSummary { batch: Some(batch), ..self }
    }

    pub fn print(&self, output: OutputFormat) {
        match output {
            OutputFormat::Json => print_json(self),
            OutputFormat::Table if self.sent > 0 => self.tell(),
            OutputFormat::Table => {}
        }
    }

    fn tell(&self) {
        let of = if self.sent < self.to_send { format!(" of {}", self.to_send) } else { String::new() };
        print(&format!("sent       {}{of}", self.sent));
        if let Some(batch) = self.batch {
            print(&format!("batch      {batch}"));
        }
        if let Some(answers) = &self.answers {
            answers.tell();
        }
    }

    pub fn exit_code(&self, ended: SendEnd) -> u8 {
        let failed = self.answers.as_ref().map_or(0, |answers| answers.failed);
        match ended {
            SendEnd::Interrupted => EXIT_INTERRUPTED,
            SendEnd::TimedOut => EXIT_OPEN,
            SendEnd::Done if self.wrong == 0 && failed > 0 => EXIT_FAILURE,
            SendEnd::Done => self.problems.exit_code(),
        }
    }
}

impl<'a> AnsweredCounts<'a> {
    pub fn of(tally: &'a AnswerTally, took: Duration, open_tasks: &'a [OpenTask]) -> AnsweredCounts<'a> {
        AnsweredCounts {
            completed: tally.completed,
            failed: tally.failed,
            open: tally.open(),
            bytes: tally.bytes,
            seconds: took.as_secs_f64(),
            failures_by_code: &tally.by_code,
            failures: &tally.named,
            open_task_ids: open_tasks.iter().map(|task| task.task_id.as_str()).collect(),
            open_tasks,
        }
    }

    /// For people.
    pub fn tell(&self) {
        let answers = self;
        let took = Duration::from_secs_f64(answers.seconds);
        print(&format!(
            "completed  {} ({} in {}, {})",
            answers.completed,
            bytes(answers.bytes),
            time(took),
            rate(answers.bytes, took)
        ));
        print(&format!("failed     {}", answers.failed));
        for (code, number) in answers.failures_by_code {
            print(&format!("  {code}: {number}"));
        }
        for failure in answers.failures.iter().take(SHOWN) {
            let FailureLine { task_id, file, code, message, .. } = failure;
            note(&one_line(&format!("{file}: {code}: {message} (task {task_id})")));
        }
        if answers.failed > SHOWN as u64 {
            note(&format!("… and {} more (ftp-pooler failures)", answers.failed - SHOWN as u64));
        }
        if answers.open > 0 {
            print(&format!("open       {}", answers.open));
            note(&format!("{} still pending; the pool will finish them:", count(answers.open, "task")));
            for OpenTask { task_id, file } in answers.open_tasks {
                note(&one_line(&format!("  {file} (task {task_id})")));
            }
            let more = answers.open.saturating_sub(answers.open_tasks.len() as u64);
            if more > 0 {
                note(&format!("  … and {more} more"));
            }
        }
    }
}
