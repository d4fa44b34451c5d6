//! Whether this user may use the pods' transactional ids, asked without disturbing a pod that uses one.
//!
//! Kafka has no question for that. A producer that begins under an id fences the one that has it, so these begin with a
//! transaction's timeout that no broker allows (above its `transaction.max.timeout.ms`, 15 minutes unless it is set): the
//! brokers look at the right first, at the timeout next, and at the id's state only then. An answer that
//! refuses the timeout says that the id may be used, and has changed nothing.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _};

use super::{DEADLINE, KafkaFinding};
use crate::config::{Config, DeliveryGuarantee, KafkaConfig};
use crate::feeds::TOPIC_PARTITIONS;
use crate::kafka::{
    ClientKind, FEEDS, SESSIONS, client_properties, owned_transactional_id, pod_transactional_id,
    without_value,
};

/// librdkafka's largest value, in milliseconds: 24 days.
const TIMEOUT_MS: &str = "2147483647";
/// One call; what librdkafka calls retriable is called again.
const CALL: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Ids that one finding is about.
struct IdGroup {
    /// As they are called together.
    name: String,
    ids: Vec<String>,
}

fn id_groups(config: &Config) -> Vec<IdGroup> {
    let kafka = &config.kafka;
    if kafka.delivery != DeliveryGuarantee::ExactlyOnce {
        return Vec::new();
    }
    let own = pod_transactional_id(&kafka.consumer_group, &config.pod.name);
    let mut groups = vec![IdGroup { name: own.clone(), ids: vec![own] }];
    let owned = |purpose, partition| owned_transactional_id(&kafka.consumer_group, purpose, partition);
    if config.connections.share_sessions() {
        let id = owned(SESSIONS, 0);
        groups.push(IdGroup { name: id.clone(), ids: vec![id] });
    }
    if !config.feeds.is_empty() {
        let ids = (0..TOPIC_PARTITIONS).map(|partition| owned(FEEDS, partition)).collect();
        groups.push(IdGroup { name: format!("{}-{}", owned(FEEDS, 0), TOPIC_PARTITIONS - 1), ids });
    }
    groups
}

/// Asks for all of them at once.
pub(super) fn id_findings(config: &Config) -> Vec<KafkaFinding> {
    let groups = id_groups(config);
    std::thread::scope(|scope| {
        let ask = |id: &String| {
            let (kafka, pod, id) = (&config.kafka, &config.pod.name, id.clone());
            scope.spawn(move || try_id(kafka, pod, &id).map_err(|error| (id, error)))
        };
        let asked: Vec<_> =
            groups.iter().map(|group| group.ids.iter().map(ask).collect::<Vec<_>>()).collect();
        let found = groups.iter().zip(asked).map(|(group, asked)| {
            let answers = asked.into_iter().filter_map(|asked| asked.join().ok());
            let found = summary(group, answers.collect());
            KafkaFinding { kind: "id", name: group.name.clone(), found }
        });
        found.collect()
    })
}

/// What is denied first; that nobody answers is said by what is found of the groups.
fn summary(group: &IdGroup, answers: Vec<Result<(), (String, KafkaError)>>) -> Result<String, String> {
    let mut denied = Vec::new();
    let mut unknown = None;
    for (id, error) in answers.into_iter().filter_map(Result::err) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => denied.push(id),
            _ => unknown = Some(error),
        }
    }
    match (denied.as_slice(), unknown) {
        ([], None) => Ok("this user may use it for transactions".to_owned()),
        ([], Some(error)) => Err(format!("it cannot be asked for this transactional id: {error}")),
        (denied, _) if denied.len() == group.ids.len() => {
            Err("Kafka denies this user Write and Describe on this transactional id".to_owned())
        }
        (denied, _) => Err(format!(
            "Kafka denies this user Write and Describe on transactional id {}",
            denied.join(", ")
        )),
    }
}

fn try_id(kafka: &KafkaConfig, pod: &str, id: &str) -> KafkaResult<()> {
    let mut properties = client_properties(kafka, pod, ClientKind::Producer, &[]);
    properties.set("transactional.id", id).set("transaction.timeout.ms", TIMEOUT_MS);
    let producer: BaseProducer = properties.create().map_err(without_value)?;
    let started = Instant::now();
    loop {
        match producer.init_transactions(CALL) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && started.elapsed() < DEADLINE => {
                std::thread::sleep(PAUSE);
            }
            ended => return understood(ended),
        }
    }
}

/// A timeout that is refused was refused behind the right.
fn understood(ended: KafkaResult<()>) -> KafkaResult<()> {
    match ended {
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::InvalidTransactionTimeout) => {
            Ok(())
        }
        ended => ended,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{FeedConfig, FtpConnection};

    #[test]
    fn the_ids_are_those_that_this_configuration_uses() {
        let mut config = Config::default();
        (config.kafka.consumer_group, config.pod.name) = ("pool".to_owned(), "pod-0".to_owned());
        let names =
            |config: &Config| id_groups(config).into_iter().map(|group| group.name).collect::<Vec<_>>();
        assert_eq!(names(&config), ["pool-pod-0"]);
        config.feeds.push(Arc::new(FeedConfig::default()));
        let ftp = FtpConnection { max_sessions_total: Some(5), ..FtpConnection::default() };
        config.connections.ftp.insert("partner".to_owned(), Arc::new(ftp));
        assert_eq!(names(&config), ["pool-pod-0", "pool.sessions.0", "pool.feeds.0-4"]);
        assert_eq!(id_groups(&config)[2].ids.len(), 5);
        config.kafka.delivery = DeliveryGuarantee::AtLeastOnce;
        assert_eq!(names(&config), [""; 0]);
    }

    #[test]
    fn an_id_that_is_denied_is_named_and_a_timeout_that_is_refused_is_what_was_asked_for() {
        let ids: Vec<String> = (0..2).map(|n| format!("pool.feeds.{n}")).collect();
        let group = IdGroup { name: "pool.feeds.0-1".to_owned(), ids };
        let failed = |n: usize, code| Err((group.ids[n].clone(), KafkaError::Global(code)));
        let denied = RDKafkaErrorCode::TransactionalIdAuthorizationFailed;
        assert!(summary(&group, vec![Ok(()), Ok(())]).is_ok());
        let one = summary(&group, vec![Ok(()), failed(1, denied)]).unwrap_err();
        assert!(one.ends_with("transactional id pool.feeds.1"), "{one}");
        let all = summary(&group, vec![failed(0, denied), failed(1, denied)]).unwrap_err();
        assert!(all.ends_with("this transactional id"), "{all}");
        let unanswered = summary(&group, vec![failed(0, RDKafkaErrorCode::OperationTimedOut)]).unwrap_err();
        assert!(unanswered.contains("cannot be asked"), "{unanswered}");
        let refused = KafkaError::Global(RDKafkaErrorCode::InvalidTransactionTimeout);
        assert_eq!(understood(Err(refused)), Ok(()));
    }
}
