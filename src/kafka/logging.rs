//! librdkafka's log lines and error events, as ours.

use std::time::Instant;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::log_throttle::LogThrottle;

/// librdkafka's lines about connections that end, and attempts at one that fail.
pub(super) const CONNECTIONS: &str = "FAIL";

/// librdkafka's log lines, as ours; the same one once in a while.
pub fn log_line(client: &str, throttle: &LogThrottle, level: RDKafkaLogLevel, facility: &str, message: &str) {
    let is_problem = matches!(
        level,
        RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
    );
    if is_of_a_rebalance(facility, message) || is_of_a_starting_coordinator(message) {
        tracing::debug!(target: "librdkafka", event = "librdkafka", client, facility, "{message}");
    } else if is_problem || facility == CONNECTIONS {
        let Some(suppressed) = throttle.admit(message, Instant::now()) else { return };
        if !is_problem {
            tracing::info!(
                target: "librdkafka",
                event = "librdkafka", client, facility, suppressed,
                "{message}"
            );
        } else if matches!(level, RDKafkaLogLevel::Warning) {
            tracing::warn!(
                target: "librdkafka",
                event = "librdkafka", client, facility, suppressed,
                "{message}"
            );
        } else {
            tracing::error!(
                target: "librdkafka",
                event = "librdkafka", client, facility, suppressed,
                "{message}"
            );
        }
    } else if matches!(level, RDKafkaLogLevel::Debug) {
        tracing::debug!(target: "librdkafka", event = "librdkafka", client, facility, "{message}");
    } else {
        tracing::info!(target: "librdkafka", event = "librdkafka", client, facility, "{message}");
    }
}

/// librdkafka's error events, which say what its log lines have said.
pub fn log_error(client: &str, throttle: &LogThrottle, error: &KafkaError, reason: &str) {
    if is_end_of_partition(error) {
        tracing::debug!(target: "librdkafka", event = "librdkafka", client, %error, "{reason}");
    } else if let Some(suppressed) = throttle.admit(reason, Instant::now()) {
        tracing::warn!(target: "librdkafka", event = "librdkafka", client, %error, suppressed, "{reason}");
    }
}

/// All records were read: a reader's signal, and no error.
fn is_end_of_partition(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF)
        || matches!(error, KafkaError::PartitionEOF(_))
}

/// A transaction that a rebalance has overtaken is aborted, and chosen again: librdkafka calls that an error, but it
/// is what a cooperative rebalance looks like.
fn is_of_a_rebalance(facility: &str, message: &str) -> bool {
    let codes =
        ["(ILLEGAL_GENERATION", "(UNKNOWN_MEMBER_ID", "(REBALANCE_IN_PROGRESS", "(STALE_MEMBER_EPOCH"];
    facility == "TXNERR" && codes.iter().any(|code| message.contains(code))
}

/// Kafka creates the topic of transactions upon the first one, and loads its partitions whenever their leader changes.
/// librdkafka retries meanwhile; if that lasts, the publisher reports it.
fn is_of_a_starting_coordinator(message: &str) -> bool {
    let codes = ["Coordinator load in progress", "Coordinator not available", "Not coordinator"];
    message.contains("Failed to acquire")
        && message.ends_with("retrying")
        && codes.iter().any(|code| message.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_only_starts_is_no_problem_and_one_that_refuses_is() {
        let line = |code: &str, end: &str| {
            format!(
                "[thrd:main]: Failed to acquire idempotence PID from broker b:9092/1: Broker: {code}: {end}"
            )
        };
        assert!(is_of_a_starting_coordinator(&line("Coordinator load in progress", "retrying")));
        assert!(is_of_a_starting_coordinator(&line("Not coordinator", "retrying")));
        assert!(!is_of_a_starting_coordinator(&line("Cluster authorization failed", "retrying")));
        assert!(!is_of_a_starting_coordinator(&line("Not coordinator", "giving up")));
    }

    #[test]
    fn the_end_of_a_partition_is_no_problem() {
        assert!(is_end_of_partition(&KafkaError::Global(RDKafkaErrorCode::PartitionEOF)));
        assert!(is_end_of_partition(&KafkaError::PartitionEOF(3)));
        assert!(!is_end_of_partition(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown)));
    }

    #[test]
    fn a_transaction_that_a_rebalance_overtook_is_no_error_and_others_are() {
        let failed = |code: &str| format!("Current transaction failed in state InTransaction: why ({code})");
        assert!(is_of_a_rebalance("TXNERR", &failed("ILLEGAL_GENERATION")));
        assert!(is_of_a_rebalance("TXNERR", &failed("UNKNOWN_MEMBER_ID")));
        assert!(!is_of_a_rebalance("TXNERR", &failed("_TIMED_OUT, requires epoch bump")));
        assert!(!is_of_a_rebalance("FAIL", &failed("ILLEGAL_GENERATION")));
    }
}
