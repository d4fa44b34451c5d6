//! Logs once that Kafka is unreachable, once that it is reachable again, and that joining the group is slow.

use std::time::{Duration, Instant};

/// Without a connected broker for this long Kafka counts as unreachable; librdkafka reports its brokers every 5 s.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(15);
/// Joining the group for longer than this is reported.
const JOIN_REPORTED_AFTER: Duration = Duration::from_secs(5);

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KafkaOutageEvent {
    Unreachable { since: Duration },
    Reachable { after: Duration },
    WaitingForGroup,
}

/// What has been logged of it so far.
#[derive(Debug)]
pub(super) struct KafkaOutageLog {
    started: Instant,
    /// Of the outage that was logged.
    unreachable_since: Option<Instant>,
    is_join_logged: bool,
}

impl KafkaOutageLog {
    pub fn new(started: Instant) -> Self {
        KafkaOutageLog { started, unreachable_since: None, is_join_logged: false }
    }

    /// To be called now and then; no broker has been connected for `unseen`.
    pub fn observe(&mut self, unseen: Duration, is_joined: bool, now: Instant) -> Option<KafkaOutageEvent> {
        if unseen >= UNREACHABLE_AFTER {
            if self.unreachable_since.is_some() {
                return None;
            }
            self.unreachable_since = Some(now.checked_sub(unseen).unwrap_or(now));
            return Some(KafkaOutageEvent::Unreachable { since: unseen });
        }
        if let Some(since) = self.unreachable_since.take() {
            return Some(KafkaOutageEvent::Reachable { after: now.saturating_duration_since(since) });
        }
        self.is_join_logged |= is_joined;
        let is_late = now.saturating_duration_since(self.started) >= JOIN_REPORTED_AFTER;
        if self.is_join_logged || !is_late {
            return None;
        }
        self.is_join_logged = true;
        Some(KafkaOutageEvent::WaitingForGroup)
    }
}

impl KafkaOutageEvent {
    pub fn log(self) {
        match self {
            KafkaOutageEvent::Unreachable { since } => {
                let since = since.as_secs();
                tracing::warn!(
                    event = "kafka_unreachable",
                    since,
                    "Kafka is unreachable: no broker has been connected for {since} s; answers are held"
                );
            }
            KafkaOutageEvent::Reachable { after } => {
                let after = after.as_secs();
                tracing::info!(event = "kafka_reachable", after, "Kafka is reachable again after {after} s");
            }
            KafkaOutageEvent::WaitingForGroup => tracing::info!(
                event = "waiting_for_group",
                "waiting for the consumer group: a process that was killed remains its member until \
                 session.timeout.ms has passed (kafka.static_membership avoids that)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_when_it_is_certain_and_once_when_it_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut log = KafkaOutageLog::new(start);
        assert_eq!(log.observe(Duration::ZERO, true, at(100)), None);
        assert_eq!(log.observe(Duration::from_secs(14), true, at(114)), None);
        let since = Duration::from_secs(15);
        assert_eq!(log.observe(since, true, at(115)), Some(KafkaOutageEvent::Unreachable { since }));
        assert_eq!(log.observe(Duration::from_secs(60), true, at(160)), None, "once");
        let after = Duration::from_secs(100);
        assert_eq!(log.observe(Duration::ZERO, true, at(200)), Some(KafkaOutageEvent::Reachable { after }));
        assert_eq!(log.observe(Duration::ZERO, true, at(201)), None, "once");
    }

    #[test]
    fn a_group_that_is_not_joined_soon_is_told_once_and_never_after_it_was_joined() {
        let start = Instant::now();
        let late = start + JOIN_REPORTED_AFTER;
        let mut log = KafkaOutageLog::new(start);
        assert_eq!(log.observe(Duration::ZERO, false, start), None);
        assert_eq!(log.observe(Duration::ZERO, false, late), Some(KafkaOutageEvent::WaitingForGroup));
        assert_eq!(log.observe(Duration::ZERO, false, late), None, "once");
        let mut joined = KafkaOutageLog::new(start);
        assert_eq!(joined.observe(Duration::ZERO, true, start), None);
        assert_eq!(joined.observe(Duration::ZERO, false, late), None);
    }
}
