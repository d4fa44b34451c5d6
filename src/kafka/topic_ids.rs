//! Asks the brokers for topics' ids, which distinguish a topic from another one of the same name.
//!
//! librdkafka continues at its old offset in a topic that was deleted and recreated with more records than that (a
//! FIXME in its `rdkafka_topic.c` says so), without any error. It does offer `DescribeTopics`, which rdkafka does not:
//! hence these direct calls.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::admin_query::AdminQuery;
use crate::offsets::TopicId;

/// The ids of existing topics; none of brokers older than Kafka 2.8.
pub(crate) type TopicIds = HashMap<String, TopicId>;

/// A question about topics' ids that was sent.
pub(crate) struct TopicIdQuery(AdminQuery);

#[allow(unsafe_code)]
impl TopicIdQuery {
    /// The answer comes within `deadline`, or an error does. `broker` is asked, else the controller.
    pub fn send<'a, C: ConsumerContext + 'static>(
        client: &Arc<BaseConsumer<C>>,
        topics: impl IntoIterator<Item = &'a str>,
        broker: Option<i32>,
        deadline: Duration,
    ) -> TopicIdQuery {
        // A topic's name holds no NUL: Kafka allows letters, digits, '.', '_' and '-'.
        let names: Vec<CString> = topics.into_iter().filter_map(|name| CString::new(name).ok()).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: the names live until the collection has been copied, which is before the call returns; the
        // collection is freed here, once.
        TopicIdQuery(AdminQuery::send(client, operation, broker, deadline, |with| unsafe {
            let collection =
                rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            rd::rd_kafka_DescribeTopics(with.client, collection, with.options, with.queue);
            rd::rd_kafka_TopicCollection_destroy(collection);
        }))
    }

    /// The answer, if it comes within this time; once.
    pub fn answer(&self, within: Duration) -> Option<KafkaResult<TopicIds>> {
        // SAFETY: the event is alive, and the answer to `DescribeTopics`.
        self.0.answer(within, |event| unsafe { read(event) })
    }
}

/// # Safety
/// `event` is alive, and the answer to `DescribeTopics`.
#[allow(unsafe_code)]
unsafe fn read(event: *mut rd::rd_kafka_event_t) -> KafkaResult<TopicIds> {
    // SAFETY: the results of the calls live as long as the event, and are copied; null is checked for.
    unsafe {
        match rd::rd_kafka_event_error(event) {
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            // No ids then, and nothing to compare.
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => return Ok(TopicIds::new()),
            code => return Err(KafkaError::Global(RDKafkaErrorCode::from(code))),
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        if result.is_null() {
            return Ok(TopicIds::new());
        }
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut ids = TopicIds::new();
        for n in 0..count {
            let topic = *topics.add(n);
            let id = rd::rd_kafka_TopicDescription_topic_id(topic);
            if rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(topic))
                != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
                || id.is_null()
            {
                continue;
            }
            let high = rd::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
            let low = rd::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
            let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
            if let Some(id) = TopicId::new(u128::from(high) << 64 | u128::from(low)) {
                ids.insert(name.into_owned(), id);
            }
        }
        Ok(ids)
    }
}
