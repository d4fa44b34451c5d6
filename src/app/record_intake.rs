//! Where records enter: a task goes to dispatch, anything else straight to publish as a failure.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::admission::Admission;
use crate::batch::BatchBoard;
use crate::config::{ConfiguredConnections, CurrentConfig, UNVERIFIED_THROUGH_TUNNEL};
use crate::consume::RecordSink;
use crate::dispatch::{Dispatcher, SubmittedTask, TaskStatus};
use crate::insight::{FailureEntry, RecentFailures};
use crate::metrics::Metrics;
use crate::offsets::TopicPartition;
use crate::outcome::AdmittedOutcome;
use crate::outcome::{Outcome, Verdict};
use crate::record::{Origin, RETRY_OF, Record};
use crate::task::{Rejected, Task, Verify, decode};
use crate::traces::Traces;

/// The consuming thread's side of dispatch and publish.
pub(super) struct RecordIntake {
    /// Which connections there are.
    pub current: Arc<CurrentConfig>,
    pub dispatcher: Dispatcher,
    pub traces: Traces,
    /// Holds at least as many answers as the budget admits tasks.
    pub answers: mpsc::Sender<AdmittedOutcome>,
    pub metrics: Metrics,
    pub failures: RecentFailures,
    pub batches: BatchBoard,
    /// Connections for which it was said that their files are not verified. As many at most as there are connections.
    pub warned_unverified: Mutex<BTreeSet<String>>,
}

/// The first task waits for so long at most until it is known which batches are cancelled.
const CONTROL_READ_WITHIN: Duration = Duration::from_secs(5);

impl RecordSink for RecordIntake {
    fn accept(&self, record: Box<Record>, admission: Admission) {
        self.batches.wait_until_read(CONTROL_READ_WITHIN);
        self.failures.count_sent_again(failures_sent_again(&record));
        let config = self.current.config();
        match decode(record.payload.as_deref(), &config.connections) {
            Ok(task) => {
                self.warn_unverified(&task, &config.connections);
                self.dispatcher.submit(SubmittedTask { record, task: Arc::new(task), admission });
            }
            Err(rejected) => {
                // A deferred task may be one no more: the connections are others since.
                let attempts = record.retry.as_ref().map_or(0, |retry| retry.attempts);
                self.reject(record, rejected, attempts, admission);
            }
        }
    }

    fn withdraw(&self) -> Vec<Origin> {
        self.dispatcher.withdraw()
    }

    fn unblock(&self, stuck: &[(TopicPartition, i64)]) {
        self.dispatcher.unblock(stuck);
    }

    fn task_status(&self, origin: &Origin) -> Option<TaskStatus> {
        self.dispatcher.task_status(origin)
    }
}

/// How many failures a record sends again; one that comes from the retry topic was counted before.
fn failures_sent_again(record: &Record) -> usize {
    let header = record.headers.iter().find(|header| header.key == RETRY_OF);
    let named = header.filter(|_| record.retry.is_none()).and_then(|header| header.value.as_deref());
    named.map_or(0, |value| value.split(|byte| *byte == b',').filter(|one| !one.is_empty()).count())
}

impl RecordIntake {
    /// Once for each connection, for as long as the pod runs.
    fn warn_unverified(&self, task: &Task, connections: &ConfiguredConnections) {
        if task.options.verify != Verify::None {
            return;
        }
        let Some(via) = connections.ftp.get(&*task.remote).and_then(|ftp| ftp.network.via.as_ref()) else {
            return;
        };
        let mut warned = self.warned_unverified.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(task.remote.clone()) {
            let (connection, tunnel) = (task.remote.as_str(), via.as_str());
            tracing::warn!(
                event = "unverified_through_tunnel",
                connection,
                tunnel,
                "a task has verify: none through a tunnel: {UNVERIFIED_THROUGH_TUNNEL}"
            );
        }
    }

    fn reject(&self, record: Box<Record>, rejected: Rejected, attempts: u32, admission: Admission) {
        let Rejected { task_id, failure } = rejected;
        self.traces.rejected(&record, task_id.as_deref(), attempts, failure.code.as_str());
        tracing::warn!(
            target: "ftp_pooler::task",
            event = "task_rejected", task_id = task_id.as_deref(), origin = %record.origin,
            code = failure.code.as_str(), error = failure.message,
            "task rejected"
        );
        self.metrics.answered("invalid", "", Some(failure.code.as_str()), Duration::ZERO);
        let at = Timestamp::now();
        self.failures.add(FailureEntry::rejected(at, task_id.as_deref(), attempts, &failure));
        self.batches.count_answer(&record.headers, false);
        let verdict = Verdict::Failed(failure);
        let outcome = Outcome { record, task_id, attempts, at, verdict };
        // Full only if a bound elsewhere is broken; the record stays uncommitted and is read again.
        if let Err(error) = self.answers.try_send(AdmittedOutcome { outcome, admission }) {
            tracing::error!(event = "answer_not_queued", %error, "answer not queued");
        }
    }
}
