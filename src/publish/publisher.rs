//! The publishing thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::committer::Committer;
use super::holds::{Holds, Refusal};
use super::pending::{Pending, choose};
use super::producer::{Message, Producer};
use super::sizes::{Sizes, size_of};
use super::sorting::{Sorted, sort};
use super::{LINGER, MAX_BATCH};
use crate::consume::CommitError;
use crate::dispatch::Answered;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::offsets::{Offsets, PartitionCommit};
use crate::outcome::{Answer, AnswerKind};

/// With nothing to publish the loop comes round this often, to beat and to commit passed-over offsets.
const IDLE: Duration = Duration::from_millis(500);
/// After a batch that Kafka did not take.
const BACKOFF: Duration = Duration::from_millis(250);
/// At the end, answers that Kafka does not take for this long are left to the next owner.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// Where answers go.
#[derive(Clone, Debug)]
pub struct Topics {
    pub results: String,
    pub failures: String,
    /// Where deferred tasks go.
    pub retry: String,
}

impl Topics {
    fn of(&self, kind: AnswerKind) -> &str {
        match kind {
            AnswerKind::Result => &self.results,
            AnswerKind::Failure => &self.failures,
            AnswerKind::Deferral => &self.retry,
        }
    }
}

/// What the thread needs.
pub struct Publish {
    pub answers: mpsc::Receiver<Answered>,
    /// Cancelled when no more answers will come: what is queued is still published, then the thread ends.
    pub finish: CancellationToken,
    pub topics: Topics,
    pub producer: Producer,
    pub committer: Box<dyn Committer>,
    pub offsets: Arc<Offsets>,
    pub health: Arc<Health>,
    pub metrics: Metrics,
}

impl std::fmt::Debug for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publish").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Handle {
    /// Resolves when the thread has ended, with the answers that Kafka did not take, or the fatal error.
    pub ended: oneshot::Receiver<Result<usize, CommitError>>,
}

impl Publish {
    /// Starts the thread; `runtime` serves its timers.
    pub fn spawn(self, runtime: runtime::Handle) -> std::io::Result<Handle> {
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name("publish".into()).spawn(move || {
            let health = self.health.clone();
            let result = Loop {
                parts: self,
                runtime,
                pending: Vec::new(),
                holds: Holds::default(),
                sizes: Sizes::default(),
            }
            .run();
            health.publish.end();
            let _ = end.send(result); // nobody listens after a second signal
        })?;
        Ok(Handle { ended })
    }
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Done,
    /// Kafka did not take all of it: what is left is pending.
    Again,
}

struct Loop {
    parts: Publish,
    runtime: runtime::Handle,
    /// Bounded by the pod's budget: every answer holds its admission.
    pending: Vec<Pending>,
    holds: Holds,
    sizes: Sizes,
}

impl Loop {
    /// Only a fatal error is returned; any other is tried again.
    fn run(mut self) -> Result<usize, CommitError> {
        self.start()?;
        let mut closing_since = None;
        loop {
            self.parts.health.publish.beat();
            let open = self.gather();
            let step = self.publish_batch()?;
            if !open {
                let since = *closing_since.get_or_insert_with(Instant::now);
                if (step == Step::Done && self.pending.is_empty()) || since.elapsed() > LAST_TRIES {
                    return Ok(self.pending.len());
                }
            }
            if step == Step::Again {
                std::thread::sleep(BACKOFF);
            }
        }
    }

    fn start(&mut self) -> Result<(), CommitError> {
        while !self.parts.finish.is_cancelled() {
            self.parts.health.publish.beat();
            match self.parts.committer.start(&self.parts.producer) {
                Ok(()) => break,
                Err(error) => self.note(error)?,
            }
            std::thread::sleep(BACKOFF);
        }
        Ok(())
    }

    /// Fills `pending`; false once no more answers will come.
    fn gather(&mut self) -> bool {
        let Publish { answers, finish, .. } = &mut self.parts;
        if finish.is_cancelled() {
            answers.close(); // what is queued is still received
        }
        let mut fresh = Vec::new();
        let wait = if self.pending.is_empty() { IDLE } else { LINGER };
        let (mut open, mut deadline) = (true, Instant::now() + wait);
        self.runtime.block_on(async {
            while fresh.len() < MAX_BATCH {
                let room = MAX_BATCH - fresh.len();
                let left = deadline.saturating_duration_since(Instant::now());
                let is_first = fresh.is_empty();
                let received = tokio::select! {
                    received = timeout(left, answers.recv_many(&mut fresh, room)) => received,
                    () = finish.cancelled(), if !answers.is_closed() => break,
                };
                match received {
                    Ok(0) => {
                        open = false;
                        break;
                    }
                    Ok(_) if is_first => deadline = deadline.min(Instant::now() + LINGER),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        });
        self.pending.extend(fresh.into_iter().map(Pending::new));
        open
    }

    /// Outcomes whose partition has left are the next owner's to publish.
    fn drop_late(&mut self) {
        let offsets = &self.parts.offsets;
        self.pending.retain(|pending| {
            let (origin, lease) = pending.origin();
            let owned = offsets.is_owned(origin, lease);
            if !owned {
                tracing::debug!(%origin, "outcome dropped: its partition has left this pod");
            }
            owned
        });
    }

    fn publish_batch(&mut self) -> Result<Step, CommitError> {
        if let Err(error) = self.parts.committer.prepare() {
            self.note(error)?;
            return Ok(Step::Again);
        }
        self.drop_late();
        let mut batch = self.choose();
        if batch.is_empty() && self.parts.offsets.propose([]).is_none_or(|commits| commits.is_empty()) {
            return Ok(Step::Done);
        }
        let begun = Instant::now();
        if let Err(error) = self.parts.committer.begin(&self.parts.producer) {
            self.pending.splice(0..0, batch);
            self.note(error)?;
            return Ok(Step::Again);
        }
        let encoded = self.sizes.encode(&batch);
        let bytes: Vec<usize> = encoded.iter().map(size_of).collect();
        let reports = self.send(&encoded);
        drop(encoded);
        let later = batch.split_off(bytes.len());
        self.note_refusals(&batch, &reports);
        let Sorted { delivered, refused, too_large } =
            sort(batch, &bytes, &reports, &mut self.sizes, Instant::now());
        let all_delivered = delivered.len() == bytes.len();
        self.pending.splice(0..0, refused.into_iter().chain(later));
        self.pending.extend(too_large);
        let step = if self.parts.committer.answers_stand_alone() {
            self.settle_then_commit(&delivered, begun)?
        } else if all_delivered {
            self.commit_then_settle(delivered, begun)?
        } else {
            self.abort(delivered)?
        };
        Ok(if all_delivered { step } else { Step::Again })
    }

    /// The next batch: nothing for a topic on hold, and nothing that was set aside.
    fn choose(&mut self) -> Vec<Pending> {
        let Loop { parts: Publish { topics, producer, health, .. }, holds, pending, .. } = self;
        let now = Instant::now();
        for topic in holds.look(now, |topic| {
            health.publish.beat();
            producer.has_topic(topic)
        }) {
            tracing::info!(topic, "the topic takes answers again");
        }
        choose(pending, |answer| answer.is_aside(now) || holds.is_held(topics.of(answer.kind())))
    }

    fn send(&mut self, encoded: &[Answer<'_>]) -> Vec<Result<(), RDKafkaErrorCode>> {
        let Publish { topics, producer, health, .. } = &mut self.parts;
        let message = |answer| message_of(topics, answer);
        let messages: Vec<Message<'_>> = encoded.iter().map(message).collect();
        producer.send_all(&messages, || health.publish.beat())
    }

    /// Counts what Kafka did not take, and puts topics on hold that take nothing.
    fn note_refusals(&mut self, batch: &[Pending], reports: &[Result<(), RDKafkaErrorCode>]) {
        let now = Instant::now();
        for (answer, report) in batch.iter().zip(reports) {
            let Err(code) = *report else { continue };
            self.parts.metrics.kafka_error("produce");
            let topic = self.parts.topics.of(answer.kind());
            if answer.is_refused_by_retry_topic(code) {
                tracing::error!(topic, %code, "the retry topic takes no tasks: they are answered instead");
            } else if Refusal::of(code) == Refusal::Topic && self.holds.hold(topic, now) {
                tracing::error!(topic, %code, "the topic takes no answers: they are kept, and it is looked at again");
            }
            tracing::debug!(topic, origin = %answer.origin().0, %code, "answer not taken by Kafka");
        }
    }

    /// Acknowledged answers stand, whatever becomes of their commit: the next one holds them too.
    fn settle_then_commit(&mut self, delivered: &[Pending], begun: Instant) -> Result<Step, CommitError> {
        self.parts.offsets.settle(delivered.iter().map(Pending::origin), &[]);
        let commits = self.parts.offsets.propose([]).unwrap_or_default();
        match self.commit(&commits) {
            Ok(()) => self.parts.offsets.settle([], &commits),
            Err(error) => {
                self.note(error)?;
                return Ok(Step::Again);
            }
        }
        self.parts.metrics.committed(delivered.len(), begun.elapsed());
        Ok(Step::Done)
    }

    /// Answers and offsets stand or fall together.
    fn commit_then_settle(&mut self, delivered: Vec<Pending>, begun: Instant) -> Result<Step, CommitError> {
        let Some(commits) = self.parts.offsets.propose(delivered.iter().map(Pending::origin)) else {
            // A partition has left since its outcomes were chosen: its next owner answers them.
            return self.abort(delivered);
        };
        match self.commit(&commits) {
            Ok(()) => self.parts.offsets.settle(delivered.iter().map(Pending::origin), &commits),
            Err(error) => {
                self.note(error)?;
                return self.abort(delivered);
            }
        }
        self.parts.metrics.committed(delivered.len(), begun.elapsed());
        Ok(Step::Done)
    }

    fn commit(&mut self, commits: &[PartitionCommit]) -> Result<(), CommitError> {
        let Publish { committer, producer, health, .. } = &mut self.parts;
        committer.commit(producer, commits, &|| health.publish.beat())
    }

    /// Takes the batch back; it is chosen anew, by ownership, next time.
    fn abort(&mut self, batch: Vec<Pending>) -> Result<Step, CommitError> {
        self.parts.metrics.aborted();
        let Publish { committer, producer, health, .. } = &mut self.parts;
        if let Err(error) = committer.abort(producer, &|| health.publish.beat()) {
            self.note(error)?;
        }
        self.pending.splice(0..0, batch);
        Ok(Step::Again)
    }

    /// Logs an error after which the batch is tried again; returns one after which it cannot be.
    fn note(&self, error: CommitError) -> Result<(), CommitError> {
        match error {
            CommitError::Rebalancing(_) => tracing::debug!(%error, "commit"),
            CommitError::Failed(_) => {
                self.parts.metrics.kafka_error("commit");
                tracing::warn!(%error, "commit; trying again");
            }
            CommitError::Fatal(_) => return Err(error),
        }
        Ok(())
    }
}

fn message_of<'a>(topics: &'a Topics, answer: &'a Answer<'_>) -> Message<'a> {
    Message {
        topic: topics.of(answer.kind),
        key: answer.key,
        headers: &answer.headers,
        payload: &answer.payload,
    }
}
