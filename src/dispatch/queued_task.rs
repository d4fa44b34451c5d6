//! A task in the dispatcher, from [`submit`](super::Dispatcher::submit) to its exit.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::SubmittedTask;
use super::deferral::{DeferReason, DeferralDecision, TaskCountGuard};
use super::destination_order::DestinationKey;
use super::lifecycle::TaskExit;
use super::retry::TryCount;
use super::task_status::{TaskStatus, WaitReason};
use crate::admission::Admission;
use crate::breaker::UNAVAILABLE_AFTER;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::record::Record;
use crate::task::Task;
use crate::traces::TaskNotes;
use crate::transfer::{LocalFiles, ResumeState, TransferRequest};

/// A submitted task with what its tries need and leave.
#[derive(Debug)]
pub(super) struct QueuedTask {
    pub record: Box<Record>,
    pub task: Arc<Task>,
    pub admission: Admission,
    pub tries: TryCount,
    pub destination: DestinationKey,
    /// It is the one task that may use this destination now; the next one waits for its exit.
    pub holds_destination: bool,
    /// The local storages that its tries use. They match its destination, however the local connection changes.
    pub files: LocalFiles,
    /// A try may have changed something in `files`, so the task keeps them.
    pub is_bound: bool,
    pub queued_at: Instant,
    /// When its first try began, in this pod or in another.
    pub begun: Option<Instant>,
    /// Its tries, if traces are exported.
    pub notes: TaskNotes,
    /// Counts it as one of its connection's tasks, once it is queued.
    pub counted: Option<TaskCountGuard>,
    /// What its last try has left for the next one to resume.
    pub resume_state: ResumeState,
}

impl QueuedTask {
    /// Boxed, as it is everywhere: a growing queue copies its elements, and needs twice their size.
    pub fn new(
        submitted: SubmittedTask,
        (destination, files): (DestinationKey, LocalFiles),
        now: Instant,
    ) -> Box<Self> {
        let SubmittedTask { record, task, admission } = submitted;
        let begun = record.retry.as_ref().and_then(|retry| retry.begun);
        let ago = begun.map(|begun| Timestamp::now().duration_since(begun));
        Box::new(QueuedTask {
            tries: TryCount::new(record.retry.as_ref().map_or(0, |retry| retry.attempts)),
            begun: ago.map(|ago| now.checked_sub(ago.unsigned_abs()).unwrap_or(now)),
            record,
            task,
            admission,
            destination,
            holds_destination: false,
            files,
            is_bound: false,
            queued_at: now,
            notes: TaskNotes::default(),
            counted: None,
            resume_state: ResumeState::default(),
        })
    }

    pub fn request(&self) -> TransferRequest<'_> {
        TransferRequest { task: &self.task, record: &self.record, files: &self.files }
    }

    pub fn task_status(&self, wait_reason: WaitReason) -> TaskStatus {
        let (task, attempts) = (&self.task, self.tries.attempts);
        TaskStatus { task_id: task.task_id.clone(), connection: task.remote.clone(), attempts, wait_reason }
    }

    /// Time since its first try began; zero if none has.
    pub fn elapsed(&self) -> Duration {
        self.begun.map(|begun| Instant::now().saturating_duration_since(begun)).unwrap_or_default()
    }

    /// Whether a failed login does not count as an attempt. A probe of the open breaker says something about the
    /// server, not about the task; and a deferred task has already waited through an open breaker, perhaps another
    /// pod's. Without retries it was the task's only try; a refused password is the answer to every task.
    pub fn login_is_uncounted(&self, error: &TryError, breaker_was_closed: bool) -> bool {
        error.remedy == Remedy::OpenBreaker
            && error.failure.code != Code::AuthFailed
            && self.task.options.retry_count > 0
            && (!breaker_was_closed || self.record.retry.is_some())
    }

    /// The answer of a task that has been deferred for as long as it may be.
    pub fn deferral_exhausted(&self, last: &Failure) -> Failure {
        let since =
            self.record.retry.as_ref().map(|retry| format!(" since {:.0}", retry.since)).unwrap_or_default();
        let message = format!("deferred{since}, as long as retry.max_deferral allows; the last try: {last}");
        Failure { ftp_code: last.ftp_code, ..Failure::new(Code::ConnectionUnavailable, message) }
    }

    /// The exit of a task that has waited too long for a session that other pods have; `None` if it continues to wait.
    pub fn exit_without_grant(&self, waited: Duration, decision: DeferralDecision) -> Option<TaskExit> {
        let seconds = waited.as_secs();
        let message =
            format!("not tried: other pods have had all sessions of max_sessions_total for {seconds} s");
        let busy = Failure::new(Code::ServerBusy, message);
        match decision {
            DeferralDecision::Possible => Some(TaskExit::Deferred(DeferReason::NoGrant)),
            DeferralDecision::Exhausted => Some(TaskExit::Answered(Err(self.deferral_exhausted(&busy)))),
            DeferralDecision::Never => {
                let is_over = self.task.options.retry_count == 0 || waited >= UNAVAILABLE_AFTER;
                is_over.then_some(TaskExit::Answered(Err(busy)))
            }
        }
    }

    /// The answer of a task whose deadline has passed before its next try.
    pub fn past_deadline(&self, wall: Timestamp) -> Option<Failure> {
        let deadline = self.task.options.deadline.filter(|deadline| wall > *deadline)?;
        let message = match self.tries.attempts {
            0 => format!("not begun by options.deadline, {deadline}"),
            n => format!("not done after {n} tries by options.deadline, {deadline}"),
        };
        Some(Failure::new(Code::DeadlineExceeded, message))
    }

    /// The answer of a task whose next try, `wait` from now, would start after its deadline.
    pub fn past_deadline_in(&self, wait: Duration, last: &Failure) -> Option<Failure> {
        let next = Timestamp::now().checked_add(wait).unwrap_or(Timestamp::MAX);
        let failure = self.past_deadline(next)?;
        let message = format!("{}; the last error: {last}", failure.message);
        Some(Failure { code: Code::DeadlineExceeded, message, ftp_code: last.ftp_code })
    }

    /// The answer of a task whose connection is not configured; `last` is the failure of its last try.
    pub fn unknown_connection(&self, last: Option<&Failure>) -> Failure {
        let mut message = format!("no FTP connection is named {:?}", self.task.remote);
        if let Some(last) = last {
            message = format!("{message} any more; the last try: {last}");
        }
        Failure {
            ftp_code: last.and_then(|last| last.ftp_code),
            ..Failure::new(Code::UnknownConnection, message)
        }
    }
}
