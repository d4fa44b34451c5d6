//! What `watch` shows: a picture that is drawn anew on a terminal, a line in a pipe, JSON lines for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::state::{Last, Rates, State};
use crate::cli::output::{Output, Table, bytes, one_line, print, time};

/// Columns where the terminal does not say how many it has.
const COLUMNS: usize = 100;
/// Connections in the picture.
const MAX_ROWS: usize = 30;

#[derive(Debug)]
pub(super) struct View {
    output: Output,
    is_drawn: bool,
    /// Lines of the picture that stands.
    lines: usize,
}

impl View {
    pub fn new(output: Output, is_drawn: bool) -> View {
        View { output, is_drawn, lines: 0 }
    }

    pub fn show(&mut self, state: &State, group: &str) {
        match self.output {
            Output::Json => print(&json_line(state)),
            Output::Table if self.is_drawn => self.draw(&picture(state, group)),
            Output::Table => print(&line(state)),
        }
    }

    /// Puts a picture in the place of the last one.
    fn draw(&mut self, picture: &str) {
        let columns = columns();
        let mut out = String::new();
        if self.lines > 0 {
            // Up to the picture's first line, and clear what is below.
            let _ = write!(out, "\x1b[{}A\r\x1b[J", self.lines);
        }
        self.lines = 0;
        for line in picture.lines() {
            // A line that wrapped would be two.
            let cut: String = line.chars().take(columns.saturating_sub(1)).collect();
            out.push_str(&cut);
            out.push('\n');
            self.lines += 1;
        }
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_col));
    size.ok().filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
fn bytes_rate(rate: f64) -> String {
    format!("{}/s", bytes(rate as u64))
}

fn picture(state: &State, group: &str) -> String {
    let mut out = format!(
        "{:.0}  group {group}, watching for {}\n\n",
        Timestamp::now(),
        time(Duration::from_secs(state.now.duration_since(state.begun).as_secs()))
    );
    let (now, late, all) = (state.rates_now(), state.rates_of_late(), state.rates());
    let mut table = Table::new(["", "now", "10 s", "average", "total"]);
    let mut row = |name: &str, of: fn(Rates) -> String, total: String| {
        table.row([name.to_owned(), of(now), of(late), of(all), total]);
    };
    row("completed", |rates| format!("{:.1}/s", rates.completed), state.sums.completed.to_string());
    row("failed", |rates| format!("{:.1}/s", rates.failed), state.sums.failed.to_string());
    row("bytes", |rates| bytes_rate(rates.bytes), bytes(state.sums.bytes));
    out.push_str(&table.render());
    connections(&mut out, state);
    if !state.last_failures.is_empty() {
        out.push_str("\nlast failures\n");
        for Last { at, code, connection, task_id, message } in &state.last_failures {
            let _ =
                writeln!(out, "{}", one_line(&format!("{at}  {code}  {connection}  {task_id}: {message}")));
        }
    }
    out
}

fn connections(out: &mut String, state: &State) {
    let failed = |name: &str| state.failed_by_connection.get(name).copied().unwrap_or(0);
    let Some(pods) = &state.pods else {
        if !state.failed_by_connection.is_empty() {
            let mut table = Table::new(["connection", "failed"]);
            for (name, number) in state.failed_by_connection.iter().take(MAX_ROWS) {
                table.row([name.clone(), number.to_string()]);
            }
            let _ = write!(out, "\n{}", table.render());
        }
        return;
    };
    let mut table = Table::new([
        "connection",
        "tasks/s",
        "in flight",
        "waiting",
        "delayed",
        "sessions",
        "breaker",
        "failed",
    ]);
    for (name, of) in pods.connections.iter().take(MAX_ROWS) {
        table.row([
            name.clone(),
            state.answered_rate(name).map(|rate| format!("{rate:.1}")).unwrap_or_default(),
            of.in_flight.to_string(),
            of.waiting.to_string(),
            of.delayed.to_string(),
            format!("{} busy, {} idle", of.busy, of.idle),
            breaker(of.breaker).to_owned(),
            failed(name).to_string(),
        ]);
    }
    let _ = write!(out, "\n{}", table.render());
    for silent in &pods.silent {
        let _ = writeln!(out, "{}", one_line(silent));
    }
}

fn breaker(state: f64) -> &'static str {
    match state {
        state if state >= 2.0 => "open",
        state if state >= 1.0 => "half-open",
        _ => "closed",
    }
}

fn line(state: &State) -> String {
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
        let sum = |of: fn(&super::scrape::Connection) -> f64| {
            pods.connections.values().map(of).fold(0.0, |all, one| all + one)
        };
        let silent = pods.silent.first().map(|one| format!(" ({})", one_line(one))).unwrap_or_default();
        let _ = write!(
            line,
            "  in flight {}  waiting {}  pods {}/{}{silent}",
            sum(|connection| connection.in_flight),
            sum(|connection| connection.waiting + connection.delayed),
            pods.pods - pods.silent.len(),
            pods.pods
        );
    }
    line
}

fn json_line(state: &State) -> String {
    let rates =
        |rates: Rates| json!({"completed": rates.completed, "failed": rates.failed, "bytes": rates.bytes});
    let failures: Vec<_> = state
        .last_failures
        .iter()
        .map(|last| {
            let Last { at, code, connection, task_id, message } = last;
            json!({"failed_at": at, "code": code, "connection": connection, "task_id": task_id, "message": message})
        })
        .collect();
    let mut look = json!({
        "at": format!("{:.3}", Timestamp::now()),
        "seconds": state.now.duration_since(state.begun).as_secs_f64(),
        "completed": state.sums.completed, "failed": state.sums.failed, "bytes": state.sums.bytes,
        "per_second": rates(state.rates_now()), "per_second_of_late": rates(state.rates_of_late()),
        "failed_by_connection": state.failed_by_connection, "last_failures": failures,
    });
    if let (Some(pods), Some(look)) = (&state.pods, look.as_object_mut()) {
        let connections: serde_json::Map<_, _> = pods
            .connections
            .iter()
            .map(|(name, of)| {
                let seen = json!({
                    "in_flight": of.in_flight, "waiting": of.waiting, "delayed": of.delayed,
                    "sessions": {"busy": of.busy, "idle": of.idle}, "breaker": breaker(of.breaker),
                    "per_second": state.answered_rate(name),
                });
                (name.clone(), seen)
            })
            .collect();
        look.insert("pods".to_owned(), json!({"asked": pods.pods, "silent": pods.silent}));
        look.insert("connections".to_owned(), connections.into());
    }
    look.to_string()
}
