//! What can go wrong between a command and Kafka.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why a command cannot continue with Kafka; the text says what was tried, and where.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{doing}: {error}")]
    Kafka {
        /// What was tried: `asking kafka:9092 for the partitions of ftp-tasks`.
        doing: String,
        error: KafkaError,
    },
    #[error("{doing}: no broker answers{why}")]
    Unanswered {
        doing: String,
        /// ` (Connect to … failed: Connection refused)`; empty where nothing is known.
        why: String,
    },
    #[error("topic {0} does not exist: `ftp-pooler topics` creates it")]
    NoTopic(String),
    #[error("{0}")]
    Stalled(String),
    /// Records that the brokers refused or did not acknowledge in time.
    #[error("{refused} of {sent} records were not acknowledged: {first}")]
    NotDelivered {
        refused: u64,
        sent: u64,
        /// The first one's error.
        first: RDKafkaErrorCode,
    },
    /// Another process with the same transactional id has started.
    #[error("another `failures retry` of this group has taken over")]
    Fenced,
}

impl ClientError {
    /// The cluster may just be starting: no broker answers, or not everything exists yet.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        use RDKafkaErrorCode as Code;
        let passing = [
            Code::LeaderNotAvailable,
            Code::CoordinatorNotAvailable,
            Code::NotController,
            Code::InvalidReplicationFactor, // until all brokers have registered
            Code::RequestTimedOut,
        ];
        match self {
            ClientError::Unanswered { .. } | ClientError::Stalled(_) => true,
            ClientError::Kafka { error, .. } => {
                crate::kafka::is_unanswered(error)
                    || error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
            }
            _ => false,
        }
    }

    /// Names the query, and why no broker answered if none did.
    pub(super) fn unanswered(doing: String, error: KafkaError, why: &str) -> ClientError {
        if crate::kafka::is_unanswered(&error) {
            return ClientError::Unanswered { doing, why: why.to_owned() };
        }
        ClientError::at(doing)(error)
    }

    /// Says what was tried.
    pub(super) fn at(doing: impl Into<String>) -> impl FnOnce(KafkaError) -> ClientError {
        let doing = doing.into();
        move |error| {
            let fenced = [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced];
            match error.rdkafka_error_code() {
                Some(code) if fenced.contains(&code) => ClientError::Fenced,
                _ => ClientError::Kafka { doing, error: crate::kafka::without_value(error) },
            }
        }
    }
}
