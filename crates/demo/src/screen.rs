//! What the user sees while the demo runs: a bar on a terminal, plain lines in a pipe or a file.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines of progress where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Standard output, with a bar beneath it on standard error where both are terminals.
#[derive(Debug)]
pub struct Screen {
    bar: Option<ProgressBar>,
    total: usize,
    last_line: Instant,
}

impl Screen {
    /// Without a bar where log lines would run into it.
    pub fn new(is_verbose: bool) -> Screen {
        let is_terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let bar = (is_terminal && !is_verbose)
            .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()));
        Screen { bar, total: 0, last_line: Instant::now() }
    }

    /// Writes a line. A closed output is not a failure.
    pub fn say(&self, line: impl Display) {
        let write = || drop(writeln!(io::stdout(), "{line}"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Progress begins.
    pub fn begin(&mut self, total: usize) {
        (self.total, self.last_line) = (total, Instant::now());
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_style(style());
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// So much is done; `told` says it in words.
    pub fn advance(&mut self, done: usize, told: impl Fn() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(told());
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            self.say(format_args!("  {done} of {} answered: {}", self.total, told()));
        }
    }

    /// Progress ends; the bar goes, as what it said is said by the table.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("  {bar:24} {pos} of {len} answered: {wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
