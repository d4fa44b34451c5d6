//! What a resource's status says, from the plan and from what the tunnels themselves tell. Connected means that the probe
//! went through, not that a process runs.

use std::collections::BTreeMap;

use super::plan::{AcceptedTunnel, PlannedServer};
use super::resources::{
    ResourceCondition, TunnelPartStatus, TunnelResourceStatus, TunnelServerResourceStatus,
};
use super::translate::Refusal;
use crate::client::TunnelSnapshot;
use crate::failure::FailureClass;
use crate::state::TunnelState;

/// Parts that a status lists; an FTP server has one for each passive port.
const MAX_LISTED_PARTS: usize = 20;
/// Messages are for people: frp's are short, mistakes may be many.
const MAX_MESSAGE_CHARS: usize = 1000;

/// `True`, `False` or `Unknown`, with its reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    status: &'static str,
    reason: String,
    message: String,
}

impl Finding {
    fn new(status: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), message: message.into() }
    }

    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// When a status is made, and for which version of the resource.
#[derive(Debug, Clone, Copy)]
pub struct StatusMoment<'a> {
    pub generation: i64,
    /// RFC 3339
    pub now: &'a str,
}

/// What has become of an accepted Tunnel's parts.
#[derive(Debug, Clone, Default)]
pub struct TunnelObservation<'a> {
    /// By part; one that is missing has not been opened yet.
    pub parts: BTreeMap<&'a str, &'a TunnelSnapshot>,
    /// Why some of it could not be opened: the library's refusal, a Service that could not be made.
    pub problem: Option<(&'static str, String)>,
}

/// A failure's class as a reason: `authentication_failed` is `AuthenticationFailed`.
pub fn reason_of(class: FailureClass) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or_else(String::new, |first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()))
    };
    class.label().split('_').map(capital).collect()
}

/// The status of a Tunnel. What has not changed keeps its time.
pub fn tunnel_status(
    outcome: &Result<AcceptedTunnel, Refusal>,
    seen: &TunnelObservation<'_>,
    before: Option<&TunnelResourceStatus>,
    moment: StatusMoment<'_>,
) -> TunnelResourceStatus {
    let before = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let accepted = match outcome {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let findings = refused(refusal);
            return TunnelResourceStatus {
                observed_generation: moment.generation,
                conditions: conditions(findings, before, moment),
                ..TunnelResourceStatus::default()
            };
        }
    };
    let connected = connected(accepted, seen);
    let first = accepted.parts.first().and_then(|part| seen.parts.get(part.as_str()));
    let address = match &accepted.service {
        // frp tells the visitor's own address, which is no business of those who use it
        Some(service) => service.ports.first().map(|port| format!("{}:{}", service.name, port.port)),
        None => first.and_then(|part| part.address.clone()),
    };
    let part_status = |name: &String| {
        let snapshot = seen.parts.get(name.as_str());
        TunnelPartStatus {
            name: name.clone(),
            state: snapshot.map_or("pending", |snapshot| snapshot.status.state.label()).to_owned(),
            address: snapshot
                .and_then(|snapshot| snapshot.address.clone())
                .filter(|_| accepted.service.is_none()),
        }
    };
    TunnelResourceStatus {
        observed_generation: moment.generation,
        address,
        user: Some(accepted.client.1.clone()),
        parts: count(accepted.parts.len()),
        connected_parts: count(
            seen.parts.values().filter(|part| part.status.state == TunnelState::Connected).count(),
        ),
        tunnels: accepted.parts.iter().take(MAX_LISTED_PARTS).map(part_status).collect(),
        conditions: conditions(with_ready(Finding::new("True", "Valid", ""), connected), before, moment),
    }
}

fn refused(refusal: &Refusal) -> [(&'static str, Finding); 3] {
    let finding = |reason: &str| Finding::new("False", reason, refusal.message.clone());
    [
        ("Accepted", finding(refusal.reason)),
        ("Connected", finding("NotAccepted")),
        ("Ready", finding(refusal.reason)),
    ]
}

fn with_ready(accepted: Finding, connected: Finding) -> [(&'static str, Finding); 3] {
    let mut ready = connected.clone();
    if ready.is_true() {
        "Ready".clone_into(&mut ready.reason);
    }
    [("Accepted", accepted), ("Connected", connected), ("Ready", ready)]
}

fn connected(accepted: &AcceptedTunnel, seen: &TunnelObservation<'_>) -> Finding {
    if let Some((reason, message)) = &seen.problem {
        return Finding::new("False", *reason, message.clone());
    }
    if accepted.parts.is_empty() {
        return Finding::new("False", "NoPods", "the StatefulSet has no pods to expose");
    }
    let of = accepted.parts.len();
    let mut waiting = 0;
    for name in &accepted.parts {
        let Some(part) = seen.parts.get(name.as_str()) else {
            waiting += 1;
            continue;
        };
        if let Some(failure) = part.status.state.failure() {
            let part = if of == 1 { String::new() } else { format!("{name}: ") };
            return Finding::new("False", reason_of(failure.class), format!("{part}{failure}"));
        }
        waiting += usize::from(part.status.state != TunnelState::Connected);
    }
    if waiting > 0 {
        return Finding::new("False", "Connecting", format!("{waiting} of {of} have not been proven yet"));
    }
    Finding::new("True", "ProbeSucceeded", format!("{of} of {of} connected"))
}

/// The status of a TunnelServer, from the tunnels through it.
pub fn server_status(
    outcome: &Result<PlannedServer, Refusal>,
    tunnels: (usize, usize),
    parts: &[&TunnelSnapshot],
    before: Option<&TunnelServerResourceStatus>,
    moment: StatusMoment<'_>,
) -> TunnelServerResourceStatus {
    let before = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let (address, findings) = match outcome {
        Ok(server) => {
            let warning = server_warning(server);
            let accepted =
                Finding::new("True", if warning.is_empty() { "Valid" } else { "Insecure" }, warning);
            (Some(server.address()), with_ready(accepted, session(parts)))
        }
        Err(refusal) => (None, refused(refusal)),
    };
    TunnelServerResourceStatus {
        observed_generation: moment.generation,
        conditions: conditions(findings, before, moment),
        address,
        tunnels: count(tunnels.0),
        connected_tunnels: count(tunnels.1),
    }
}

/// What works, and is not safe.
fn server_warning(server: &PlannedServer) -> &'static str {
    if !server.tls_enabled {
        "TLS is off: login and data can be read on the way"
    } else if server.ca.is_none() {
        "no CA: frps' certificate is not checked, so anybody on the way can be frps"
    } else if server.token.is_none() {
        "no token: a server that takes this client takes everybody"
    } else {
        ""
    }
}

/// Whether there is a session with frps, as its tunnels show it.
fn session(parts: &[&TunnelSnapshot]) -> Finding {
    use FailureClass::{
        AdminPortTaken, AuthenticationFailed, BinaryUnusable, ClientIdInUse, ConfigurationInvalid,
        ProcessEnded, ServerNameUnknown, ServerUnreachable, TlsRefused,
    };
    if parts.is_empty() {
        return Finding::new("Unknown", "NoTunnels", "nothing goes through it, so it has not been tried");
    }
    if parts.iter().any(|part| part.status.state == TunnelState::Connected) {
        return Finding::new("True", "SessionEstablished", "");
    }
    let failures: Vec<_> = parts.iter().filter_map(|part| part.status.state.failure()).collect();
    let of_session = |class: FailureClass| {
        matches!(
            class,
            AdminPortTaken
                | AuthenticationFailed
                | BinaryUnusable
                | ClientIdInUse
                | ConfigurationInvalid
                | ProcessEnded
                | ServerNameUnknown
                | ServerUnreachable
                | TlsRefused
        )
    };
    match failures.iter().find(|failure| of_session(failure.class)) {
        Some(failure) => Finding::new("False", reason_of(failure.class), failure.to_string()),
        // it answers what it thinks of each tunnel
        None if !failures.is_empty() => Finding::new("True", "SessionEstablished", ""),
        None => Finding::new("Unknown", "Connecting", "no tunnel has been proven yet"),
    }
}

fn conditions(
    findings: [(&'static str, Finding); 3],
    before: &[ResourceCondition],
    moment: StatusMoment<'_>,
) -> Vec<ResourceCondition> {
    let condition = |(kind, finding): (&'static str, Finding)| {
        let same = before.iter().find(|old| old.kind == kind && old.status == finding.status);
        ResourceCondition {
            kind: kind.to_owned(),
            status: finding.status.to_owned(),
            reason: finding.reason,
            message: finding.message.chars().take(MAX_MESSAGE_CHARS).collect(),
            last_transition_time: same.map_or(moment.now, |old| &old.last_transition_time).to_owned(),
            observed_generation: moment.generation,
        }
    };
    findings.into_iter().map(condition).collect()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
