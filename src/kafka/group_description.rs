//! The members of a consumer group, and each one's assigned partitions: `DescribeGroups`, or `ConsumerGroupDescribe`
//! for a group of the new protocol (KIP-848).

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::admin_query::{AdminQuery, check};

/// One member, as its coordinator knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMember {
    /// What the coordinator calls it.
    pub id: String,
    pub client_id: String,
    /// The address that it has at the coordinator.
    pub host: String,
    /// Topic and partition.
    pub assigned: BTreeSet<(String, i32)>,
}

/// A group at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupDescription {
    /// No rebalance is under way: what the members are assigned is that of the present generation.
    pub is_stable: bool,
    pub members: Vec<GroupMember>,
    /// Whether this user may join it; `None` where the brokers were not asked, or cannot say.
    pub may_read: Option<bool>,
}

impl GroupDescription {
    /// Asks the group's coordinator, and waits for `deadline` at most. A group that does not exist has no members.
    ///
    /// # Errors
    /// The coordinator does not answer, or this user may not see the group.
    pub fn fetch<C: ConsumerContext + 'static>(
        client: &Arc<BaseConsumer<C>>,
        group: &str,
        deadline: Duration,
    ) -> KafkaResult<GroupDescription> {
        let timed_out = Err(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut));
        GroupQuery::send_with(client, group, true).answer(deadline).unwrap_or(timed_out)
    }
}

/// A question about a group that was sent.
pub struct GroupQuery(AdminQuery);

impl std::fmt::Debug for GroupQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupQuery").finish_non_exhaustive()
    }
}

/// librdkafka's maximum. A request to a coordinator must not time out before it has been sent: librdkafka 2.12 then
/// frees it, uses it once more when a coordinator is found, and aborts the process (`Assertion eonce->refcnt > 0`:
/// `rd_kafka_admin_coord_request` answers `__DESTROY`, upon which `rd_kafka_coord_req_fsm` calls it back again). While
/// there is no coordinator, nothing is lost by one request that waits for it.
const LONGEST_REQUEST: Duration = Duration::from_secs(3_600);

#[allow(unsafe_code)]
impl GroupQuery {
    /// The answer comes when the group's coordinator gives it: at the latest after [`LONGEST_REQUEST`], with an error.
    pub fn send<C: ConsumerContext + 'static>(client: &Arc<BaseConsumer<C>>, group: &str) -> GroupQuery {
        GroupQuery::send_with(client, group, false)
    }

    /// With `rights` the answer says whether this user may join the group.
    fn send_with<C: ConsumerContext + 'static>(
        client: &Arc<BaseConsumer<C>>,
        group: &str,
        rights: bool,
    ) -> GroupQuery {
        // A NUL would be refused by the configuration; without a name the answer is an error.
        let name = CString::new(group).unwrap_or_default();
        let mut names = [name.as_ptr()];
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        // SAFETY: the name lives until it has been copied, which is before the call returns; an error of the option's
        // is freed here, once.
        GroupQuery(AdminQuery::send(client, operation, None, LONGEST_REQUEST, |with| unsafe {
            if rights {
                let refused = rd::rd_kafka_AdminOptions_set_include_authorized_operations(with.options, 1);
                if !refused.is_null() {
                    rd::rd_kafka_error_destroy(refused);
                }
            }
            rd::rd_kafka_DescribeConsumerGroups(with.client, names.as_mut_ptr(), 1, with.options, with.queue);
        }))
    }

    /// The answer, if it comes within this time; once.
    pub fn answer(&self, within: Duration) -> Option<KafkaResult<GroupDescription>> {
        // SAFETY: the event is alive, and the answer to `DescribeConsumerGroups`.
        self.0.answer(within, |event| unsafe { read(event) })
    }
}

/// # Safety
/// `event` is alive, and the answer to `DescribeConsumerGroups` about one group.
#[allow(unsafe_code)]
unsafe fn read(event: *mut rd::rd_kafka_event_t) -> KafkaResult<GroupDescription> {
    // SAFETY: the results of the calls live as long as the event, and are copied; null is checked for.
    unsafe {
        check(rd::rd_kafka_event_error(event))?;
        let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event);
        let mut count = 0;
        if result.is_null() {
            return Err(KafkaError::Global(RDKafkaErrorCode::Fail));
        }
        let groups = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if groups.is_null() || count == 0 {
            return Err(KafkaError::Global(RDKafkaErrorCode::Fail));
        }
        let group = *groups;
        match rd::rd_kafka_error_code(rd::rd_kafka_ConsumerGroupDescription_error(group)) {
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => {
                return Ok(GroupDescription::default());
            }
            code => check(code)?,
        }
        let state = rd::rd_kafka_ConsumerGroupDescription_state(group);
        let members = rd::rd_kafka_ConsumerGroupDescription_member_count(group);
        let mut operations = 0;
        let first = rd::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &raw mut operations);
        let read = rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ;
        let may_read =
            (!first.is_null()).then(|| std::slice::from_raw_parts(first, operations).contains(&read));
        Ok(GroupDescription {
            may_read,
            is_stable: state == rd::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE,
            members: (0..members)
                .map(|n| read_member(rd::rd_kafka_ConsumerGroupDescription_member(group, n)))
                .collect(),
        })
    }
}

/// # Safety
/// `member` is null, or alive.
#[allow(unsafe_code)]
unsafe fn read_member(member: *const rd::rd_kafka_MemberDescription_t) -> GroupMember {
    if member.is_null() {
        return GroupMember::default();
    }
    // SAFETY: the member is alive, and what its accessors return lives as long; librdkafka keeps `cnt` initialised
    // elements at `elems`, each with a NUL-terminated topic.
    unsafe {
        let mut assigned = BTreeSet::new();
        let assignment = rd::rd_kafka_MemberDescription_assignment(member);
        let list = if assignment.is_null() {
            std::ptr::null()
        } else {
            rd::rd_kafka_MemberAssignment_partitions(assignment)
        };
        if let Some(list) = list.as_ref().filter(|list| !list.elems.is_null()) {
            let count = usize::try_from(list.cnt).unwrap_or(0);
            for element in std::slice::from_raw_parts(list.elems, count) {
                assigned.insert((text(element.topic), element.partition));
            }
        }
        GroupMember {
            id: text(rd::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text(rd::rd_kafka_MemberDescription_client_id(member)),
            // Kafka writes Java's form of an address: /10.1.2.3.
            host: text(rd::rd_kafka_MemberDescription_host(member)).trim_start_matches('/').to_owned(),
            assigned,
        }
    }
}

/// # Safety
/// `text` is null, or NUL-terminated.
#[allow(unsafe_code)]
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as this function's caller says.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
