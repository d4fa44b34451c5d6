//! What `watch` shows: a picture that is redrawn on a terminal, a line in a pipe, JSON lines for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use jiff::Timestamp;
use serde_json::json;

use super::draw::picture;
use super::state::{ShownFailure, ThroughputRates, WatchState};
use crate::cli::output::{OutputFormat, bytes, one_line, print};
use crate::cli::pod_metrics::MetricsSample;
use crate::text::rfc3339;

/// Columns and rows where the terminal does not say how many it has.
const SIZE: (usize, usize) = (100, 24);
/// Connections that are not up and are named in a line.
const MAX_OUTAGES: usize = 3;

#[derive(Debug)]
pub(super) struct TerminalView {
    output: OutputFormat,
    is_drawn: bool,
    /// Lines of the picture that stands.
    lines: usize,
}

impl TerminalView {
    pub fn new(output: OutputFormat, is_drawn: bool) -> TerminalView {
        TerminalView { output, is_drawn, lines: 0 }
    }

    pub fn show(&mut self, state: &WatchState, group: &str) {
        match self.output {
            OutputFormat::Json => print(&json_line(state)),
            OutputFormat::Table if self.is_drawn => {
                let (columns, rows) = size();
                // The cursor stands in the last row.
                let picture = picture(state, group, rows.saturating_sub(1));
                let frame = self.frame(&picture, columns);
                let mut stdout = io::stdout().lock();
                let _ = stdout.write_all(frame.as_bytes()).and_then(|()| stdout.flush());
            }
            OutputFormat::Table => print(&line(state)),
        }
    }

    /// What puts a picture in the place of the last one.
    fn frame(&mut self, picture: &[String], columns: usize) -> String {
        let mut out = String::new();
        if self.lines > 0 {
            // Up to the picture's first line, and clear what is below.
            let _ = write!(out, "\x1b[{}A\r\x1b[J", self.lines);
        }
        for line in picture {
            // A line that wrapped would be two.
            out.extend(line.chars().take(columns.saturating_sub(1)));
            out.push('\n');
        }
        self.lines = picture.len();
        out
    }
}

/// The terminal's columns and rows.
fn size() -> (usize, usize) {
    let Ok(size) = rustix::termios::tcgetwinsize(io::stdout()) else { return SIZE };
    let or = |told: u16, other| if told > 0 { usize::from(told) } else { other };
    (or(size.ws_col, SIZE.0), or(size.ws_row, SIZE.1))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
pub(super) fn bytes_rate(rate: f64) -> String {
    format!("{}/s", bytes(rate as u64))
}

/// A breaker's state for people.
pub(super) fn state_word(state: f64) -> &'static str {
    match breaker(state) {
        "open" => "down",
        "half-open" => "trying",
        _ => "up",
    }
}

/// The same for programs, as the API has it.
fn breaker(state: f64) -> &'static str {
    match state {
        state if state >= 2.0 => "open",
        state if state >= 1.0 => "half-open",
        _ => "closed",
    }
}

fn line(state: &WatchState) -> String {
    let now = state.rates_now();
    let mut line = format!(
        "{:.0}  completed {} ({:.1}/s)  failed {} ({:.1}/s)  {} ({})",
        Timestamp::now(),
        state.sums.completed,
        now.completed,
        state.sums.failed,
        now.failed,
        bytes(state.sums.bytes),
        bytes_rate(now.bytes)
    );
    if let Some(pods) = &state.pods {
        // Not `sum`: that of nothing is -0.
        let sum = |of: fn(&crate::cli::pod_metrics::ConnectionMetrics) -> f64| {
            pods.connections.values().map(of).fold(0.0, |all, one| all + one)
        };
        let trouble: Vec<&str> = pods.silent.iter().chain(&pods.unwell).map(String::as_str).collect();
        let silent = match trouble.as_slice() {
            [] => String::new(),
            trouble => format!(" ({})", one_line(&trouble.join("; "))),
        };
        let deferred = match sum(|connection| connection.deferred.unwrap_or(0.0)) {
            none if none <= 0.0 => String::new(),
            deferred => format!("  deferred {deferred}"),
        };
        let _ = write!(
            line,
            "  in flight {}  waiting {}{deferred}  pods {}/{}{silent}{}",
            sum(|connection| connection.in_flight),
            sum(|connection| connection.waiting + connection.delayed),
            pods.pods - pods.silent.len(),
            pods.pods,
            outages(pods)
        );
        if !pods.tunnels.is_empty() {
            let up = pods.tunnels.values().filter(|of| of.up == of.pods).count();
            let _ = write!(line, "  tunnels {up}/{}", pods.tunnels.len());
        }
    }
    line
}

/// The connections that are not up, and why: the first ones by name.
fn outages(pods: &MetricsSample) -> String {
    let all: Vec<_> = pods.connections.iter().filter(|(_, of)| of.breaker >= 1.0).collect();
    let mut words: Vec<String> = all
        .iter()
        .take(MAX_OUTAGES)
        .map(|(name, of)| match pods.errors.get(*name) {
            Some(error) => format!("{name} {}: {error}", state_word(of.breaker)),
            None => format!("{name} {}", state_word(of.breaker)),
        })
        .collect();
    if all.len() > MAX_OUTAGES {
        words.push(format!("and {} more", all.len() - MAX_OUTAGES));
    }
    if words.is_empty() { String::new() } else { format!("  {}", one_line(&words.join("; "))) }
}

fn json_line(state: &WatchState) -> String {
    let rates = |rates: ThroughputRates| json!({"completed": rates.completed, "failed": rates.failed, "bytes": rates.bytes});
    let failures: Vec<_> = state
        .last_failures
        .iter()
        .map(|last| {
            let ShownFailure { at, code, connection, task_id, file, message } = last;
            json!({
                "failed_at": at, "code": code, "connection": connection, "task_id": task_id,
                "source": file.source, "destination": file.destination, "message": message,
            })
        })
        .collect();
    let mut look = json!({
        "at": rfc3339(Timestamp::now()),
        "seconds": state.now.duration_since(state.begun).as_secs_f64(),
        "completed": state.sums.completed, "failed": state.sums.failed, "bytes": state.sums.bytes,
        "per_second": rates(state.rates_now()), "per_second_10s": rates(state.rates_of_late()),
        // the same under the name that it had first
        "per_second_of_late": rates(state.rates_of_late()),
        "failed_by_connection": state.failed_by_connection, "last_failures": failures,
    });
    if let (Some(pods), Some(look)) = (&state.pods, look.as_object_mut()) {
        let connections: serde_json::Map<_, _> = pods
            .connections
            .iter()
            .map(|(name, of)| {
                let seen = json!({
                    "in_flight": of.in_flight, "waiting": of.waiting, "delayed": of.delayed,
                    "deferred": of.deferred, "error": pods.errors.get(name),
                    "sessions": {"busy": of.busy, "idle": of.idle}, "breaker": breaker(of.breaker),
                    "per_second": state.answered_rate(name),
                    "granted": of.granted, "max_sessions_total": of.max_sessions_total,
                });
                (name.clone(), seen)
            })
            .collect();
        look.insert(
            "pods".to_owned(),
            json!({
                "asked": pods.pods, "silent": pods.silent, "announced": pods.announced,
            }),
        );
        look.insert("connections".to_owned(), connections.into());
        let tunnels = pods.tunnels.iter();
        let tunnels: serde_json::Map<_, _> =
            tunnels.map(|(name, of)| (name.clone(), json!({ "pods": of.pods, "up": of.up }))).collect();
        look.insert("tunnels".to_owned(), tunnels.into());
    }
    look.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cli::pod_metrics::ConnectionMetrics;

    #[test]
    fn a_line_names_outages_and_counts_what_is_deferred() {
        let mut state = WatchState::new(Instant::now());
        let mut pods = MetricsSample { pods: 1, ..MetricsSample::default() };
        let down = ConnectionMetrics { breaker: 2.0, deferred: Some(8.0), ..ConnectionMetrics::default() };
        pods.connections.insert("far".to_owned(), down);
        pods.errors.insert("far".to_owned(), "connect:\nrefused".to_owned());
        state.look(Instant::now(), Some(pods));
        let told = line(&state);
        assert!(told.contains("  deferred 8  pods 1/1  far down: connect:·refused"), "{told}");
        let json: serde_json::Value = serde_json::from_str(&json_line(&state)).unwrap();
        assert_eq!(json["connections"]["far"]["deferred"], 8.0);
        assert_eq!(json["connections"]["far"]["error"], "connect:\nrefused");
    }

    #[test]
    fn a_picture_takes_the_place_of_the_last_one() {
        let mut view = TerminalView::new(OutputFormat::Table, true);
        let picture = ["one", "a long line"].map(str::to_owned);
        assert_eq!(view.frame(&picture, 7), "one\na long\n");
        assert_eq!(view.frame(&picture[..1], 80), "\x1b[2A\r\x1b[Jone\n");
        assert_eq!(view.frame(&[], 80), "\x1b[1A\r\x1b[J");
    }
}
