//! A partition's feeds as the state of its owner: listings begin as they are due, and what they find is written as tasks and
//! state in one transaction.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::observer::FeedObserver;
use super::planner::PlannedFile;
use super::records::{BOARD_PARTITION, FeedRecord, TakenRecord, partition_of};
use super::state::FeedState;
use super::status::{FeedBoard, FeedStatus};
use super::version::PathHash;
use crate::config::{Config, CurrentConfig, FeedConfig};
use crate::kafka::{OwnedRecord, OwnedState};
use crate::listing::{FileFilter, ListedSource, Location, TaskBuilder, WalkError, WalkSummary, sha256_uuid};
use crate::metrics::Metrics;
use crate::task::decode;
use crate::text::rfc3339;

/// Files of one transaction at most.
const BATCH: usize = 1_000;
/// Interval of a status that differs from the last one in its time only.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Lists a feed's source.
#[async_trait]
pub trait FeedLister: Send + Sync {
    /// Hands what is listed to `observer`.
    async fn list(&self, feed: &FeedConfig, observer: &mut FeedObserver) -> Result<WalkSummary, WalkError>;
}

/// What partitions of feeds are made with.
#[derive(Clone)]
pub struct FeedContext {
    pub pod: String,
    pub topic: Arc<str>,
    pub input_topic: Arc<str>,
    pub current: Arc<CurrentConfig>,
    pub lister: Arc<dyn FeedLister>,
    /// On which listings run.
    pub runtime: Handle,
    pub board: FeedBoard,
    pub metrics: Metrics,
    pub clock: fn() -> Duration,
}

impl std::fmt::Debug for FeedContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedContext")
            .field("pod", &self.pod)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// The feeds of one partition; shared with the listings that are under way.
#[derive(Debug, Default)]
pub(super) struct PartitionFeeds {
    pub feeds: BTreeMap<String, FeedState>,
}

/// A partition's state.
#[derive(Debug)]
pub struct FeedPartition {
    number: i32,
    context: FeedContext,
    shared: Arc<Mutex<PartitionFeeds>>,
    /// All that predecessors have committed has been read.
    is_working: bool,
    /// The configuration at the last check, and those of its feeds that live in this partition.
    config: Option<Arc<Config>>,
    configured: Vec<Arc<FeedConfig>>,
    /// What is being committed.
    writing: Vec<FeedChanges>,
    /// Each feed's status as it was last written, and when.
    written: BTreeMap<String, (FeedStatus, Duration)>,
}

/// What is being committed of one feed.
#[derive(Debug, Default)]
struct FeedChanges {
    feed: String,
    planned: Vec<PlannedFile>,
    forgotten: Vec<PathHash>,
    /// Requests to forget that are done with this.
    done: Vec<Option<PathHash>>,
    status: Option<FeedStatus>,
}

impl FeedPartition {
    #[must_use]
    pub fn new(number: i32, context: FeedContext) -> FeedPartition {
        FeedPartition {
            number,
            context,
            shared: Arc::default(),
            is_working: false,
            config: None,
            configured: Vec::new(),
            writing: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    /// Applies the current configuration.
    fn look_at_config(&mut self) {
        let config = self.context.current.config();
        if self.config.as_ref().is_some_and(|known| Arc::ptr_eq(known, &config)) {
            return;
        }
        let here = config.feeds.iter().filter(|feed| partition_of(&feed.name) == self.number);
        let here: Vec<Arc<FeedConfig>> = here.cloned().collect();
        let shared = Arc::clone(&self.shared);
        let mut feeds = lock(&shared);
        for old in &self.configured {
            let is_same = here.iter().any(|new| **new == **old);
            if let Some(state) = feeds.feeds.get_mut(&old.name).filter(|_| !is_same) {
                state.start_over();
            }
            if here.iter().all(|new| new.name != old.name) {
                self.context.board.remove(&old.name);
                self.context.metrics.forget_feed(&old.name);
            }
        }
        (self.config, self.configured) = (Some(config), here);
    }

    fn begin_listing(&self, feed: &Arc<FeedConfig>, state: &mut FeedState, wall: Timestamp) {
        let stop = CancellationToken::new();
        state.begin_listing(feed, stop.clone(), wall);
        let (context, feed) = (self.context.clone(), Arc::clone(feed));
        // The patterns were checked when the configuration was read.
        let filter = FileFilter::new(&feed.criteria, wall).unwrap_or_default();
        let mut observer = FeedObserver {
            feeds: Arc::clone(&self.shared),
            feed: Arc::clone(&feed),
            listing: state.listings,
            filter,
            clock: context.clock,
            begun: wall,
            not_before: (context.clock)(),
        };
        self.context.runtime.spawn(async move {
            let ended = tokio::select! {
                ended = context.lister.list(&feed, &mut observer) => ended,
                () = stop.cancelled() => return,
            };
            let (now, wall) = ((context.clock)(), Timestamp::now());
            let mut feeds = lock(&observer.feeds);
            let state = feeds.feeds.get_mut(&feed.name);
            if let Some(state) = state.filter(|state| state.listings == observer.listing) {
                tell(&feed, &ended);
                context.metrics.feed_listed(&feed.name, ended.is_ok());
                state.end_listing(&feed, ended, (now, wall));
            }
        });
    }

    /// The next changes of one feed, as records.
    fn changes(
        &self,
        (feed, state): (&FeedConfig, &mut FeedState),
        config: &Config,
        wall: Timestamp,
        records: &mut Vec<OwnedRecord>,
    ) -> FeedChanges {
        let mut changes = FeedChanges { feed: feed.name.clone(), ..FeedChanges::default() };
        self.forget_as_asked(state, &mut changes, records);
        changes.forgotten.extend(state.files.take_forgotten(BATCH));
        for hash in &changes.forgotten {
            records.push(self.own(&FeedRecord::File { feed: feed.name.clone(), hash: *hash, taken: None }));
        }
        let planned = state.files.take_planned(BATCH.saturating_sub(records.len() / 2));
        if planned.is_empty() {
            return changes;
        }
        let made = places(feed, config).and_then(|(from, to)| {
            let builder = TaskBuilder::new(&from, &to, &feed.options, None, wall)?;
            let task = |file| (self.task(feed, config, &builder, &file, wall), file);
            Ok(planned.into_iter().map(task).collect::<Vec<_>>())
        });
        match made {
            Ok(made) => {
                for (task, file) in made {
                    match task {
                        Ok(pair) => {
                            records.extend(pair);
                            changes.planned.push(file);
                        }
                        // It stays in hand, so that it is not planned again.
                        Err(problem) => refuse(feed, state, &file, &problem),
                    }
                }
            }
            Err(problem) => {
                state.start_over();
                state.status.error = Some(problem);
            }
        }
        changes
    }

    /// A file's task, and the record that says that it has one.
    fn task(
        &self,
        feed: &FeedConfig,
        config: &Config,
        builder: &TaskBuilder<'_>,
        file: &PlannedFile,
        wall: Timestamp,
    ) -> Result<[OwnedRecord; 2], String> {
        let found = ListedSource {
            path: file.path.clone(),
            size: file.version.size(),
            modified: file.version.modified(),
            exact_time: None,
        };
        let task_id = task_id(feed, file);
        let task = builder.task(&task_id, &found);
        let checked = decode(Some(task.as_bytes()), &config.connections)
            .map_err(|rejected| rejected.failure.message)?;
        let taken = Some(Box::new(TakenRecord::new(file, task_id, rfc3339(wall))));
        let taken = FeedRecord::File { feed: feed.name.clone(), hash: file.hash, taken };
        let task = OwnedRecord {
            topic: Arc::clone(&self.context.input_topic),
            partition: None,
            key: checked.destination(),
            value: Some(task.into_bytes()),
        };
        Ok([task, self.own(&taken)])
    }

    fn forget_as_asked(
        &self,
        state: &mut FeedState,
        changes: &mut FeedChanges,
        records: &mut Vec<OwnedRecord>,
    ) {
        if state.listing.is_some() || state.files.has_changes() {
            return; // which may be about them
        }
        if state.forget_all {
            changes.forgotten = state.files.some_taken(BATCH);
            if changes.forgotten.len() == state.files.taken() {
                changes.done.push(None);
            }
        }
        for hash in state.forget.iter().copied().take(BATCH) {
            changes.done.push(Some(hash));
            changes.forgotten.push(hash);
        }
        for hash in &changes.done {
            let done = FeedRecord::Forget { feed: changes.feed.clone(), hash: *hash, request: None };
            records.push(self.own(&done));
        }
    }

    /// Of a feed that is not configured any more nothing but its files is left to be forgotten, and its status.
    fn forget_removed(
        &self,
        name: &str,
        state: &mut FeedState,
        records: &mut Vec<OwnedRecord>,
    ) -> FeedChanges {
        let mut changes = FeedChanges { feed: name.to_owned(), ..FeedChanges::default() };
        self.forget_as_asked(state, &mut changes, records);
        for hash in &changes.forgotten {
            records.push(self.own(&FeedRecord::File { feed: name.to_owned(), hash: *hash, taken: None }));
        }
        let status = FeedRecord::Status { feed: name.to_owned(), status: None };
        records.extend([self.number, BOARD_PARTITION].map(|partition| self.on(partition, &status)));
        changes
    }

    fn own(&self, record: &FeedRecord) -> OwnedRecord {
        self.on(self.number, record)
    }

    fn on(&self, partition: i32, record: &FeedRecord) -> OwnedRecord {
        let (key, value) = record.encode();
        OwnedRecord { topic: Arc::clone(&self.context.topic), partition: Some(partition), key, value }
    }

    /// The feed's status, if it is due to be written again.
    fn status_news(&self, feed: &FeedConfig, state: &mut FeedState, now: Duration) -> Option<FeedStatus> {
        let status = &mut state.status;
        (status.feed, status.pod) = (feed.name.clone(), self.context.pod.clone());
        (status.from, status.to) = (feed.from.to_string(), feed.to.to_string());
        status.schedule = feed.schedule.to_string();
        status.known = state.files.taken() as u64;
        self.context.board.set(status.clone());
        self.context.metrics.feed_files(&feed.name, status.known, status.settling);
        if status.is_listing || state.files.has_changes() {
            return None; // there will be more to tell
        }
        match self.written.get(&feed.name) {
            Some((written, _)) if written == status => None,
            Some((written, at)) if !status.is_news_after(written) && now < *at + STATUS_EVERY => None,
            _ => Some(status.clone()),
        }
    }
}

impl OwnedState for FeedPartition {
    fn read(&mut self, key: &[u8], value: Option<&[u8]>, _: Duration) {
        let Some(record) = FeedRecord::decode(key, value) else { return };
        let (FeedRecord::File { feed, .. }
        | FeedRecord::Status { feed, .. }
        | FeedRecord::Pause { feed, .. }
        | FeedRecord::Run { feed, .. }
        | FeedRecord::Forget { feed, .. }) = &record;
        let mut feeds = lock(&self.shared);
        let state = feeds.feeds.entry(feed.clone()).or_default();
        // What this owner commits itself it knows already.
        if self.is_working { state.read_request(record) } else { state.restore(record) }
    }

    fn begin(&mut self, _: Duration) {
        self.is_working = true;
    }

    fn decide(&mut self, now: Duration) -> Vec<OwnedRecord> {
        self.writing.clear();
        self.look_at_config();
        let Some(config) = self.config.clone() else { return Vec::new() };
        let wall = Timestamp::now();
        let (shared, configured, mut records) =
            (Arc::clone(&self.shared), self.configured.clone(), Vec::new());
        let mut feeds = lock(&shared);
        for feed in &configured {
            let state = feeds.feeds.entry(feed.name.clone()).or_default();
            if state.is_due(feed, wall) {
                self.begin_listing(feed, state, wall);
                if state.run.take().is_some() {
                    records.push(self.own(&FeedRecord::Run { feed: feed.name.clone(), request: None }));
                }
            }
            let mut changes = FeedChanges { feed: feed.name.clone(), ..FeedChanges::default() };
            if records.len() < BATCH {
                changes = self.changes((feed, &mut *state), &config, wall, &mut records);
            }
            state.status.tasks += changes.planned.len() as u64;
            if changes.planned.is_empty()
                && changes.forgotten.is_empty()
                && let Some(status) = self.status_news(feed, state, now)
            {
                let record =
                    FeedRecord::Status { feed: feed.name.clone(), status: Some(Box::new(status.clone())) };
                records.extend([self.number, BOARD_PARTITION].map(|partition| self.on(partition, &record)));
                changes.status = Some(status);
            }
            self.writing.push(changes);
        }
        for (name, state) in feeds.feeds.iter_mut().filter(|(_, state)| state.is_to_forget()) {
            if configured.iter().all(|feed| feed.name != *name) {
                let changes = self.forget_removed(name, state, &mut records);
                self.writing.push(changes);
            }
        }
        records
    }

    fn committed(&mut self, now: Duration) {
        let mut feeds = lock(&self.shared);
        for changes in self.writing.drain(..) {
            let Some(state) = feeds.feeds.get_mut(&changes.feed) else { continue };
            state.files.committed(&changes.planned, &changes.forgotten);
            for done in changes.done {
                match done {
                    None => state.forget_all = false,
                    Some(hash) => drop(state.forget.remove(&hash)),
                }
            }
            self.context.metrics.feed_tasks(&changes.feed, changes.planned.len());
            if let Some(status) = changes.status {
                self.written.insert(changes.feed, (status, now));
            }
        }
    }
}

impl Drop for FeedPartition {
    fn drop(&mut self) {
        for feed in &self.configured {
            self.context.board.remove(&feed.name);
            self.context.metrics.forget_feed(&feed.name);
        }
        // Listings that are under way have a share of the feeds.
        lock(&self.shared).feeds.clear();
    }
}

fn lock(shared: &Mutex<PartitionFeeds>) -> MutexGuard<'_, PartitionFeeds> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a feed's files are and go, with the connections that there are now.
fn places(feed: &FeedConfig, config: &Config) -> Result<(Location, Location), String> {
    let place = |place: &crate::config::FeedPlace| Location::parse(&place.to_string(), &config.connections);
    Ok((place(&feed.from)?, place(&feed.to)?))
}

/// The same for one version of one file, whichever owner makes the task.
fn task_id(feed: &FeedConfig, file: &PlannedFile) -> String {
    let (size, modified) = (file.version.size(), file.version.modified());
    let size = size.map(|size| size.to_string()).unwrap_or_default();
    let modified = modified.map(|range| range.earliest.as_microsecond().to_string()).unwrap_or_default();
    let version = sha256_uuid(&["ftp-pooler feed 1", &feed.name, &file.path, &size, &modified]);
    format!("{}-{version}", feed.name)
}

/// No task can be made of this file.
fn refuse(feed: &FeedConfig, state: &mut FeedState, file: &PlannedFile, problem: &str) {
    state.status.error = Some(format!("{}: {problem}", file.path));
    if state.refuse(file.hash) {
        tracing::warn!(
            event = "feed_file_refused",
            feed = feed.name,
            path = file.path,
            problem,
            "no task can be made of a file"
        );
    }
}

fn tell(feed: &FeedConfig, ended: &Result<WalkSummary, WalkError>) {
    match ended {
        Ok(seen) => tracing::debug!(
            event = "feed_listed",
            feed = feed.name,
            files = seen.files,
            directories = seen.directories,
            "listed"
        ),
        Err(error) => tracing::warn!(
            event = "feed_listing_failed",
            feed = feed.name,
            from = %feed.from,
            %error,
            "a feed's source could not be listed to its end; trying again"
        ),
    }
}
