//! Answers that go to a topic of their producer's as well: the one that the record's header `reply_to` names. Pure; the
//! time is an argument.
//!
//! A reply is a copy of the answer, in the same batch. It never holds an answer up for long: a topic that is not allowed,
//! not there, or that does not take replies costs the reply, and the answer says so.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::batch_limits::size_of;
use super::pending_answers::{PendingAnswer, ReplyRoute};
use super::refusing_topics::Refusal;
use super::topic_pattern::matches;
use crate::outcome::{Answer, AnswerKind};
use crate::record::Header;

/// Names the topic.
pub const REPLY_HEADER: &str = "reply_to";
/// How long a topic that does not exist is not looked up again.
const MISSING_FOR: Duration = Duration::from_secs(1);
/// How long a topic that rejected a reply gets none.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How long a topic is known to exist without another look-up.
const SEEN_FOR: Duration = Duration::from_secs(300);
/// How many topics are remembered; beyond that all are looked up again.
const MAX_REMEMBERED: usize = 1_000;
/// How many topics are looked up before one batch: each may cost a round trip.
pub(super) const LOOKUPS_PER_BATCH: usize = 16;
/// Batches that a reply may spoil by the way to its topic, while the answers' own topics take theirs.
const MAX_TRIES: u8 = 2;
/// Bytes of a topic's name in a note; Kafka allows 249.
const MAX_NAME_BYTES: usize = 249;

/// What is known of reply topics.
#[derive(Debug, Default)]
pub(super) struct ReplyTopics {
    /// `kafka.reply_topics`: names, with `*` for any characters.
    patterns: Vec<String>,
    /// The pool's own topics: a reply on the input topic would be a task again.
    own: Vec<String>,
    known: HashMap<String, KnownTopic>,
    /// When a header that names no allowed topic was last logged.
    misnamed_logged: Option<Instant>,
}

#[derive(Debug)]
struct KnownTopic {
    /// Why it accepts no reply.
    refused: Option<String>,
    until: Instant,
    /// Bytes of replies in one batch at most.
    batch_bytes: usize,
}

/// The result of looking up a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopicLookup {
    There,
    Missing,
    Forbidden,
    /// Unknown: sending will show.
    Unknown,
}

impl ReplyTopics {
    pub fn new(patterns: &[String], own: Vec<String>) -> ReplyTopics {
        ReplyTopics { patterns: patterns.to_vec(), own, known: HashMap::new(), misnamed_logged: None }
    }

    /// Decides where each answer's reply goes, if it is not decided yet; those for which that needs more lookups than one
    /// batch may have, and all behind them, are taken off the batch.
    pub fn decide(
        &mut self,
        batch: &mut Vec<PendingAnswer>,
        now: Instant,
        look: impl Fn(&str) -> TopicLookup,
    ) -> Vec<PendingAnswer> {
        // A refused one is kept until it is looked up again: only then is it known whether that is over.
        self.known.retain(|_, known| known.until > now || known.refused.is_some());
        let (mut lookups, mut is_silent) = (0, false);
        for index in 0..batch.len() {
            let Some(pending) = batch.get_mut(index) else { break };
            let topic = match self.wanted(pending) {
                None => continue,
                Some(Err(why)) => {
                    self.log_misnamed(&why, now);
                    pending.reply_refused(&why);
                    continue;
                }
                Some(Ok(topic)) => topic,
            };
            if self.known.get(&topic).is_none_or(|known| known.until <= now) {
                if lookups == LOOKUPS_PER_BATCH {
                    return batch.split_off(index);
                }
                lookups += 1;
                // Where Kafka does not answer one question it answers no other.
                let lookup = if is_silent { TopicLookup::Unknown } else { look(&topic) };
                is_silent |= lookup == TopicLookup::Unknown;
                self.learn(&topic, lookup, now);
            }
            match self.known.get(&topic).and_then(|known| known.refused.as_ref()) {
                Some(why) => pending.reply_refused(&named(&topic, why)),
                None => pending.reply = ReplyRoute::To(topic),
            }
        }
        Vec::new()
    }

    /// Remembers what a lookup has found, and logs it where it has changed.
    fn learn(&mut self, topic: &str, lookup: TopicLookup, now: Instant) {
        let was_refused = self.known.get(topic).is_some_and(|known| known.refused.is_some());
        let refused = refusal(lookup);
        match &refused {
            Some(why) if !was_refused => {
                tracing::warn!(event = "reply_topic_refused", topic, "no replies go to {topic}: it {why}");
            }
            None if was_refused && lookup == TopicLookup::There => {
                tracing::info!(event = "reply_topic_accepted", topic, "replies are sent to {topic} again");
            }
            _ => {}
        }
        let lasts = if lookup == TopicLookup::Missing { MISSING_FOR } else { REFUSED_FOR };
        self.remember(topic, refused, lasts, now);
    }

    /// At most once in [`REFUSED_FOR`], whatever producers write.
    fn log_misnamed(&mut self, why: &str, now: Instant) {
        if self.misnamed_logged.is_none_or(|logged| now.saturating_duration_since(logged) >= REFUSED_FOR) {
            self.misnamed_logged = Some(now);
            tracing::warn!(event = "reply_to_refused", "{why}");
        }
    }

    /// The topic for this answer's reply, or why there is none; `None` if that is decided, or no reply was requested.
    fn wanted(&self, pending: &PendingAnswer) -> Option<Result<String, String>> {
        if pending.kind() == AnswerKind::Deferral {
            return None;
        }
        let topic = match &pending.reply {
            ReplyRoute::Undecided => match self.named_by(pending.headers())? {
                Ok(topic) => topic,
                Err(why) => return Some(Err(why)),
            },
            // it may be refused since
            ReplyRoute::To(topic) => topic.clone(),
            ReplyRoute::Nowhere => return None,
        };
        Some(Ok(topic))
    }

    fn named_by(&self, headers: &[Header]) -> Option<Result<String, String>> {
        let header = headers.iter().rev().find(|header| header.key == REPLY_HEADER)?;
        let value = header.value.as_deref().unwrap_or_default();
        let text = String::from_utf8_lossy(value.get(..MAX_NAME_BYTES).unwrap_or(value)).into_owned();
        let refused = |why: &str| Some(Err(named(&text, why)));
        if !is_topic_name(value) {
            return refused("is not a valid topic name");
        }
        if text.starts_with("__") || self.own.contains(&text) {
            return refused("is a topic of Kafka's or of the pool's own");
        }
        if !self.patterns.iter().any(|pattern| matches(pattern, &text)) {
            return refused("is not among kafka.reply_topics");
        }
        Some(Ok(text))
    }

    /// How many of a batch's first answers have replies that may go together: at least one.
    pub fn fitting(&self, batch: &[PendingAnswer], encoded: &[Answer<'_>]) -> usize {
        let mut held: HashMap<&str, usize> = HashMap::new();
        for (index, (pending, answer)) in batch.iter().zip(encoded).enumerate() {
            let Some(topic) = pending.reply_topic() else { continue };
            let bytes = held.entry(topic).or_default();
            let has_company = *bytes > 0;
            *bytes += size_of(answer);
            let limit = self.known.get(topic).map_or(usize::MAX, |known| known.batch_bytes);
            if *bytes > limit && has_company {
                return index;
            }
        }
        encoded.len()
    }

    /// Joins the delivery results of answers with those of their replies: an answer whose reply was rejected must be
    /// sent again, with it or without.
    pub fn join(
        &mut self,
        batch: &mut [PendingAnswer],
        bytes: &[usize],
        answers: Vec<Result<(), RDKafkaErrorCode>>,
        replies: &[Option<Result<(), RDKafkaErrorCode>>],
        now: Instant,
    ) -> Vec<Result<(), RDKafkaErrorCode>> {
        let are_answers_taken = answers.iter().all(Result::is_ok);
        let mut sent: HashMap<String, (usize, usize)> = HashMap::new();
        for (pending, bytes) in batch.iter().zip(bytes) {
            if let Some(topic) = pending.reply_topic() {
                let (count, sum) = sent.entry(topic.to_owned()).or_default();
                (*count, *sum) = (*count + 1, *sum + bytes);
            }
        }
        let mut joined = answers;
        for ((pending, reply), answer) in batch.iter_mut().zip(replies).zip(&mut joined) {
            let (Some(Err(code)), Some(topic)) = (reply, pending.reply_topic().map(ToOwned::to_owned)) else {
                continue;
            };
            let (count, sum) = sent.get(&topic).copied().unwrap_or_default();
            match Refusal::of(*code) {
                Refusal::Topic => {
                    self.refuse(pending, &topic, &format!("does not take replies: {code}"), now);
                }
                Refusal::Size if count > 1 => self.limit(&topic, sum / 2),
                Refusal::Size => pending.reply_refused(&named(&topic, "does not take records of this size")),
                Refusal::Answer => pending.reply_refused(&named(&topic, &format!("refuses it: {code}"))),
                Refusal::Transient if are_answers_taken => {
                    pending.reply_tries += 1;
                    if pending.reply_tries >= MAX_TRIES {
                        self.refuse(pending, &topic, &format!("did not take it: {code}"), now);
                    }
                }
                Refusal::Transient => {}
            }
            if answer.is_ok() {
                *answer = Err(RDKafkaErrorCode::PurgeQueue); // as one that was not sent
            }
        }
        joined
    }

    fn refuse(&mut self, pending: &mut PendingAnswer, topic: &str, why: &str, now: Instant) {
        if self.known.get(topic).is_none_or(|known| known.refused.is_none()) {
            tracing::warn!(
                event = "reply_topic_refused",
                topic,
                "no replies go to {topic} for a while: it {why}"
            );
        }
        self.remember(topic, Some(why.to_owned()), REFUSED_FOR, now);
        pending.reply_refused(&named(topic, why));
    }

    fn limit(&mut self, topic: &str, bytes: usize) {
        if let Some(known) = self.known.get_mut(topic) {
            known.batch_bytes = known.batch_bytes.min(bytes);
        }
    }

    /// `lasts` is for how long a refusal holds without another lookup.
    fn remember(&mut self, topic: &str, refused: Option<String>, lasts: Duration, now: Instant) {
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        let until = now + if refused.is_some() { lasts } else { SEEN_FOR };
        self.known.insert(topic.to_owned(), KnownTopic { refused, until, batch_bytes: usize::MAX });
    }
}

fn refusal(lookup: TopicLookup) -> Option<String> {
    match lookup {
        TopicLookup::There | TopicLookup::Unknown => None,
        TopicLookup::Missing => Some("does not exist".to_owned()),
        TopicLookup::Forbidden => Some("may not be written by this pod".to_owned()),
    }
}

fn named(topic: &str, why: &str) -> String {
    format!("no reply was sent: {REPLY_HEADER} `{topic}` {why}")
}

fn is_topic_name(name: &[u8]) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !matches!(name, b"." | b"..")
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

#[cfg(test)]
mod tests;
