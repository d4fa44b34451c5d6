//! Checks the cluster without joining the group: for `ftp-pooler check`. Everything that a pod needs is tried here, as
//! far as possible without disturbing one.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Cluster;
use crate::config::{KafkaConfig, RetryConfig};
use crate::kafka::{
    AllowedRights, GroupDescription, LastConnectionError, TopicRightsQuery, consumer_properties,
    is_unanswered, missing_rights, needed_rights, partition_count, too_few_partitions, without_value,
};

/// One request to the cluster.
const DEADLINE: Duration = Duration::from_secs(10);
/// One connection to a broker's address.
const CONNECT: Duration = Duration::from_secs(5);

/// A pod creates it.
const NOT_YET: &str = "not there yet: a pod makes it as it starts, where it may";
/// A pod does not create it.
const NO_TOPIC: &str = "is not there: `ftp-pooler topics` makes it";
/// Of records with one key, compaction keeps the last one.
const COMPACTED_TASKS: &str =
    "it is compacted: of tasks with one key that were not read in time, the last one alone is left";
const COMPACTED_ANSWERS: &str = "it is compacted: of answers with one key, the last one alone is left; `failures retry` does not trust it";

/// Tasks are done without it.
const NO_CONTROL: &str =
    "is not there: batches can be neither listed nor cancelled; `ftp-pooler topics` makes it";

const GROUP_DENIED: &str = "Kafka denies this user Read on the group: no pod can join it";

/// One aspect of the cluster that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaFinding {
    /// `kafka`, `topic` or `group`.
    pub kind: &'static str,
    pub name: String,
    /// The result, or the problem.
    pub found: Result<String, String>,
}

type Client = BaseConsumer<LastConnectionError>;

/// Asks the cluster for the topics (including the retry topic if tasks are deferred), this user's permissions for them,
/// and the group, and connects to each broker. Blocks, for at most [`DEADLINE`] per query.
///
/// # Errors
/// If no topic could be asked for: no broker answers, or a property is invalid.
pub fn probe(kafka: &KafkaConfig, retry: &RetryConfig, pod: &str) -> Result<Vec<KafkaFinding>, String> {
    let mut properties = consumer_properties(kafka, pod);
    properties.remove("group.id"); // it asks, and never joins
    let client: Client = properties
        .create_with_context(LastConnectionError::default())
        .map_err(|error| without_value(error).to_string())?;
    let client = Arc::new(client);
    // First: once it knows the brokers, librdkafka has no use for the addresses that it began with.
    let (brokers, unreachable) = unreachable_brokers(&client, &kafka.input_topic)?;
    if unreachable.len() == brokers {
        return Ok(unreachable); // each question would only time out
    }
    match look(&client, (kafka, retry)) {
        Ok(found) => Ok(unreachable.into_iter().chain(found).collect()),
        Err(why) if unreachable.is_empty() => Err(why),
        Err(_) => Ok(unreachable), // and this is why
    }
}

/// The topics, and the group.
fn look(
    client: &Arc<Client>,
    (kafka, retry): (&KafkaConfig, &RetryConfig),
) -> Result<Vec<KafkaFinding>, String> {
    let mut findings = Vec::new();
    for topic in [&kafka.input_topic, &kafka.result_topic, &kafka.fail_topic] {
        let count = count(client, topic)?;
        let found = count.and_then(|count| count.map(described).ok_or_else(|| NO_TOPIC.to_owned()));
        findings.push(KafkaFinding { kind: "topic", name: topic.clone(), found });
    }
    if retry.enabled {
        let topic = &kafka.retry_topic;
        let found = count(client, topic)?;
        let found = found.map(|count| count.map_or_else(|| NOT_YET.to_owned(), described));
        findings.push(KafkaFinding { kind: "topic", name: topic.clone(), found });
    }
    let topic = &kafka.control_topic;
    let found = count(client, topic)?;
    let found = found.map(|count| count.map_or_else(|| NO_CONTROL.to_owned(), described));
    findings.push(KafkaFinding { kind: "topic", name: topic.clone(), found });
    name_missing_rights(client, (kafka, retry), &mut findings);
    warn_of_compaction(kafka, &mut findings);
    let group = GroupDescription::fetch(client, &kafka.consumer_group, DEADLINE);
    if let Some(KafkaFinding { found: Ok(text), .. }) = findings.first_mut()
        && let Ok(Some(partitions)) = partition_count(client.client(), &kafka.input_topic, DEADLINE)
        && let Ok(group) = &group
        && let Some(warning) = too_few_partitions(partitions, group.members.len())
    {
        text.push_str(": ");
        text.push_str(&warning);
    }
    findings.push(KafkaFinding {
        kind: "group",
        name: kafka.consumer_group.clone(),
        found: group_found(group, &LastConnectionError::of(client), || {
            Cluster::new(kafka).is_ok_and(|cluster| cluster.is_group_denied())
        }),
    });
    Ok(findings)
}

/// Corrects the results for topics that this user may see but not use.
fn name_missing_rights(
    client: &Arc<Client>,
    (kafka, retry): (&KafkaConfig, &RetryConfig),
    findings: &mut [KafkaFinding],
) {
    let needed = needed_rights(kafka, retry);
    let query = TopicRightsQuery::send(client, needed.keys().map(String::as_str), None, DEADLINE);
    // Brokers that cannot say allow what they allow: the pod finds out.
    let allowed: AllowedRights = query.answer(DEADLINE).and_then(Result::ok).unwrap_or_default();
    for finding in findings {
        let Some(needed) = needed.get_key_value(&finding.name) else { continue };
        let needed = [(needed.0.clone(), needed.1.clone())].into();
        if let Some(missing) = missing_rights(&needed, &allowed).first() {
            finding.found = Err(format!("Kafka denies this user {missing}"));
        }
    }
}

fn warn_of_compaction(kafka: &KafkaConfig, findings: &mut [KafkaFinding]) {
    let Ok(cluster) = Cluster::new(kafka) else { return };
    for KafkaFinding { name, found, .. } in findings {
        let warning = if *name == kafka.input_topic {
            COMPACTED_TASKS
        } else if *name == kafka.result_topic || *name == kafka.fail_topic {
            COMPACTED_ANSWERS
        } else {
            continue; // the pod itself refuses a retry topic that is
        };
        if let Ok(text) = found
            && cluster.is_compacted(name)
        {
            text.push_str(": warning: ");
            text.push_str(warning);
        }
    }
}

fn group_found(
    group: Result<GroupDescription, KafkaError>,
    why: &str,
    is_denied: impl FnOnce() -> bool,
) -> Result<String, String> {
    use RDKafkaErrorCode as Code;
    match group.map_err(|error| (error.rdkafka_error_code(), error)) {
        Ok(GroupDescription { may_read: Some(false), .. })
        | Err((Some(Code::GroupAuthorizationFailed), _)) => Err(GROUP_DENIED.to_owned()),
        Ok(group) => Ok(match group.members.len() {
            1 => "1 member".to_owned(),
            members => format!("{members} members"),
        }),
        Err((Some(Code::UnsupportedFeature | Code::UnsupportedVersion), _)) => {
            Ok("the brokers do not describe groups".to_owned())
        }
        Err(_) if is_denied() => Err(GROUP_DENIED.to_owned()),
        Err((_, error)) => Err(format!("its coordinator does not answer: {error}{why}")),
    }
}

/// Connects to each broker at the address that the others name it by, as a pod does; how many there are, and what is wrong
/// with some.
fn unreachable_brokers(client: &Arc<Client>, topic: &str) -> Result<(usize, Vec<KafkaFinding>), String> {
    let metadata =
        client.client().fetch_metadata(Some(topic), DEADLINE).map_err(|error| unanswered(client, &error))?;
    let brokers: Vec<(i32, String, i32)> = metadata
        .brokers()
        .iter()
        .map(|broker| (broker.id(), broker.host().to_owned(), broker.port()))
        .collect();
    if brokers.is_empty() {
        return Err(
            "the brokers' answer names none of them: they may only have started; try again".to_owned()
        );
    }
    let unreachable = std::thread::scope(|scope| {
        let tries: Vec<_> = brokers
            .iter()
            .map(|(id, host, port)| {
                (id, format!("{host}:{port}"), scope.spawn(move || connects(host, *port)))
            })
            .collect();
        let failed = |(id, name, tried): (
            &i32,
            String,
            std::thread::ScopedJoinHandle<'_, Result<(), String>>,
        )| {
            let why = tried.join().unwrap_or_else(|_| Err("the try failed".to_owned())).err()?;
            let found = Err(format!(
                "broker {id} is advertised at this address (its advertised.listeners), which is not reachable from \
                 here: {why}"
            ));
            Some(KafkaFinding { kind: "kafka", name, found })
        };
        tries.into_iter().filter_map(failed).collect()
    });
    Ok((brokers.len(), unreachable))
}

fn connects(host: &str, port: i32) -> Result<(), String> {
    let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(|error| error.to_string())?.collect();
    let mut why = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

/// How many partitions a topic has; the inner error says what is wrong with this topic alone.
fn count(client: &Client, topic: &str) -> Result<Result<Option<usize>, String>, String> {
    match partition_count(client.client(), topic, DEADLINE) {
        Ok(count) => Ok(Ok(count)),
        Err(KafkaError::MetadataFetch(code)) if is_of_the_topic(code) => Ok(Err(code.to_string())),
        Err(error) => Err(unanswered(client, &error)),
    }
}

fn unanswered(client: &Client, error: &KafkaError) -> String {
    match LastConnectionError::of(client) {
        why if is_unanswered(error) => format!("no broker answers{why}"),
        why => format!("{error}{why}"),
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

fn described(partitions: usize) -> String {
    match partitions {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_advertised_address_is_resolved_and_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = i32::from(listener.local_addr().unwrap().port());
        assert_eq!(connects("127.0.0.1", port), Ok(()));
        drop(listener);
        assert!(connects("127.0.0.1", port).unwrap_err().contains("refused"));
        assert!(connects("no-such-broker.invalid", 9092).is_err());
        assert!(connects("127.0.0.1", -1).unwrap_err().contains("no port"));
    }

    #[test]
    fn a_group_that_may_not_be_read_is_wrong_and_one_that_nobody_describes_is_not() {
        let denied = GroupDescription { may_read: Some(false), ..GroupDescription::default() };
        assert_eq!(group_found(Ok(denied), "", || false).unwrap_err(), GROUP_DENIED);
        let failed = |code| group_found(Err(KafkaError::Global(code)), " (why)", || false);
        assert_eq!(failed(RDKafkaErrorCode::GroupAuthorizationFailed).unwrap_err(), GROUP_DENIED);
        let timed_out = Err(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut));
        assert_eq!(group_found(timed_out, "", || true).unwrap_err(), GROUP_DENIED);
        assert!(failed(RDKafkaErrorCode::OperationTimedOut).unwrap_err().ends_with("(why)"));
        assert!(failed(RDKafkaErrorCode::UnsupportedFeature).is_ok());
        assert_eq!(group_found(Ok(GroupDescription::default()), "", || false).unwrap(), "0 members");
    }
}
