//! Topics that refuse answers: theirs are kept, the others' go on. Pure; the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

/// Between two looks at a topic that refused.
const LOOK: Duration = Duration::from_secs(5);

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
    Passing,
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
            _ => Refusal::Passing,
        }
    }
}

/// The topics on hold, each with the time of the next look at it.
#[derive(Debug, Default)]
pub(super) struct Holds {
    topics: HashMap<String, Instant>,
}

impl Holds {
    /// True where the topic was not on hold before.
    pub fn hold(&mut self, topic: &str, now: Instant) -> bool {
        self.topics.insert(topic.to_owned(), now + LOOK).is_none()
    }

    pub fn is_held(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Looks at the topics whose time has come; those that are well are held no more, and returned.
    pub fn look(&mut self, now: Instant, is_well: impl Fn(&str) -> bool) -> Vec<String> {
        let (mut well, mut due) = (Vec::new(), self.topics.iter_mut().filter(|(_, next)| now >= **next));
        for (topic, next) in &mut due {
            if is_well(topic) {
                well.push(topic.clone());
            } else {
                *next = now + LOOK;
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
        let (mut holds, start) = (Holds::default(), Instant::now());
        assert!(holds.hold("results", start) && !holds.hold("results", start));
        assert!(holds.is_held("results") && !holds.is_held("failures"));
        assert!(holds.look(start, |_| true).is_empty(), "too soon");
        assert!(holds.look(start + LOOK, |_| false).is_empty());
        assert!(holds.look(start + LOOK, |_| true).is_empty(), "looked at just now");
        assert_eq!(holds.look(start + 2 * LOOK, |_| true), ["results"]);
        assert!(!holds.is_held("results"));
    }

    #[test]
    fn a_refusal_concerns_the_topic_the_answer_or_nobody() {
        use RDKafkaErrorCode as Code;
        assert_eq!(Refusal::of(Code::TopicAuthorizationFailed), Refusal::Topic);
        assert_eq!(Refusal::of(Code::UnknownTopic), Refusal::Topic);
        assert_eq!(Refusal::of(Code::MessageSizeTooLarge), Refusal::Size);
        assert_eq!(Refusal::of(Code::InvalidRecord), Refusal::Answer);
        assert_eq!(Refusal::of(Code::MessageTimedOut), Refusal::Passing);
        assert_eq!(Refusal::of(Code::PurgeQueue), Refusal::Passing);
    }
}
