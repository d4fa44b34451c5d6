//! One question to the brokers that rdkafka does not offer, with a queue of its own for the answer.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

/// A request that was sent; nobody has to wait for the answer.
pub(crate) struct AdminQuery {
    queue: *mut rd::rd_kafka_queue_t,
    /// Keeps the client alive for as long as the queue is.
    _client: Arc<dyn Any + Send + Sync>,
}

// SAFETY: librdkafka's queues may be used by any thread.
#[allow(unsafe_code)]
unsafe impl Send for AdminQuery {}

/// What such a request is made with; freed when it has been sent.
pub(super) struct QueryOptions {
    pub client: *mut rd::rd_kafka_t,
    pub options: *mut rd::rd_kafka_AdminOptions_t,
    pub queue: *mut rd::rd_kafka_queue_t,
}

#[allow(unsafe_code)]
impl AdminQuery {
    /// Sends a request by `send`, which must copy what it is given before it returns. `broker` is the one to be
    /// asked; else librdkafka finds it. The answer, or an error, comes within `deadline`.
    pub(super) fn send<C: ConsumerContext + 'static>(
        client: &Arc<BaseConsumer<C>>,
        operation: rd::rd_kafka_admin_op_t,
        broker: Option<i32>,
        deadline: Duration,
        send: impl FnOnce(&QueryOptions),
    ) -> AdminQuery {
        let timeout = i32::try_from(deadline.as_millis()).unwrap_or(i32::MAX);
        let native = client.client().native_ptr();
        // SAFETY: the client outlives the queue, which is destroyed with this value; the options are freed here,
        // once, after librdkafka has copied them.
        unsafe {
            let queue = rd::rd_kafka_queue_new(native);
            let options = rd::rd_kafka_AdminOptions_new(native, operation);
            rd::rd_kafka_AdminOptions_set_request_timeout(options, timeout, std::ptr::null_mut(), 0);
            if let Some(broker) = broker {
                rd::rd_kafka_AdminOptions_set_broker(options, broker, std::ptr::null_mut(), 0);
            }
            send(&QueryOptions { client: native, options, queue });
            rd::rd_kafka_AdminOptions_destroy(options);
            AdminQuery { queue, _client: client.clone() }
        }
    }

    /// The answer, read by `read` from a live event, if it comes within this time; once.
    pub(super) fn answer<T>(
        &self,
        within: Duration,
        read: impl FnOnce(*mut rd::rd_kafka_event_t) -> T,
    ) -> Option<T> {
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

#[allow(unsafe_code)]
impl Drop for AdminQuery {
    fn drop(&mut self) {
        // SAFETY: made in `send`, destroyed nowhere else; an answer that is still to come is freed with it.
        unsafe { rd::rd_kafka_queue_destroy(self.queue) }
    }
}

/// Not by `AdminOp`, for which rdkafka returns no code.
pub(super) fn check(code: rd::rd_kafka_resp_err_t) -> KafkaResult<()> {
    match code {
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::Global(RDKafkaErrorCode::from(code))),
    }
}
