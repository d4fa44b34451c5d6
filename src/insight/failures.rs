//! The last failures of this pod: a ring.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::task::Task;

/// Older ones are in the failures topic.
pub const MAX_FAILURES: usize = 200;

/// One failure, as it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureEntry {
    #[serde(serialize_with = "super::time::serialize")]
    pub at: Timestamp,
    /// None if the record has none, or none that could be read.
    pub task_id: Option<String>,
    /// This and the next three are None if the record is not a task.
    pub connection: Option<String>,
    pub operation: Option<&'static str>,
    pub remote_path: Option<String>,
    pub local_path: Option<String>,
    pub code: &'static str,
    pub message: String,
    /// What the user should do about it.
    pub advice: &'static str,
    /// How many tries were started.
    pub attempts: u32,
    /// The last decisive reply.
    pub ftp_code: Option<u16>,
}

impl FailureEntry {
    /// The failure of a record that is not a task.
    #[must_use]
    pub fn rejected(at: Timestamp, task_id: Option<&str>, attempts: u32, failure: &Failure) -> Self {
        FailureEntry {
            at,
            task_id: task_id.map(str::to_owned),
            connection: None,
            operation: None,
            remote_path: None,
            local_path: None,
            code: failure.code.as_str(),
            message: failure.message.clone(),
            advice: failure.code.advice(),
            attempts,
            ftp_code: failure.ftp_code,
        }
    }

    #[must_use]
    pub fn of(at: Timestamp, task: &Task, attempts: u32, failure: &Failure) -> Self {
        FailureEntry {
            connection: Some(task.remote.clone()),
            operation: Some(task.operation.as_str()),
            remote_path: Some(task.remote_path.clone()),
            local_path: Some(task.local_path.clone()),
            ..FailureEntry::rejected(at, Some(&task.task_id), attempts, failure)
        }
    }
}

/// The last [`MAX_FAILURES`]; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RecentFailures {
    ring: Arc<Mutex<VecDeque<FailureEntry>>>,
    answered: Arc<AtomicU64>,
    sent_again: Arc<AtomicU64>,
}

impl RecentFailures {
    pub fn add(&self, failed: FailureEntry) {
        if failed.code != Code::Cancelled.as_str() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() >= MAX_FAILURES {
            ring.pop_back();
        }
        ring.push_front(failed);
    }

    /// This many failures (of any pod) were sent again, and have arrived at this pod.
    pub fn count_sent_again(&self, failures: usize) {
        self.sent_again.fetch_add(failures as u64, Ordering::Relaxed);
    }

    /// Failures that need attention: how many this pod has answered since it started, and how many were sent again and
    /// arrived here.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.sent_again.load(Ordering::Relaxed))
    }

    /// The newest first.
    #[must_use]
    pub fn last(&self, limit: usize) -> Vec<FailureEntry> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_nobody_has_to_see_to_do_not_count() {
        let failures = RecentFailures::default();
        for code in [Code::InvalidTask, Code::Cancelled, Code::Timeout] {
            failures.add(FailureEntry::rejected(Timestamp::UNIX_EPOCH, None, 0, &Failure::new(code, "")));
        }
        failures.count_sent_again(1);
        assert_eq!(failures.counts(), (2, 1));
    }

    #[test]
    fn the_ring_keeps_the_last_ones() {
        let failures = RecentFailures::default();
        for number in 0..MAX_FAILURES + 7 {
            let failure = Failure::new(Code::InvalidTask, format!("failure {number}"));
            failures.add(FailureEntry::rejected(Timestamp::UNIX_EPOCH, None, 0, &failure));
        }
        let last = failures.last(2);
        assert_eq!(
            last.iter().map(|failed| &*failed.message).collect::<Vec<_>>(),
            ["failure 206", "failure 205"]
        );
        let all = failures.last(usize::MAX);
        assert_eq!((all.len(), &*all[MAX_FAILURES - 1].message), (MAX_FAILURES, "failure 7"));
        assert!(last[0].advice.starts_with("Correct the producer"));
    }
}
