//! What is shown while tasks are sent and answered: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::answer_tally::AnswerTally;
use crate::cli::output::{bytes, note, rate};

/// Between two lines where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between two redraws of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// On standard error, so that the summary on standard output stays one document.
#[derive(Debug)]
pub(super) struct SubmitProgress {
    bar: Option<ProgressBar>,
    begun: Instant,
    shown: Instant,
    total: u64,
    total_bytes: u64,
}

impl SubmitProgress {
    pub fn new() -> SubmitProgress {
        let bar = io::stderr()
            .is_terminal()
            .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()));
        let now = Instant::now();
        SubmitProgress { bar, begun: now, shown: now, total: 0, total_bytes: 0 }
    }

    /// A source is being listed.
    pub fn listing(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("  {spinner} listing: {pos} files {wide_msg}"));
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    pub fn listed(&mut self, files: u64, tasks: u64) {
        if self.shown.elapsed() < DRAW_EVERY {
            return;
        }
        self.shown = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(files);
            bar.set_message(format!("({tasks} chosen)"));
            bar.tick();
        }
    }

    /// So many tasks are to be answered.
    pub fn begin(&mut self, total: u64, total_bytes: u64) {
        (self.total, self.total_bytes) = (total, total_bytes);
        (self.begun, self.shown) = (Instant::now(), Instant::now());
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(total);
            bar.set_style(style("  {bar:28} {pos}/{len} files  {wide_msg}  {eta} left"));
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// So much is answered.
    pub fn advance(&mut self, tally: &AnswerTally) {
        let answered = tally.answered();
        if let Some(bar) = &self.bar {
            if self.shown.elapsed() >= DRAW_EVERY || answered == self.total {
                self.shown = Instant::now();
                bar.set_position(answered);
                bar.set_message(self.told(tally));
            }
        } else if self.shown.elapsed() >= LINE_EVERY {
            self.shown = Instant::now();
            let left = self.left(answered).map(|left| format!(", {left} left")).unwrap_or_default();
            note(&format!("{answered} of {} answered: {}{left}", self.total, self.told(tally)));
        }
    }

    fn told(&self, tally: &AnswerTally) -> String {
        let of =
            if self.total_bytes > 0 { format!(" of {}", bytes(self.total_bytes)) } else { String::new() };
        let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
        format!("{}{of}, {}{failed}", bytes(tally.bytes), rate(tally.bytes, self.begun.elapsed()))
    }

    /// At the pace so far.
    fn left(&self, answered: u64) -> Option<String> {
        let left = self.total.checked_sub(answered).filter(|left| *left > 0 && answered > 0)?;
        let a_task = self.begun.elapsed().checked_div(u32::try_from(answered).ok()?)?;
        Some(crate::cli::output::time(a_task.checked_mul(u32::try_from(left).ok()?)?))
    }

    /// The bar goes; the summary says what it said.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// A line among the progress.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(line)),
            None => note(line),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
