//! With KIP-848 the brokers decide how long the coordinator waits for a member's heartbeat: they are asked.

use std::time::{Duration, Instant};

use super::group::Group;
use crate::kafka::SessionTimeoutQuery;
use crate::offsets::Offsets;

/// Between two questions, since it can be changed at any time.
const ASK: Duration = Duration::from_secs(60);
/// For the answer, which nobody waits for.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is known of the session's timeout.
#[derive(Default)]
pub(super) struct SessionTimeout {
    /// False where librdkafka says how long it is.
    is_brokers: bool,
    asked: Option<SessionTimeoutQuery>,
    last: Option<Instant>,
    /// What was logged last.
    known: Option<Duration>,
    is_unknown_logged: bool,
}

impl SessionTimeout {
    /// `is_brokers`: by the new protocol.
    pub fn new(is_brokers: bool) -> SessionTimeout {
        SessionTimeout { is_brokers, ..SessionTimeout::default() }
    }

    /// Another client takes the place of the one that was asked.
    pub fn start_over(&mut self) {
        (self.asked, self.last) = (None, None);
    }

    /// Waits for nothing.
    pub fn check(&mut self, group: &Group, offsets: &Offsets) {
        if !self.is_brokers {
            return;
        }
        if let Some(asked) = &self.asked {
            let Some(answer) = asked.answer(Duration::ZERO) else { return };
            self.asked = None;
            let why = match answer {
                Ok(Some(timeout)) => return self.learn(timeout, offsets),
                Ok(None) => "the brokers do not say".to_owned(),
                Err(error) => error.to_string(),
            };
            return self.log_unknown(&why);
        }
        if self.last.is_none_or(|last| last.elapsed() >= ASK) {
            self.last = Some(Instant::now());
            self.asked = Some(group.ask_for_session_timeout(DEADLINE));
        }
    }

    fn learn(&mut self, timeout: Duration, offsets: &Offsets) {
        offsets.set_session_timeout(timeout, true);
        if self.known != Some(timeout) {
            self.known = Some(timeout);
            let seconds = timeout.as_secs_f64();
            tracing::info!(
                event = "session_timeout_known",
                seconds,
                "the brokers give a pod that is silent {seconds} s before its partitions are another's"
            );
        }
    }

    fn log_unknown(&mut self, why: &str) {
        if self.known.is_none() && !std::mem::replace(&mut self.is_unknown_logged, true) {
            tracing::info!(
                event = "session_timeout_unknown",
                why,
                "the brokers' session timeout cannot be read ({why}): session.timeout.ms in kafka.properties says \
                 what it is, 15 s where that is not set (the right DescribeConfigs on the group lets pods read it)"
            );
        }
    }
}
