use std::path::Path;
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;

use super::super::storages::{OpenStorages, open};
use super::*;
use crate::config::{ConnectionChange, LocalConnection};
use crate::lease::Lease;
use crate::record::{Origin, Record};
use crate::storage::{CHUNK, DownloadStart, FileOwner, TempFile, TempNames};
use crate::transfer::LocalStorages;

const LONG: Duration = Duration::from_secs(30);

fn names() -> TempNames {
    TempNames::new(Arc::new(()), "group", ["ftp-tasks".into()]).unwrap()
}

fn storage(base: &Path) -> LocalStorage {
    let connection = LocalConnection { name: "local".to_owned(), base_path: base.to_owned() };
    open(&connection, LONG).unwrap()
}

/// A pod with one local connection.
struct Place {
    dirs: [TempDir; 2],
    storages: LocalStorages,
    open: OpenStorages,
    names: TempNames,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Place {
    fn new() -> Place {
        let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let storages = LocalStorages::from(BTreeMap::from([("local".to_owned(), storage(dirs[0].path()))]));
        let (names, stop, tasks) = (names(), CancellationToken::new(), TaskTracker::new());
        let open = OpenStorages::sweep(storages.clone(), names.clone(), tasks.clone(), stop.clone());
        Place { dirs, storages, open, names, stop, tasks }
    }

    fn get(&self) -> Arc<LocalStorage> {
        self.storages.get("local").unwrap()
    }

    /// The connection lies in the other directory, or is gone.
    fn change(&mut self, change: ConnectionChange) {
        let opened = (change == ConnectionChange::Changed).then(|| Arc::new(storage(self.dirs[1].path())));
        let opened = opened.map(|storage| ("local".to_owned(), storage)).into_iter().collect();
        self.open.change(&BTreeMap::from([("local".to_owned(), change)]), &opened);
    }

    /// A try that has this storage begins its file.
    async fn begin(&self, storage: &LocalStorage) -> TempFile {
        let target = storage.resolve("/x").unwrap();
        let started = storage.create(&target, owner(&self.names), true).await.unwrap();
        let DownloadStart::Now(file) = started else { panic!("it was never done") };
        file
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.dirs[0].path()).unwrap().count()
    }
}

/// A try at the same record, whoever makes it.
fn owner(names: &TempNames) -> FileOwner {
    let record = Record {
        origin: Origin { topic: "ftp-tasks".into(), partition: 0, offset: 7 },
        key: None,
        headers: Vec::new(),
        payload: None,
        timestamp_ms: None,
        retry: None,
        lease: Lease::new(1),
    };
    FileOwner::of(&record, names)
}

#[track_caller]
fn assert_kept(replaced: &ReplacedStorages, kept: usize) {
    replaced.check();
    assert_eq!(replaced.lock().len(), kept);
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_directory_is_swept_as_long_as_a_try_that_began_in_it_lasts() {
    for change in [ConnectionChange::Changed, ConnectionChange::Removed] {
        let mut place = Place::new();
        let (old, replaced) = (place.get(), place.open.replaced());
        place.change(change);
        assert_kept(&replaced, 1);
        // What another pod has left of the record, found by a try that had asked for the storage before the change.
        let dead = owner(&names()).temp;
        std::fs::write(place.dirs[0].path().join(dead.as_str()), "part").unwrap();
        let file = place.begin(&old).await;
        until("what the dead have left is swept away", || place.files() == 0).await;

        drop(old);
        assert_kept(&replaced, 1);
        drop(file);
        until("nobody has it", || replaced.lock().is_empty()).await;
        place.stop.cancel();
        place.tasks.close();
        tokio::time::timeout(LONG, place.tasks.wait()).await.expect("every sweep ends");
    }
}

#[tokio::test]
async fn what_nobody_works_in_is_let_go_at_once_and_its_sweep_ends() {
    let mut place = Place::new();
    let old = Arc::downgrade(&place.get());
    place.change(ConnectionChange::Removed);
    until("it is let go", || old.strong_count() == 0).await;
    assert_kept(&place.open.replaced(), 0);
    place.tasks.close();
    tokio::time::timeout(LONG, place.tasks.wait()).await.expect("sweep and watch end by themselves");
}

#[tokio::test]
async fn no_more_are_kept_than_the_bound_says() {
    let (dir, replaced) = (TempDir::new().unwrap(), ReplacedStorages::default());
    let all: Vec<_> = (0..MAX_REPLACED + 3).map(|_| Arc::new(storage(dir.path()))).collect();
    let sweeps: Vec<_> = all.iter().map(|_| CancellationToken::new()).collect();
    let watched =
        all.iter().zip(&sweeps).filter(|(one, sweep)| replaced.keep(Arc::clone(one), (*sweep).clone()));
    assert_eq!(watched.count(), 1, "one watch for all");
    assert_kept(&replaced, MAX_REPLACED);
    let ended: Vec<_> = sweeps.iter().map(CancellationToken::is_cancelled).collect();
    assert!(ended[..3].iter().all(|ended| *ended) && !ended[3..].contains(&true), "the first ones go");
}

/// The only thread for calls into file systems is busy when the try is cut off.
#[test]
fn what_is_removed_from_a_replaced_directory_at_the_end_is_waited_for() {
    let runtime = Builder::new_multi_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut place = Place::new();
        let old = place.get();
        let mut file = place.begin(&old).await;
        file.write(&vec![7; 3 * CHUNK]).await.unwrap();
        until("a temp file stands", || place.files() == 1).await;
        place.change(ConnectionChange::Changed);
        place.stop.cancel();
        place.tasks.close();
        tokio::time::timeout(LONG, place.tasks.wait()).await.expect("the sweeps end");

        let (go_on, busy) = mpsc::channel::<()>();
        let (tell, has_begun) = tokio::sync::oneshot::channel();
        spawn_blocking(move || {
            tell.send(()).unwrap();
            let _ = busy.recv();
        });
        has_begun.await.unwrap();
        drop((file, old));
        assert_eq!(place.files(), 1, "it is still to be removed");
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(go_on);
        });
        place.open.replaced().settle_with(place.storages.all(), LONG).await;
        assert_eq!(place.files(), 0);
    });
}
