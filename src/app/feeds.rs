//! Runs this pod's part of the feeds: becomes the owner of partitions of the feeds topic, and lists with sessions of the pool.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, CurrentConfig, FeedConfig};
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::feeds::{FeedBoard, FeedContext, FeedLister, FeedObserver, FeedPartition, TOPIC_PARTITIONS};
use crate::kafka::{
    FEEDS, OwnedTopic, OwnedTopicHandle, Unprepared, prepare_compacted_topic, spawn_owned_topic,
};
use crate::lease::since_boot;
use crate::listing::{ListingSessions, Location, LocationConnection, WalkError, WalkSummary, walk};
use crate::metrics::Metrics;
use crate::pool::{FtpConnector, LeasedSession, Reservation, SessionPool};

/// The interval for checking whether there is a feed, and between two attempts to start.
const LOOK: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(5);
/// Listings of a pod at once; further ones wait.
const LISTINGS: usize = 16;
/// If a server has no session to spare for this long, it is listed another time.
const SESSION_WITHIN: Duration = Duration::from_secs(300);

/// This pod's part in the feeds; nothing runs before there is one.
#[derive(Debug)]
pub(super) struct Feeds {
    running: Arc<Mutex<Option<OwnedTopicHandle>>>,
    stop: CancellationToken,
}

/// What it is made of.
pub(super) struct FeedsParts {
    pub current: Arc<CurrentConfig>,
    pub pool: SessionPool,
    pub board: FeedBoard,
    pub metrics: Metrics,
}

impl Feeds {
    /// Begins as soon as there is a feed.
    pub fn start(parts: FeedsParts, tasks: &tokio_util::task::TaskTracker) -> Feeds {
        let (running, stop) = (Arc::new(Mutex::new(None)), CancellationToken::new());
        let (started, stopped) = (running.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = begin(parts, started) => {}
                () = stopped.cancelled() => {}
            }
        });
        Feeds { running, stop }
    }

    /// Ends this pod's listings, so that others take over. Takes at most `within`.
    pub async fn stop(&self, within: Duration) {
        self.stop.cancel();
        let Some(owner) = self.running.lock().await.take() else { return };
        owner.stop();
        let _ = timeout(within, owner.ended).await;
    }
}

async fn begin(parts: FeedsParts, running: Arc<Mutex<Option<OwnedTopicHandle>>>) {
    loop {
        let config = parts.current.config();
        if config.feeds.is_empty() {
            sleep(LOOK).await;
            continue;
        }
        match try_begin(&config, &parts).await {
            Ok(owner) => {
                *running.lock().await = Some(owner);
                return;
            }
            Err(error) => {
                let topic = config.kafka.feeds_topic.as_str();
                tracing::error!(event = "feeds_unavailable", topic, %error, "no feed is listed by this pod; trying again");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn try_begin(config: &Config, parts: &FeedsParts) -> Result<OwnedTopicHandle, Unprepared> {
    let (kafka, pod) = (&config.kafka, &config.pod.name);
    let topic = &kafka.feeds_topic;
    prepare_compacted_topic(kafka, pod, topic, TOPIC_PARTITIONS).await?;
    let context = FeedContext {
        pod: pod.clone(),
        topic: topic.as_str().into(),
        input_topic: kafka.input_topic.as_str().into(),
        current: parts.current.clone(),
        lister: Arc::new(PoolLister {
            current: parts.current.clone(),
            pool: parts.pool.clone(),
            at_once: Semaphore::new(LISTINGS),
        }),
        runtime: Handle::current(),
        board: parts.board.clone(),
        metrics: parts.metrics.clone(),
        clock: since_boot,
    };
    let owned = OwnedTopic { topic: topic.clone(), purpose: FEEDS };
    spawn_owned_topic(kafka, pod, &owned, since_boot, move |number| {
        Box::new(FeedPartition::new(number, context.clone()))
    })
    .map_err(|error| Unprepared::Unusable(error.to_string()))
}

/// Lists with sessions of the pool, which its caps count.
struct PoolLister {
    current: Arc<CurrentConfig>,
    pool: SessionPool,
    at_once: Semaphore,
}

#[async_trait]
impl FeedLister for PoolLister {
    async fn list(&self, feed: &FeedConfig, observer: &mut FeedObserver) -> Result<WalkSummary, WalkError> {
        // It is never closed.
        let _turn = self.at_once.acquire().await;
        let config = self.current.config();
        let mut source =
            Location::parse(&feed.from.to_string(), &config.connections).map_err(WalkError::Refused)?;
        if !source.path.is_empty() && !source.path.ends_with('/') {
            source.path.push('/'); // a directory, whatever its name is
        }
        let sessions = PoolSessions {
            pool: &self.pool,
            connection: feed.from.connection.clone(),
            interrupted: CancellationToken::new(),
            session: std::sync::Mutex::default(),
        };
        let taken_back = match &source.connection {
            LocationConnection::Ftp(_) => "the session was taken back: max_sessions_total is for all pods",
            LocationConnection::Local(_) => "interrupted",
        };
        tokio::select! {
            listed = walk(&source, &feed.criteria, observer, &sessions) => listed,
            () = sessions.interrupted.cancelled() => Err(WalkError::Refused(taken_back.to_owned())),
        }
    }
}

/// The sessions of one listing: one at a time.
struct PoolSessions<'a> {
    pool: &'a SessionPool,
    connection: String,
    /// Its session must be closed without delay.
    interrupted: CancellationToken,
    /// Ends what watches over the present session.
    session: std::sync::Mutex<Option<tokio_util::sync::DropGuard>>,
}

impl PoolSessions<'_> {
    fn watch(&self, session: &LeasedSession<FtpConnector>) {
        let (over, taken_back, interrupted) =
            (CancellationToken::new(), session.interrupted(), self.interrupted.clone());
        let watched = over.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = taken_back.cancelled() => interrupted.cancel(),
                () = watched.cancelled() => {}
            }
        });
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(over.drop_guard());
    }
}

#[async_trait]
impl ListingSessions for PoolSessions<'_> {
    type Session = BorrowedSession;

    async fn open(&self) -> Result<BorrowedSession, TryError> {
        let reserved = timeout(SESSION_WITHIN, self.pool.reserve_for_listing(&self.connection)).await;
        let session = match reserved {
            Ok(Ok(Reservation::Idle(session))) => session,
            Ok(Ok(Reservation::MayOpen(permit))) => permit.open().await?,
            Ok(Err(error)) => return Err(unavailable(Code::UnknownConnection, error.to_string())),
            Err(_) => {
                let waited = format!("no session was free for {} s", SESSION_WITHIN.as_secs());
                return Err(unavailable(Code::ServerBusy, waited));
            }
        };
        self.watch(&session);
        let mut session = BorrowedSession(Some(session));
        session.remember_home().await?;
        Ok(session)
    }

    async fn keep_or_reopen(&self, mut session: BorrowedSession) -> Result<BorrowedSession, TryError> {
        if !session.leased().must_yield() {
            return Ok(session);
        }
        self.close(session).await;
        self.open().await
    }

    async fn close(&self, session: BorrowedSession) {
        session.give_back().await;
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A session of the pool that enters directories. Tasks name paths relative to the login directory, so only a session
/// that has returned there goes back to the pool.
struct BorrowedSession(Option<LeasedSession<FtpConnector>>);

impl BorrowedSession {
    fn leased(&mut self) -> &mut LeasedSession<FtpConnector> {
        match &mut self.0 {
            Some(session) => session,
            None => unreachable!("only its end takes the session"),
        }
    }

    async fn give_back(mut self) {
        if matches!(self.go_home().await, Ok(true)) {
            drop(self.0.take());
        }
    }
}

impl Drop for BorrowedSession {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            session.throw_away();
        }
    }
}

impl Deref for BorrowedSession {
    type Target = <LeasedSession<FtpConnector> as Deref>::Target;

    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Some(session) => session,
            None => unreachable!("only its end takes the session"),
        }
    }
}

impl DerefMut for BorrowedSession {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.leased()
    }
}

fn unavailable(code: Code, message: String) -> TryError {
    TryError { failure: Failure::new(code, message), remedy: Remedy::GiveUp }
}
