//! Checks the cluster without joining the group: for `ftp-pooler check`. Everything that a pod needs is tried here, as
//! far as possible without disturbing one.
//!
//! ```text
//! topics             the required topics, and what was found about them
//! transactional_ids  whether this user may use the pods' ids
//! ```

mod topics;
mod transactional_ids;

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Cluster;
use crate::config::{Config, KafkaConfig};
use crate::kafka::{
    FEEDS, GroupDescription, LastConnectionError, SESSIONS, consumer_properties, is_unanswered, owners_group,
    partition_count, too_few_partitions, without_value,
};
use topics::topic_findings;
use transactional_ids::id_findings;

/// One request to the cluster.
const DEADLINE: Duration = Duration::from_secs(10);
/// One connection to a broker's address.
const CONNECT: Duration = Duration::from_secs(5);

const GROUP_DENIED: &str = "Kafka denies this user Read on the group: no pod can join it";

/// One aspect of the cluster that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaFinding {
    /// `kafka`, `topic`, `group`, or `id` for a transactional one.
    pub kind: &'static str,
    pub name: String,
    /// The result, or the problem.
    pub found: Result<String, String>,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaProbe {
    /// The first answer of a broker, its connection included.
    pub answered_within: Duration,
    pub findings: Vec<KafkaFinding>,
}

type Client = BaseConsumer<LastConnectionError>;

/// Asks the cluster for the topics, this user's permissions for them, the groups and the transactional ids, as far as
/// this configuration needs them, and connects to each broker. Blocks, for at most [`DEADLINE`] per query.
///
/// # Errors
/// If no topic could be asked for: no broker answers, or a property is invalid.
pub fn probe(config: &Config) -> Result<KafkaProbe, String> {
    let begun = Instant::now();
    let mut properties = consumer_properties(&config.kafka, &config.pod.name);
    properties.remove("group.id"); // it asks, and never joins
    let client: Client = properties
        .create_with_context(LastConnectionError::default())
        .map_err(|error| without_value(error).to_string())?;
    let client = Arc::new(client);
    // First: once it knows the brokers, librdkafka has no use for the addresses that it began with.
    let brokers = brokers(&client, &config.kafka.input_topic)?;
    let answered_within = begun.elapsed();
    let mut findings = unreachable(&brokers);
    if findings.len() < brokers.len() {
        match look(&client, config) {
            Ok(found) => findings.extend(found),
            Err(why) if findings.is_empty() => return Err(why),
            Err(_) => {} // those that cannot be reached are why
        }
    } // else each question would only time out
    Ok(KafkaProbe { answered_within, findings })
}

/// The topics, the groups, and the transactional ids.
fn look(client: &Arc<Client>, config: &Config) -> Result<Vec<KafkaFinding>, String> {
    let kafka = &config.kafka;
    let mut findings = topic_findings(client, config)?;
    let group = GroupDescription::fetch(client, &kafka.consumer_group, DEADLINE);
    if let Some(KafkaFinding { found: Ok(text), .. }) = findings.first_mut()
        && let Ok(Some(partitions)) = partition_count(client.client(), &kafka.input_topic, DEADLINE)
        && let Ok(group) = &group
        && let Some(warning) = too_few_partitions(partitions, group.members.len())
    {
        text.push_str(": ");
        text.push_str(&warning);
    }
    findings.push(group_finding(client, kafka, group));
    for purpose in owners(config) {
        let kafka =
            KafkaConfig { consumer_group: owners_group(&kafka.consumer_group, purpose), ..kafka.clone() };
        let group = GroupDescription::fetch(client, &kafka.consumer_group, DEADLINE);
        findings.push(group_finding(client, &kafka, group));
    }
    findings.extend(id_findings(config));
    Ok(findings)
}

/// The purposes for which pods own partitions.
fn owners(config: &Config) -> impl Iterator<Item = &'static str> {
    let has_total = config.connections.share_sessions();
    let purposes = [(has_total, SESSIONS), (!config.feeds.is_empty(), FEEDS)];
    purposes.into_iter().filter_map(|(is_needed, purpose)| is_needed.then_some(purpose))
}

fn group_finding(
    client: &Arc<Client>,
    kafka: &KafkaConfig,
    group: Result<GroupDescription, KafkaError>,
) -> KafkaFinding {
    let is_denied = || Cluster::new(kafka).is_ok_and(|cluster| cluster.is_group_denied());
    let found = group_found(group, &LastConnectionError::of(client), is_denied);
    KafkaFinding { kind: "group", name: kafka.consumer_group.clone(), found }
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

/// A broker's id, and the address that the others name it by.
type BrokerAddress = (i32, String, i32);

fn brokers(client: &Arc<Client>, topic: &str) -> Result<Vec<BrokerAddress>, String> {
    let metadata =
        client.client().fetch_metadata(Some(topic), DEADLINE).map_err(|error| unanswered(client, &error))?;
    let brokers: Vec<BrokerAddress> = metadata
        .brokers()
        .iter()
        .map(|broker| (broker.id(), broker.host().to_owned(), broker.port()))
        .collect();
    if brokers.is_empty() {
        return Err(
            "the brokers' answer names none of them: they may only have started; try again".to_owned()
        );
    }
    Ok(brokers)
}

/// Connects to each broker, as a pod does; what is wrong with some.
fn unreachable(brokers: &[BrokerAddress]) -> Vec<KafkaFinding> {
    std::thread::scope(|scope| {
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
    })
}

fn connects(host: &str, port: i32) -> Result<(), String> {
    let port = u16::try_from(port).map_err(|_| format!("{port} is not a port"))?;
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

fn unanswered(client: &Client, error: &KafkaError) -> String {
    match LastConnectionError::of(client) {
        why if is_unanswered(error) => format!("no broker answers{why}"),
        why => format!("{error}{why}"),
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
        assert!(connects("127.0.0.1", -1).unwrap_err().contains("not a port"));
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
