//! Shares sessions with the other pods, once a connection has `max_sessions_total`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, CurrentConfig};
use crate::coordination::FollowerHandle;
use crate::coordination::session_caps::{
    COORDINATION_PARTITION, CoordinatorState, LeaseStatus, SessionCapsAgent, SessionUse, SharedSessions,
};
use crate::insight::SessionSharing;
use crate::kafka::{
    OwnedTopic, OwnedTopicHandle, SESSIONS, Unprepared, prepare_compacted_topic, spawn_owned_topic,
};
use crate::lease::since_boot;
use crate::pool::SessionPool;

/// Between two looks whether a connection has a total by now, and between two attempts to begin.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(5);

/// This pod's part in sharing sessions; nothing runs before a connection needs it.
#[derive(Debug)]
pub(super) struct SessionCaps {
    running: Arc<Mutex<Option<Running>>>,
    pub lease: SharedLease,
}

/// What this pod's grants are worth, for whoever looks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLease(Arc<RwLock<Option<LeaseStatus>>>);

impl SharedLease {
    fn set(&self, lease: LeaseStatus) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    }

    /// In words, where a connection has `max_sessions_total`.
    pub fn sharing(&self) -> SessionSharing {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            None => SessionSharing::because("starting", "nothing has been granted yet"),
            Some(LeaseStatus::Live) => SessionSharing::new("live"),
            Some(LeaseStatus::Ending) => SessionSharing::because(
                "ending",
                "no report of this pod has come through Kafka for some time: idle sessions are closed",
            ),
            Some(LeaseStatus::Over) => SessionSharing::because(
                "over",
                "no report of this pod comes through Kafka: it may have no sessions",
            ),
            Some(LeaseStatus::Unavailable(error)) => SessionSharing::because("unavailable", error.clone()),
        }
    }
}

#[derive(Debug)]
struct Running {
    agent: FollowerHandle,
    coordinator: OwnedTopicHandle,
}

impl SessionCaps {
    /// Begins as soon as a connection has a total.
    pub fn start(
        current: &Arc<CurrentConfig>,
        pool: &SessionPool,
        tasks: &tokio_util::task::TaskTracker,
        stop: &CancellationToken,
    ) -> SessionCaps {
        let running = Arc::new(Mutex::new(None));
        let lease = SharedLease::default();
        let (current, stop, begun) = (current.clone(), stop.clone(), running.clone());
        let sessions = PoolSessions { pool: pool.clone(), current: current.clone(), lease: lease.clone() };
        tasks.spawn(async move {
            tokio::select! {
                () = begin(current, sessions, begun) => {}
                () = stop.cancelled() => {}
            }
        });
        SessionCaps { running, lease }
    }

    /// Once all sessions are closed: tells the others, and leaves. Takes twice `within` at most.
    pub async fn stop(&self, within: Duration) {
        let Some(Running { agent, coordinator }) = self.running.lock().await.take() else { return };
        agent.stop();
        coordinator.stop();
        let _ = timeout(within, agent.ended).await;
        let _ = timeout(within, coordinator.ended).await;
    }
}

async fn begin(current: Arc<CurrentConfig>, sessions: PoolSessions, running: Arc<Mutex<Option<Running>>>) {
    loop {
        let config = current.config();
        if !config.connections.share_sessions() {
            sleep(POLL_INTERVAL).await;
            continue;
        }
        match try_begin(&config, &sessions).await {
            Ok(begun) => {
                *running.lock().await = Some(begun);
                return;
            }
            Err(error) => {
                sessions.lease.set(LeaseStatus::Unavailable(error.to_string()));
                let topic = config.kafka.coordination_topic.as_str();
                tracing::error!(
                    event = "coordination_unavailable",
                    topic,
                    %error,
                    "no sessions of connections with max_sessions_total; trying again"
                );
                sleep(AGAIN).await;
            }
        }
    }
}

async fn try_begin(config: &Config, sessions: &PoolSessions) -> Result<Running, Unprepared> {
    let (kafka, pod) = (&config.kafka, &config.pod.name);
    let topic = &kafka.coordination_topic;
    prepare_compacted_topic(kafka, pod, topic, COORDINATION_PARTITION + 1).await?;
    let owned = OwnedTopic { topic: topic.clone(), purpose: SESSIONS };
    let name: Arc<str> = topic.as_str().into();
    let unusable = |error: std::io::Error| Unprepared::Unusable(error.to_string());
    let coordinator = spawn_owned_topic(kafka, pod, &owned, since_boot, move |_| {
        Box::new(CoordinatorState::new(name.clone()))
    })
    .map_err(unusable)?;
    let agent = SessionCapsAgent {
        kafka: kafka.clone(),
        pod: pod.clone(),
        clock: since_boot,
        incarnation: || format!("{:016x}", rand::random::<u64>()),
        sessions: Box::new(sessions.clone()),
    };
    Ok(Running { agent: agent.spawn().map_err(unusable)?, coordinator })
}

/// The pool's sessions of connections with a total, and of those that are shared still.
#[derive(Clone)]
struct PoolSessions {
    pool: SessionPool,
    current: Arc<CurrentConfig>,
    lease: SharedLease,
}

impl SharedSessions for PoolSessions {
    fn uses(&self) -> BTreeMap<String, SessionUse> {
        let config = self.current.config();
        let total = |name: &str| config.connections.ftp.get(name)?.max_sessions_total;
        let of_pool = self.pool.uses().into_iter();
        of_pool
            .filter_map(|(name, wants, open)| {
                let total = Some(total(&name)?);
                Some((name.as_ref().to_owned(), SessionUse { total, wants, open }))
            })
            .collect()
    }

    fn set_grant(&self, connection: &str, grant: usize) {
        self.pool.set_grant(connection, grant);
    }

    fn interrupt(&self, connection: &str) {
        self.pool.interrupt(connection);
    }

    fn set_lease(&self, lease: LeaseStatus) {
        self.lease.set(lease);
    }
}
