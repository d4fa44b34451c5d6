//! Asks the brokers what this user may do with topics (KIP-430). Brokers without authorization allow everything.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_AclOperation_t as Operation;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::admin_query::AdminQuery;
use crate::config::{KafkaConfig, RetryConfig};

/// What a pod does with a topic, as Kafka's ACLs call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRight {
    Read,
    Write,
}

impl fmt::Display for TopicRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TopicRight::Read => "Read",
            TopicRight::Write => "Write",
        })
    }
}

/// What a pod needs of each topic.
pub type NeededRights = BTreeMap<String, Vec<TopicRight>>;

/// As the configuration names the topics.
#[must_use]
pub fn needed_rights(kafka: &KafkaConfig, retry: &RetryConfig) -> NeededRights {
    let mut needed = NeededRights::new();
    let mut need = |topic: &str, rights: &[TopicRight]| {
        needed.entry(topic.to_owned()).or_default().extend(rights);
    };
    need(&kafka.input_topic, &[TopicRight::Read]);
    if retry.enabled {
        need(&kafka.retry_topic, &[TopicRight::Read, TopicRight::Write]);
    }
    need(&kafka.result_topic, &[TopicRight::Write]);
    need(&kafka.fail_topic, &[TopicRight::Write]);
    for rights in needed.values_mut() {
        rights.sort_unstable();
        rights.dedup();
    }
    needed
}

/// The permissions for each topic that the brokers reported; `None` if there is no such topic.
pub type AllowedRights = HashMap<String, Option<Vec<TopicRight>>>;

/// Those that are needed and not allowed: `Read on topic ftp-tasks`. Of a topic that nothing was said of nothing is missing.
#[must_use]
pub fn missing_rights(needed: &NeededRights, allowed: &AllowedRights) -> Vec<String> {
    let missing = |(topic, rights): (&String, &Vec<TopicRight>)| {
        let allowed = allowed.get(topic)?.as_ref()?;
        let missing: Vec<String> =
            rights.iter().filter(|right| !allowed.contains(right)).map(ToString::to_string).collect();
        (!missing.is_empty()).then(|| format!("{} on topic {topic}", missing.join(" and ")))
    };
    needed.iter().filter_map(missing).collect()
}

/// A question about rights that was sent.
pub(crate) struct TopicRightsQuery(AdminQuery);

#[allow(unsafe_code)]
impl TopicRightsQuery {
    /// The answer comes within `deadline`, or an error does. `broker` is asked, else the controller.
    pub fn send<'a, C: ConsumerContext + 'static>(
        client: &Arc<BaseConsumer<C>>,
        topics: impl IntoIterator<Item = &'a str>,
        broker: Option<i32>,
        deadline: Duration,
    ) -> TopicRightsQuery {
        // A topic's name holds no NUL: Kafka allows letters, digits, '.', '_' and '-'.
        let names: Vec<CString> = topics.into_iter().filter_map(|name| CString::new(name).ok()).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: the names live until the collection has been copied, which is before the call returns; the
        // collection is freed here, once, and so is an error of the option's.
        TopicRightsQuery(AdminQuery::send(client, operation, broker, deadline, |with| unsafe {
            let refused = rd::rd_kafka_AdminOptions_set_include_authorized_operations(with.options, 1);
            if !refused.is_null() {
                rd::rd_kafka_error_destroy(refused);
            }
            let collection =
                rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            rd::rd_kafka_DescribeTopics(with.client, collection, with.options, with.queue);
            rd::rd_kafka_TopicCollection_destroy(collection);
        }))
    }

    /// The answer, if it comes within this time; once.
    pub fn answer(&self, within: Duration) -> Option<KafkaResult<AllowedRights>> {
        // SAFETY: the event is alive, and the answer to `DescribeTopics`.
        self.0.answer(within, |event| unsafe { read(event) })
    }
}

/// # Safety
/// `event` is alive, and the answer to `DescribeTopics`.
#[allow(unsafe_code)]
unsafe fn read(event: *mut rd::rd_kafka_event_t) -> KafkaResult<AllowedRights> {
    let mut allowed = AllowedRights::new();
    // SAFETY: the results of the calls live as long as the event, and are copied; null is checked for.
    unsafe {
        match rd::rd_kafka_event_error(event) {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => return Ok(allowed),
            code => return Err(KafkaError::Global(RDKafkaErrorCode::from(code))),
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Ok(allowed);
        }
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for n in 0..count {
            let topic = *topics.add(n);
            let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
            match rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(topic)) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                // Each of them implies Describe.
                Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                    allowed.insert(name.into_owned(), Some(Vec::new()));
                    continue;
                }
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {
                    allowed.insert(name.into_owned(), None);
                    continue;
                }
                _ => continue,
            }
            let mut operations = 0;
            let first = rd::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut operations);
            if first.is_null() {
                continue; // an old broker
            }
            let rights =
                std::slice::from_raw_parts(first, operations).iter().filter_map(
                    |operation| match operation {
                        Operation::RD_KAFKA_ACL_OPERATION_READ => Some(TopicRight::Read),
                        Operation::RD_KAFKA_ACL_OPERATION_WRITE => Some(TopicRight::Write),
                        _ => None,
                    },
                );
            allowed.insert(name.into_owned(), Some(rights.collect()));
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_and_not_allowed_is_named_with_its_topic() {
        let names = ["tasks", "results", "failures", "retry"].map(str::to_owned);
        let [input_topic, result_topic, fail_topic, retry_topic] = names;
        let kafka =
            KafkaConfig { input_topic, result_topic, fail_topic, retry_topic, ..KafkaConfig::default() };
        let retry = RetryConfig { enabled: true, ..RetryConfig::default() };
        let needed = needed_rights(&kafka, &retry);
        assert_eq!(missing_rights(&needed, &AllowedRights::new()), [""; 0], "the brokers say nothing");
        let allowed =
            [("tasks", vec![TopicRight::Write]), ("retry", vec![]), ("results", vec![TopicRight::Write])];
        let allowed = allowed.map(|(topic, rights)| (topic.to_owned(), Some(rights))).into();
        assert_eq!(
            missing_rights(&needed, &allowed),
            ["Read and Write on topic retry", "Read on topic tasks"]
        );
        let gone = [("tasks".to_owned(), None)].into();
        assert_eq!(missing_rights(&needed, &gone), [""; 0], "there is nothing to have a right on");
        let without_retry = needed_rights(&kafka, &RetryConfig::default());
        assert_eq!(missing_rights(&without_retry, &allowed), ["Read on topic tasks"]);
    }
}
