//! Log lines on stderr, JSON or human-readable (`lines`: through a bounded buffer, on a separate thread). No password
//! can get into them through a library: records of the `log` crate are not bridged into `tracing`, and the crates
//! listed in [`Policy::sealed`] are never logged, whatever the filter says.

mod lines;

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

pub use lines::Guard;
use lines::Lines;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One object per line, its fields at the top level.
    Json,
    /// Human-readable lines, in colour on a terminal.
    Human,
}

/// A process's additions to the logging rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    /// Crates whose lines are never written, whatever the filter says: they contain secrets.
    pub sealed: &'static [&'static str],
    /// A target with so many lines that they may wait up to 50 ms to be written together.
    pub batched: Option<&'static str>,
}

/// Which lines are written: a level (`info`), or levels by module (`info,hyper::client=debug`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// The value of `RUST_LOG`, else `info`.
    ///
    /// # Errors
    /// If `RUST_LOG` is not a valid filter.
    pub fn from_environment() -> Result<Filter, InvalidFilter> {
        match std::env::var("RUST_LOG") {
            Ok(text) if !text.trim().is_empty() => text.parse(),
            _ => Ok(Filter("info".to_owned())),
        }
    }
}

/// A text that is not a valid [`Filter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid log filter: {0}; expected error, warn, info, debug, trace, or levels by module (info,hyper=debug)"
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

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("no thread for the log: {0}")]
    Thread(#[from] io::Error),
    #[error("logging is already initialised")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Starts logging to stderr; by default `format` is [`Format::Human`] on a terminal and JSON elsewhere. Queued lines
/// are written when the guard is dropped.
///
/// # Errors
/// See [`InitError`].
pub fn init(format: Option<Format>, filter: &Filter, policy: Policy) -> Result<Guard, InitError> {
    let is_terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal { Format::Human } else { Format::Json });
    let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = Lines::to(io::stderr(), format, policy.batched)?;
    let guard = lines.guard();
    // Not `init()`, which would bridge the `log` crate.
    tracing::subscriber::set_global_default(subscriber(lines, format, colours, filter, policy))?;
    Ok(guard)
}

/// Whether lines of this target may be written. `log` is the target of records that another subscriber's bridge passes
/// on.
fn is_open(metadata: &Metadata<'_>, sealed: &[&str]) -> bool {
    let crate_name = metadata.target().split("::").next().unwrap_or_default();
    crate_name != "log" && !sealed.contains(&crate_name)
}

fn subscriber<W>(
    writer: W,
    format: Format,
    colours: bool,
    filter: &Filter,
    policy: Policy,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A failed write must not end in `eprintln!`, which panics if stderr is closed.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Json => Box::new(layer.json().flatten_event(true).with_span_list(false)),
        Format::Human => Box::new(layer.with_ansi(colours)),
    };
    let chosen = EnvFilter::new(&filter.0);
    tracing_subscriber::registry()
        .with(layer.with_filter(chosen.and(filter_fn(move |metadata| is_open(metadata, policy.sealed)))))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    const POLICY: Policy = Policy { sealed: &["suppaftp"], batched: None };

    /// An output that stores its lines.
    #[derive(Clone, Default)]
    pub(super) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub fn text(&self) -> String {
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
        tracing::subscriber::with_default(subscriber(captured.clone(), format, false, &filter, POLICY), log);
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
        for text in ["info", "DEBUG", "info,hyper::client=trace", "off"] {
            assert!(text.parse::<Filter>().is_ok(), "{text:?}");
        }
    }

    /// An output whose reader is gone.
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
        let lines = Lines::to(Closed, Format::Json, None).unwrap();
        let guard = lines.guard();
        let filter = "info".parse().unwrap();
        tracing::subscriber::with_default(subscriber(lines, Format::Json, false, &filter, POLICY), || {
            tracing::info!("into nowhere");
        });
        drop(guard);
    }
}
