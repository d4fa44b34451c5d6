//! Log lines on stderr, JSON or for humans. No password can get into them through a library.
//!
//! suppaftp logs whole command lines, `PASS` included, through the `log` crate at trace. That crate's records
//! are not bridged into `tracing` here, and [`SEALED`] targets are held back whatever the filter says.

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One object a line, its fields at the top level.
    Json,
    /// Lines to read, in colours on a terminal.
    Human,
}

/// Which lines are written: a level (`info`), or levels by module (`info,ftp_pooler::pool=debug`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// What `RUST_LOG` says, else `info`.
    ///
    /// # Errors
    /// `RUST_LOG` is no filter.
    pub fn from_environment() -> Result<Filter, InvalidFilter> {
        match std::env::var("RUST_LOG") {
            Ok(text) if !text.trim().is_empty() => text.parse(),
            _ => Ok(Filter("info".to_owned())),
        }
    }
}

/// A text that is no [`Filter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no log filter: {0}; expected error, warn, info, debug, trace, or such as info,ftp_pooler::pool=debug"
)]
pub struct InvalidFilter(String);

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        if text.trim().is_empty() {
            return Err(InvalidFilter("is empty".to_owned()));
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Filter(text.to_owned())),
            Err(error) => Err(InvalidFilter(error.to_string())),
        }
    }
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("no thread for the log: {0}")]
    Thread(#[from] io::Error),
    #[error("logging has begun already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Begins logging to stderr; `format` is [`Format::Human`] on a terminal and JSON elsewhere where nobody says.
/// What is still queued is written when the guard is dropped.
///
/// # Errors
/// See [`InitError`].
pub fn init(format: Option<Format>, filter: &Filter) -> Result<Guard, InitError> {
    let is_terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal { Format::Human } else { Format::Json });
    let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = Lines::to(io::stderr(), format)?;
    let guard = Guard { lines: lines.clone() };
    // Not `init()`, which would bridge the `log` crate.
    tracing::subscriber::set_global_default(subscriber(lines, format, colours, filter))?;
    Ok(guard)
}

/// Targets that are never logged: their lines hold commands as they go over the wire.
const SEALED: [&str; 2] = ["suppaftp", "log"];

fn is_open(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split("::").next().unwrap_or_default();
    !SEALED.contains(&crate_name)
}

fn subscriber<W>(
    writer: W,
    format: Format,
    colours: bool,
    filter: &Filter,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A failed write must not end in `eprintln!`, which panics where stderr is closed.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Json => Box::new(layer.json().flatten_event(true).with_span_list(false)),
        Format::Human => Box::new(layer.with_ansi(colours)),
    };
    let chosen = EnvFilter::new(&filter.0);
    tracing_subscriber::registry().with(layer.with_filter(chosen.and(filter_fn(is_open))))
}

/// Lines waiting for stderr at most. A stderr that nobody reads costs lines, and never a transfer's time.
const QUEUED_LINES: usize = 4_096;

/// How long the end waits for what is queued.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// Writes what is still queued when it is dropped, for at most a second.
#[derive(Debug)]
pub struct Guard {
    lines: Lines,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_DEADLINE;
        let (done, is_done) = sync_channel(1);
        let mut flush = Queued::Flush(done);
        while let Err(TrySendError::Full(again)) = self.lines.queue.try_send(flush) {
            if Instant::now() >= deadline {
                return;
            }
            flush = again;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

enum Queued {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue to the thread that writes.
#[derive(Debug, Clone)]
struct Lines {
    queue: SyncSender<Queued>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    fn to(out: impl Write + Send + 'static, format: Format) -> io::Result<Lines> {
        let (queue, queued) = sync_channel(QUEUED_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Lines { queue, lost: Arc::clone(&lost) };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(out, &queued, &lost, format))?;
        Ok(lines)
    }
}

/// Ends when nothing can log any more. An output that fails is no reason to stop: it may come back.
fn write_all(mut out: impl Write, queued: &Receiver<Queued>, lost: &AtomicU64, format: Format) {
    for next in queued {
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = out.write_all(lost_lines(lost, format).as_bytes());
        }
        match next {
            Queued::Line(line) => {
                let _ = out.write_all(&line);
            }
            Queued::Flush(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
    }
}

fn lost_lines(lost: u64, format: Format) -> String {
    match format {
        Format::Json => {
            format!(
                "{{\"level\":\"WARN\",\"message\":\"log lines were lost: stderr is too slow\",\"lost\":{lost}}}\n"
            )
        }
        Format::Human => format!("WARN {lost} log lines were lost: stderr is too slow\n"),
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { bytes: Vec::new(), lines: self.clone() }
    }
}

/// One line, queued when it is whole.
struct Line {
    bytes: Vec<u8>,
    lines: Lines,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if !line.is_empty() && self.lines.queue.try_send(Queued::Line(line)).is_err() {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Captured {
        type Writer = Captured;

        fn make_writer(&'a self) -> Captured {
            self.clone()
        }
    }

    fn logged(format: Format, filter: &str, log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let filter = filter.parse().unwrap();
        tracing::subscriber::with_default(subscriber(captured.clone(), format, false, &filter), log);
        captured.text()
    }

    #[test]
    fn commands_as_they_go_over_the_wire_are_never_logged_whatever_the_filter_says() {
        for filter in ["trace", "suppaftp=trace", "suppaftp::async_ftp=trace,log=trace", "info"] {
            let text = logged(Format::Human, filter, || {
                tracing::trace!(target: "suppaftp", "CC OUT: PASS hunter2");
                tracing::error!(target: "suppaftp::async_ftp", "PASS hunter2");
                tracing::error!(target: "log", "PASS hunter2");
                tracing::error!(target: "suppaftp_like", "this one is let through");
            });
            assert!(!text.contains("hunter2"), "{filter}: {text}");
        }
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top_level() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(target: "t", task_id = "x\n", bytes = 7, "task completed");
            tracing::debug!("not this one");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1);
        for (field, value) in [
            ("message", "task completed".into()),
            ("task_id", "x\n".into()),
            ("bytes", 7.into()),
            ("level", "INFO".into()),
        ] {
            assert_eq!(line.get(field), Some::<&serde_json::Value>(&value));
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", " ", "info,=,", "loud?=[", "a=b=c"] {
            assert!(text.parse::<Filter>().is_err(), "{text:?}");
        }
        for text in ["info", "DEBUG", "info,ftp_pooler::pool=trace", "off"] {
            assert!(text.parse::<Filter>().is_ok(), "{text:?}");
        }
    }

    /// An output that takes nothing until it is told to go on.
    struct Stuck {
        go_on: Receiver<()>,
        out: Captured,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go_on.recv();
            self.out.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_is_stuck_costs_lines_and_holds_up_nobody() {
        let (go_on, is_going) = channel();
        let out = Captured::default();
        let lines = Lines::to(Stuck { go_on: is_going, out: out.clone() }, Format::Human).unwrap();
        for _ in 0..QUEUED_LINES + 100 {
            lines.make_writer().write_all(b"line\n").unwrap();
        }
        let lost = lines.lost.load(Ordering::Relaxed);
        assert!((99..=100).contains(&lost), "one line may be in the writer's hands: {lost}");
        drop(go_on);
        drop(Guard { lines });
        let text = out.text();
        assert_eq!(text.matches("line\n").count(), QUEUED_LINES + 100 - usize::try_from(lost).unwrap());
        assert!(text.contains(&format!("{lost} log lines were lost")));
    }

    /// An output whose other end is gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn an_output_that_is_closed_is_no_reason_to_panic() {
        let lines = Lines::to(Closed, Format::Json).unwrap();
        let guard = Guard { lines: lines.clone() };
        let filter = "info".parse().unwrap();
        tracing::subscriber::with_default(subscriber(lines, Format::Json, false, &filter), || {
            tracing::info!("into nowhere");
        });
        drop(guard);
    }
}
