//! What each thing that happens means for the tunnels.

use crate::admin::ProxyReport;
use crate::events::TunnelEventKind;
use crate::failure::{Failure, FailureClass};
use crate::lines::LineMeaning;
use crate::state::TunnelState;

use super::{
    AWAITED_INTERVAL, Action, ClientCore, DOUBT_INTERVAL, MAX_FAILED_PROBES, Moment, Process, Session,
};

impl ClientCore {
    /// frpc runs; it has the tunnels that are wanted now.
    pub fn process_started(&mut self, pid: i32, server: String, now: Moment) {
        self.process =
            Process::Running { since: now.instant, session: Session::Connecting { since: now.instant } };
        self.emit(now, TunnelEventKind::ProcessStarted { pid, server });
        for name in self.names() {
            self.begin_connecting(&name, now);
        }
        for tracked in self.tunnels.values_mut() {
            tracked.is_loaded = !tracked.is_refused;
        }
    }

    /// frpc could not be started, or ended. `reason` is for people.
    pub fn process_ended(&mut self, reason: String, failure: Option<Failure>, now: Moment) {
        let was_asked = matches!(self.process, Process::Stopping);
        if let Process::Running { since, .. } = self.process
            && now.instant >= since + self.timing.stable_after
        {
            self.restart.reset();
        }
        self.emit(now, TunnelEventKind::ProcessStopped { reason, failure: failure.clone() });
        self.is_reloading = false;
        let failure = failure
            .or_else(|| self.session_failure.clone())
            .unwrap_or_else(|| Failure::new(FailureClass::ProcessEnded, "frpc ended"));
        let is_permanent = failure.class.is_permanent() && !was_asked;
        let wait = match failure.class {
            FailureClass::AuthenticationFailed | FailureClass::RejectedByServer => {
                self.timing.restart_longest
            }
            // another port is chosen at each start
            FailureClass::AdminPortTaken => self.timing.restart_first,
            _ if was_asked => self.timing.restart_first,
            _ => self.restart.next_wait(),
        };
        self.process = Process::Waiting((!is_permanent).then(|| now.instant + wait));
        self.session_failure = Some(failure.clone());
        self.lose_session(&failure, now);
        if is_permanent {
            for name in self.names() {
                self.fail(&name, failure.clone(), now);
            }
        }
    }

    /// frpc took the configuration that was wanted when [`Action::Reload`] was given, or refused it.
    pub fn reloaded(&mut self, result: Result<(), String>, now: Moment) {
        self.is_reloading = false;
        match result {
            Ok(()) => {
                self.emit(now, TunnelEventKind::Reloaded);
                for (name, tracked) in &mut self.tunnels {
                    tracing::trace!(event = "tunnel_loaded", tunnel = name, "loaded");
                    tracked.is_loaded = !tracked.is_refused;
                }
                for name in self.names() {
                    if self
                        .tunnels
                        .get(&name)
                        .is_some_and(|tracked| tracked.status.state == TunnelState::Pending)
                    {
                        self.begin_connecting(&name, now);
                    }
                }
            }
            Err(message) => {
                self.emit(now, TunnelEventKind::ConfigurationRefused { message: message.clone() });
                // what came since the last good configuration is at fault
                for name in self.names() {
                    if self.tunnels.get(&name).is_some_and(|tracked| !tracked.is_loaded) {
                        let failure = Failure::new(FailureClass::ConfigurationInvalid, message.clone());
                        self.fail(&name, failure, now);
                        if let Some(tracked) = self.tunnels.get_mut(&name) {
                            tracked.is_refused = true;
                        }
                    }
                }
                self.is_changed = true;
            }
        }
    }

    /// The reload could not be requested: the process is restarted.
    pub fn reload_failed(&mut self) {
        self.is_reloading = false;
        self.restart();
    }

    fn begin_connecting(&mut self, name: &str, now: Moment) {
        let deadline = now.instant + self.timing.connect_deadline;
        if let Some(tracked) = self.tunnels.get_mut(name)
            && !tracked.is_refused
            && tracked.status.state != TunnelState::Connected
        {
            tracked.deadline.get_or_insert(deadline);
            self.set_state(name, TunnelState::Connecting, now);
        }
    }

    /// One line of frpc.
    pub fn line(&mut self, meaning: LineMeaning, now: Moment) {
        match meaning {
            LineMeaning::Connecting => self.session_connecting(now),
            LineMeaning::ConnectFailed(reason) => self.connect_failed(&Failure::of_words(&reason), now),
            LineMeaning::LoggedIn => self.logged_in(now),
            LineMeaning::Started(name) => self.accepted(&name, now),
            LineMeaning::StartFailed { tunnel, reason } => {
                self.start_failed(&tunnel, Failure::of_words(&reason), now);
            }
            LineMeaning::VisitorsAdded(names) => self.visitors_added(&names, now),
            LineMeaning::VisitorTried(name) => self.tried_visitor = Some(name),
            LineMeaning::VisitorStarted => {
                if let Some(name) = self.tried_visitor.take() {
                    self.accepted(&name, now);
                }
            }
            LineMeaning::VisitorStartFailed(reason) => self.visitor_start_failed(&reason, now),
            LineMeaning::VisitorFailed { tunnel, reason } => self.blame(&tunnel, Failure::of_words(&reason)),
            LineMeaning::LocalServiceDown { tunnel, reason } => {
                self.blame(&tunnel, Failure::new(FailureClass::LocalServiceDown, reason));
            }
            LineMeaning::HealthCheckFailed(name) => {
                if let Some(tracked) = self.tunnels.get_mut(&name) {
                    tracked.is_accepted = false;
                }
                let message = "the health check of the local service failed";
                self.fail(&name, Failure::new(FailureClass::LocalServiceDown, message), now);
            }
            LineMeaning::HealthCheckPassed(_) | LineMeaning::AdminRequest | LineMeaning::Other => {}
        }
    }

    fn session_connecting(&mut self, now: Moment) {
        let Process::Running { session, .. } = &mut self.process else { return };
        if matches!(session, Session::Established { .. }) {
            *session = Session::Connecting { since: now.instant };
            self.emit(now, TunnelEventKind::SessionLost);
            let failure = Failure::new(FailureClass::ServerUnreachable, "the session with frps was lost");
            self.lose_session(&failure, now);
        }
    }

    fn lose_session(&mut self, failure: &Failure, now: Moment) {
        for name in self.names() {
            let Some(tracked) = self.tunnels.get_mut(&name) else { continue };
            tracked.is_accepted = false;
            tracked.is_bind_refused = false;
            tracked.probe_at = None;
            tracked.retry_at = None;
            if tracked.status.state == TunnelState::Connected {
                self.fail(&name, failure.clone(), now);
            }
        }
    }

    fn connect_failed(&mut self, failure: &Failure, now: Moment) {
        self.session_failure = Some(failure.clone());
        // waiting does not help these: waiting callers get the error at once
        let is_definite = matches!(
            failure.class,
            FailureClass::AuthenticationFailed | FailureClass::RejectedByServer | FailureClass::ClientIdInUse
        );
        for name in self.names() {
            let Some(tracked) = self.tunnels.get_mut(&name) else { continue };
            tracked.last_failure = Some(failure.clone());
            let shows_reason =
                matches!(tracked.status.state, TunnelState::Failed(_) | TunnelState::Disconnected(_));
            if is_definite || shows_reason {
                let next = if matches!(tracked.status.state, TunnelState::Disconnected(_)) && !is_definite {
                    TunnelState::Disconnected(failure.clone())
                } else {
                    TunnelState::Failed(failure.clone())
                };
                self.set_state(&name, next, now);
            }
        }
        if is_definite && matches!(self.process, Process::Running { .. }) {
            self.next_server();
            self.stop_process();
        }
    }

    fn logged_in(&mut self, now: Moment) {
        let Process::Running { session, .. } = &mut self.process else { return };
        *session = Session::Established { since: now.instant };
        self.session_failure = None;
        self.status_at = Some(now.instant + self.timing.status_interval);
        self.emit(now, TunnelEventKind::SessionEstablished);
        let deadline = now.instant + self.timing.connect_deadline;
        for name in self.names() {
            let Some(tracked) = self.tunnels.get_mut(&name) else { continue };
            let is_of_session =
                tracked.last_failure.as_ref().is_none_or(|failure| failure.class.is_of_session());
            if is_of_session {
                tracked.last_failure = None;
            }
            let state = &tracked.status.state;
            let was_lost = matches!(state, TunnelState::Disconnected(_))
                || state.failure().is_some_and(|failure| failure.class.is_of_session());
            if was_lost && !tracked.is_refused {
                tracked.deadline = Some(deadline);
                self.set_state(&name, TunnelState::Connecting, now);
            }
        }
    }

    /// frps took it, or the visitor listens.
    fn accepted(&mut self, name: &str, now: Moment) {
        self.next_generation += 1;
        let generation = self.next_generation;
        let Some(tracked) = self.tunnels.get_mut(name) else { return };
        tracked.is_accepted = true;
        tracked.generation = generation;
        tracked.is_probing = false;
        tracked.failed_probes = 0;
        tracked.retry_at = None;
        tracked.last_failure = None;
        let (is_visitor, needs_probe) = (tracked.spec.kind.is_visitor(), tracked.needs_probe());
        // the address that frps gave is in its status only
        if !is_visitor {
            self.status_at = Some(now.instant);
        }
        self.begin_connecting(name, now);
        if needs_probe {
            if let Some(tracked) = self.tunnels.get_mut(name) {
                tracked.probe_at = Some(now.instant);
            }
        } else {
            self.connected(name, now);
        }
    }

    fn connected(&mut self, name: &str, now: Moment) {
        let interval = self.timing.probe_interval;
        self.begin_connecting(name, now);
        if let Some(tracked) = self.tunnels.get_mut(name) {
            tracked.deadline = None;
            tracked.last_failure = None;
            tracked.failed_probes = 0;
            tracked.retry.reset();
            tracked.probe_at = tracked.needs_probe().then(|| now.instant + interval);
        }
        self.set_state(name, TunnelState::Connected, now);
    }

    fn start_failed(&mut self, name: &str, failure: Failure, now: Moment) {
        let Some(tracked) = self.tunnels.get_mut(name) else { return };
        tracked.is_accepted = false;
        if failure.class.may_pass_soon() && tracked.retry_at.is_none() {
            tracked.retry_at = Some(now.instant + tracked.retry.next_wait());
        }
        self.fail(name, failure, now);
    }

    fn visitors_added(&mut self, names: &[String], now: Moment) {
        for name in names {
            if self.tunnels.get(name).is_some_and(|tracked| !tracked.is_bind_refused) {
                self.accepted(name, now);
            }
        }
    }

    fn visitor_start_failed(&mut self, reason: &str, now: Moment) {
        let is_named = |bind: std::net::SocketAddr| reason.contains(&format!(" {bind}: "));
        let tried = self.tried_visitor.take();
        let name = tried.or_else(|| {
            let mut tunnels = self.tunnels.iter();
            tunnels
                .find(|(_, tracked)| tracked.spec.kind.bind().is_some_and(is_named))
                .map(|(name, _)| name.clone())
        });
        let Some(name) = name else { return };
        if let Some(tracked) = self.tunnels.get_mut(&name) {
            tracked.is_bind_refused = true;
        }
        self.start_failed(&name, Failure::of_words(reason), now);
    }

    /// A connection through it failed: the reason for what a probe finds.
    fn blame(&mut self, name: &str, failure: Failure) {
        if let Some(tracked) = self.tunnels.get_mut(name) {
            tracked.last_failure = Some(failure);
        }
    }

    /// A probe ended. One of an older generation says nothing of what runs now.
    pub fn probed(&mut self, name: &str, generation: u64, result: Result<(), Failure>, now: Moment) {
        let Some(tracked) = self.tunnels.get_mut(name) else { return };
        if tracked.generation != generation {
            return;
        }
        tracked.is_probing = false;
        if !tracked.is_accepted {
            return;
        }
        let found = match result {
            Ok(()) => return self.connected(name, now),
            Err(found) => found,
        };
        // frpc's own words say more than "closed at once"
        let said = tracked.last_failure.take().filter(|failure| !failure.class.is_of_session());
        let said = said.filter(|failure| failure.class != FailureClass::ProbeFailed);
        let failure = said.unwrap_or(found);
        tracked.failed_probes = tracked.failed_probes.saturating_add(1);
        tracked.last_failure = Some(failure.clone());
        if tracked.status.state == TunnelState::Connected && tracked.failed_probes < MAX_FAILED_PROBES {
            tracked.probe_at = Some(now.instant + DOUBT_INTERVAL);
            return;
        }
        let wait = tracked.retry.next_wait();
        // who opened it waits for it until its deadline: the far side may be up any moment
        let is_awaited = tracked.status.state == TunnelState::Connecting && tracked.deadline.is_some();
        let wait = if is_awaited { wait.min(AWAITED_INTERVAL) } else { wait };
        tracked.probe_at = Some(now.instant + wait);
        let is_definite = failure.class != FailureClass::ProbeFailed;
        let was_connected = tracked.status.state == TunnelState::Connected;
        if is_definite || was_connected || tracked.status.state.failure().is_some() {
            self.fail(name, failure, now);
        }
    }

    /// frpc's own view; it fills in what no line said.
    pub fn status_reported(&mut self, reports: &[ProxyReport], now: Moment) {
        let settled = match &self.process {
            Process::Running { session: Session::Established { since }, .. } => {
                now.instant >= *since + self.timing.status_interval
            }
            _ => return,
        };
        for report in reports {
            // frpc reports names with its user's prefix since 0.52
            let name = self.known_name(&report.name);
            let Some(tracked) = name.as_ref().and_then(|name| self.tunnels.get_mut(name)) else { continue };
            let name = name.unwrap_or_default();
            if !report.remote_addr.is_empty() {
                tracked.remote_address = Some(report.remote_addr.clone());
            }
            match report.status.as_str() {
                "running" if !tracked.is_accepted => self.accepted(&name, now),
                "start error" if tracked.is_accepted => {
                    self.start_failed(&name, Failure::of_words(&report.err), now);
                }
                _ => {}
            }
        }
        let has_proxies = self
            .tunnels
            .values()
            .any(|tracked| tracked.is_loaded && tracked.is_accepted && !tracked.spec.kind.is_visitor());
        if settled && reports.is_empty() && has_proxies && !self.is_reloading {
            self.session_connecting(now);
        }
    }

    fn known_name(&self, reported: &str) -> Option<String> {
        if self.tunnels.contains_key(reported) {
            return Some(reported.to_owned());
        }
        let (_, name) = reported.split_once('.')?;
        self.tunnels.contains_key(name).then(|| name.to_owned())
    }

    /// The process did not answer: it may be frozen.
    pub fn status_failed(&mut self) {
        if matches!(self.process, Process::Running { .. }) && !self.actions.contains(&Action::Stop) {
            self.stop_process();
        }
    }
}
