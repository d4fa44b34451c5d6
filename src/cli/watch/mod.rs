//! `ftp-pooler watch`: the pool's work as it happens, from its answers and its pods' metrics.
//!
//! ```text
//! state    what has been seen so far, and its rates: pure
//! view     what is shown: a screen on a terminal, a line in a pipe, JSON lines for programs
//! draw     the screen: never more lines than the terminal has
//! ```

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

mod draw;
mod state;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use super::announced_pods::AnnouncedPods;
use super::answer::ReadAnswer;
use super::arg_parsers::duration;
use super::args::ConfigFiles;
use super::interrupt::InterruptFlag;
use super::output::{OutputFormat, note, one_line};
use super::pod_metrics::{self, MetricsSample, Scraper};
use super::pod_url::PodUrl;
use super::{CommandError, EXIT_OK};
use crate::client::{ClientError, Reader};
use crate::config::Config;
use state::WatchState;
use view::TerminalView;

/// One wait for an answer.
const WAIT: Duration = Duration::from_millis(100);
/// Answers taken between two checks of the clock.
const BURST: usize = 5_000;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct WatchArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// Read the metrics of these pods, instead of what all pods announce through Kafka: host:port of their API or metrics
    /// ports, separated by commas; api.token is sent to pods that require it
    #[arg(long, value_name = "URL,…", value_delimiter = ',', value_parser = pod_metrics::url)]
    pub pods: Vec<PodUrl>,

    /// End after this time [default: until Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Refresh interval
    #[arg(long, value_name = "TIME", value_parser = every, default_value = "1s")]
    pub every: Duration,

    /// Output format; json prints one object a line for each refresh
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

const EXAMPLES: &str = "\
Shows the answers as they come, and all pods and connections as the pods announce them every 5 s through
kafka.coordination_topic; a pod that has announced nothing for 20 s is gone. Without that topic, or the right to
read it, the answers alone are shown.

On a terminal the screen is redrawn each time, with as many connections as fit, broken ones first;
in a pipe there is a line each time.

Examples:
  ftp-pooler watch
  ftp-pooler watch --pods pod-0:8080,pod-1:8080
  ftp-pooler watch --for 1m --every 10s --output json >> pool.jsonl

Exit codes:
   0  the time is over, or Ctrl-C
  69  Kafka is unavailable
  78  the configuration is wrong";

fn every(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_millis(100) {
        return Err("expected 100ms or more".to_owned());
    }
    Ok(time)
}

/// Shows what happens until the time is over. Returns the exit code.
pub(super) fn watch(args: &WatchArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_api())?;
    let reader = Reader::of_new_answers(&config.kafka)?;
    let interrupt = InterruptFlag::listen().map_err(CommandError::Runtime)?;
    let mut pods = PodSource::new(args, &config)?;
    let is_drawn = args.output == OutputFormat::Table && io::stdout().is_terminal();
    let mut view = TerminalView::new(args.output, is_drawn);
    let started = Instant::now();
    let mut state = WatchState::new(started);
    let mut next = started + args.every;
    loop {
        let is_over = interrupt.is_raised() || args.duration.is_some_and(|time| started.elapsed() >= time);
        take_answers(&reader, &mut state)?;
        if is_over || Instant::now() >= next {
            state.look(Instant::now(), pods.sample());
            view.show(&state, &config.kafka.consumer_group);
            // After the process was suspended one refresh is due, not all those missed.
            next = (next + args.every).max(Instant::now());
        }
        if is_over {
            return Ok(EXIT_OK);
        }
    }
}

/// Where the pods' figures come from.
enum PodSource {
    /// They are asked.
    Asked(Scraper),
    /// They are read from the coordination topic.
    Announced(AnnouncedPods),
    Unknown,
}

impl PodSource {
    fn new(args: &WatchArgs, config: &Config) -> Result<PodSource, CommandError> {
        if !args.pods.is_empty() {
            let scraper = Scraper::new(args.pods.clone(), config.api_token.clone());
            return scraper.map(PodSource::Asked).map_err(CommandError::Runtime);
        }
        let topic = &config.kafka.coordination_topic;
        Ok(match AnnouncedPods::follow(&config.kafka) {
            Ok(Some(pods)) => PodSource::Announced(pods),
            Ok(None) => PodSource::unknown(&format!("there is no topic {topic}")),
            Err(error) => PodSource::unknown(&error.to_string()),
        })
    }

    fn unknown(why: &str) -> PodSource {
        note(&one_line(&format!("the pods are not known: {why} (--pods names them)")));
        PodSource::Unknown
    }

    fn sample(&mut self) -> Option<MetricsSample> {
        match self {
            PodSource::Asked(scraper) => scraper.scrape(),
            PodSource::Announced(pods) => match pods.update() {
                Ok(()) => pods.sample(),
                Err(error) => {
                    *self = PodSource::unknown(&error.to_string());
                    None
                }
            },
            PodSource::Unknown => None,
        }
    }
}

fn take_answers(reader: &Reader, state: &mut WatchState) -> Result<(), ClientError> {
    let mut wait = WAIT;
    for _ in 0..BURST {
        let Some(message) = reader.next(wait)? else { break };
        wait = Duration::ZERO;
        if let Some(answer) = ReadAnswer::read(message.payload.as_deref()) {
            state.take(answer);
        }
    }
    Ok(())
}
