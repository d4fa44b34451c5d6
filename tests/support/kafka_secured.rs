//! A broker with Kafka's own authorizer: a pod has a user there, and what that one may do is granted and taken away.

use std::ffi::CString;
use std::fmt;
use std::net::Ipv4Addr;

use rdkafka::admin::AdminClient;
use rdkafka::bindings as rd;
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use super::kafka::{Kafka, REQUEST};
use super::ports::free_port;

const USER: &str = "pod";
const PASSWORD: &str = "not-a-secret";

/// What an ACL is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Topic,
    Group,
    TransactionalId,
}

/// One thing that the pod's user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub resource: Resource,
    pub name: String,
    pub operation: rd::rd_kafka_AclOperation_t,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {:?}", self.resource, self.name, self.operation)
    }
}

/// The tests' own clients may do everything, by a listener without a user; the pod's user may do what is granted.
#[derive(Debug)]
pub struct SecuredKafka {
    pub kafka: Kafka,
    port: u16,
}

impl SecuredKafka {
    /// # Panics
    /// Where it does not come up.
    pub fn start() -> SecuredKafka {
        let port = free_port();
        let kafka = Kafka::with_settings(1, Ipv4Addr::LOCALHOST, &|broker, controller| {
            format!(
                "listeners=PLAINTEXT://127.0.0.1:{broker},USERS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker},USERS://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_PLAINTEXT
listener.name.users.sasl.enabled.mechanisms=PLAIN
listener.name.users.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_{USER}=\"{PASSWORD}\";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"
            )
        });
        SecuredKafka { kafka, port }
    }

    /// Where the pod's user logs in.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kafka.properties` of the pod.
    pub fn properties() -> Value {
        json!({
            "session.timeout.ms": "6000",
            "heartbeat.interval.ms": "1000",
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
        })
    }

    /// # Panics
    /// Where the broker refuses.
    #[allow(unsafe_code, reason = "rdkafka has no ACLs")]
    pub fn grant(&self, grant: &Grant) {
        let [name, principal, host] = names(grant);
        self.ask(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEACLS, |client, options, queue| {
            // SAFETY: the names live for the whole call, which copies them; the binding is freed here, once.
            unsafe {
                let mut acl = rd::rd_kafka_AclBinding_new(
                    restype(grant.resource),
                    name.as_ptr(),
                    rd::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                    principal.as_ptr(),
                    host.as_ptr(),
                    grant.operation,
                    rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                    std::ptr::null_mut(),
                    0,
                );
                rd::rd_kafka_CreateAcls(client, &raw mut acl, 1, options, queue);
                rd::rd_kafka_AclBinding_destroy(acl);
            }
        });
    }

    /// # Panics
    /// Where the broker refuses.
    #[allow(unsafe_code, reason = "rdkafka has no ACLs")]
    pub fn take_away(&self, grant: &Grant) {
        let [name, principal, host] = names(grant);
        self.ask(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETEACLS, |client, options, queue| {
            // SAFETY: as above; a filter is a binding.
            unsafe {
                let mut filter = rd::rd_kafka_AclBindingFilter_new(
                    restype(grant.resource),
                    name.as_ptr(),
                    rd::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                    principal.as_ptr(),
                    host.as_ptr(),
                    grant.operation,
                    rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                    std::ptr::null_mut(),
                    0,
                );
                rd::rd_kafka_DeleteAcls(client, &raw mut filter, 1, options, queue);
                rd::rd_kafka_AclBinding_destroy(filter);
            }
        });
    }

    #[allow(unsafe_code, reason = "rdkafka has no ACLs")]
    fn ask(
        &self,
        operation: rd::rd_kafka_admin_op_t,
        ask: impl FnOnce(*mut rd::rd_kafka_t, *mut rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
    ) {
        let admin: AdminClient<DefaultClientContext> = self.kafka.client().create().expect("an admin client");
        let client = admin.inner().native_ptr();
        let wait = i32::try_from(REQUEST.as_millis()).expect("a short time");
        // SAFETY: the client outlives queue, options and event, each of which is freed here, once.
        unsafe {
            let queue = rd::rd_kafka_queue_new(client);
            let options = rd::rd_kafka_AdminOptions_new(client, operation);
            ask(client, options, queue);
            let event = rd::rd_kafka_queue_poll(queue, wait);
            assert!(!event.is_null(), "the broker does not answer");
            let error = rd::rd_kafka_event_error(event);
            rd::rd_kafka_event_destroy(event);
            rd::rd_kafka_AdminOptions_destroy(options);
            rd::rd_kafka_queue_destroy(queue);
            assert_eq!(error, rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        }
    }
}

fn names(grant: &Grant) -> [CString; 3] {
    let principal = format!("User:{USER}");
    [grant.name.as_str(), &principal, "*"].map(|text| CString::new(text).expect("no NUL"))
}

fn restype(resource: Resource) -> rd::rd_kafka_ResourceType_t {
    match resource {
        Resource::Topic => rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
        Resource::Group => rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP,
        Resource::TransactionalId => rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
    }
}
