//! Holds the Lease, or waits for it.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::lease_election::{
    LEASE_DURATION, LeaseCandidate, LeaseRecord, LeaseStep, RENEW_DEADLINE, RETRY_PERIOD,
};

/// A request that takes longer has failed: what it would have written is written by the next one.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(3);

/// Takes and renews the Lease until `stop`, then gives it up. `is_leader` says whether it is held.
#[derive(Debug)]
pub(super) struct LeaseHolder {
    api: Api<Lease>,
    name: String,
    identity: String,
    candidate: LeaseCandidate,
    is_leader: watch::Sender<bool>,
}

impl LeaseHolder {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
    ) -> (Self, watch::Receiver<bool>) {
        let (is_leader, receiver) = watch::channel(false);
        let api = Api::namespaced(client, namespace);
        let (name, candidate) = (name.to_owned(), LeaseCandidate::new(identity));
        (Self { api, name, identity: identity.to_owned(), candidate, is_leader }, receiver)
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                attempted = timeout(ATTEMPT_DEADLINE, self.attempt()) => match attempted {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(event = "lease_failed", %error, "the Lease cannot be read or written"),
                    Err(_) => tracing::warn!(event = "lease_failed", "the Lease cannot be read or written in time"),
                }
            }
            self.publish();
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(RETRY_PERIOD) => {}
            }
            self.publish();
        }
        if self.candidate.is_leader(Instant::now()) {
            let _ = timeout(ATTEMPT_DEADLINE, self.give_up()).await;
        }
    }

    fn publish(&self) {
        let now_leader = self.candidate.is_leader(Instant::now());
        let was_leader = self.is_leader.send_replace(now_leader);
        if was_leader != now_leader {
            let identity = self.identity.as_str();
            if now_leader {
                tracing::info!(event = "lease_acquired", identity, "this operator is the leader");
            } else {
                let limit = RENEW_DEADLINE.as_secs();
                tracing::warn!(
                    event = "lease_lost",
                    identity,
                    limit,
                    "this operator is not the leader any more"
                );
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), kube::Error> {
        let found = self.api.get_opt(&self.name).await?;
        let record = found.as_ref().map(record_of);
        let began = Instant::now();
        let written = match self.candidate.decide(record, began) {
            LeaseStep::Wait => return Ok(()),
            LeaseStep::Create => self.api.create(&PostParams::default(), &self.lease(None, 0, None)).await,
            LeaseStep::Take { version, transitions } => {
                let acquired = found
                    .and_then(|lease| lease.spec)
                    .filter(|spec| spec.holder_identity.as_deref() == Some(self.identity.as_str()));
                let acquired = acquired.and_then(|spec| spec.acquire_time);
                let lease = self.lease(Some(version), transitions, acquired);
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(_) => {
                self.candidate.renewed(began);
                Ok(())
            }
            // another was faster
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.candidate.lost();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn lease(&self, version: Option<String>, transitions: i32, acquired: Option<MicroTime>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            ..Lease::default()
        };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(LEASE_DURATION.as_secs()).ok();
        spec.lease_transitions = Some(transitions);
        spec.acquire_time = Some(acquired.unwrap_or_else(|| now.clone()));
        spec.renew_time = Some(now);
        lease
    }

    /// The next one need not wait for the Lease to run out.
    async fn give_up(&mut self) -> Result<(), kube::Error> {
        let Some(found) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let record = record_of(&found);
        if record.holder == self.identity {
            let mut lease = self.lease(Some(record.version), record.transitions, None);
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
            }
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            tracing::info!(event = "lease_released", "the Lease was given up");
        }
        Ok(())
    }
}

fn record_of(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    LeaseRecord {
        holder: spec.holder_identity.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
