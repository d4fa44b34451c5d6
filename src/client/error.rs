//! What can go wrong between a command and Kafka.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why a command cannot go on with Kafka; the text says what was tried, and where.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{doing}: {error}")]
    Kafka {
        /// What was tried: `asking kafka:9092 for the partitions of ftp-tasks`.
        doing: String,
        error: KafkaError,
    },
    #[error("topic {0} is not there")]
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
    /// Another process with the same transactional id has begun.
    #[error("another `failures retry` of this group has taken over")]
    Fenced,
}

impl ClientError {
    /// Says what was tried.
    pub(super) fn at(doing: impl Into<String>) -> impl FnOnce(KafkaError) -> ClientError {
        let doing = doing.into();
        move |error| {
            let fenced = [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced];
            match error.rdkafka_error_code() {
                Some(code) if fenced.contains(&code) => ClientError::Fenced,
                _ => ClientError::Kafka { doing, error: crate::consume::without_value(error) },
            }
        }
    }
}
