//! What a connection's sessions have learned about its server, so that the next one need not find it out again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ftp_listing::ClockOffset;
use tokio::time::Instant;

use crate::config::FtpConnection;

use super::certificate::CertificateVerifier;
use super::command::Step;
use super::dial::ReachedAddresses;
use super::features::ServerFeatures;
use super::restart::RestartSupport;
use super::write_only::WriteOnlyDirectories;

/// What is known about one connection's server, as long as its settings do not change.
#[derive(Debug, Default)]
pub struct ServerProfile {
    reached: ReachedAddresses,
    verifier: OnceLock<Arc<CertificateVerifier>>,
    tls12_only: AtomicBool,
    features: Mutex<FeatureQuery>,
    refuses_opts_utf8: AtomicBool,
    /// One bit for each command to set a file's time that the server does not know.
    missing_mtime_commands: AtomicU8,
    /// The server cannot start in the middle of a file that it sends, or that it receives.
    refuses_rest_to_send: AtomicBool,
    refuses_rest_to_store: AtomicBool,
    /// What STOR does after REST, and when that was last tested.
    restart_support: Mutex<Option<(RestartSupport, Instant)>>,
    /// The server rejected a command that was sent ahead.
    rejection: Mutex<Option<PipeliningRejection>>,
    assumed: Option<AssumedLatency>,
    /// The offset of its clock from UTC.
    clock_offset: Mutex<Option<ClockOffset>>,
    /// Evidence that user and password are right.
    logins: Mutex<AccountLogins>,
    /// Whether commands accept paths: one [`PathSupport`] each for RETR and STOR.
    takes_paths: [AtomicU8; 2],
    /// How often entering the directory of a refused path did not help.
    failed_entries: AtomicU8,
    /// The server is z/OS: names are those of data sets.
    has_data_sets: AtomicBool,
    /// The result of connecting to EPSV's ports, as an [`EpsvPorts`].
    epsv_ports: AtomicU8,
    /// Directories in which a file was stored: STOR's 150 need not be awaited before its bytes.
    directories: Mutex<HashSet<String>>,
    write_only: WriteOnlyDirectories,
}

/// Whether a server accepts a path as a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathSupport {
    Unknown,
    Taken,
    /// Only the name of a file in the current directory.
    Refused,
}

/// After this many attempts to enter a refused path's directory without success, the files themselves are taken to be
/// missing.
const MAX_FAILED_ENTRIES: u8 = 5;

/// The sessions that are, or were, logged in with the connection's user and password.
#[derive(Clone, Copy, Debug, Default)]
struct AccountLogins {
    open: usize,
    /// When the latest one ended.
    ended: Option<Instant>,
    /// Refusals since then.
    refused: u32,
}

/// How long after a session has ended its user and password count as right: another of the server's clients may occupy
/// the sessions that it permits.
const LOGIN_PROVES_FOR: Duration = Duration::from_secs(300);
/// But at most this many times: a changed password must not be tried until the account is locked.
const MAX_LOGIN_REFUSALS: u32 = 3;

/// Counts a session as logged in to its connection's account until it is dropped.
#[derive(Debug)]
pub(super) struct AccountLogin(Arc<ServerProfile>);

impl Drop for AccountLogin {
    fn drop(&mut self) {
        let mut logins = self.0.logins();
        (logins.open, logins.ended) = (logins.open.saturating_sub(1), Some(Instant::now()));
    }
}

/// Whether the ports that EPSV names are reachable: some servers, and firewalls before them, support only PASV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpsvPorts {
    /// The data connection is established before the command that uses it is sent, so that PASV can still be tried.
    Unproven,
    Reachable,
    /// PASV's port was reachable when EPSV's was not: EPSV is not sent any more.
    Unreachable,
}

/// An assumption about a server's latency that overrides what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AssumedLatency {
    High,
    Low,
}

/// Until when the server is sent one command at a time.
#[derive(Clone, Copy, Debug)]
struct PipeliningRejection {
    until: Instant,
    times: u32,
}

/// Pipelining pays off from this round trip on.
const HIGH_LATENCY: Duration = Duration::from_millis(5);

/// What looks like a rejection may have been a network problem: so it expires, later each time.
const FIRST_REJECTION: Duration = Duration::from_secs(600);
/// The limit of doublings: ten minutes become 21 hours.
const MAX_DOUBLINGS: u32 = 7;

/// How long the result of testing STOR after REST is trusted: the name may lead to another server some day.
const RESTART_SUPPORT_VALID_FOR: Duration = Duration::from_secs(600);

/// How many directories of one server are remembered.
const MAX_REMEMBERED_DIRECTORIES: usize = 10_000;

/// The result of FEAT.
#[derive(Clone, Debug, Default)]
enum FeatureQuery {
    #[default]
    NotYet,
    /// There was no reply; no session asks again.
    NoReply,
    Known(Arc<ServerFeatures>),
}

impl ServerProfile {
    /// The profile of a server to which commands are pipelined, however near it is.
    #[must_use]
    pub fn high_latency() -> ServerProfile {
        ServerProfile { assumed: Some(AssumedLatency::High), ..ServerProfile::default() }
    }

    /// The profile of a server to which none are pipelined, however long its replies take on a busy machine.
    #[must_use]
    pub fn low_latency() -> ServerProfile {
        ServerProfile { assumed: Some(AssumedLatency::Low), ..ServerProfile::default() }
    }

    /// The addresses at which its host, and its proxy, were reached.
    pub(super) fn reached(&self) -> &ReachedAddresses {
        &self.reached
    }

    /// Whether commands may be sent ahead to this server, given the fastest reply so far.
    pub(super) fn may_pipeline(&self, round_trip: Duration) -> bool {
        let is_worth_it = match self.assumed {
            None => round_trip >= HIGH_LATENCY,
            Some(assumed) => assumed == AssumedLatency::High,
        };
        is_worth_it && !self.rejects_pipelining()
    }

    /// Whether the server has rejected a command that was sent ahead: commands are sent one at a time.
    #[must_use]
    pub fn rejects_pipelining(&self) -> bool {
        self.rejection().is_some_and(|rejection| Instant::now() < rejection.until)
    }

    /// Returns true if that was not known.
    pub(super) fn pipelining_rejected(&self) -> bool {
        let mut rejection = self.rejection();
        let now = Instant::now();
        if rejection.is_some_and(|rejection| now < rejection.until) {
            return false;
        }
        let times = rejection.map_or(0, |rejection| rejection.times);
        *rejection = Some(PipeliningRejection {
            until: now + FIRST_REJECTION * (1 << times.min(MAX_DOUBLINGS)),
            times: times.saturating_add(1),
        });
        true
    }

    fn rejection(&self) -> MutexGuard<'_, Option<PipeliningRejection>> {
        self.rejection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this command (RETR or STOR) accepts paths.
    pub(super) fn path_support(&self, step: Step) -> PathSupport {
        match self.takes_paths(step).load(Ordering::Relaxed) {
            1 => PathSupport::Taken,
            2 => PathSupport::Refused,
            _ => PathSupport::Unknown,
        }
    }

    /// The command was accepted with a path.
    pub(super) fn path_taken(&self, step: Step) {
        self.takes_paths(step).store(1, Ordering::Relaxed);
    }

    /// A path was refused, and the bare name in its directory accepted: this applies to every command.
    pub(super) fn paths_refused(&self) {
        for step in [Step::Retr, Step::Stor] {
            self.takes_paths(step).store(2, Ordering::Relaxed);
        }
    }

    pub(super) fn refuses_paths(&self) -> bool {
        self.path_support(Step::Retr) == PathSupport::Refused
    }

    fn takes_paths(&self, step: Step) -> &AtomicU8 {
        let [retrieve, store] = &self.takes_paths;
        if step == Step::Stor { store } else { retrieve }
    }

    /// Whether it is worth entering the directory of a refused path.
    pub(super) fn may_enter_for(&self, step: Step) -> bool {
        self.path_support(step) == PathSupport::Unknown
            && self.failed_entries.load(Ordering::Relaxed) < MAX_FAILED_ENTRIES
    }

    pub(super) fn entry_failed(&self) {
        self.failed_entries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_data_sets(&self) -> bool {
        self.has_data_sets.load(Ordering::Relaxed)
    }

    pub(super) fn data_sets_seen(&self) {
        self.has_data_sets.store(true, Ordering::Relaxed);
    }

    /// A session has logged in.
    pub(super) fn logged_in(self: &Arc<Self>) -> AccountLogin {
        let mut logins = self.logins();
        (logins.open, logins.refused) = (logins.open + 1, 0);
        AccountLogin(Arc::clone(self))
    }

    /// Called when a login was refused: returns the evidence that user and password are right all the same, if any.
    pub(super) fn proof_of_account(&self) -> Option<String> {
        let mut logins = self.logins();
        if logins.open > 0 {
            let sessions = if logins.open == 1 { "another session is" } else { "other sessions are" };
            return Some(format!("{sessions} logged in with the same user and password"));
        }
        logins.refused = logins.refused.saturating_add(1);
        let is_recent = logins.ended.is_some_and(|ended| ended.elapsed() < LOGIN_PROVES_FOR);
        (is_recent && logins.refused <= MAX_LOGIN_REFUSALS)
            .then(|| "a session was logged in with the same user and password a moment ago".to_owned())
    }

    fn logins(&self) -> MutexGuard<'_, AccountLogins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epsv_ports(&self) -> EpsvPorts {
        match self.epsv_ports.load(Ordering::Relaxed) {
            1 => EpsvPorts::Reachable,
            2 => EpsvPorts::Unreachable,
            _ => EpsvPorts::Unproven,
        }
    }

    pub(super) fn epsv_ports_are(&self, found: EpsvPorts) {
        let found = match found {
            EpsvPorts::Unproven => 0,
            EpsvPorts::Reachable => 1,
            EpsvPorts::Unreachable => 2,
        };
        self.epsv_ports.store(found, Ordering::Relaxed);
    }

    pub(super) fn clock_offset(&self) -> Option<ClockOffset> {
        *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn learn_clock_offset(&self, clock: ClockOffset) {
        *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
    }

    /// A file was stored at `path`.
    pub(super) fn remember_directory(&self, path: &str) {
        let mut directories = self.directories();
        if !directories.contains(directory_of(path)) {
            if directories.len() >= MAX_REMEMBERED_DIRECTORIES {
                directories.clear();
            }
            directories.insert(directory_of(path).to_owned());
        }
    }

    /// Whether the directory of `path` has accepted a file.
    pub(super) fn has_directory(&self, path: &str) -> bool {
        self.directories().contains(directory_of(path))
    }

    /// STOR was refused there: the directory may have been removed.
    pub(super) fn forget_directory(&self, path: &str) {
        self.directories().remove(directory_of(path));
    }

    pub(super) fn write_only(&self) -> &WriteOnlyDirectories {
        &self.write_only
    }

    fn directories(&self) -> MutexGuard<'_, HashSet<String>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server cannot start this command (RETR or STOR) in the middle of a file.
    pub(super) fn refuses_rest(&self, step: Step) -> bool {
        self.rest(step).load(Ordering::Relaxed)
    }

    pub(super) fn rest_refused(&self, step: Step) {
        self.rest(step).store(true, Ordering::Relaxed);
    }

    pub(super) fn restart_support(&self) -> Option<RestartSupport> {
        let tried = *self.restart_support.lock().unwrap_or_else(PoisonError::into_inner);
        tried.filter(|(_, at)| at.elapsed() < RESTART_SUPPORT_VALID_FOR).map(|(seen, _)| seen)
    }

    pub(super) fn restart_support_found(&self, seen: RestartSupport) {
        *self.restart_support.lock().unwrap_or_else(PoisonError::into_inner) = Some((seen, Instant::now()));
    }

    fn rest(&self, step: Step) -> &AtomicBool {
        if step == Step::Stor { &self.refuses_rest_to_store } else { &self.refuses_rest_to_send }
    }

    /// The verifier of the server's certificates, created once.
    pub(super) fn verifier(&self, connection: &FtpConnection) -> Result<Arc<CertificateVerifier>, String> {
        if let Some(verifier) = self.verifier.get() {
            return Ok(Arc::clone(verifier));
        }
        let verifier = Arc::new(CertificateVerifier::new(&connection.tls.trust)?);
        Ok(Arc::clone(self.verifier.get_or_init(|| verifier)))
    }

    /// Whether the server did not resume a TLS 1.3 session on its data connections.
    pub(super) fn is_tls12_only(&self) -> bool {
        self.tls12_only.load(Ordering::Relaxed)
    }

    pub(super) fn use_only_tls12(&self) {
        self.tls12_only.store(true, Ordering::Relaxed);
    }

    /// The server's features; `None` where they must be asked for.
    pub(super) fn features(&self) -> Option<Arc<ServerFeatures>> {
        match &*self.features.lock().unwrap_or_else(PoisonError::into_inner) {
            FeatureQuery::NotYet => None,
            FeatureQuery::NoReply => Some(Arc::default()),
            FeatureQuery::Known(features) => Some(Arc::clone(features)),
        }
    }

    /// Stores the reply to FEAT, `None` if there was none.
    pub(super) fn set_features(&self, features: Option<Arc<ServerFeatures>>) {
        let asked = features.map_or(FeatureQuery::NoReply, FeatureQuery::Known);
        *self.features.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    pub(super) fn lacks_mtime_command(&self, bit: usize) -> bool {
        self.missing_mtime_commands.load(Ordering::Relaxed) & (1 << bit) != 0
    }

    pub(super) fn mtime_command_missing(&self, bit: usize) {
        self.missing_mtime_commands.fetch_or(1 << bit, Ordering::Relaxed);
    }

    pub(super) fn accepts_opts_utf8(&self) -> bool {
        !self.refuses_opts_utf8.load(Ordering::Relaxed)
    }

    pub(super) fn opts_utf8_refused(&self) {
        self.refuses_opts_utf8.store(true, Ordering::Relaxed);
    }
}

pub(super) fn directory_of(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| path.get(..=slash).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rejection_lapses_and_lasts_longer_each_time() {
        let profile = ServerProfile::default();
        assert!(!profile.rejects_pipelining());
        assert!(profile.pipelining_rejected());
        assert!(!profile.pipelining_rejected(), "that was known");
        tokio::time::advance(FIRST_REJECTION).await;
        assert!(!profile.rejects_pipelining());
        assert!(profile.pipelining_rejected());
        tokio::time::advance(FIRST_REJECTION).await;
        assert!(profile.rejects_pipelining(), "twice as long");
        tokio::time::advance(FIRST_REJECTION).await;
        assert!(!profile.rejects_pipelining());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_proven_by_a_session_and_for_some_minutes_and_refusals_after_it() {
        let profile = Arc::new(ServerProfile::default());
        assert_eq!(profile.proof_of_account(), None);
        let (one, two) = (profile.logged_in(), profile.logged_in());
        assert!(profile.proof_of_account().unwrap().starts_with("other sessions are"));
        drop(one);
        for _ in 0..10 {
            assert!(profile.proof_of_account().unwrap().starts_with("another session is"));
        }
        drop(two);
        for _ in 0..MAX_LOGIN_REFUSALS {
            assert!(profile.proof_of_account().is_some());
        }
        assert_eq!(profile.proof_of_account(), None, "a password that was changed");
        drop(profile.logged_in());
        assert!(profile.proof_of_account().is_some());
        tokio::time::advance(LOGIN_PROVES_FOR).await;
        assert_eq!(profile.proof_of_account(), None);
    }
}
