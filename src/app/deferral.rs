//! Sees to it that the retry topic can be used, before the pod begins or as soon as the brokers are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::consume::{DeferredTaskWaker, RetryIntake};
use crate::dispatch::DeferralPolicy;
use crate::kafka::{Unprepared, prepare_retry_topic};

/// The start waits this long at most: a topic that is there when the group is joined needs no second rebalance.
const AT_START: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(10);

/// What the dispatcher needs; tasks are deferred once the topic is known to be good.
pub(super) async fn start(config: &Config, tasks: &TaskTracker, stop: &CancellationToken) -> DeferralPolicy {
    let is_possible = Arc::new(AtomicBool::new(false));
    if config.retry.enabled {
        let (config, stop, ready) = (config.clone(), stop.clone(), Arc::clone(&is_possible));
        let preparing = tasks.spawn(async move {
            tokio::select! {
                () = prepare(&config, &ready) => {}
                () = stop.cancelled() => {}
            }
        });
        // Elapsed: it goes on meanwhile.
        let _ = timeout(AT_START, preparing).await;
    }
    DeferralPolicy {
        group: config.kafka.consumer_group.as_str().into(),
        delay: config.retry.delay,
        limit: config.retry.max_deferral,
        is_possible,
    }
}

/// Where the deferred tasks are read from. They are read even while none can be deferred by this pod.
pub(super) fn intake(config: &Config, waker: DeferredTaskWaker) -> Option<RetryIntake> {
    config.retry.enabled.then(|| RetryIntake {
        topic: config.kafka.retry_topic.clone(),
        group: config.kafka.consumer_group.clone(),
        longest: config.retry.delay,
        waker,
    })
}

async fn prepare(config: &Config, is_possible: &AtomicBool) {
    let topic = &config.kafka.retry_topic;
    loop {
        match prepare_retry_topic(&config.kafka, &config.retry, &config.pod.name).await {
            Ok(()) => {
                is_possible.store(true, Ordering::Relaxed);
                return tracing::info!(event = "deferral_enabled", topic, "tasks can be deferred");
            }
            Err(Unprepared::Unusable(reason)) => {
                return tracing::error!(
                    event = "deferral_disabled",
                    topic,
                    reason,
                    "deferral disabled: tasks wait in memory"
                );
            }
            Err(error) => {
                tracing::warn!(
                    event = "retry_topic_unchecked",
                    topic,
                    %error,
                    "cannot check the retry topic yet; retrying"
                );
            }
        }
        sleep(AGAIN).await;
    }
}
