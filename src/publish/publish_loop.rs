//! The publishing thread: gathers answers, and has a batch of them published.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::batch_limits::BatchLimits;
use super::committer::Committer;
use super::pending_answers::{BatchSelector, PendingAnswer};
use super::producer::Producer;
use super::producer_state::ProducerState;
use super::refusing_topics::RefusingTopics;
use super::reply_topics::ReplyTopics;
use super::shutdown_deadline::ShutdownDeadline;
use super::{LINGER, LONGEST_LINGER, MAX_BATCH};
use crate::admission::TaskBudget;
use crate::health::PodHealth;
use crate::kafka::{ClientRenewal, CommitError};
use crate::metrics::Metrics;
use crate::offsets::Offsets;
use crate::outcome::AdmittedOutcome;
use crate::outcome::AnswerKind;

/// With nothing to publish the loop comes round this often, to beat and to commit passed-over offsets.
const IDLE: Duration = Duration::from_millis(500);
/// After a batch that Kafka did not take.
const BACKOFF: Duration = Duration::from_millis(250);

/// Where answers go.
#[derive(Clone, Debug)]
pub struct AnswerTopics {
    pub results: String,
    pub failures: String,
    /// Where deferred tasks go.
    pub retry: String,
    /// Patterns of topics that get an answer as well where its record asks for it.
    pub replies: Vec<String>,
    /// The pool's other topics, which cannot be reply topics.
    pub others: Vec<String>,
}

impl AnswerTopics {
    pub(super) fn of(&self, kind: AnswerKind) -> &str {
        match kind {
            AnswerKind::Result => &self.results,
            AnswerKind::Failure => &self.failures,
            AnswerKind::Deferral => &self.retry,
        }
    }

    fn reply_topics(&self) -> ReplyTopics {
        let own = [&self.results, &self.failures, &self.retry].into_iter().chain(&self.others);
        ReplyTopics::new(&self.replies, own.cloned().collect())
    }
}

/// What the thread needs.
pub struct Publish {
    pub answers: mpsc::Receiver<AdmittedOutcome>,
    /// Cancelled when no more answers will arrive: what is queued is still published, then the thread ends.
    pub finish: CancellationToken,
    pub topics: AnswerTopics,
    pub producer: Producer,
    pub committer: Box<dyn Committer>,
    pub offsets: Arc<Offsets>,
    /// Shows whether there are tasks whose answers may still arrive.
    pub budget: TaskBudget,
    pub health: Arc<PodHealth>,
    /// Requests a new producer.
    pub renewal: Arc<ClientRenewal>,
    pub metrics: Metrics,
}

impl std::fmt::Debug for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publish").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// The running thread.
#[derive(Debug)]
pub struct PublishHandle {
    /// Resolves when the thread has ended, with the answers that Kafka did not take, or the fatal error.
    pub ended: oneshot::Receiver<Result<usize, CommitError>>,
}

impl Publish {
    /// Starts the thread; `runtime` serves its timers.
    pub fn spawn(self, runtime: runtime::Handle) -> std::io::Result<PublishHandle> {
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name("publish".into()).spawn(move || {
            let health = self.health.clone();
            let result = PublishLoop::new(self, runtime).run();
            health.publish.finish();
            let _ = end.send(result); // there is no receiver after a second signal
        })?;
        Ok(PublishHandle { ended })
    }
}

/// The outcome of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CycleStep {
    Done,
    /// Kafka did not take all of it: what is left is pending.
    Again,
}

/// What the thread knows. Its cycles are in `publish_cycle.rs`, the producer's state in `producer_state.rs`.
pub(super) struct PublishLoop {
    pub parts: Publish,
    runtime: runtime::Handle,
    pub deadline: ShutdownDeadline,
    pub producer_state: ProducerState,
    /// Bounded by the pod's budget: every answer holds its admission.
    pub pending: Vec<PendingAnswer>,
    pub refusing_topics: RefusingTopics,
    pub reply_topics: ReplyTopics,
    pub batch_limits: BatchLimits,
    pub selector: BatchSelector,
    /// When the last batch began.
    last_batch: Option<Instant>,
}

impl PublishLoop {
    pub fn new(parts: Publish, runtime: runtime::Handle) -> Self {
        PublishLoop {
            deadline: ShutdownDeadline::new(
                parts.health.clone(),
                parts.renewal.clone(),
                parts.finish.clone(),
            ),
            producer_state: ProducerState::default(),
            pending: Vec::new(),
            refusing_topics: RefusingTopics::default(),
            reply_topics: parts.topics.reply_topics(),
            batch_limits: BatchLimits::default(),
            selector: BatchSelector::default(),
            last_batch: None,
            parts,
            runtime,
        }
    }

    /// Returns how many answers Kafka did not take until the end; or an error after which none can be published.
    fn run(mut self) -> Result<usize, CommitError> {
        self.parts.health.set_publishing(false);
        loop {
            self.parts.health.publish.beat();
            let open = self.gather();
            self.last_batch = Some(Instant::now());
            let step = self.publish_batch()?;
            if step == CycleStep::Done {
                self.parts.health.report_answers_accepted();
            }
            let left = self.pending.len() + self.producer_state.uncertain_answers();
            let is_done = left == 0 && (step == CycleStep::Done || !self.producer_state.has_started());
            if !open && (is_done || self.deadline.has_passed()) {
                return Ok(left);
            }
            if step == CycleStep::Again {
                self.deadline.sleep(BACKOFF);
            }
        }
    }

    /// Fills `pending`; false once no more answers will arrive. The thread is woken only by the first answer, and
    /// sleeps while others accumulate, so a single answer does not wait, and many share a batch.
    fn gather(&mut self) -> bool {
        let Publish { answers, finish, .. } = &mut self.parts;
        if finish.is_cancelled() {
            answers.close(); // what is queued is still received
        }
        let mut fresh = Vec::new();
        let wait = if self.pending.is_empty() { IDLE } else { LINGER };
        let open = self.runtime.block_on(async {
            tokio::select! {
                received = timeout(wait, answers.recv_many(&mut fresh, MAX_BATCH)) => received != Ok(0),
                () = finish.cancelled(), if !answers.is_closed() => true,
            }
        });
        for linger in [LINGER, LONGEST_LINGER] {
            if fresh.is_empty() || !self.may_wait_for_others(fresh.len()) {
                break;
            }
            let next_batch = self.last_batch.map_or_else(Instant::now, |last| last + linger);
            std::thread::sleep(next_batch.saturating_duration_since(Instant::now()));
            while fresh.len() < MAX_BATCH
                && let Ok(answer) = self.parts.answers.try_recv()
            {
                fresh.push(answer);
            }
        }
        self.pending.extend(fresh.into_iter().map(PendingAnswer::new));
        open
    }

    /// Whether an answer may come that could share the batch with `fresh` ones: [`LINGER`] comes between two batches
    /// in any case, and more only while the pod holds tasks that are not answered.
    fn may_wait_for_others(&self, fresh: usize) -> bool {
        let Publish { answers, budget, .. } = &self.parts;
        let is_too_soon = self.last_batch.is_some_and(|last| last.elapsed() < LINGER);
        fresh < MAX_BATCH
            && !answers.is_closed()
            && (is_too_soon || self.pending.len() + fresh < budget.tasks())
    }
}
