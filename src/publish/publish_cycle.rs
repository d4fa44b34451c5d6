//! One round of the publishing thread: a batch is chosen, sent, and committed or taken back.

use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode;

use super::batch_limits::size_of;
use super::committer::CommitFailure;
use super::delivery_results::{DeliveryResults, sort_by_report};
use super::pending_answers::PendingAnswer;
use super::producer::AnswerMessage;
use super::producer_state::UncertainCommit;
use super::publish_loop::{CycleStep, Publish, PublishLoop};
use super::refusing_topics::Refusal;
use super::reply_topics::TopicLookup;
use crate::kafka::CommitError;
use crate::outcome::Answer;

/// The delivery result of one message.
type Report = Result<(), RDKafkaErrorCode>;

impl PublishLoop {
    pub fn publish_batch(&mut self) -> Result<CycleStep, CommitError> {
        if !self.is_ready()? {
            return Ok(CycleStep::Again);
        }
        match self.parts.committer.prepare() {
            Ok(generation) => self.parts.offsets.set_committing(generation),
            Err(error) => {
                self.handle_error(error)?;
                return Ok(CycleStep::Again);
            }
        }
        self.drop_late();
        let mut batch = self.select();
        self.decide_replies(&mut batch);
        if batch.is_empty() && self.parts.offsets.propose([]).is_none_or(|commits| commits.is_empty()) {
            return Ok(CycleStep::Done);
        }
        let begun = Instant::now();
        if let Err(error) = self.parts.committer.begin(&self.parts.producer, &self.deadline) {
            self.pending.splice(0..0, batch);
            self.handle_error(error)?;
            return Ok(CycleStep::Again);
        }
        let mut encoded = self.batch_limits.encode(&batch, begun);
        encoded.truncate(self.reply_topics.fitting(&batch, &encoded));
        let bytes: Vec<usize> = encoded.iter().map(size_of).collect();
        let (answers, replies) = self.send(&batch, &encoded);
        drop(encoded);
        let later = batch.split_off(bytes.len());
        let reports = self.reply_topics.join(&mut batch, &bytes, answers, &replies, Instant::now());
        self.note_refusals(&batch, &reports);
        let DeliveryResults { delivered, refused, too_large } =
            sort_by_report(batch, &bytes, &reports, &mut self.batch_limits, Instant::now());
        let all_delivered = delivered.len() == bytes.len();
        self.pending.splice(0..0, refused.into_iter().chain(later));
        self.pending.extend(too_large);
        let step = if self.parts.committer.keeps_answers_without_commit() {
            self.settle_then_commit(&delivered, begun)?
        } else if all_delivered {
            self.commit_then_settle(delivered, begun)?
        } else {
            self.abort(delivered, "refused")?
        };
        Ok(if all_delivered { step } else { CycleStep::Again })
    }

    /// Outcomes whose partition has left are the next owner's to publish.
    fn drop_late(&mut self) {
        let offsets = &self.parts.offsets;
        self.pending.retain(|pending| {
            let (origin, lease) = pending.origin();
            let owned = offsets.is_owned(origin, lease);
            if !owned {
                tracing::debug!(
                    event = "outcome_dropped", %origin,
                    "outcome dropped: its partition was reassigned"
                );
            }
            owned
        });
    }

    /// The next batch: nothing for a topic on hold, and nothing that was set aside.
    fn select(&mut self) -> Vec<PendingAnswer> {
        let PublishLoop {
            parts: Publish { topics, producer, offsets, .. },
            deadline,
            refusing_topics,
            pending,
            selector,
            ..
        } = self;
        let now = Instant::now();
        for topic in refusing_topics.probe(now, |topic| deadline.keep_waiting() && producer.has_topic(topic))
        {
            tracing::info!(event = "topic_accepts_again", topic, "topic accepts records again");
        }
        selector.select(pending, now, |answer| {
            refusing_topics.is_refusing(topics.of(answer.kind())) || !offsets.may_commit(answer.origin().0)
        })
    }

    /// Looks up the topics of replies before a transaction begins; those that take too long wait for the next batch.
    fn decide_replies(&mut self, batch: &mut Vec<PendingAnswer>) {
        let (producer, deadline) = (&self.parts.producer, &self.deadline);
        let later = self.reply_topics.decide(batch, Instant::now(), |topic| {
            if deadline.keep_waiting() { producer.look_for(topic) } else { TopicLookup::Unknown }
        });
        self.pending.splice(0..0, later);
    }

    /// Sends answers, each with its reply, and returns their delivery results.
    fn send(
        &mut self,
        batch: &[PendingAnswer],
        encoded: &[Answer<'_>],
    ) -> (Vec<Report>, Vec<Option<Report>>) {
        let Publish { topics, producer, .. } = &mut self.parts;
        let mut messages = Vec::with_capacity(encoded.len());
        for (pending, answer) in batch.iter().zip(encoded) {
            messages.push(message_of(topics.of(answer.kind), answer));
            messages.extend(pending.reply_topic().map(|topic| message_of(topic, answer)));
        }
        let mut reports = producer.send_all(&messages, &self.deadline).into_iter();
        let mut next = || reports.next().unwrap_or(Err(RDKafkaErrorCode::MessageTimedOut));
        batch.iter().take(encoded.len()).map(|one| (next(), one.reply_topic().map(|_| next()))).unzip()
    }

    /// Counts what Kafka did not take, and puts topics on hold that take nothing.
    fn note_refusals(&mut self, batch: &[PendingAnswer], reports: &[Result<(), RDKafkaErrorCode>]) {
        let now = Instant::now();
        for (answer, report) in batch.iter().zip(reports) {
            let Err(code) = *report else { continue };
            self.parts.metrics.kafka_error("produce");
            let topic = self.parts.topics.of(answer.kind());
            if answer.is_refused_by_retry_topic(code) {
                tracing::error!(
                    event = "retry_topic_rejects", topic, %code,
                    "retry topic rejects tasks; they are answered instead"
                );
            } else if Refusal::of(code) == Refusal::Topic && self.refusing_topics.note_refusal(topic, now) {
                tracing::error!(
                    event = "topic_rejects", topic, %code,
                    "topic rejects records; answers are held and retried"
                );
            }
            tracing::debug!(
                event = "answer_rejected", topic, origin = %answer.origin().0, %code,
                "answer not accepted by Kafka"
            );
        }
    }

    /// Acknowledged answers are final, whatever happens to their commit: the next one includes them.
    fn settle_then_commit(
        &mut self,
        delivered: &[PendingAnswer],
        begun: Instant,
    ) -> Result<CycleStep, CommitError> {
        self.parts.offsets.settle(delivered.iter().map(PendingAnswer::origin), &[]);
        let commits = self.parts.offsets.propose([]).unwrap_or_default();
        let Publish { committer, producer, .. } = &mut self.parts;
        match committer.commit(producer, &commits, &self.deadline) {
            Ok(()) => self.parts.offsets.settle([], &commits),
            Err(CommitFailure::No(error) | CommitFailure::Uncertain(error)) => {
                self.handle_error(error)?;
                return Ok(CycleStep::Again);
            }
        }
        self.count(delivered, begun.elapsed());
        Ok(CycleStep::Done)
    }

    /// Answers and offsets succeed or fail together.
    fn commit_then_settle(
        &mut self,
        delivered: Vec<PendingAnswer>,
        begun: Instant,
    ) -> Result<CycleStep, CommitError> {
        let Some(commits) = self.parts.offsets.propose(delivered.iter().map(PendingAnswer::origin)) else {
            // A partition has left since its outcomes were chosen: its next owner answers them.
            return self.abort(delivered, "rebalance");
        };
        let Publish { committer, producer, .. } = &mut self.parts;
        match committer.commit(producer, &commits, &self.deadline) {
            Ok(()) => {
                self.published(&delivered, &commits, begun);
                Ok(CycleStep::Done)
            }
            Err(CommitFailure::No(error)) => {
                let reason = error.reason();
                self.take_back(delivered);
                self.handle_error(error)?;
                self.end_transaction(reason)
            }
            Err(CommitFailure::Uncertain(error)) => {
                let reason = error.reason();
                tracing::warn!(
                    event = "commit_uncertain", %error, answers = delivered.len(),
                    "the outcome of a commit is unknown"
                );
                self.producer_state.set_uncertain(UncertainCommit { answers: delivered, commits, begun });
                self.handle_error(error)?;
                self.end_transaction(reason)
            }
        }
    }

    fn abort(&mut self, batch: Vec<PendingAnswer>, reason: &'static str) -> Result<CycleStep, CommitError> {
        self.take_back(batch);
        self.end_transaction(reason)
    }

    /// The batch is chosen again, by ownership, next time.
    fn take_back(&mut self, batch: Vec<PendingAnswer>) {
        self.pending.splice(0..0, batch);
    }

    /// Aborts the open transaction; where its producer has failed for good, the next one does.
    fn end_transaction(&mut self, reason: &'static str) -> Result<CycleStep, CommitError> {
        self.parts.metrics.aborted(reason);
        if self.producer_state.is_usable() {
            let Publish { committer, producer, .. } = &mut self.parts;
            if let Err(error) = committer.abort(producer, &self.deadline) {
                self.handle_error(error)?;
            }
        }
        Ok(CycleStep::Again)
    }
}

fn message_of<'a>(topic: &'a str, answer: &'a Answer<'_>) -> AnswerMessage<'a> {
    AnswerMessage { topic, key: answer.key, headers: &answer.headers, payload: &answer.payload }
}
