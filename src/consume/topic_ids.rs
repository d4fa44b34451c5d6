//! Asks the brokers for topics' ids, which tell a topic from another one of the same name.
//!
//! librdkafka goes on at its old offset in a topic that was deleted and made anew with more records than that
//! (a FIXME in its `rdkafka_topic.c` says so), and tells nobody. It does offer `DescribeTopics`, which rdkafka
//! does not: hence the calls by hand.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::group::{Committed, Group, Member};
use crate::offsets::{TopicId, TopicPartition};

/// The ids of topics that are there; none of brokers older than Kafka 2.8.
pub(super) type TopicIds = HashMap<String, TopicId>;

/// A broker that has answered of late. The question about topics would go to the controller otherwise, which
/// librdkafka's mock cluster, and so the demo, does not have.
#[derive(Debug)]
pub(super) struct Answering(AtomicI32);

/// No broker's id.
const NOBODY: i32 = -1;

impl Default for Answering {
    fn default() -> Self {
        Answering(AtomicI32::new(NOBODY))
    }
}

impl Answering {
    fn get(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|id| *id != NOBODY)
    }

    /// The broker that answers now.
    pub fn look(&self, member: &Member, topic: &str, deadline: Duration) -> KafkaResult<()> {
        let metadata = member.client().fetch_metadata(Some(topic), deadline)?;
        self.0.store(metadata.orig_broker_id(), Ordering::Relaxed);
        Ok(())
    }

    /// It does not answer any more: the controller is asked until another one is found.
    pub fn forget(&self) {
        self.0.store(NOBODY, Ordering::Relaxed);
    }
}

/// One question, with its own queue for the answer. Stays on the thread that asked.
pub(super) struct Asked {
    queue: *mut rd::rd_kafka_queue_t,
    /// Keeps the client alive for as long as the queue is.
    _member: Arc<Member>,
}

#[allow(unsafe_code)]
impl Asked {
    /// Asks; the answer comes within `deadline`, or an error does.
    pub fn about<'a>(group: &Group, topics: impl IntoIterator<Item = &'a str>, deadline: Duration) -> Asked {
        let member = &group.member;
        // A topic's name holds no NUL: Kafka allows letters, digits, '.', '_' and '-'.
        let names: Vec<CString> = topics.into_iter().filter_map(|name| CString::new(name).ok()).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let timeout = i32::try_from(deadline.as_millis()).unwrap_or(i32::MAX);
        let client = member.client().native_ptr();
        // SAFETY: the client outlives the queue, which holds it. The names live until the collection has been
        // copied, which is before the call returns; collection and options are freed here, once.
        let queue = unsafe {
            let queue = rd::rd_kafka_queue_new(client);
            let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = rd::rd_kafka_AdminOptions_new(client, op);
            rd::rd_kafka_AdminOptions_set_request_timeout(options, timeout, std::ptr::null_mut(), 0);
            if let Some(broker) = group.answering.get() {
                rd::rd_kafka_AdminOptions_set_broker(options, broker, std::ptr::null_mut(), 0);
            }
            let collection =
                rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            rd::rd_kafka_DescribeTopics(client, collection, options, queue);
            rd::rd_kafka_TopicCollection_destroy(collection);
            rd::rd_kafka_AdminOptions_destroy(options);
            queue
        };
        Asked { queue, _member: Arc::clone(member) }
    }

    /// The answer, if it comes within this time; once.
    pub fn answer(&self, within: Duration) -> Option<KafkaResult<TopicIds>> {
        let within = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event is ours, read before it is destroyed, and destroyed once.
        unsafe {
            let event = rd::rd_kafka_queue_poll(self.queue, within);
            if event.is_null() {
                return None;
            }
            let answer = read(event);
            rd::rd_kafka_event_destroy(event);
            Some(answer)
        }
    }
}

impl Group {
    /// What the partitions' last owners committed, and the ids that their topics have now; both are asked at once.
    pub(super) fn committed_and_ids(
        &self,
        partitions: &[TopicPartition],
        deadline: Duration,
    ) -> KafkaResult<(Vec<Committed>, TopicIds)> {
        let topics: BTreeSet<&str> = partitions.iter().map(|at| &*at.topic).collect();
        let ids = Asked::about(self, topics, deadline);
        let committed = self.committed(partitions, deadline)?;
        let timed_out = Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
        Ok((committed, ids.answer(deadline).unwrap_or(timed_out)?))
    }
}

#[allow(unsafe_code)]
impl Drop for Asked {
    fn drop(&mut self) {
        // SAFETY: made in `about`, destroyed nowhere else; an answer that is still to come is freed with it.
        unsafe { rd::rd_kafka_queue_destroy(self.queue) }
    }
}

/// # Safety
/// `event` is alive, and the answer to `DescribeTopics`.
#[allow(unsafe_code)]
unsafe fn read(event: *mut rd::rd_kafka_event_t) -> KafkaResult<TopicIds> {
    // SAFETY: what the calls return lives as long as the event, and is copied; null is looked for.
    unsafe {
        match rd::rd_kafka_event_error(event) {
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            // No ids then, and nothing to compare.
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => return Ok(TopicIds::new()),
            code => return Err(KafkaError::AdminOp(RDKafkaErrorCode::from(code))),
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
