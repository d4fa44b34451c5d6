//! Reads connections.ini, the secrets in files and the feeds again, when one has changed, and when SIGHUP asks for it; and has every
//! part take over what has changed. A mistake in it changes nothing, and says why.

mod replaced;
mod storages;

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::PodTunnels;
use crate::bandwidth::BandwidthLimits;
use crate::config::{
    Config, ConfigDiff, ConfigErrors, ConfigSources, ConfiguredConnections, ConnectionChange, CurrentConfig,
    FileWatcher, ReloadResult, WatchDecision, WatchedFileVersions,
};
use crate::dispatch::{Dispatcher, Reconfiguration};
use crate::metrics::Metrics;
use crate::pool::SessionPool;
use crate::storage::LocalStorage;
pub(super) use replaced::ReplacedStorages;
pub(super) use storages::{OpenStorages, open, open_all};

/// A changed file is read once it has been unchanged for this long.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// Between two checks at least, whatever `reload.every` says.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Files on a mount that does not answer are given up after this, and checked again once they have answered.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Mistakes that a log line lists; the others are counted.
const MAX_MISTAKES_SHOWN: usize = 20;

/// The parts that know of connections. All changes go through here, one after the other.
#[derive(Debug)]
pub(super) struct Reloader {
    pub sources: ConfigSources,
    pub current: Arc<CurrentConfig>,
    pub pool: SessionPool,
    pub tunnels: Arc<PodTunnels>,
    pub dispatcher: Dispatcher,
    pub storages: OpenStorages,
    pub metrics: Metrics,
    pub bandwidth: BandwidthLimits,
    /// Notified by SIGHUP.
    pub asked: Arc<Notify>,
    pub files: WatchedFiles,
}

/// What is checked.
#[derive(Debug, Default)]
pub(super) struct WatchedFiles {
    watch: FileWatcher,
    /// connections.ini, and what it names.
    paths: Vec<PathBuf>,
    /// A check that has not returned.
    hung: Option<AbortHandle>,
}

/// Why the files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReloadTrigger {
    /// To know which files there are; it is what the pod has just been started with.
    Start,
    /// They have changed.
    Changed,
    /// It is time to read them.
    Due,
    /// SIGHUP.
    Asked,
}

/// What was read, and differs.
#[derive(Debug)]
struct LoadedChanges {
    config: Config,
    changes: ConfigDiff,
    /// New local connections, and those that lie elsewhere now.
    opened: BTreeMap<String, Arc<LocalStorage>>,
}

/// Every mistake, a line each.
#[derive(Debug)]
struct ReloadErrors(Vec<String>);

impl Reloader {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let every = self.current.config().reload.every.map(|every| every.max(MIN_CHECK_INTERVAL));
        let mut pause = every;
        if every.is_some() {
            self.read(ReloadTrigger::Start).await;
        }
        loop {
            let asked = Arc::clone(&self.asked);
            let why = tokio::select! {
                () = stop.cancelled() => return,
                () = asked.notified() => Some(ReloadTrigger::Asked),
                () = after(pause) => match self.check().await {
                    WatchDecision::Changed => Some(ReloadTrigger::Changed),
                    WatchDecision::Due => Some(ReloadTrigger::Due),
                    WatchDecision::Same => None,
                    WatchDecision::Unsettled => {
                        pause = every.map(|every| every.min(SETTLE_TIME));
                        continue;
                    }
                },
            };
            pause = every;
            if let Some(why) = why {
                self.read(why).await;
            }
        }
    }

    async fn check(&mut self) -> WatchDecision {
        let paths = self.files.paths.clone();
        match self.files.blocking(move || WatchedFileVersions::of(&paths)).await {
            Some(stamps) => self.files.watch.look(stamps),
            None => WatchDecision::Due, // reading them will say so
        }
    }

    async fn read(&mut self, why: ReloadTrigger) {
        let (config, sources) = (self.current.config(), self.sources.clone());
        let read = move || {
            let restart =
                if why == ReloadTrigger::Asked { not_reloadable(&config, &sources) } else { Ok(Vec::new()) };
            let reread = config.reread(&sources);
            let found = restart.and_then(|keys| Ok((keys, found(&config, reread.config?)?)));
            (found, reread.files, reread.stamps)
        };
        let Some((found, paths, stamps)) = self.files.blocking(read).await else {
            let seconds = READ_WITHIN.as_secs();
            let wrong = ReloadErrors(vec![format!("the files could not be read within {seconds} s")]);
            return self.refuse(&wrong, why);
        };
        self.files.paths = paths;
        self.files.watch.read(stamps);
        match found {
            Err(wrong) => self.refuse(&wrong, why),
            Ok((keys, found)) => {
                if !keys.is_empty() {
                    let keys = keys.join(", ");
                    tracing::warn!(
                        event = "restart_required",
                        keys,
                        "changed in config.yaml, which is only read at the start: restart to apply"
                    );
                }
                self.take_over(found, why);
            }
        }
    }

    /// Reported once, and again on request.
    fn refuse(&self, wrong: &ReloadErrors, why: ReloadTrigger) {
        let ReloadErrors(mistakes) = wrong;
        let mut told: Vec<String> = mistakes.iter().take(MAX_MISTAKES_SHOWN).cloned().collect();
        if mistakes.len() > MAX_MISTAKES_SHOWN {
            told.push(format!("and {} more errors", mistakes.len() - MAX_MISTAKES_SHOWN));
        }
        if self.current.refuse(&told.join("\n")) || why == ReloadTrigger::Asked {
            self.metrics.reloaded(ReloadResult::Refused);
            for mistake in told {
                tracing::error!(
                    event = "reload_rejected",
                    mistake,
                    "connections.ini rejected: the previous settings stay active"
                );
            }
        }
    }

    fn take_over(&mut self, found: LoadedChanges, why: ReloadTrigger) {
        if found.changes.is_empty() {
            let was_wrong = self.current.last_reload().result == ReloadResult::Refused;
            if was_wrong || matches!(why, ReloadTrigger::Changed | ReloadTrigger::Asked) {
                self.current.unchanged();
                self.metrics.reloaded(ReloadResult::Unchanged);
                tracing::info!(event = "reload_unchanged", "connections.ini read again: nothing has changed");
            }
            return;
        }
        let names = |change: ConnectionChange| found.changes.names(change).join(", ");
        let (added, changed, removed) = (
            names(ConnectionChange::Added),
            names(ConnectionChange::Changed),
            names(ConnectionChange::Removed),
        );
        let limits = names(ConnectionChange::Limits);
        let token = found.changes.token;
        let feeds = found.changes.feeds.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.apply(&found);
        self.current.apply(found.config);
        self.metrics.reloaded(ReloadResult::Applied);
        tracing::info!(
            event = "reload_applied",
            added,
            changed,
            limits,
            removed,
            token,
            feeds,
            "configuration reloaded"
        );
    }

    /// Additions are in place before a task can name them; removals take place once none can.
    fn apply(&mut self, found: &LoadedChanges) {
        let LoadedChanges { config: Config { connections, .. }, changes, opened } = found;
        self.storages.change(&changes.local, opened);
        self.metrics.set_locals(connections.local.keys());
        self.tunnels.reconfigure(connections);
        // sessions through a tunnel that has changed are of the old one
        for connection in connections.ftp.values() {
            let is_changed = |via: &String| changes.tunnels.contains_key(via);
            if connection.network.via.as_ref().is_some_and(is_changed)
                && !changes.ftp.contains_key(&connection.name)
            {
                self.pool.replace(Arc::clone(connection));
            }
        }
        for (name, change) in &changes.ftp {
            let Some(connection) = connections.ftp.get(name) else { continue };
            self.bandwidth.set(connection);
            match change {
                ConnectionChange::Added => {
                    self.metrics.introduce(name);
                    self.pool.add(Arc::clone(connection));
                }
                ConnectionChange::Changed => self.pool.replace(Arc::clone(connection)),
                ConnectionChange::Limits => self.pool.set_limits(connection),
                ConnectionChange::Removed => {}
            }
        }
        self.dispatcher.reconfigure(&reconfiguration(connections, changes));
        for (name, change) in &changes.ftp {
            if *change == ConnectionChange::Removed {
                self.pool.remove(name);
                self.bandwidth.forget(name);
            }
        }
        // breakers that were reset know nothing of a tunnel that is down
        self.tunnels.announce();
    }
}

impl WatchedFiles {
    /// Runs off the runtime's threads; `None` if it takes too long, or an earlier one still does.
    async fn blocking<R: Send + 'static>(&mut self, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        if self.hung.as_ref().is_some_and(|hung| !hung.is_finished()) {
            return None;
        }
        let running = spawn_blocking(work);
        let handle = running.abort_handle();
        let done = timeout(READ_WITHIN, running).await;
        self.hung = done.is_err().then_some(handle);
        done.ok()?.ok()
    }
}

/// Never resolves if there is no time.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

/// The keys of config.yaml that are others now, and hold after a restart only.
fn not_reloadable(config: &Config, sources: &ConfigSources) -> Result<Vec<String>, ReloadErrors> {
    Ok(config.differing_keys(&Config::load(sources)?))
}

fn found(now: &Config, config: Config) -> Result<LoadedChanges, ReloadErrors> {
    let (changes, connections) = (now.changes_to(&config), &config.connections);
    let is_there =
        |name: &&String| changes.local.get(*name).is_some_and(|became| *became != ConnectionChange::Removed);
    let mut opened = BTreeMap::new();
    let mut wrong = Vec::new();
    for name in connections.local.keys().filter(is_there) {
        match connections.local.get(name).map(|connection| open(connection, config.sweep.every)) {
            Some(Ok(storage)) => drop(opened.insert(name.clone(), Arc::new(storage))),
            Some(Err(error)) => wrong.push(format!("[{name}] base_path: {error}")),
            None => {}
        }
    }
    if wrong.is_empty() { Ok(LoadedChanges { config, changes, opened }) } else { Err(ReloadErrors(wrong)) }
}

fn reconfiguration(connections: &ConfiguredConnections, changes: &ConfigDiff) -> Reconfiguration {
    let names = |change: ConnectionChange| {
        let became = changes.ftp.iter().filter(|(_, became)| **became == change);
        became.map(|(name, _)| name.clone()).collect()
    };
    let moved = changes.local.iter().filter(|(_, became)| **became != ConnectionChange::Added);
    Reconfiguration {
        added: names(ConnectionChange::Added),
        changed: names(ConnectionChange::Changed),
        removed: names(ConnectionChange::Removed),
        moved: moved.map(|(name, _)| name.clone()).collect(),
        roots: roots(connections),
    }
}

/// Where the local connections lie.
pub(super) fn roots(connections: &ConfiguredConnections) -> HashMap<String, PathBuf> {
    connections.local.iter().map(|(name, local)| (name.clone(), local.base_path.clone())).collect()
}

impl From<ConfigErrors> for ReloadErrors {
    fn from(errors: ConfigErrors) -> Self {
        ReloadErrors(errors.errors().iter().map(ToString::to_string).collect())
    }
}
