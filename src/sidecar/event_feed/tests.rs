//! Streams on a paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use tokio::time::{advance, sleep};

use super::*;
use crate::config::LastReload;
use crate::health::PodHealth;
use crate::insight::{
    AssignedPartition, ConnectionState, FailureEntry, OpenBatches, PodInsight, SessionSharing, TransferList,
    TransferQuery,
};
use crate::metrics::Metrics;
use crate::pods::PoolSnapshot;

const SECOND: Duration = Duration::from_secs(1);

/// Counts how often it is checked.
#[derive(Default)]
struct Looked(AtomicUsize);

impl Looked {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl PodInsight for Looked {
    fn pod(&self) -> &'static str {
        "pod-0"
    }

    fn group(&self) -> &'static str {
        "group"
    }

    fn connections(&self) -> Vec<ConnectionState> {
        Vec::new()
    }

    fn pool(&self) -> PoolSnapshot {
        PoolSnapshot::default()
    }

    fn batches(&self) -> OpenBatches {
        OpenBatches::default()
    }

    fn session_sharing(&self) -> SessionSharing {
        SessionSharing::new("off")
    }

    fn transfers(&self, _: &TransferQuery) -> TransferList {
        self.0.fetch_add(1, Ordering::SeqCst);
        TransferList::default()
    }

    fn failures(&self, _: usize) -> Vec<FailureEntry> {
        Vec::new()
    }

    fn partitions(&self) -> Vec<AssignedPartition> {
        Vec::new()
    }

    fn config(&self) -> String {
        String::new()
    }

    fn last_reload(&self) -> LastReload {
        LastReload::at_the_start()
    }
}

struct Rig {
    view: PodView,
    looked: Arc<Looked>,
    shutdown: CancellationToken,
}

impl Rig {
    fn start() -> Rig {
        let looked = Arc::new(Looked::default());
        let view = PodView::new(PodHealth::new(), Metrics::default(), looked.clone());
        let shutdown = CancellationToken::new();
        let (of_feed, until) = (view.clone(), shutdown.clone());
        tokio::spawn(async move { of_feed.feed.run(&of_feed, &until).await });
        Rig { view, looked, shutdown }
    }

    fn stream(&self) -> Option<Body> {
        self.view.feed.stream(Instant::now() + 240 * SECOND)
    }
}

/// What comes until the stream ends or this time is over; whether it has ended.
async fn read(body: &mut Body, during: Duration) -> (String, bool) {
    let mut text = String::new();
    let all = async {
        while let Some(frame) = body.frame().await {
            text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        }
    };
    let ended = timeout(during, all).await.is_ok();
    (text, ended)
}

#[tokio::test(start_paused = true)]
async fn one_snapshot_a_second_is_made_for_all_and_none_for_nobody() {
    let rig = Rig::start();
    sleep(10 * SECOND).await;
    assert_eq!(rig.looked.count(), 0);

    let mut streams: Vec<_> = (0..5).map(|_| rig.stream().unwrap()).collect();
    let mut readers = tokio::task::JoinSet::new();
    for mut stream in streams.drain(..) {
        readers.spawn(async move { read(&mut stream, 10 * SECOND + SECOND / 2).await.0 });
    }
    for text in readers.join_all().await {
        let snapshots = text.matches("event: snapshot\n").count();
        assert!((10..=12).contains(&snapshots), "{snapshots}");
        assert_eq!(
            text.matches("event: history\n").count(),
            1,
            "no step has ended: nobody keeps the history here"
        );
        assert!(text.starts_with("retry: 2000\n\nid: "), "{text}");
    }
    let made = rig.looked.count();
    assert!((10..=12).contains(&made), "{made}");
    sleep(10 * SECOND).await;
    assert!(rig.looked.count() <= made + 1, "all are gone");

    let (text, _) = read(&mut rig.stream().unwrap(), SECOND / 10).await;
    assert!(text.contains("event: snapshot\n"), "the next who comes waits for no tick: {text}");
}

#[tokio::test(start_paused = true)]
async fn history_comes_again_with_each_step() {
    let rig = Rig::start();
    let view = rig.view.clone();
    tokio::spawn(async move { view.history.keep(&view.metrics).await });
    let (text, _) = read(&mut rig.stream().unwrap(), 35 * SECOND).await;
    assert_eq!(text.matches("event: history\n").count(), 4, "{text}");
    let ids: Vec<u64> =
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "each event has its own");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_dropped_and_gives_the_place_free() {
    let rig = Rig::start();
    let silent: Vec<_> = (0..MAX_STREAMS).map(|_| rig.stream().unwrap()).collect();
    assert!(rig.stream().is_none(), "one too many");
    sleep(CLIENT_STALL + 2 * SECOND).await;
    assert_eq!(rig.view.feed.places.available_permits(), MAX_STREAMS, "though none has gone");
    drop(silent);

    let gone: Vec<_> = (0..MAX_STREAMS).map(|_| rig.stream().unwrap()).collect();
    drop(gone);
    sleep(2 * SECOND).await;
    assert_eq!(rig.view.feed.places.available_permits(), MAX_STREAMS);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_by_itself_in_time_and_with_the_sidecar() {
    let rig = Rig::start();
    let mut stream = rig.view.feed.stream(Instant::now() + 7 * SECOND).unwrap();
    let (text, ended) = read(&mut stream, 60 * SECOND).await;
    assert!(ended && text.matches("event: snapshot\n").count() >= 6, "{text}");

    let mut stream = rig.stream().unwrap();
    advance(SECOND).await;
    rig.shutdown.cancel();
    let (_, ended) = read(&mut stream, SECOND).await;
    assert!(ended);
}
