//! Asks how long a group's coordinator waits for a member's heartbeat, by the group protocol of KIP-848. It tells no member,
//! but whoever may read the group's configuration (Kafka 3.8 or newer).

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaResult;

use super::admin_query::{AdminQuery, check};

/// Milliseconds; where the group has none of its own, it is `group.consumer.session.timeout.ms` of the brokers.
const KEY: &[u8] = b"consumer.session.timeout.ms";

/// A question that was sent.
pub(crate) struct SessionTimeoutQuery(AdminQuery);

#[allow(unsafe_code)]
impl SessionTimeoutQuery {
    /// The answer comes within `deadline`, or an error does. `broker` is asked, else the controller.
    pub fn send<C: ConsumerContext + 'static>(
        client: &Arc<BaseConsumer<C>>,
        group: &str,
        broker: Option<i32>,
        deadline: Duration,
    ) -> SessionTimeoutQuery {
        // A NUL would be refused by the configuration; without a name the answer is an error.
        let name = CString::new(group).unwrap_or_default();
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let kind = rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP;
        // SAFETY: the name and the resource are copied before the calls return; the resource is freed here, once.
        SessionTimeoutQuery(AdminQuery::send(client, operation, broker, deadline, |with| unsafe {
            let resource = rd::rd_kafka_ConfigResource_new(kind, name.as_ptr());
            if resource.is_null() {
                return; // no name: it is never answered
            }
            let mut resources = [resource];
            rd::rd_kafka_DescribeConfigs(with.client, resources.as_mut_ptr(), 1, with.options, with.queue);
            rd::rd_kafka_ConfigResource_destroy(resource);
        }))
    }

    /// The answer, if it comes within this time; once. `None` inside where the brokers know no such setting.
    pub fn answer(&self, within: Duration) -> Option<KafkaResult<Option<Duration>>> {
        // SAFETY: the event is alive, and the answer to `DescribeConfigs`.
        self.0.answer(within, |event| unsafe { read(event) })
    }
}

/// # Safety
/// `event` is alive, and the answer to `DescribeConfigs` about one resource.
#[allow(unsafe_code)]
unsafe fn read(event: *mut rd::rd_kafka_event_t) -> KafkaResult<Option<Duration>> {
    // SAFETY: what the calls return lives as long as the event, and is copied; null is looked for.
    unsafe {
        check(rd::rd_kafka_event_error(event))?;
        let result = rd::rd_kafka_event_DescribeConfigs_result(event);
        if result.is_null() {
            return Ok(None);
        }
        let mut count = 0;
        let resources = rd::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        if resources.is_null() || count == 0 || (*resources).is_null() {
            return Ok(None);
        }
        check(rd::rd_kafka_ConfigResource_error(*resources))?;
        let entries = rd::rd_kafka_ConfigResource_configs(*resources, &raw mut count);
        if entries.is_null() {
            return Ok(None);
        }
        for entry in std::slice::from_raw_parts(entries, count) {
            let name = rd::rd_kafka_ConfigEntry_name(*entry);
            let value = rd::rd_kafka_ConfigEntry_value(*entry);
            if !name.is_null() && !value.is_null() && CStr::from_ptr(name).to_bytes() == KEY {
                let value = CStr::from_ptr(value).to_string_lossy();
                return Ok(value.parse().ok().map(Duration::from_millis));
            }
        }
        Ok(None)
    }
}
