//! librdkafka's last message about a connection that failed: its errors name only their kind, and a user at a
//! terminal wants to know which host does not resolve, or which port refuses.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::logging::CONNECTIONS;

const OTHER_PROTOCOL: &str =
    "; if this listener expects TLS or SASL, set security.protocol and sasl.mechanism in kafka.properties";

/// For the lines that wait.
const PATIENCE: Duration = Duration::from_millis(50);
/// Errors among them that are passed over.
const MOST_ERRORS: usize = 20;

/// A client's context that keeps the last reason, and is silent otherwise.
#[derive(Debug, Default)]
pub struct LastConnectionError(Mutex<Option<String>>);

impl LastConnectionError {
    /// ` (Connect to ipv4#127.0.0.1:1 failed: Connection refused)`; empty where nothing was said. For a client
    /// that is assigned nothing: what librdkafka has said waits in its queue, which is emptied here.
    #[must_use]
    pub fn of(client: &BaseConsumer<LastConnectionError>) -> String {
        for _ in 0..MOST_ERRORS {
            if client.poll(PATIENCE).is_none() {
                break;
            }
        }
        client.context().in_brackets()
    }

    fn in_brackets(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hint = |reason: &str| if is_of_another_protocol(reason) { OTHER_PROTOCOL } else { "" };
        last.as_ref().map_or_else(String::new, |reason| format!(" ({reason}{})", hint(reason)))
    }
}

impl ClientContext for LastConnectionError {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == CONNECTIONS {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason(message).to_owned());
        }
    }

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for LastConnectionError {}

/// Whether an error means that no broker has answered, as far as librdkafka reports it.
#[must_use]
pub fn is_unanswered(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let unanswered =
        [Code::BrokerTransportFailure, Code::AllBrokersDown, Code::Resolve, Code::OperationTimedOut];
    error.rdkafka_error_code().is_some_and(|code| unanswered.contains(&code))
}

/// A listener for TLS or SASL closes the connection of a client that speaks neither, without a word.
fn is_of_another_protocol(reason: &str) -> bool {
    reason.starts_with("Disconnected") || reason.contains("security.protocol")
}

/// The reason alone, of `[thrd:…]: broker:9092/bootstrap: reason (after 0ms in state CONNECT, …)`.
fn reason(message: &str) -> &str {
    let message = message.split_once("]: ").map_or(message, |(_, rest)| rest);
    let message = message.split_once(": ").map_or(message, |(_, rest)| rest);
    message.rfind(" (after ").and_then(|at| message.get(..at)).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_kept_without_what_is_librdkafkas_own() {
        let word = LastConnectionError::default();
        assert_eq!(word.in_brackets(), "");
        let say = |message| word.log(RDKafkaLogLevel::Error, "FAIL", message);
        say(
            "[thrd:sasl]: kafka:9092/bootstrap: Failed to resolve 'kafka:9092': Name or service not known (after 3ms in state CONNECT)",
        );
        assert_eq!(word.in_brackets(), " (Failed to resolve 'kafka:9092': Name or service not known)");
        say(
            "[thrd:x]: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
        );
        assert_eq!(word.in_brackets(), " (Connect to ipv4#127.0.0.1:1 failed: Connection refused)");
        word.log(RDKafkaLogLevel::Info, "CONFWARN", "[thrd:app]: something else");
        assert_eq!(word.in_brackets(), " (Connect to ipv4#127.0.0.1:1 failed: Connection refused)");
        say("[thrd:x]: 127.0.0.1:9092/bootstrap: Disconnected (after 1ms in state UP)");
        assert_eq!(word.in_brackets(), format!(" (Disconnected{OTHER_PROTOCOL})"));
        say("short");
        assert_eq!(word.in_brackets(), " (short)");
    }
}
