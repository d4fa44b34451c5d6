//! What a pod needs of each topic, and what is found of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::Cluster;
use super::{Client, DEADLINE, KafkaFinding, unanswered};
use crate::config::Config;
use crate::feeds::TOPIC_PARTITIONS;
use crate::kafka::{
    AllowedRights, TopicRight, TopicRightsQuery, partition_count, state_topic_partitions_problem,
    state_topic_policy_problem,
};

/// A pod creates it.
const NOT_YET: &str = "not there yet: a pod makes it as it starts, where it may";
/// A pod does not create it.
const NO_TOPIC: &str = "does not exist: `ftp-pooler topics` creates it";
/// Of records with one key, compaction keeps the last one.
const COMPACTED_TASKS: &str =
    "it is compacted: of tasks with one key that were not read in time, the last one alone is left";
const COMPACTED_ANSWERS: &str = "it is compacted: of answers with one key, the last one alone is left; `failures retry` does not trust it";
/// Tasks are done without them.
const NO_CONTROL: &str =
    "warning: does not exist: batches can be neither listed nor cancelled; `ftp-pooler topics` creates it";
const NO_REPLIES: &str = "warning: does not exist: answers do not go there until it is created";
const WITHOUT_CONTROL: &str = "pods may not learn that a batch was cancelled";
const WITHOUT_COORDINATION: &str = "each pod's page shows that pod alone";

/// What is wrong where the topic is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfMissing {
    /// Nothing: a pod makes it.
    Made,
    Fails(&'static str),
    /// It is said, and nothing fails.
    Noted(&'static str),
}

/// How the brokers may remove its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cleanup {
    /// Not looked at: a pod does, or it does not matter.
    Any,
    /// This is said where it is compacted.
    NotCompacted(&'static str),
    /// It holds state.
    Compacted,
    /// It holds state for a while: old entries may be deleted as well.
    CompactedInTime,
}

/// One topic as this configuration needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NeededTopic {
    name: String,
    rights: Vec<TopicRight>,
    if_missing: IfMissing,
    cleanup: Cleanup,
    /// At least so many.
    partitions: usize,
    /// What is not to be had where something is wrong with it; `None` where pods cannot work without it.
    consequence: Option<&'static str>,
}

impl NeededTopic {
    fn new(name: &str, rights: &[TopicRight]) -> NeededTopic {
        NeededTopic {
            name: name.to_owned(),
            rights: rights.to_vec(),
            if_missing: IfMissing::Fails(NO_TOPIC),
            cleanup: Cleanup::Any,
            partitions: 1,
            consequence: None,
        }
    }

    /// One with the state of partitions that pods own.
    fn with_state(name: &str, partitions: i32) -> NeededTopic {
        NeededTopic {
            if_missing: IfMissing::Made,
            cleanup: Cleanup::Compacted,
            partitions: usize::try_from(partitions).unwrap_or(1),
            ..NeededTopic::new(name, &[TopicRight::Read, TopicRight::Write])
        }
    }

    /// Something is wrong with it.
    fn problem(&self, text: String) -> Result<String, String> {
        match self.consequence {
            None => Err(text),
            Some(consequence) => Ok(format!("warning: {text}: {consequence}")),
        }
    }
}

/// In the order of the configuration.
fn needed_topics(config: &Config) -> Vec<NeededTopic> {
    let kafka = &config.kafka;
    let has_total = config.connections.share_sessions();
    let of_tasks: &[TopicRight] =
        if config.feeds.is_empty() { &[TopicRight::Read] } else { &[TopicRight::Read, TopicRight::Write] };
    let answers = |name: &str| NeededTopic {
        cleanup: Cleanup::NotCompacted(COMPACTED_ANSWERS),
        ..NeededTopic::new(name, &[TopicRight::Write])
    };
    let mut topics = vec![
        NeededTopic {
            cleanup: Cleanup::NotCompacted(COMPACTED_TASKS),
            ..NeededTopic::new(&kafka.input_topic, of_tasks)
        },
        answers(&kafka.result_topic),
        answers(&kafka.fail_topic),
    ];
    if config.retry.enabled {
        let rights = [TopicRight::Read, TopicRight::Write];
        let retry = NeededTopic::new(&kafka.retry_topic, &rights);
        topics.push(NeededTopic { if_missing: IfMissing::Made, ..retry });
    }
    topics.push(NeededTopic {
        consequence: (!has_total).then_some(WITHOUT_COORDINATION),
        ..NeededTopic::with_state(&kafka.coordination_topic, 1)
    });
    if !config.feeds.is_empty() {
        topics.push(NeededTopic::with_state(&kafka.feeds_topic, TOPIC_PARTITIONS));
    }
    topics.push(NeededTopic {
        if_missing: IfMissing::Noted(NO_CONTROL),
        consequence: Some(WITHOUT_CONTROL),
        cleanup: Cleanup::CompactedInTime,
        ..NeededTopic::new(&kafka.control_topic, &[TopicRight::Read])
    });
    let replies = kafka.reply_topics.iter().filter(|name| !name.contains('*'));
    topics.extend(replies.map(|name| NeededTopic {
        if_missing: IfMissing::Noted(NO_REPLIES),
        ..NeededTopic::new(name, &[TopicRight::Write])
    }));
    topics
}

/// Looks at each topic: whether it is there as it has to be, and what this user may do with it.
///
/// # Errors
/// Nobody answers.
pub(super) fn topic_findings(client: &Arc<Client>, config: &Config) -> Result<Vec<KafkaFinding>, String> {
    let needed = needed_topics(config);
    let allowed = allowed_rights(client, &needed);
    let cluster = Cluster::new(&config.kafka).ok();
    let policy = |topic: &str| cluster.as_ref()?.cleanup_policy(topic);
    let mut findings = Vec::new();
    for topic in &needed {
        let found = match (missing_right(topic, &allowed), count(client, &topic.name)?) {
            (Some(missing), _) => topic.problem(format!("Kafka denies this user {missing}")),
            (None, Err(error)) => topic.problem(error),
            (None, Ok(None)) => match topic.if_missing {
                IfMissing::Made => Ok(NOT_YET.to_owned()),
                IfMissing::Fails(why) => Err(why.to_owned()),
                IfMissing::Noted(what) => Ok(what.to_owned()),
            },
            (None, Ok(Some(partitions))) => found_there(topic, partitions, policy),
        };
        findings.push(KafkaFinding { kind: "topic", name: topic.name.clone(), found });
    }
    Ok(findings)
}

/// What is to be said of a topic that is there and may be used. `policy` says how its records are removed, where that
/// may be read.
fn found_there(
    topic: &NeededTopic,
    partitions: usize,
    policy: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let name = &topic.name;
    let described = match partitions {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    };
    match topic.cleanup {
        Cleanup::NotCompacted(warning) if policy(name).is_some_and(|policy| policy.contains("compact")) => {
            Ok(format!("{described}: warning: {warning}"))
        }
        Cleanup::CompactedInTime => match policy(name) {
            Some(policy) if !policy.contains("compact") => topic.problem(format!(
                "topic {name} is not compacted (its cleanup.policy is {policy}); set it to compact,delete"
            )),
            Some(_) => Ok(format!("{described}, compacted")),
            None => Ok(described),
        },
        Cleanup::Any | Cleanup::NotCompacted(_) => Ok(described),
        Cleanup::Compacted => {
            let policy_problem = || state_topic_policy_problem(name, &policy(name)?);
            match state_topic_partitions_problem(name, partitions, topic.partitions).or_else(policy_problem) {
                Some(problem) => topic.problem(problem),
                None => Ok(format!("{described}, compacted")),
            }
        }
    }
}

fn allowed_rights(client: &Arc<Client>, needed: &[NeededTopic]) -> AllowedRights {
    let names = needed.iter().map(|topic| topic.name.as_str());
    let query = TopicRightsQuery::send(client, names, None, DEADLINE);
    // Brokers that cannot say allow what they allow: the pod finds out.
    query.answer(DEADLINE).and_then(Result::ok).unwrap_or_default()
}

/// `Read and Write on topic ftp-tasks-retry`, as the pod itself names it.
fn missing_right(topic: &NeededTopic, allowed: &AllowedRights) -> Option<String> {
    let needed = BTreeMap::from([(topic.name.clone(), topic.rights.clone())]);
    crate::kafka::missing_rights(&needed, allowed).into_iter().next()
}

/// How many partitions a topic has; the inner error says what is wrong with this topic alone.
fn count(client: &Client, topic: &str) -> Result<Result<Option<usize>, String>, String> {
    match partition_count(client.client(), topic, DEADLINE) {
        Ok(count) => Ok(Ok(count)),
        Err(KafkaError::MetadataFetch(code)) if is_of_the_topic(code) => Ok(Err(code.to_string())),
        Err(error) => Err(unanswered(client, &error)),
    }
}

/// Whether an answer about a topic is the topic's own, and not the connection's.
fn is_of_the_topic(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::InvalidTopic
            | Code::LeaderNotAvailable
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FeedConfig, FtpConnection};

    fn config() -> Config {
        let mut config = Config::default();
        let names = ["tasks", "results", "failures", "retry", "sessions", "feeds", "control"];
        let [input, result, fail, retry, coordination, feeds, control] = names.map(str::to_owned);
        let kafka = &mut config.kafka;
        (kafka.input_topic, kafka.result_topic, kafka.fail_topic) = (input, result, fail);
        (kafka.retry_topic, kafka.coordination_topic) = (retry, coordination);
        (kafka.feeds_topic, kafka.control_topic) = (feeds, control);
        config
    }

    fn needed(config: &Config, name: &str) -> Option<NeededTopic> {
        needed_topics(config).into_iter().find(|topic| topic.name == name)
    }

    #[test]
    fn what_the_configuration_uses_is_needed_and_nothing_else() {
        let mut config = config();
        let (read, write) = (TopicRight::Read, TopicRight::Write);
        let names: Vec<String> = needed_topics(&config).into_iter().map(|topic| topic.name).collect();
        assert_eq!(names, ["tasks", "results", "failures", "sessions", "control"]);
        assert_eq!(needed(&config, "tasks").unwrap().rights, [read]);
        assert_eq!(needed(&config, "sessions").unwrap().consequence, Some(WITHOUT_COORDINATION));

        config.retry.enabled = true;
        config.feeds.push(Arc::new(FeedConfig::default()));
        let ftp = FtpConnection { max_sessions_total: Some(5), ..FtpConnection::default() };
        config.connections.ftp.insert("partner".to_owned(), Arc::new(ftp));
        config.kafka.reply_topics = vec!["replies".to_owned(), "team-*".to_owned()];
        let names: Vec<String> = needed_topics(&config).into_iter().map(|topic| topic.name).collect();
        let all = ["tasks", "results", "failures", "retry", "sessions", "feeds", "control", "replies"];
        assert_eq!(names, all);
        assert_eq!(needed(&config, "tasks").unwrap().rights, [read, write], "feeds write tasks");
        assert_eq!(needed(&config, "feeds").unwrap().partitions, 5);
        assert_eq!(needed(&config, "sessions").unwrap().consequence, None, "the total needs it");
    }

    #[test]
    fn a_topic_with_state_has_all_its_partitions_and_is_compacted_and_nothing_else() {
        let policy = |policy: &'static str| move |_: &str| Some(policy.to_owned());
        let feeds = NeededTopic::with_state("feeds", 5);
        assert_eq!(found_there(&feeds, 5, policy("compact")).unwrap(), "5 partitions, compacted");
        assert_eq!(found_there(&feeds, 5, |_| None).unwrap(), "5 partitions, compacted", "cannot be read");
        let few = found_there(&feeds, 1, policy("compact")).unwrap_err();
        assert_eq!(few, "topic feeds has 1 partition, and needs 5");
        for wrong in ["delete", "compact,delete", ""] {
            let error = found_there(&feeds, 5, policy(wrong)).unwrap_err();
            assert!(error.contains("set it to compact"), "{error}");
        }
        let optional = NeededTopic { consequence: Some("alone"), ..feeds };
        let warned = found_there(&optional, 1, policy("compact")).unwrap();
        assert_eq!(warned, "warning: topic feeds has 1 partition, and needs 5: alone");
    }

    #[test]
    fn the_control_topic_is_compacted_and_may_delete_as_well() {
        let control = needed(&config(), "control").unwrap();
        let with = |policy: Option<&str>| found_there(&control, 1, |_| policy.map(str::to_owned)).unwrap();
        assert_eq!(with(Some("compact,delete")), "1 partition, compacted");
        assert_eq!(with(None), "1 partition", "its policy cannot be read");
        let warned = with(Some("delete"));
        assert!(warned.starts_with("warning: topic control is not compacted"), "{warned}");
    }

    #[test]
    fn tasks_and_answers_that_are_compacted_away_are_warned_of() {
        let tasks = NeededTopic {
            cleanup: Cleanup::NotCompacted(COMPACTED_TASKS),
            ..NeededTopic::new("tasks", &[TopicRight::Read])
        };
        let with = |policy: Option<&str>| found_there(&tasks, 12, |_| policy.map(str::to_owned)).unwrap();
        assert_eq!((with(Some("delete")), with(None)), ("12 partitions".into(), "12 partitions".into()));
        assert_eq!(with(Some("compact,delete")), format!("12 partitions: warning: {COMPACTED_TASKS}"));
    }
}
