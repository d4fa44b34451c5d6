//! The publishing thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::committer::Committer;
use super::producer::{Message, Producer};
use super::{LINGER, MAX_BATCH};
use crate::consume::CommitError;
use crate::dispatch::Answered;
use crate::failure::{Code, Failure};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::offsets::{Lease, Offsets};
use crate::outcome::{Answer, AnswerKind, Verdict};
use crate::record::Origin;

/// With nothing to publish the loop comes round this often, to beat and to commit passed-over offsets.
const IDLE: Duration = Duration::from_millis(500);
/// Encoded answers in one batch, so that a batch of the largest records stays small.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// librdkafka's and Kafka's default limit of a message, less room for the record's framing.
const MAX_ANSWER_BYTES: usize = 1_000_000 - 1_024;
/// The smallest answer worth trying where a topic refuses larger ones.
const MIN_ANSWER_BYTES: usize = 2_048;
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
            let result = Loop { parts: self, runtime, pending: Vec::new() }.run();
            health.publish.end();
            let _ = end.send(result); // nobody listens after a second signal
        })?;
        Ok(Handle { ended })
    }
}

/// An answer that is not yet committed, and the largest message it may become.
struct Pending {
    answered: Answered,
    max_bytes: usize,
}

impl Pending {
    fn origin(&self) -> (&Origin, &Lease) {
        let record = &self.answered.outcome.record;
        (&record.origin, &record.lease)
    }
}

impl Pending {
    /// A task that the retry topic will not take is answered: else it would hold up its partition for ever.
    fn answer_instead(&mut self, code: RDKafkaErrorCode) {
        let outcome = &mut self.answered.outcome;
        if matches!(outcome.verdict, Verdict::Deferred(_)) {
            let message = format!("cannot be put off, the retry topic did not take it: {code}");
            outcome.verdict = Verdict::Failed(Failure::new(Code::ConnectionUnavailable, message));
        }
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
}

impl Loop {
    /// Only a fatal error is returned; any other is tried again.
    fn run(mut self) -> Result<usize, CommitError> {
        self.start()?;
        let mut failing_since = None;
        loop {
            self.parts.health.publish.beat();
            let open = self.gather();
            match self.publish_batch()? {
                Step::Done if !open && self.pending.is_empty() => return Ok(0),
                Step::Done => failing_since = None,
                Step::Again => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if !open && since.elapsed() > LAST_TRIES {
                        return Ok(self.pending.len());
                    }
                    std::thread::sleep(BACKOFF);
                }
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
        self.pending
            .extend(fresh.into_iter().map(|answered| Pending { answered, max_bytes: MAX_ANSWER_BYTES }));
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
        if self.pending.is_empty() && self.parts.offsets.propose([]).is_empty() {
            return Ok(Step::Done);
        }
        let begun = Instant::now();
        if let Err(error) = self.parts.committer.begin(&self.parts.producer) {
            self.note(error)?;
            return Ok(Step::Again);
        }
        let mut batch = std::mem::take(&mut self.pending);
        let (encoded, fits) = encode(&batch);
        let results = self.send(&encoded);
        drop(encoded);
        let later = batch.split_off(fits.min(batch.len()));
        let (delivered, refused) = sort(batch, &results);
        let all_delivered = refused.is_empty();
        self.pending = refused;
        self.pending.extend(later);
        let step = if self.parts.committer.answers_stand_alone() {
            self.settle_then_commit(&delivered, begun)?
        } else if all_delivered {
            self.commit_then_settle(delivered, begun)?
        } else {
            self.abort(delivered)?
        };
        Ok(if all_delivered { step } else { Step::Again })
    }

    fn send(&mut self, encoded: &[Answer<'_>]) -> Vec<Result<(), RDKafkaErrorCode>> {
        let Publish { topics, producer, health, metrics, .. } = &mut self.parts;
        let message = |answer| message_of(topics, answer);
        let messages: Vec<Message<'_>> = encoded.iter().map(message).collect();
        let results = producer.send_all(&messages, || health.publish.beat());
        for (message, result) in messages.iter().zip(&results) {
            if let Err(code) = result {
                metrics.kafka_error("produce");
                tracing::error!(topic = message.topic, bytes = message.payload.len(), %code, "answer not taken by Kafka");
            }
        }
        results
    }

    /// Acknowledged answers stand, whatever becomes of their commit: the next one holds them too.
    fn settle_then_commit(&mut self, delivered: &[Pending], begun: Instant) -> Result<Step, CommitError> {
        self.parts.offsets.settle(delivered.iter().map(Pending::origin), &[]);
        let commits = self.parts.offsets.propose([]);
        match self.parts.committer.commit(&self.parts.producer, &commits) {
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
        let commits = self.parts.offsets.propose(delivered.iter().map(Pending::origin));
        match self.parts.committer.commit(&self.parts.producer, &commits) {
            Ok(()) => self.parts.offsets.settle(delivered.iter().map(Pending::origin), &commits),
            Err(error) => {
                self.note(error)?;
                return self.abort(delivered);
            }
        }
        self.parts.metrics.committed(delivered.len(), begun.elapsed());
        Ok(Step::Done)
    }

    /// Takes the batch back; it is chosen anew, by ownership, next time.
    fn abort(&mut self, batch: Vec<Pending>) -> Result<Step, CommitError> {
        if let Err(error) = self.parts.committer.abort(&self.parts.producer) {
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

/// Encodes as many answers as fit into one batch, the first in any case.
fn encode(batch: &[Pending]) -> (Vec<Answer<'_>>, usize) {
    let (mut encoded, mut bytes) = (Vec::with_capacity(batch.len().min(MAX_BATCH)), 0);
    for pending in batch.iter().take(MAX_BATCH) {
        let answer = pending.answered.outcome.encode(pending.max_bytes);
        bytes += answer.payload.len();
        if bytes > MAX_BATCH_BYTES && !encoded.is_empty() {
            break;
        }
        encoded.push(answer);
    }
    let fits = encoded.len();
    (encoded, fits)
}

/// The topic is not there, or not for us. librdkafka has looked for it for long by now.
fn is_final(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
    )
}

/// Parts the delivered from the refused; an answer that was too large for its topic is halved.
fn sort(batch: Vec<Pending>, results: &[Result<(), RDKafkaErrorCode>]) -> (Vec<Pending>, Vec<Pending>) {
    let (mut delivered, mut refused) = (Vec::with_capacity(batch.len()), Vec::new());
    for (mut pending, result) in batch.into_iter().zip(results) {
        match result {
            Ok(()) => delivered.push(pending),
            Err(code) => {
                if matches!(
                    code,
                    RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize
                ) {
                    pending.max_bytes = (pending.max_bytes / 2).max(MIN_ANSWER_BYTES);
                } else if is_final(*code) {
                    pending.answer_instead(*code);
                }
                refused.push(pending);
            }
        }
    }
    (delivered, refused)
}
