//! `ftp-pooler feeds`: shows feeds, and sends requests to them.
//!
//! ```text
//! args         the options
//! board        each feed's status, as its owner has written it
//! taken_files  which files have become tasks, likewise
//! feeds_topic  reading one of its partitions
//! ask          requests to a feed's owner
//! ```

mod args;
mod ask;
mod board;
mod feeds_topic;
mod taken_files;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use args::FeedsArgs;
use args::{FeedsCommand, ForgetArgs, ListFeedsArgs, OneFeedArgs};
use board::FeedStatuses;

use super::output::{OutputFormat, TextTable, note, one_line, print, print_json};
use super::{CommandError, EXIT_OK};
use crate::config::{Config, FeedConfig};
use crate::feeds::{FeedRecord, FeedStatus, PathHash};
use crate::text::{nearest, rfc3339};

pub(super) fn feeds(args: &FeedsArgs) -> Result<u8, CommandError> {
    match &args.command {
        FeedsCommand::Ls(args) => list(args),
        FeedsCommand::Show(args) => show(args),
        FeedsCommand::Run(args) => ask(
            args,
            |feed, request| FeedRecord::Run { feed, request: Some(request) },
            "is listed now, as soon as its owner has read this",
        ),
        FeedsCommand::Pause(args) => ask(
            args,
            |feed, request| FeedRecord::Pause { feed, request: Some(request) },
            "is paused until it is resumed; a listing in progress is finished",
        ),
        FeedsCommand::Resume(args) => {
            ask(args, |feed, _| FeedRecord::Pause { feed, request: None }, "is listed again when it is due")
        }
        FeedsCommand::Forget(args) => forget(args),
    }
}

/// A feed as it is configured here, and what its owner has said of it.
struct KnownFeed {
    name: String,
    config: Option<FeedConfig>,
    status: Option<FeedStatus>,
}

impl KnownFeed {
    fn state(&self) -> &'static str {
        match (&self.status, &self.config) {
            (Some(_), None) => "removed",
            (Some(status), _) => status.state(),
            (None, _) => "new",
        }
    }

    fn document(&self) -> Value {
        let mut document = json!(self.status.clone().unwrap_or_else(|| self.unlisted()));
        if let Some(document) = document.as_object_mut() {
            document.insert("state".to_owned(), self.state().into());
        }
        document
    }

    /// What is known before an owner has said anything.
    fn unlisted(&self) -> FeedStatus {
        let mut status = FeedStatus { feed: self.name.clone(), ..FeedStatus::default() };
        if let Some(config) = &self.config {
            (status.from, status.to) = (config.from.to_string(), config.to.to_string());
            status.schedule = config.schedule.to_string();
        }
        status
    }
}

/// The configured feeds in their order, then those that are not configured any more.
fn known(config: &Config) -> Result<Vec<KnownFeed>, CommandError> {
    let mut statuses = FeedStatuses::read(config)?;
    let configured = config.feeds.iter().map(|feed| KnownFeed {
        name: feed.name.clone(),
        config: Some((**feed).clone()),
        status: statuses.take(&feed.name),
    });
    let mut feeds: Vec<KnownFeed> = configured.collect();
    feeds.extend(statuses.rest().map(|(name, status)| KnownFeed {
        name,
        config: None,
        status: Some(status),
    }));
    Ok(feeds)
}

/// One of them, or which one may have been meant.
fn one(config: &Config, name: &str) -> Result<KnownFeed, CommandError> {
    let mut feeds = known(config)?;
    if let Some(at) = feeds.iter().position(|feed| feed.name == name) {
        return Ok(feeds.swap_remove(at));
    }
    let meant = nearest(name, feeds.iter().map(|feed| feed.name.as_str()));
    let meant = meant.map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
    Err(CommandError::Data(format!("there is no feed {name}{meant} (ftp-pooler feeds ls lists them)")))
}

fn list(args: &ListFeedsArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let feeds = known(&config)?;
    match args.output {
        OutputFormat::Json => {
            let feeds: Vec<Value> = feeds.iter().map(KnownFeed::document).collect();
            print_json(&json!({ "feeds": feeds }));
        }
        OutputFormat::Table if feeds.is_empty() => note("no feed is configured (feeds in config.yaml)"),
        OutputFormat::Table => print(&table(&feeds)),
    }
    Ok(EXIT_OK)
}

fn table(feeds: &[KnownFeed]) -> String {
    let mut table = TextTable::new([
        "feed", "state", "pod", "listed", "files", "settling", "known", "tasks", "next", "error",
    ]);
    for feed in feeds {
        let status = feed.status.clone().unwrap_or_else(|| feed.unlisted());
        table.row([
            feed.name.clone(),
            feed.state().to_owned(),
            status.pod,
            time(status.listed_at),
            status.chosen.to_string(),
            status.settling.to_string(),
            status.known.to_string(),
            status.tasks.to_string(),
            time(status.next_at),
            one_line(&status.error.unwrap_or_default()),
        ]);
    }
    table.render()
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), rfc3339)
}

fn show(args: &OneFeedArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let feed = one(&config, &args.name)?;
    if args.output == OutputFormat::Json {
        print_json(&feed.document());
        return Ok(EXIT_OK);
    }
    let status = feed.status.clone().unwrap_or_else(|| feed.unlisted());
    let line = |name: &str, value: String| print(&format!("{name:<12} {}", one_line(&value)));
    line("feed", feed.name.clone());
    line("state", feed.state().to_owned());
    line("from", status.from);
    line("to", status.to);
    line("every", status.schedule);
    line("pod", status.pod);
    line("listed", time(status.listed_at));
    let directories = match status.directories {
        1 => "1 directory".to_owned(),
        directories => format!("{directories} directories"),
    };
    line("files", format!("{} of {} in {directories}", status.chosen, status.files));
    line("new", status.new.to_string());
    line("settling", status.settling.to_string());
    line("known", status.known.to_string());
    line("tasks", status.tasks.to_string());
    line("next", time(status.next_at));
    if let Some(by) = status.paused_by {
        line("paused by", by);
    }
    if let Some(error) = status.error {
        line("error", error);
        line("failures", format!("{} in a row", status.failures));
    }
    Ok(EXIT_OK)
}

fn ask(
    args: &OneFeedArgs,
    record: impl FnOnce(String, crate::feeds::FeedRequest) -> FeedRecord,
    done: &str,
) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let feed = one(&config, &args.name)?;
    ask::write(&config.kafka, &feed.name, &record(feed.name.clone(), ask::request()))?;
    match args.output {
        OutputFormat::Json => print_json(&json!({"feed": feed.name})),
        OutputFormat::Table => print(&format!("feed {} {done}", feed.name)),
    }
    Ok(EXIT_OK)
}

fn forget(args: &ForgetArgs) -> Result<u8, CommandError> {
    let config = Config::load(&args.files.for_connections(Vec::new()))?;
    let feed = one(&config, &args.name)?;
    let hashes: Vec<Option<PathHash>> = if args.all {
        vec![None]
    } else {
        let unknown = taken_files::unknown_paths(&config, &feed.name, &args.paths)?;
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            let name = &feed.name;
            return Err(CommandError::Data(format!(
                "feed {name} knows no file {unknown}: paths are those below its source; nothing is forgotten"
            )));
        }
        args.paths.iter().map(|path| Some(taken_files::hash_of(path))).collect()
    };
    for hash in &hashes {
        let record =
            FeedRecord::Forget { feed: feed.name.clone(), hash: *hash, request: Some(ask::request()) };
        ask::write(&config.kafka, &feed.name, &record)?;
    }
    let what = if args.all { "all files".to_owned() } else { args.paths.join(", ") };
    match args.output {
        OutputFormat::Json => print_json(&json!({"feed": feed.name, "all": args.all, "paths": args.paths})),
        OutputFormat::Table => {
            print(&one_line(&format!(
                "feed {}: {what}: they are forgotten, and existing ones are new",
                feed.name
            )));
        }
    }
    Ok(EXIT_OK)
}
