//! What a group's members have in common, and rdkafka does not offer: id and generation, committed metadata as bytes, the
//! answer to a rebalance while they leave.

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

/// This consumer's member id; empty while it has none. rdkafka does not offer it.
#[allow(unsafe_code)]
pub(crate) fn member_id_of<C: ConsumerContext>(member: &BaseConsumer<C>) -> String {
    let client = member.client().native_ptr();
    // SAFETY: the client is alive; the string returned is ours, NUL-terminated, and freed by librdkafka's
    // own function with the client that made it.
    unsafe {
        let raw = rdkafka::bindings::rd_kafka_memberid(client);
        if raw.is_null() {
            return String::new();
        }
        let id = std::ffi::CStr::from_ptr(raw).to_string_lossy().into_owned();
        rdkafka::bindings::rd_kafka_mem_free(client, raw.cast());
        id
    }
}

/// The generation under which this consumer is a member of its group (of the new protocol, KIP-848, its member's
/// epoch); `None` while it is none. rdkafka does not offer it.
#[allow(unsafe_code)]
pub(crate) fn generation_of<C: ConsumerContext>(member: &BaseConsumer<C>) -> Option<i32> {
    // SAFETY: the client is alive; the metadata returned are ours, read before they are freed, and freed once.
    let generation = unsafe {
        let metadata = rdkafka::bindings::rd_kafka_consumer_group_metadata(member.client().native_ptr());
        if metadata.is_null() {
            return None;
        }
        let generation = rdkafka::bindings::rd_kafka_consumer_group_metadata_generation_id(metadata);
        rdkafka::bindings::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    };
    (generation >= 0).then_some(generation)
}

/// Answers a rebalance of a member that is leaving, which reads nothing any more: librdkafka waits for it.
pub(crate) fn rebalance_while_closing<C: ConsumerContext>(
    member: &BaseConsumer<C>,
    is_assign: bool,
    list: &TopicPartitionList,
) {
    let answered =
        if is_assign { member.incremental_assign(list) } else { member.incremental_unassign(list) };
    if let Err(error) = answered {
        tracing::debug!(event = "rebalance_while_closing", %error, "rebalance while closing");
    }
}

/// Each element's metadata. `TopicPartitionListElem::metadata` panics if it is not UTF-8, and any client may have
/// committed for this group before.
#[allow(unsafe_code)]
pub(crate) fn metadata_of(list: &TopicPartitionList) -> Vec<Vec<u8>> {
    // SAFETY: the list is alive for the whole call; librdkafka keeps `cnt` initialised elements at `elems`, each with
    // `metadata_size` bytes at `metadata`, which is null if there are none.
    unsafe {
        let raw = &*list.ptr();
        let count = usize::try_from(raw.cnt).unwrap_or(0);
        if count == 0 || raw.elems.is_null() {
            return Vec::new();
        }
        let copy = |element: &rdkafka::bindings::rd_kafka_topic_partition_t| {
            if element.metadata.is_null() {
                return Vec::new();
            }
            std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size).to_vec()
        };
        std::slice::from_raw_parts(raw.elems, count).iter().map(copy).collect()
    }
}
