//! What is shown while tasks are sent and answered: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::answer_tally::AnswerTally;
use super::pace::Pace;
use crate::cli::output::{bytes, note, one_line, time};

/// Between two lines if there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between two redraws of the bar.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// On standard error, so that the summary on standard output stays one document.
#[derive(Debug)]
pub(super) struct SubmitProgress {
    is_terminal: bool,
    bar: Option<ProgressBar>,
    shown: Instant,
    total: u64,
    total_bytes: u64,
    pace: Pace,
}

/// What is known of the tasks that have no answer yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenState<'a> {
    /// Bytes of files in flight, as far as pods report them.
    pub bytes_in_flight: u64,
    /// What happens, or why nothing does.
    pub sentence: Option<&'a str>,
}

impl SubmitProgress {
    pub fn new() -> SubmitProgress {
        let now = Instant::now();
        SubmitProgress {
            is_terminal: io::stderr().is_terminal(),
            bar: None,
            shown: now,
            total: 0,
            total_bytes: 0,
            pace: Pace::new(now),
        }
    }

    /// A source is being listed.
    pub fn listing(&mut self) {
        self.draw(None, "  {spinner} listing: {pos} files {wide_msg}");
    }

    /// Each stage has its own bar: one whose target is changed leaves what it has drawn.
    fn draw(&mut self, length: Option<u64>, template: &str) {
        self.end();
        if self.is_terminal {
            let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
            self.bar = Some(bar.with_style(style(template)));
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

    /// This many tasks are to be answered.
    pub fn begin(&mut self, total: u64, total_bytes: u64) {
        (self.total, self.total_bytes) = (total, total_bytes);
        self.shown = Instant::now();
        self.pace = Pace::new(self.shown);
        let length = if total_bytes > 0 { total_bytes } else { total };
        self.draw(Some(length), "  {bar:28} {wide_msg}");
    }

    /// So much is answered, and so much is on its way.
    pub fn advance(&mut self, tally: &AnswerTally, open: OpenState<'_>) {
        let is_due = self.shown.elapsed() >= if self.is_terminal { DRAW_EVERY } else { LINE_EVERY };
        let is_over = self.is_terminal && tally.answered() == self.total;
        if !is_due && !is_over {
            return;
        }
        self.shown = Instant::now();
        let moved = tally.bytes + open.bytes_in_flight;
        self.pace.look(self.shown, tally.answered(), moved);
        let line = self.line(tally, open);
        let Some(bar) = &self.bar else { return note(&line) };
        bar.set_position(if self.total_bytes > 0 { moved.min(self.total_bytes) } else { tally.answered() });
        bar.set_message(line);
    }

    fn line(&self, tally: &AnswerTally, open: OpenState<'_>) -> String {
        let of =
            if self.total_bytes > 0 { format!(" of {}", bytes(self.total_bytes)) } else { String::new() };
        let failed = if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
        let left = self.pace.left(self.total, self.total_bytes).map_or_else(|| "—".to_owned(), time);
        let sentence = open.sentence.map(|sentence| format!("; {}", one_line(sentence))).unwrap_or_default();
        format!(
            "{}/{} files, {}{of}, {}/s{failed}, {left} left{sentence}",
            tally.answered(),
            self.total,
            bytes(tally.bytes + open.bytes_in_flight),
            bytes(self.pace.bytes_a_second()),
        )
    }

    /// The bar goes; the summary says what it said.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line among the progress.
    pub fn say(&self, line: &str) {
        self.voice().say(line);
    }

    /// Prints lines amid the progress, for code that does not hold it.
    pub fn voice(&self) -> ProgressVoice {
        ProgressVoice(self.bar.clone())
    }

    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

/// See [`SubmitProgress::voice`].
#[derive(Clone, Debug)]
pub(super) struct ProgressVoice(Option<ProgressBar>);

impl ProgressVoice {
    pub fn say(&self, line: &str) {
        let line = one_line(line);
        match &self.0 {
            Some(bar) => bar.suspend(|| note(&line)),
            None => note(&line),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
