//! `ftp-pooler topics`: makes the topics that are not there.

// The documentation comments here are the help on the terminal, where backticks would only be noise.
#![allow(clippy::doc_markdown)]

use std::time::{Duration, Instant};

use serde::Serialize;

use super::arg_parsers::duration;
use super::args::ConfigFiles;
use super::output::{OutputFormat, TextTable, note, print, print_json};
use super::{CommandError, EXIT_OK};
use crate::client::{ClientError, Made, NewTopic, TopicAdmin};
use crate::config::Config;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct TopicsArgs {
    #[command(flatten)]
    pub files: ConfigFiles,

    /// Partitions of a created topic: the number of pods that can share the tasks
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,

    /// Replicas of a created topic [default: the brokers' own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication_factor: Option<i32>,

    /// How long to try again while Kafka does not answer, such as while it starts [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,

    /// Output format
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: OutputFormat,
}

const EXAMPLES: &str = "\
The topics are those of the configuration: kafka.input_topic, result_topic, fail_topic, with retry.enabled
retry_topic, which keeps its records for longer than tasks are deferred; coordination_topic and control_topic,
compacted and with one partition each; and with feeds feeds_topic, compacted and with five. One that exists is not
changed. Needs the right to create topics; without it, give the names that this prints to someone who has it.

Examples:
  ftp-pooler topics
  ftp-pooler topics --partitions 48 --replication-factor 3
  ftp-pooler topics --wait 2m

Exit codes:
   0  all exist
  69  Kafka is unavailable, or refuses
  78  the configuration is wrong";

#[derive(Debug, Serialize)]
struct TopicRow {
    topic: String,
    partitions: i64,
    /// What `--partitions` says.
    asked_for: i32,
    /// False if it existed before.
    made: bool,
}

impl TopicRow {
    fn what_happened(&self) -> String {
        match (self.made, i64::from(self.asked_for) == self.partitions) {
            (true, _) => "made".to_owned(),
            (false, true) => "was there".to_owned(),
            (false, false) => format!("was there, {} asked for", self.asked_for),
        }
    }
}

/// Makes what is missing, in the order of the configuration.
pub(super) fn topics(args: &TopicsArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let kafka = &config.kafka;
    let new = |name: &str| NewTopic {
        name: name.to_owned(),
        partitions: args.partitions,
        replicas: args.replication_factor,
        settings: Vec::new(),
    };
    let mut wanted: Vec<NewTopic> =
        [&kafka.input_topic, &kafka.result_topic, &kafka.fail_topic].map(|name| new(name)).into();
    let cluster = TopicAdmin::new(kafka)?;
    if config.retry.enabled {
        wanted.push(new(&kafka.retry_topic).for_retries(&config.retry));
    }
    wanted.push(new(&kafka.coordination_topic).for_coordination());
    if !config.feeds.is_empty() {
        wanted.push(new(&kafka.feeds_topic).for_feeds());
    }
    wanted.push(new(&kafka.control_topic).for_control());
    let mut rows = Vec::new();
    let until = Instant::now() + args.wait.unwrap_or_default();
    for topic in &wanted {
        let (partitions, made) = match make(&cluster, topic, until)? {
            Made::Now => (i64::from(topic.partitions), true),
            Made::WasThere { partitions } => (i64::try_from(partitions).unwrap_or(i64::MAX), false),
        };
        rows.push(TopicRow { topic: topic.name.clone(), partitions, asked_for: topic.partitions, made });
    }
    match args.output {
        OutputFormat::Json => print_json(&serde_json::json!({ "topics": rows })),
        OutputFormat::Table => print(&table(&rows)),
    }
    Ok(EXIT_OK)
}

/// Retries while no broker answers; the brokers' own errors are final, except that a broker is not ready yet.
fn make(cluster: &TopicAdmin, topic: &NewTopic, until: Instant) -> Result<Made, ClientError> {
    loop {
        match cluster.make(topic) {
            Err(error) if error.may_pass() && Instant::now() + PAUSE < until => {
                note(&format!("ftp-pooler: {error}; trying again"));
                std::thread::sleep(PAUSE);
            }
            ended => return ended,
        }
    }
}

fn table(rows: &[TopicRow]) -> String {
    let mut table = TextTable::new(["topic", "partitions", ""]);
    for row in rows {
        table.row([row.topic.clone(), row.partitions.to_string(), row.what_happened()]);
    }
    table.render()
}
