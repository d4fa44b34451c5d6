//! What must hold between feeds, and between feeds and connections: no file becomes two tasks, and none returns to its
//! source.

use std::path::Component;

use super::connection::ConfiguredConnections;
use super::errors::{ErrorCollector, SourceLocation};
use super::feeds::{FeedConfig, FeedPlace, ReadFeed};
use super::file_patterns::FilePatterns;
use super::settings::DeliveryGuarantee;
use super::task_settings::AfterTransfer;
use super::tree::ValueOrigin;
use crate::text::nearest;

const NEED_TRANSACTIONS: &str =
    "feeds need Kafka transactions, which kafka.delivery: at_least_once does without";

/// Reports everything that is wrong with these feeds of `file`.
pub(super) fn check_feeds(
    feeds: &[ReadFeed],
    connections: &ConfiguredConnections,
    delivery: DeliveryGuarantee,
    file: &str,
    errors: &mut ErrorCollector,
) {
    let mut checks = FeedChecks { connections, file, errors };
    for (n, read) in feeds.iter().enumerate() {
        if delivery == DeliveryGuarantee::AtLeastOnce {
            checks.wrong(read, "name", NEED_TRANSACTIONS);
        }
        let same = feeds.iter().take(n).find(|other| other.feed.name == read.feed.name);
        if same.is_some_and(|_| !read.feed.name.is_empty()) {
            checks.wrong(read, "name", "is the name of another feed as well; each needs its own");
        }
        checks.places(read);
        for other in feeds.iter().take(n) {
            checks.overlap(read, other);
        }
    }
    checks.rounds(feeds);
}

struct FeedChecks<'a> {
    connections: &'a ConfiguredConnections,
    file: &'a str,
    errors: &'a mut ErrorCollector,
}

/// The real location of a place, whichever connection names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ResolvedPlace {
    site: String,
    directories: Vec<String>,
}

impl ResolvedPlace {
    /// Whether this one is the other one, or inside it.
    fn is_in(&self, other: &ResolvedPlace) -> bool {
        self.site == other.site && self.directories.starts_with(&other.directories)
    }

    fn is_same(&self, other: &ResolvedPlace) -> bool {
        self == other
    }
}

impl FeedChecks<'_> {
    fn wrong(&mut self, read: &ReadFeed, key: &str, problem: impl Into<String>) {
        let line = match read.origins.get(key) {
            Some(ValueOrigin::Line(line)) => Some(*line),
            _ => read.line,
        };
        let location = SourceLocation::File { path: self.file.to_owned(), line };
        self.errors.add(location, format!("[{}] {key}", read.label()), problem);
    }

    /// Checks both places on their own, and together.
    fn places(&mut self, read: &ReadFeed) {
        let feed = &read.feed;
        for (key, place) in [("from", &feed.from), ("to", &feed.to)] {
            if let Some(problem) = self.unknown(place) {
                self.wrong(read, key, problem);
            }
        }
        let is_server = |place: &FeedPlace| self.connections.ftp.contains_key(&place.connection);
        let is_local = |place: &FeedPlace| self.connections.local.contains_key(&place.connection);
        for (is_kind, kind) in [
            (is_server(&feed.from) && is_server(&feed.to), "FTP connections"),
            (is_local(&feed.from) && is_local(&feed.to), "local"),
        ] {
            if is_kind {
                let both = format!("'{}' and '{}' are both {kind}", feed.from.connection, feed.to.connection);
                self.wrong(read, "to", format!("{both}; a feed goes from FTP to local or from local to FTP"));
            }
        }
        if is_local(&feed.from) && feed.options.after.removes_source() {
            let problem = format!("is {}; of an upload the source is kept", feed.options.after);
            self.wrong(read, "options.after", problem);
        }
        let (Some(from), Some(to)) = (self.ground(&feed.from), self.ground(&feed.to)) else { return };
        if to.is_in(&from) {
            let problem = format!(
                "{} is inside its own source {}: its files would be new there again",
                feed.to, feed.from
            );
            self.wrong(read, "to", problem);
        }
        if let AfterTransfer::MoveTo(directory) = &feed.options.after {
            let place = FeedPlace { connection: feed.from.connection.clone(), path: directory.clone() };
            let is_listed = self.ground(&place).is_some_and(|moved| lists(feed, &from, &moved));
            if is_listed {
                let problem =
                    format!("moves files to {place}, which is listed: they would be new there again");
                self.wrong(read, "options.after", problem);
            }
        }
    }

    fn unknown(&self, place: &FeedPlace) -> Option<String> {
        let (name, ConfiguredConnections { ftp, local, .. }) = (&place.connection, self.connections);
        // If no connection could be read, that is reported already; and a place that could not be read has no name.
        if name.is_empty()
            || ftp.contains_key(name)
            || local.contains_key(name)
            || (ftp.is_empty() && local.is_empty())
        {
            return None;
        }
        let known: Vec<&str> = ftp.keys().chain(local.keys()).map(String::as_str).collect();
        let meant = nearest(name, known.iter().copied()).map(|meant| format!(", did you mean '{meant}'?"));
        Some(format!(
            "there is no connection '{name}'{} (there are: {})",
            meant.unwrap_or_default(),
            known.join(", ")
        ))
    }

    fn ground(&self, place: &FeedPlace) -> Option<ResolvedPlace> {
        let parts = |path: &str| -> Vec<String> {
            path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
        };
        if let Some(ftp) = self.connections.ftp.get(&place.connection) {
            // Only the server knows the location of a path without a leading slash.
            let root = if place.path.starts_with('/') { "/" } else { "~" };
            let site = format!("{}@{}:{}{root}", ftp.user, ftp.host.to_lowercase(), ftp.port);
            return Some(ResolvedPlace { site, directories: parts(&place.path) });
        }
        let local = self.connections.local.get(&place.connection)?;
        let base = local.base_path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        });
        Some(ResolvedPlace {
            site: "local".to_owned(),
            directories: base.chain(parts(&place.path)).collect(),
        })
    }

    /// Two feeds that would both process a file.
    fn overlap(&mut self, read: &ReadFeed, other: &ReadFeed) {
        let (Some(one), Some(two)) = (self.ground(&read.feed.from), self.ground(&other.feed.from)) else {
            return;
        };
        let are_shared = lists(&read.feed, &one, &two) || lists(&other.feed, &two, &one);
        if are_shared && !are_told_apart(&read.feed, &other.feed) {
            let problem = format!(
                "{} overlaps with feed {} ({}): a file there would become two tasks; tell them apart by include",
                read.feed.from,
                if other.feed.name.is_empty() { "without a name" } else { &other.feed.name },
                other.feed.from
            );
            self.wrong(read, "from", problem);
        }
    }

    /// Feeds that return each other's files to where they came from.
    fn rounds(&mut self, feeds: &[ReadFeed]) {
        let feeds_into = |one: &ReadFeed, other: &ReadFeed| {
            let (Some(to), Some(from)) = (self.ground(&one.feed.to), self.ground(&other.feed.from)) else {
                return false;
            };
            lists(&other.feed, &from, &to) || from.is_in(&to)
        };
        let leads_to: Vec<Vec<usize>> = feeds
            .iter()
            .map(|one| {
                (0..feeds.len())
                    .filter(|other| feeds.get(*other).is_some_and(|other| feeds_into(one, other)))
                    .collect()
            })
            .collect();
        for (start, read) in feeds.iter().enumerate() {
            let mut reached = vec![false; feeds.len()];
            let mut waiting = leads_to.get(start).cloned().unwrap_or_default();
            while let Some(next) = waiting.pop() {
                let Some(is_reached) = reached.get_mut(next) else { continue };
                if !std::mem::replace(is_reached, true) {
                    waiting.extend(leads_to.get(next).into_iter().flatten());
                }
            }
            // A cycle of one feed is a destination beneath its own source, which is reported already.
            let is_round = reached.get(start) == Some(&true)
                && leads_to.get(start).is_some_and(|next| !next.contains(&start));
            if is_round {
                self.wrong(
                    read,
                    "to",
                    format!(
                        "{}: other feeds bring its files back to {}, where they would be new again",
                        read.feed.to, read.feed.from
                    ),
                );
            }
        }
    }
}

/// Whether a feed from `from` lists files in `directory`.
fn lists(feed: &FeedConfig, from: &ResolvedPlace, directory: &ResolvedPlace) -> bool {
    if from.is_same(directory) {
        return true;
    }
    if !directory.is_in(from) || !feed.criteria.recursive {
        return false;
    }
    let beneath = directory.directories.get(from.directories.len()..).unwrap_or_default();
    if feed.criteria.max_depth.is_some_and(|most| beneath.len() >= most) {
        return false;
    }
    let excluded = feed.criteria.exclude.iter().map(String::as_str).filter(|pattern| pattern.ends_with('/'));
    let excluded = FilePatterns::new(excluded).unwrap_or_default();
    !(1..=beneath.len()).any(|depth| excluded.match_path(&beneath.get(..depth).unwrap_or_default().join("/")))
}

/// Whether no file's name matches both: each has patterns, and an example of one's patterns does not match the other's.
fn are_told_apart(one: &FeedConfig, other: &FeedConfig) -> bool {
    let fits = |sample: &str, feed: &FeedConfig| {
        let set =
            |patterns: &[String]| FilePatterns::new(patterns.iter().map(String::as_str)).unwrap_or_default();
        let include = &feed.criteria.include;
        (include.is_empty() || set(include).match_path(sample))
            && !set(&feed.criteria.exclude).match_path(sample)
    };
    let is_apart = |one: &FeedConfig, other: &FeedConfig| {
        let samples = one.criteria.include.iter().map(|pattern| sample(pattern));
        !samples.into_iter().any(|sample| fits(&sample, one) && fits(&sample, other))
    };
    match (one.criteria.include.is_empty(), other.criteria.include.is_empty()) {
        (true, true) => false,
        (false, true) => is_apart(one, other),
        (true, false) => is_apart(other, one),
        (false, false) => is_apart(one, other) && is_apart(other, one),
    }
}

/// A path that a pattern matches.
fn sample(pattern: &str) -> String {
    let mut sample = String::new();
    let mut chars = pattern.trim_start_matches('/').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' => sample.push('x'),
            // the first alternative
            '[' => {
                let inner: String = chars.by_ref().take_while(|c| *c != ']').collect();
                sample.extend(inner.chars().find(|c| !matches!(c, '!' | '^')));
            }
            '{' => {
                let inner: String = chars.by_ref().take_while(|c| *c != '}').collect();
                sample.push_str(inner.split(',').next().unwrap_or_default().replace('*', "x").as_str());
            }
            '\\' => sample.extend(chars.next()),
            c => sample.push(c),
        }
    }
    sample
}
