//! Topics that reject answers: their answers are held, the others' continue. Pure; time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

/// Between two checks of a topic that refused.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// What a refusal of one answer says about the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its topic is missing or forbidden: all answers for it wait.
    Topic,
    /// This answer is too large for its topic.
    Size,
    /// The broker finds fault with this one answer.
    Answer,
    /// The way to the broker, or what was sent with it: try again.
    Transient,
}

impl Refusal {
    pub fn of(code: RDKafkaErrorCode) -> Refusal {
        use RDKafkaErrorCode as Code;
        match code {
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
            | Code::InvalidTopic => Refusal::Topic,
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => Refusal::Size,
            Code::InvalidMessage | Code::InvalidRecord | Code::PolicyViolation | Code::InvalidTimestamp => {
                Refusal::Answer
            }
            _ => Refusal::Transient,
        }
    }
}

/// The topics on hold, each with the time of its next probe.
#[derive(Debug, Default)]
pub(super) struct RefusingTopics {
    topics: HashMap<String, Instant>,
}

impl RefusingTopics {
    /// True where the topic was not on hold before.
    pub fn note_refusal(&mut self, topic: &str, now: Instant) -> bool {
        self.topics.insert(topic.to_owned(), now + PROBE_INTERVAL).is_none()
    }

    pub fn is_refusing(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Probes the topics whose time has come; those that accept again are no longer held, and returned.
    pub fn probe(&mut self, now: Instant, is_accepting: impl Fn(&str) -> bool) -> Vec<String> {
        let (mut well, mut due) = (Vec::new(), self.topics.iter_mut().filter(|(_, next)| now >= **next));
        for (topic, next) in &mut due {
            if is_accepting(topic) {
                well.push(topic.clone());
            } else {
                *next = now + PROBE_INTERVAL;
            }
        }
        for topic in &well {
            self.topics.remove(topic);
        }
        well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_on_hold_is_looked_at_now_and_then_until_it_is_well() {
        let (mut refusing_topics, start) = (RefusingTopics::default(), Instant::now());
        assert!(
            refusing_topics.note_refusal("results", start) && !refusing_topics.note_refusal("results", start)
        );
        assert!(refusing_topics.is_refusing("results") && !refusing_topics.is_refusing("failures"));
        assert!(refusing_topics.probe(start, |_| true).is_empty(), "too soon");
        assert!(refusing_topics.probe(start + PROBE_INTERVAL, |_| false).is_empty());
        assert!(refusing_topics.probe(start + PROBE_INTERVAL, |_| true).is_empty(), "looked at just now");
        assert_eq!(refusing_topics.probe(start + 2 * PROBE_INTERVAL, |_| true), ["results"]);
        assert!(!refusing_topics.is_refusing("results"));
    }

    #[test]
    fn a_refusal_concerns_the_topic_the_answer_or_nobody() {
        use RDKafkaErrorCode as Code;
        assert_eq!(Refusal::of(Code::TopicAuthorizationFailed), Refusal::Topic);
        assert_eq!(Refusal::of(Code::UnknownTopic), Refusal::Topic);
        assert_eq!(Refusal::of(Code::MessageSizeTooLarge), Refusal::Size);
        assert_eq!(Refusal::of(Code::InvalidRecord), Refusal::Answer);
        assert_eq!(Refusal::of(Code::MessageTimedOut), Refusal::Transient);
        assert_eq!(Refusal::of(Code::PurgeQueue), Refusal::Transient);
    }
}
