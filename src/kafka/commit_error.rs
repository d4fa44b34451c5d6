//! What it means that a commit, or a call of its transaction, did not go through. Pure.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A commit, or a call on the way to it, that did not go through.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A rebalance is under way, or this member is no longer in the group: whoever owns the partitions
    /// decides. Normal in a cooperative rebalance.
    #[error("the group is rebalancing: {0}")]
    Rebalancing(KafkaError),
    /// Kafka did not take it: the batch is taken back and sent again.
    #[error("not taken by Kafka: {0}")]
    Failed(KafkaError),
    /// The producer can do nothing more (librdkafka calls it fatal), but nobody has taken its identity: a new one
    /// takes its place.
    #[error("the producer has failed for good, {why}: {error}")]
    Broken { why: &'static str, error: KafkaError },
    /// A coordinator does not answer this producer, and may answer another one: it is renewed, as often as it takes.
    #[error("not taken by Kafka, {why}: {error}")]
    Unanswered { why: &'static str, error: KafkaError },
    /// Another process with this pod's identity has begun: nothing can be published by this one any more.
    #[error("the producer is fenced, another process publishes as this pod (two of one pod.name?): {0}")]
    Fenced(KafkaError),
    /// No producer can ever work as the pod is configured.
    #[error("{advice}: {error}")]
    Unusable { advice: &'static str, error: KafkaError },
}

impl CommitError {
    /// What somebody must do, where that is known.
    pub fn advice(&self) -> Option<&'static str> {
        let (CommitError::Broken { error, .. } | CommitError::Failed(error)) = self else { return None };
        match error.rdkafka_error_code()? {
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed => Some(
                "this user may not publish in transactions: grant it Write and Describe on the transactional.id \
                 (<kafka.consumer_group>-<pod.name>), or set kafka.delivery to at_least_once",
            ),
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                Some("this user may not commit for the group: grant it Read on kafka.consumer_group")
            }
            _ => None,
        }
    }

    /// Kafka lets this user not do it: nothing but a grant helps.
    pub fn is_denied(&self) -> bool {
        use RDKafkaErrorCode as Code;
        let denied = [
            Code::TransactionalIdAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::GroupAuthorizationFailed,
        ];
        self.cause().rdkafka_error_code().is_some_and(|code| denied.contains(&code))
    }

    /// What Kafka's client says of it.
    pub fn cause(&self) -> &KafkaError {
        match self {
            CommitError::Rebalancing(error)
            | CommitError::Failed(error)
            | CommitError::Broken { error, .. }
            | CommitError::Unanswered { error, .. }
            | CommitError::Fenced(error)
            | CommitError::Unusable { error, .. } => error,
        }
    }

    /// A word for metrics, of a closed list.
    pub fn reason(&self) -> &'static str {
        match self {
            CommitError::Rebalancing(_) => "rebalance",
            CommitError::Failed(_) => "failed",
            CommitError::Broken { .. } => "broken",
            CommitError::Unanswered { .. } => "unanswered",
            CommitError::Fenced(_) => "fenced",
            CommitError::Unusable { .. } => "unusable",
        }
    }
}

impl From<KafkaError> for CommitError {
    fn from(error: KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        let (is_fatal, is_retriable) = match &error {
            KafkaError::Transaction(inner) => (inner.is_fatal(), inner.is_retriable()),
            _ => (false, false),
        };
        match error.rdkafka_error_code() {
            Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) if is_fatal => {
                CommitError::Fenced(error)
            }
            Some(Code::UnsupportedFeature) if is_fatal => CommitError::Unusable {
                advice: "the brokers have no transactions, set kafka.delivery to at_least_once",
                error,
            },
            Some(Code::InvalidTransactionTimeout) if is_fatal => CommitError::Unusable {
                advice: "the brokers' transaction.max.timeout.ms is below what a transaction may take here (kafka.transaction_timeout)",
                error,
            },
            Some(Code::InvalidTransactionalState) if is_fatal => {
                let why = "the coordinator does not know its transaction (it was away, or was restarted)";
                CommitError::Broken { why, error }
            }
            Some(Code::State) if !is_retriable => {
                let why = "its transaction is in another state than is asked for, and no call will help";
                CommitError::Broken { why, error }
            }
            _ if is_fatal => CommitError::Broken { why: "as its client library says", error },
            Some(
                Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::AssignmentLost
                | Code::StaleMemberEpoch,
            ) => CommitError::Rebalancing(error),
            _ => CommitError::Failed(error),
        }
    }
}
