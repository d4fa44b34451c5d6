//! Which tasks of a run are open, and the outcome of the others. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::cli::answer::{AnswerStatus, FailureAnswer, FileEnds, ReadAnswer};

/// Tasks that one run may wait for: 40 bytes each are held.
pub(super) const MAX_AWAITED: u64 = 5_000_000;
/// Failures that are listed; of the others only the number is reported.
const NAMED: usize = 100;

/// A failure, in a few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct FailureLine {
    pub task_id: String,
    #[serde(flatten)]
    pub file: FileEnds,
    pub code: String,
    pub message: String,
    pub retryable: bool,
}

impl FailureLine {
    pub fn new(task_id: String, failed: FailureAnswer) -> FailureLine {
        let FailureAnswer { code, message, is_retryable: retryable, file, .. } = failed;
        FailureLine { task_id, file, code, message, retryable }
    }
}

/// The outcome of a run's tasks.
#[derive(Debug, Default)]
pub(in crate::cli) struct AnswerTally {
    /// Hashes of ids, with how many tasks have the id.
    open: HashMap<u128, u32>,
    open_count: u64,
    pub completed: u64,
    pub failed: u64,
    pub bytes: u64,
    pub by_code: BTreeMap<String, u64>,
    pub named: Vec<FailureLine>,
}

impl AnswerTally {
    /// A task that will be answered.
    pub fn await_answer(&mut self, task_id: &str) {
        *self.open.entry(hash(task_id)).or_default() += 1;
        self.open_count += 1;
    }

    /// Counts an answer; false if it belongs to no task of this run, or is the second one to a task.
    pub fn take(&mut self, answer: ReadAnswer) -> bool {
        let Some(task_id) = answer.task_id else { return false };
        let key = hash(&task_id);
        let Some(left) = self.open.get_mut(&key) else { return false };
        *left -= 1;
        if *left == 0 {
            self.open.remove(&key);
        }
        self.open_count -= 1;
        match answer.verdict {
            AnswerStatus::Completed { bytes } => {
                self.completed += 1;
                self.bytes += bytes;
            }
            AnswerStatus::Failed(failed) => {
                self.failed += 1;
                *self.by_code.entry(failed.code.clone()).or_default() += 1;
                if self.named.len() < NAMED {
                    self.named.push(FailureLine::new(task_id, failed));
                }
            }
        }
        true
    }

    pub fn is_open(&self, task_id: &str) -> bool {
        self.open.contains_key(&hash(task_id))
    }

    pub fn open(&self) -> u64 {
        self.open_count
    }

    pub fn answered(&self) -> u64 {
        self.completed + self.failed
    }
}

fn hash(task_id: &str) -> u128 {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(Sha256::digest(task_id)) {
        *to = from;
    }
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(task_id: &str, failed: bool) -> ReadAnswer {
        let json = if failed {
            format!(
                r#"{{"task_id":"{task_id}","status":"failed","error":{{"code":"timeout","message":"m","retryable":true}}}}"#
            )
        } else {
            format!(r#"{{"task_id":"{task_id}","status":"completed","bytes_transferred":5}}"#)
        };
        ReadAnswer::read(Some(json.as_bytes())).unwrap()
    }

    #[test]
    fn two_tasks_with_one_id_have_two_answers_and_no_third() {
        let mut tally = AnswerTally::default();
        for id in ["a", "a", "b"] {
            tally.await_answer(id);
        }
        assert!(tally.take(answer("a", false)));
        assert!(!tally.take(answer("nobody's", false)));
        assert!(tally.is_open("a"));
        assert!(tally.take(answer("a", true)));
        assert!(!tally.take(answer("a", true)));
        assert_eq!((tally.open(), tally.completed, tally.failed, tally.bytes), (1, 1, 1, 5));
        assert!(!tally.is_open("a") && tally.is_open("b"));
        assert_eq!(tally.by_code["timeout"], 1);
        assert_eq!(tally.named[0].task_id, "a");
    }
}
