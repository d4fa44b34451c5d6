//! The table at the end. Pure.

use std::fmt;
use std::time::Duration;

use indicatif::HumanBytes;

use crate::verify::{Moved, Verifier};

/// Problems shown one by one; of more, the number.
const SHOWN_PROBLEMS: usize = 20;

/// What came of the demo.
#[derive(Debug)]
pub struct Report<'a> {
    pub answers: &'a Verifier<'a>,
    /// From the first record sent to the last answer read.
    pub elapsed: Duration,
    pub sessions_opened: usize,
    pub most_sessions: usize,
    pub max_sessions: usize,
}

impl Report<'_> {
    fn moved(&self) -> Moved {
        let (down, up) = (self.answers.downloads, self.answers.uploads);
        Moved { files: down.files + up.files, bytes: down.bytes + up.bytes }
    }

    fn rate(&self) -> String {
        let millis = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let moved = self.moved();
        let (files, bytes) = (moved.files * 1_000 / millis, moved.bytes.saturating_mul(1_000) / millis);
        let build = if cfg!(debug_assertions) { " (a debug build)" } else { "" };
        format!("{files} files/s, {}/s{build}", HumanBytes(bytes))
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |name: &str, moved: Moved| {
            format!("  {name:<12}{:>6} files  {:>12}", moved.files, HumanBytes(moved.bytes).to_string())
        };
        writeln!(f, "{}", line("downloads", self.answers.downloads))?;
        writeln!(f, "{}", line("uploads", self.answers.uploads))?;
        let seconds = self.elapsed.as_secs_f64();
        writeln!(f, "{}  in {seconds:.1} s: {}", line("together", self.moved()), self.rate())?;
        writeln!(
            f,
            "  {:<12}{:>6} opened, {} at most at once, as the server counted them ({} allowed)",
            "sessions", self.sessions_opened, self.most_sessions, self.max_sessions
        )?;
        writeln!(
            f,
            "  {:<12}{:>6}",
            "failures",
            self.answers.failures.values().map(|one| one.on_purpose + one.unwanted).sum::<u64>()
        )?;
        for (code, failures) in &self.answers.failures {
            let why: Vec<_> = failures.why.iter().copied().collect();
            let why = why.join("; ");
            if failures.on_purpose > 0 {
                writeln!(f, "    {code:<20}{:>4}  on purpose: {why}", failures.on_purpose)?;
            }
            if failures.unwanted > 0 {
                writeln!(f, "    {code:<20}{:>4}  NOT on purpose", failures.unwanted)?;
            }
        }
        Ok(())
    }
}

/// The verdict's lines: that all is right, or what is not.
pub fn verdict(problems: &[String]) -> String {
    if problems.is_empty() {
        return "Every record was answered once and rightly, and every file is right to the byte.".to_owned();
    }
    let mut lines = vec![format!("WRONG, in {} places:", problems.len())];
    lines.extend(problems.iter().take(SHOWN_PROBLEMS).map(|problem| format!("  {problem}")));
    let hidden = problems.len().saturating_sub(SHOWN_PROBLEMS);
    if hidden > 0 {
        lines.push(format!("  and {hidden} more"));
    }
    lines.join("\n")
}
