//! `pattern-router check`: whether this configuration works here, one line for each aspect.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::assemble::assemble;
use crate::config;
use crate::metrics::Metrics;
use crate::pool::{UpstreamKey, UpstreamProtocol};
use crate::resolve::LookupError;
use crate::router::RouterState;
use crate::settings::{AuthMode, ResolverSettings};

/// A certificate that expires sooner is reported.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long the list of pods may take.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutcome {
    Good,
    /// It works, but deserves attention.
    Warning,
    Failed,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckLine {
    pub outcome: CheckOutcome,
    pub subject: &'static str,
    pub text: String,
}

impl std::fmt::Display for CheckLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let outcome = match self.outcome {
            CheckOutcome::Good => "ok  ",
            CheckOutcome::Warning => "warn",
            CheckOutcome::Failed => "FAIL",
        };
        write!(f, "{outcome}  {}: {}", self.subject, self.text)
    }
}

#[derive(Debug, Default)]
struct Report(Vec<CheckLine>);

impl Report {
    fn add(&mut self, outcome: CheckOutcome, subject: &'static str, text: impl Into<String>) {
        self.0.push(CheckLine { outcome, subject, text: text.into() });
    }
}

/// Checks the configuration, the wildcard's DNS, certificates, the resolver, and a name if one is given.
pub async fn check(path: &Path, name: Option<&str>) -> Vec<CheckLine> {
    let mut report = Report::default();
    let settings = match config::load(path, std::env::vars()) {
        Ok(settings) => settings,
        Err(error) => {
            for mistake in error.0 {
                report.add(CheckOutcome::Failed, "configuration", mistake.to_string());
            }
            return report.0;
        }
    };
    report.add(CheckOutcome::Good, "configuration", path.display().to_string());
    let state = match assemble(settings, None) {
        Ok(state) => state,
        Err(error) => {
            report.add(CheckOutcome::Failed, "configuration", error.to_string());
            return report.0;
        }
    };
    settings_worth_a_look(&state, &mut report);
    wildcard(&state, &mut report).await;
    certificates(&state, &mut report);
    resolver(&state, &mut report).await;
    if let Some(name) = name {
        one_name(&state, name, &mut report).await;
    }
    report.0
}

fn settings_worth_a_look(state: &RouterState, report: &mut Report) {
    let settings = &state.settings;
    if settings.addresses.allow_loopback {
        let text = "allow_loopback is set: every listed port of this machine can be reached";
        report.add(CheckOutcome::Warning, "addresses", text);
    }
    if settings.auth.mode == AuthMode::None {
        report.add(
            CheckOutcome::Warning,
            "access",
            "auth is none: anyone who reaches the router reaches the pods",
        );
    }
    if settings.auth.mode == AuthMode::Session && settings.auth.login_url.is_none() {
        report.add(CheckOutcome::Warning, "access", "no login_url: browsers without a session get 401");
    }
    let longest = settings.domain.longest_id();
    report.add(CheckOutcome::Good, "names", format!("an id may have {longest} characters with every port"));
    if let ResolverSettings::List(addresses) = &settings.resolver {
        for (id, _) in addresses.iter().filter(|(id, _)| id.len() > longest) {
            report.add(CheckOutcome::Warning, "names", format!("{id} is too long for five-digit ports"));
        }
    }
}

/// Two arbitrary names must resolve to the same address: there is a wildcard.
async fn wildcard(state: &RouterState, report: &mut Report) {
    let domain = state.settings.domain.name();
    let mut found: Vec<BTreeSet<IpAddr>> = Vec::new();
    for probe in ["8080-wildcard-check-1", "8080-wildcard-check-2"] {
        match tokio::net::lookup_host((format!("{probe}.{domain}"), 80)).await {
            Ok(addresses) => found.push(addresses.map(|address| address.ip()).collect()),
            Err(error) => {
                let text = format!("*.{domain} does not resolve here: {error}");
                report.add(CheckOutcome::Warning, "DNS", text);
                return;
            }
        }
    }
    let addresses: Vec<_> = found.iter().flatten().map(ToString::to_string).collect();
    match found.as_slice() {
        [first, second] if first == second => {
            report.add(CheckOutcome::Good, "DNS", format!("*.{domain} is {}", addresses.join(", ")));
        }
        _ => report.add(
            CheckOutcome::Warning,
            "DNS",
            format!("names below {domain} lead to different addresses"),
        ),
    }
}

fn certificates(state: &RouterState, report: &mut Report) {
    let domain = state.settings.domain.name();
    let Some(tls) = &state.tls else {
        report.add(CheckOutcome::Good, "TLS", "none here: a proxy before the router ends it");
        return;
    };
    let wildcard = format!("*.{domain}");
    if tls.names.contains(&wildcard) {
        report.add(CheckOutcome::Good, "TLS", format!("a certificate is for {wildcard}"));
    } else {
        let text = format!("no certificate is for {wildcard}; they are for {}", tls.names.join(", "));
        report.add(CheckOutcome::Failed, "TLS", text);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = u64::try_from(tls.expires).unwrap_or_default().saturating_sub(now.as_secs());
    let days = left / (24 * 3600);
    let outcome = match left {
        0 => CheckOutcome::Failed,
        left if left < EXPIRES_SOON.as_secs() => CheckOutcome::Warning,
        _ => CheckOutcome::Good,
    };
    report.add(outcome, "TLS", format!("the first certificate expires in {days} days"));
}

async fn resolver(state: &RouterState, report: &mut Report) {
    let resolver = state.directory.resolver();
    let ready = async {
        while resolver.not_ready().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _ = tokio::time::timeout(READY_WITHIN, ready).await;
    if let Some(reason) = resolver.not_ready() {
        report.add(CheckOutcome::Failed, "pods", reason);
        return;
    }
    let Ok(metrics) = Metrics::new() else { return };
    match state.directory.find("no-such-pod-wildcard-check", false, &metrics).await {
        Err(LookupError::NotFound) => {
            report.add(CheckOutcome::Good, "pods", "the resolver answers: an unknown id is not found");
        }
        Err(LookupError::Unavailable(reason)) => report.add(CheckOutcome::Failed, "pods", reason),
        Ok(_) => {
            let text = "the resolver finds an id that does not exist: does a wildcard of DNS answer?";
            report.add(CheckOutcome::Warning, "pods", text);
        }
    }
}

async fn one_name(state: &RouterState, host: &str, report: &mut Report) {
    let domain = &state.settings.domain;
    // `3000-ws123` is sufficient.
    let whole = if host.contains('.') { host.to_owned() } else { format!("{host}.{}", domain.name()) };
    let name = match domain.parse_host(whole.as_bytes()) {
        Ok(name) => name,
        Err(error) => return report.add(CheckOutcome::Failed, "name", format!("{whole}: {error}")),
    };
    if !state.settings.ports.contains(name.port) {
        let text = format!("port {} is not in ports ({})", name.port, state.settings.ports);
        return report.add(CheckOutcome::Failed, "name", text);
    }
    let Ok(metrics) = Metrics::new() else { return };
    let pod = match state.directory.find(&name.id, false, &metrics).await {
        Ok(pod) => pod,
        Err(error) => return report.add(CheckOutcome::Failed, "name", format!("{}: {error}", name.id)),
    };
    for address in &pod.addresses {
        match state.settings.addresses.check(*address) {
            Err(error) => report.add(CheckOutcome::Failed, "name", format!("{}: {error}", name.id)),
            Ok(address) => {
                let key =
                    UpstreamKey { address: (address, name.port).into(), protocol: UpstreamProtocol::Http1 };
                match state.connector.open(key, &whole, false).await {
                    Ok(_) => report.add(
                        CheckOutcome::Good,
                        "name",
                        format!("{name} is {}, and connects", key.address),
                    ),
                    Err(error) => report.add(
                        CheckOutcome::Failed,
                        "name",
                        format!("{name} is {}: {error}", key.address),
                    ),
                }
            }
        }
    }
}
