//! The batch that a run's tasks form: its id, and its records on the control topic.

use jiff::Timestamp;

use super::send::{SendEnd, SubmitRun};
use crate::batch::{BatchNews, DoneBatch, SubmittedBatch};
use crate::cli::CommandError;
use crate::cli::batch::control;
use crate::cli::output::note;
use crate::client::Cluster;
use crate::config::{Config, KafkaConfig};
use crate::text::rfc3339;

/// A run's batch. Without the control topic, or the right to write there, it has an id all the same.
#[derive(Debug)]
pub(in crate::cli) struct RunBatch {
    id: String,
    submitted: SubmittedBatch,
    is_known: bool,
}

impl RunBatch {
    /// Says on the control topic what comes, so that it can be cancelled while it is being sent.
    ///
    /// # Errors
    /// The system has no randomness, or the brokers do not answer.
    pub fn begin(config: &Config, what: String, tasks: u64) -> Result<RunBatch, CommandError> {
        let now = Timestamp::now();
        let id = control::new_id(now).map_err(CommandError::Runtime)?;
        let submitted = SubmittedBatch { at: rfc3339(now), by: control::who(), what, tasks };
        let is_there = Cluster::new(&config.kafka)?.partitions(&config.kafka.control_topic)?.is_some();
        let mut batch = RunBatch { id, submitted, is_known: is_there };
        batch.is_known = is_there && batch.say(&config.kafka, &BatchNews::Submitted(batch.submitted.clone()));
        Ok(batch)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Says what has become of it.
    pub fn end(&self, config: &Config, run: &SubmitRun) {
        if !self.is_known {
            return;
        }
        if run.sent != self.submitted.tasks {
            let submitted = SubmittedBatch { tasks: run.sent, ..self.submitted.clone() };
            self.say(&config.kafka, &BatchNews::Submitted(submitted));
        }
        if run.ended == SendEnd::Done && run.tally.answered() > 0 && run.tally.open() == 0 {
            self.done(&config.kafka, run.tally.completed, run.tally.failed);
        }
    }

    fn done(&self, kafka: &KafkaConfig, completed: u64, failed: u64) {
        let at = rfc3339(Timestamp::now());
        self.say(kafka, &BatchNews::Done(DoneBatch { at, completed, failed }));
    }

    /// False where the topic does not take it, which keeps no task from being sent.
    fn say(&self, kafka: &KafkaConfig, news: &BatchNews) -> bool {
        let said = control::write(kafka, &self.id, news);
        if let Err(error) = &said {
            note(&format!("{} does not take the batch {}: {error}", kafka.control_topic, self.id));
        }
        said.is_ok()
    }
}
