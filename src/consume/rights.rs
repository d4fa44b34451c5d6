//! Asks now and then what the brokers let this pod do with its topics: a right or a topic that is missing makes it not
//! ready, and is named.

use std::time::{Duration, Instant};

use super::group::Group;
use crate::health::PodHealth;
use crate::kafka::{NeededRights, TopicRightsQuery, missing_rights};

/// Between two questions.
const ASK: Duration = Duration::from_secs(5);
/// The same while something is missing: it may be granted at any time.
const ASK_WHILE_MISSING: Duration = Duration::from_secs(2);
/// For the answer; nothing blocks on it.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the pod needs, and whether it has it.
pub(super) struct Rights {
    needed: NeededRights,
    /// Topics that no pod makes.
    made_elsewhere: Vec<String>,
    asked: Option<TopicRightsQuery>,
    last: Option<Instant>,
    is_missing: bool,
}

impl Rights {
    /// The pods create the retry topic themselves; without it, tasks are not deferred.
    pub fn new(needed: NeededRights, retry_topic: Option<&str>) -> Rights {
        let made_elsewhere =
            needed.keys().filter(|topic| Some(topic.as_str()) != retry_topic).cloned().collect();
        Rights { needed, made_elsewhere, asked: None, last: None, is_missing: false }
    }

    /// The client has been replaced: pending answers of the old one are dropped.
    pub fn start_over(&mut self) {
        self.asked = None;
    }

    /// Waits for nothing.
    pub fn check(&mut self, group: &Group, health: &PodHealth) {
        if let Some(asked) = &self.asked {
            let Some(answer) = asked.answer(Duration::ZERO) else { return };
            self.asked = None;
            match answer {
                Ok(allowed) => {
                    let missing = missing_rights(&self.needed, &allowed);
                    let gone: Vec<String> = allowed
                        .iter()
                        .filter(|(topic, rights)| rights.is_none() && self.made_elsewhere.contains(topic))
                        .map(|(topic, _)| topic.clone())
                        .collect();
                    self.is_missing = !missing.is_empty() || !gone.is_empty();
                    health.set_missing_rights("topics", missing);
                    health.set_missing_topics(gone);
                }
                Err(error) => {
                    tracing::debug!(event = "topic_rights_unavailable", %error, "cannot read the rights on the topics; retrying");
                    group.answering.forget();
                }
            }
            return;
        }
        let pause = if self.is_missing { ASK_WHILE_MISSING } else { ASK };
        if self.needed.is_empty() || self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        self.asked = Some(group.ask_for_rights(self.needed.keys().map(String::as_str), DEADLINE));
    }
}
