//! `feeds`: directories whose new files become tasks automatically. The structs, the table of their keys, and how the
//! list is read; `feed_checks` has the conditions between several keys or several feeds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ::config::Value;

use super::TimeArgument;
use super::errors::ErrorCollector;
use super::file_patterns::FileCriteria;
use super::key::KeyDefault::{Described, Is, Required};
use super::key::{ConfigKey, FieldAccess, KeyField, field, key, set_defaults};
use super::kind::{KeyKind, KeyValue, quoted};
use super::load::FilesInUse;
use super::schedule::{FeedSchedule, time_zone};
use super::section_reader::{SectionReader, SectionScope};
use super::task_settings::{AfterTransfer, TaskSettings};
use super::tree::ValueOrigin;

/// The list's name in config.yaml.
pub(super) const FEEDS: &str = "feeds";

/// The maximum number of feeds: each is checked twenty times a second.
const MAX_FEEDS: usize = 1_000;
/// The maximum length of a name: it is used in keys, labels and task ids.
const MAX_NAME_CHARS: usize = 64;

const DAY: u64 = 86_400;

/// A directory that is listed repeatedly, and the destination of its new files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedConfig {
    pub name: String,
    pub from: FeedPlace,
    pub to: FeedPlace,
    pub schedule: FeedSchedule,
    /// The time zone of cron expressions.
    pub time_zone: String,
    pub criteria: FileCriteria,
    /// A version becomes a task once it has been unchanged for this long.
    pub settle: Duration,
    pub changed: ChangedFiles,
    /// How long a removed file is remembered.
    pub remember: Duration,
    /// The options of its tasks.
    pub options: TaskSettings,
}

/// What happens if a file changes after it became a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangedFiles {
    /// Another task.
    #[default]
    Again,
    Ignore,
}

/// A connection and a path there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedPlace {
    pub connection: String,
    pub path: String,
}

impl fmt::Display for FeedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.connection, self.path)
    }
}

const PLACE: KeyKind = KeyKind::Syntax("CONNECTION:PATH");
const TIME: KeyKind = KeyKind::Syntax("a duration ago such as 7d, or a time such as 2025-01-15T10:30:00Z");
const SIZE: KeyKind = KeyKind::Size { min: 0, max: 1 << 50 };

const fn time(min_seconds: u64, max_seconds: u64) -> KeyKind {
    KeyKind::Time { min: Duration::from_secs(min_seconds), max: Duration::from_secs(max_seconds) }
}

macro_rules! place {
    ($field:ident) => {
        FieldAccess {
            set: |feed, value| {
                feed.$field = FeedPlace::parse(&value.into_text())?;
                Ok(())
            },
            get: |feed| KeyValue::Text(feed.$field.to_string()),
        }
    };
}

macro_rules! moment {
    ($($path:ident).+) => {
        FieldAccess {
            set: |feed, value| {
                let text = value.into_text();
                let found = |expected| format!("found {}; {expected}", quoted(&text));
                feed.$($path).+ = Some(TimeArgument::parse(&text).map_err(found)?);
                Ok(())
            },
            get: |feed| feed.$($path).+.map_or(KeyValue::Unset, |moment| KeyValue::Text(moment.to_string())),
        }
    };
}

/// Every key of a feed, in the order of the documentation. They are set in this order.
#[rustfmt::skip] // one entry after the other, its text last
pub(super) const FEED_KEYS: &[ConfigKey<FeedConfig>] = &[
    key("name", KeyKind::Syntax("a name"), Required, NAME,
        "Its name in commands, metrics and task ids: 1 to 64 letters, digits, `.`, `_`, `-`. A feed with another name \
         starts from scratch: all files are new to it."),
    key("from", PLACE, Required, place!(from),
        "The directory that is listed, `CONNECTION:PATH`: on a server, or local."),
    key("to", PLACE, Required, place!(to),
        "The directory that files go to, under their paths below `from`: local if `from` is on a server, else on a server."),
    key("every", KeyKind::Syntax("a duration, or a cron expression"), Required, EVERY,
        "When it is listed: a duration from 1s to 30d, from the start of one listing to the start of the next; or a cron \
         expression of five fields, or six with seconds first (`0 6 * * MON-FRI`)."),
    key("time_zone", KeyKind::Syntax("a time zone's name"), Is("UTC"), ZONE,
        "The time zone of a cron expression, by its name in the IANA's database, such as `Europe/Berlin`."),
    key("recursive", KeyKind::Flag, Is("false"), field!(criteria.recursive), "Include subdirectories."),
    key("max_depth", KeyKind::Number { min: 1, max: 100 }, Described("100"), field!(criteria.max_depth),
        "With `recursive`: how many levels of directories are listed; 1 is `from` itself."),
    key("include", KeyKind::Patterns, Described("every file"), field!(criteria.include),
        "Only files that match one of these patterns. Without a slash a pattern is compared with the file's name, with one \
         with its path below `from`: `*`, `?`, `[abc]`, `{a,b}`, and `**` across directories."),
    key("exclude", KeyKind::Patterns, Described("none"), field!(criteria.exclude),
        "Not files that match one of these; a pattern that ends with a slash is about directories, which are not listed then."),
    key("newer_than", TIME, Described("none"), moment!(criteria.newer_than),
        "Only files changed after this: a duration before the listing, or a time."),
    key("older_than", TIME, Described("none"), moment!(criteria.older_than), "Only files changed before this."),
    key("min_size", SIZE, Described("none"), field!(criteria.min_size), "Only files of this size or larger."),
    key("max_size", SIZE, Described("none"), field!(criteria.max_size), "Only files of this size or smaller."),
    key("settle", time(0, DAY), Is("10s"), field!(settle),
        "A file becomes a task when two listings, this far apart, have found it with the same size and time. While files \
         settle, listings come as soon as they are needed. 0 takes a file at first sight: for directories into which files are \
         renamed when they are complete."),
    key("changed", KeyKind::Choice(&["again", "ignore"]), Is("again"), field!(changed),
        "What a file means that has another size or time than when it became a task: another task (`again`), or nothing \
         (`ignore`)."),
    key("remember", time(60, 366 * DAY), Is("1d"), field!(remember),
        "How long a file that is gone from `from` is remembered: if it comes back within this time, with the size and time \
         that it had, it is not a new one."),
    key("options.overwrite", KeyKind::Flag, Described("true"), field!(options.overwrite),
        "False: a task whose destination exists fails with `destination_exists`. This one and those below are the `options` of \
         the tasks."),
    key("options.retry_count", KeyKind::Number { min: 0, max: 100 }, Described("3"), field!(options.retry_count),
        "Number of automatic retries."),
    key("options.verify", KeyKind::Choice(&["size", "none", "hash", "auto"]), Described("size"), field!(options.verify),
        "How a transferred file is verified."),
    key("options.after", KeyKind::Syntax("keep, delete or move_to:DIRECTORY"), Is("keep"), AFTER,
        "What to do with a download's source: `keep`, `delete`, or `move_to:DIRECTORY`, below which it keeps its path."),
    key("options.preserve_mtime", KeyKind::Flag, Described("false"), field!(options.preserve_mtime),
        "The destination gets the source's modification time."),
    key("options.resume", KeyKind::Flag, Described("true"), field!(options.resume),
        "False: an interrupted transfer restarts from the beginning."),
    key("options.defer", KeyKind::Flag, Described("true"), field!(options.defer),
        "False: tasks are not deferred while their server is down, and fail after 10 minutes."),
    key("options.deadline", time(1, 366 * DAY), Described("none"), field!(options.deadline),
        "Tasks do not start later than this after they were created."),
];

const NAME: FieldAccess<FeedConfig> = FieldAccess {
    set: |feed, value| {
        let name = value.into_text();
        let fits = (1..=MAX_NAME_CHARS).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !fits {
            return Err(format!(
                "found {}; expected 1 to {MAX_NAME_CHARS} letters, digits, `.`, `_`, `-`",
                quoted(&name)
            ));
        }
        feed.name = name;
        Ok(())
    },
    get: |feed| KeyValue::Text(feed.name.clone()),
};

const EVERY: FieldAccess<FeedConfig> = FieldAccess {
    set: |feed, value| {
        let text = value.into_text();
        feed.schedule =
            FeedSchedule::parse(&text).map_err(|problem| format!("found {}: {problem}", quoted(&text)))?;
        Ok(())
    },
    get: |feed| KeyValue::Text(feed.schedule.to_string()),
};

const ZONE: FieldAccess<FeedConfig> = FieldAccess {
    set: |feed, value| {
        let name = value.into_text();
        feed.schedule = std::mem::take(&mut feed.schedule).in_zone(time_zone(&name)?);
        feed.time_zone = name;
        Ok(())
    },
    get: |feed| KeyValue::Text(feed.time_zone.clone()),
};

const AFTER: FieldAccess<FeedConfig> = FieldAccess {
    set: |feed, value| {
        feed.options.after = AfterTransfer::parse(&value.into_text())?;
        Ok(())
    },
    get: |feed| KeyValue::Text(feed.options.after.to_string()),
};

impl KeyField for ChangedFiles {
    fn store(&mut self, value: KeyValue) {
        *self = match value.into_text().as_str() {
            "ignore" => ChangedFiles::Ignore,
            _ => ChangedFiles::Again, // the key's kind accepts nothing else
        };
    }

    fn load(&self) -> KeyValue {
        let name = match self {
            ChangedFiles::Again => "again",
            ChangedFiles::Ignore => "ignore",
        };
        KeyValue::Text(name.to_owned())
    }
}

impl FeedPlace {
    fn parse(text: &str) -> Result<FeedPlace, String> {
        let expected =
            || format!("found {}; expected CONNECTION:PATH, such as remote-ftp:/outbox/", quoted(text));
        let (connection, path) = text.split_once(':').ok_or_else(expected)?;
        if connection.is_empty() || text.chars().any(char::is_control) {
            return Err(expected());
        }
        if path.split('/').any(|part| part == "..") {
            return Err(format!("found {}; expected a path without `..`", quoted(text)));
        }
        Ok(FeedPlace { connection: connection.to_owned(), path: path.to_owned() })
    }
}

/// A feed as read, and the location of its keys.
pub(super) struct ReadFeed {
    pub feed: FeedConfig,
    /// The number of its first line.
    pub line: Option<usize>,
    pub origins: BTreeMap<String, ValueOrigin>,
}

impl ReadFeed {
    /// Its name in errors.
    pub fn label(&self) -> String {
        if self.feed.name.is_empty() { FEEDS.to_owned() } else { format!("feed {}", self.feed.name) }
    }
}

/// Extracts the list from the values of config.yaml.
pub(super) fn take(reader: &mut SectionReader<'_>) -> Vec<ReadFeed> {
    let is_of_list = |key: &str| key.strip_prefix(FEEDS).is_some_and(|rest| rest.starts_with('['));
    let (of_list, rest): (BTreeMap<_, _>, _) =
        std::mem::take(&mut reader.values).into_iter().partition(|(key, _)| is_of_list(key));
    reader.values = rest;
    if let Some(value) = reader.values.remove(FEEDS)
        && value.kind != ::config::ValueKind::Nil
    {
        let origin = ValueOrigin::of(&value);
        reader.wrong(
            FEEDS,
            Some(&origin),
            "is not a list; expected one of sections, each with name, from, to and every",
        );
    }
    let mut feeds: BTreeMap<usize, BTreeMap<String, Value>> = BTreeMap::new();
    for (key, value) in of_list {
        let Some((number, key)) = key.get(FEEDS.len() + 1..).and_then(|rest| rest.split_once(']')) else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let key = key.strip_prefix('.').unwrap_or(key);
        feeds.entry(number).or_default().insert(key.to_owned(), value);
    }
    if feeds.len() > MAX_FEEDS {
        reader.wrong(FEEDS, None, format!("has {} feeds; {MAX_FEEDS} are the most", feeds.len()));
    }
    let (file, files) = (reader.file, reader.files);
    feeds.into_values().map(|values| one(file, files, values, reader.errors)).collect()
}

fn one(
    file: &str,
    files: &FilesInUse,
    mut values: BTreeMap<String, Value>,
    errors: &mut ErrorCollector,
) -> ReadFeed {
    let line_of = |value: &Value| match ValueOrigin::of(value) {
        ValueOrigin::Line(line) => Some(line),
        _ => None,
    };
    let line = values.remove("").as_ref().and_then(line_of);
    let origins = values.iter().map(|(key, value)| (key.clone(), ValueOrigin::of(value))).collect();
    let mut read = ReadFeed { feed: FeedConfig::default(), line, origins };
    set_defaults(FEED_KEYS, &mut read.feed);
    if let Some(name) = values.get("name")
        && let ::config::ValueKind::String(name) = &name.kind
    {
        read.feed.name.clone_from(name); // for the errors of the other keys
    }
    let label = read.label();
    let scope = Some(SectionScope { name: &label, line: Some(line.unwrap_or(1)) });
    let mut reader = SectionReader { file, connection: scope, values, errors, files };
    reader.read(FEED_KEYS, &mut read.feed);
    reader.refuse_the_rest(FEED_KEYS);
    read
}

#[cfg(test)]
#[path = "feeds_tests.rs"]
mod tests;
