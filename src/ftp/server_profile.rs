//! What the sessions of one connection have found out about its server, so that the next need not find it out again.

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

/// What is known of one connection's server, as long as its settings are the same.
#[derive(Debug, Default)]
pub struct ServerProfile {
    reached: ReachedAddresses,
    verifier: OnceLock<Arc<CertificateVerifier>>,
    tls12_only: AtomicBool,
    features: Mutex<FeatureQuery>,
    refuses_opts_utf8: AtomicBool,
    /// A bit for each command to set a file's time that it does not know.
    missing_mtime_commands: AtomicU8,
    /// It does not start in the middle of a file that it sends, or of one that it receives.
    refuses_rest_to_send: AtomicBool,
    refuses_rest_to_store: AtomicBool,
    /// What STOR does behind REST, when that was tried last.
    restart_support: Mutex<Option<(RestartSupport, Instant)>>,
    /// It rejected a command that was sent ahead.
    rejection: Mutex<Option<PipeliningRejection>>,
    assumed: Option<AssumedLatency>,
    /// The offset of its clock from UTC.
    clock_offset: Mutex<Option<ClockOffset>>,
    /// What proves that user and password are right.
    logins: Mutex<AccountLogins>,
    /// Paths in commands, as a [`PathSupport`] each for RETR and STOR.
    takes_paths: [AtomicU8; 2],
    /// How often a directory was entered for a refused path, in vain.
    entered_in_vain: AtomicU8,
    /// It is z/OS: names are those of data sets.
    has_data_sets: AtomicBool,
    /// What came of connecting to EPSV's ports, as an [`EpsvPorts`].
    epsv_ports: AtomicU8,
    /// Directories in which a file was stored: STOR's 150 need not be awaited before its bytes.
    directories: Mutex<HashSet<String>>,
    write_only: WriteOnlyDirectories,
}

/// Whether a server takes a path for a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathSupport {
    Unknown,
    Taken,
    /// Only the name of a file in the current directory.
    Refused,
}

/// A refused path's directory is entered so often in vain, before it is the files that are taken to be missing.
const ENTERED_IN_VAIN: u8 = 5;

/// The sessions that are, or were, logged in with the connection's user and password.
#[derive(Clone, Copy, Debug, Default)]
struct AccountLogins {
    open: usize,
    /// When the latest one ended.
    ended: Option<Instant>,
    /// Refusals since then.
    refused: u32,
}

/// For so long after a session has ended its user and password are taken to be right: another of the server's clients may
/// hold what it allows.
const LOGIN_PROVES_FOR: Duration = Duration::from_secs(300);
/// But not more often than this: a password that was changed is not to be tried until the account is locked.
const REFUSALS_BORNE: u32 = 3;

/// What a session is to its connection's account, until it is dropped.
#[derive(Debug)]
pub(super) struct AccountLogin(Arc<ServerProfile>);

impl Drop for AccountLogin {
    fn drop(&mut self) {
        let mut logins = self.0.logins();
        (logins.open, logins.ended) = (logins.open.saturating_sub(1), Some(Instant::now()));
    }
}

/// Whether the ports that EPSV names can be connected to: some servers, and firewalls before them, know PASV's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpsvPorts {
    /// One is connected to before the command that uses it is sent, so that PASV can still be tried.
    Unproven,
    Reachable,
    /// PASV's port was reachable then: EPSV is not sent any more.
    Unreachable,
}

/// What is believed of a server's latency, whatever is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AssumedLatency {
    High,
    Low,
}

/// The server is sent one command at a time until then.
#[derive(Clone, Copy, Debug)]
struct PipeliningRejection {
    until: Instant,
    times: u32,
}

/// From this round trip on pipelining is worth it.
const HIGH_LATENCY: Duration = Duration::from_millis(5);

/// What looks like a rejection may have been the network, once: so it lapses, later each time.
const FIRST_REJECTION: Duration = Duration::from_secs(600);
/// Of doublings: ten minutes become 21 hours.
const MAX_DOUBLINGS: u32 = 7;

/// For so long it is believed that STOR behind REST does what it did when it was tried: the name may
/// lead to another server some day.
const TRIED_FOR: Duration = Duration::from_secs(600);

/// Directories of one server that are remembered.
const DIRECTORIES: usize = 10_000;

/// What came of FEAT.
#[derive(Clone, Debug, Default)]
enum FeatureQuery {
    #[default]
    NotYet,
    /// There was no reply; no session asks again.
    InVain,
    Known(Arc<ServerFeatures>),
}

impl ServerProfile {
    /// Of a server to which commands are pipelined, however near it is.
    #[must_use]
    pub fn high_latency() -> ServerProfile {
        ServerProfile { assumed: Some(AssumedLatency::High), ..ServerProfile::default() }
    }

    /// Of a server to which none are pipelined, however long its replies take on a busy machine.
    #[must_use]
    pub fn low_latency() -> ServerProfile {
        ServerProfile { assumed: Some(AssumedLatency::Low), ..ServerProfile::default() }
    }

    /// At which address its host, and its proxy, were reached.
    pub(super) fn reached(&self) -> &ReachedAddresses {
        &self.reached
    }

    /// Whether commands may be sent ahead to this server, whose quickest reply took so long.
    pub(super) fn may_pipeline(&self, round_trip: Duration) -> bool {
        let is_worth_it = match self.assumed {
            None => round_trip >= HIGH_LATENCY,
            Some(assumed) => assumed == AssumedLatency::High,
        };
        is_worth_it && !self.rejects_pipelining()
    }

    /// Whether the server has rejected a command that was sent ahead: it is sent one at a time.
    #[must_use]
    pub fn rejects_pipelining(&self) -> bool {
        self.rejection().is_some_and(|rejection| Instant::now() < rejection.until)
    }

    /// True where it was not known.
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

    /// Whether this command (RETR or STOR) takes paths.
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

    /// A path was refused, and the name in its directory accepted: so for every command.
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

    /// Whether it is worth to enter a directory whose path was refused.
    pub(super) fn may_enter_for(&self, step: Step) -> bool {
        self.path_support(step) == PathSupport::Unknown
            && self.entered_in_vain.load(Ordering::Relaxed) < ENTERED_IN_VAIN
    }

    pub(super) fn was_entered_in_vain(&self) {
        self.entered_in_vain.fetch_add(1, Ordering::Relaxed);
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

    /// A login was refused: says what proves that user and password are right all the same, if anything does.
    pub(super) fn proof_of_account(&self) -> Option<String> {
        let mut logins = self.logins();
        if logins.open > 0 {
            let sessions = if logins.open == 1 { "another session is" } else { "other sessions are" };
            return Some(format!("{sessions} logged in with the same user and password"));
        }
        logins.refused = logins.refused.saturating_add(1);
        let is_recent = logins.ended.is_some_and(|ended| ended.elapsed() < LOGIN_PROVES_FOR);
        (is_recent && logins.refused <= REFUSALS_BORNE)
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
            if directories.len() >= DIRECTORIES {
                directories.clear();
            }
            directories.insert(directory_of(path).to_owned());
        }
    }

    /// Whether the directory of `path` has taken a file.
    pub(super) fn has_directory(&self, path: &str) -> bool {
        self.directories().contains(directory_of(path))
    }

    /// STOR was refused there: it may have been removed.
    pub(super) fn forget_directory(&self, path: &str) {
        self.directories().remove(directory_of(path));
    }

    pub(super) fn write_only(&self) -> &WriteOnlyDirectories {
        &self.write_only
    }

    fn directories(&self) -> MutexGuard<'_, HashSet<String>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server does not let this command (RETR or STOR) start in the middle of a file.
    pub(super) fn refuses_rest(&self, step: Step) -> bool {
        self.rest(step).load(Ordering::Relaxed)
    }

    pub(super) fn rest_refused(&self, step: Step) {
        self.rest(step).store(true, Ordering::Relaxed);
    }

    pub(super) fn restart_support(&self) -> Option<RestartSupport> {
        let tried = *self.restart_support.lock().unwrap_or_else(PoisonError::into_inner);
        tried.filter(|(_, at)| at.elapsed() < TRIED_FOR).map(|(seen, _)| seen)
    }

    pub(super) fn restart_support_found(&self, seen: RestartSupport) {
        *self.restart_support.lock().unwrap_or_else(PoisonError::into_inner) = Some((seen, Instant::now()));
    }

    fn rest(&self, step: Step) -> &AtomicBool {
        if step == Step::Stor { &self.refuses_rest_to_store } else { &self.refuses_rest_to_send }
    }

    /// The judge of the server's certificates, made once.
    pub(super) fn verifier(&self, connection: &FtpConnection) -> Result<Arc<CertificateVerifier>, String> {
        if let Some(verifier) = self.verifier.get() {
            return Ok(Arc::clone(verifier));
        }
        let verifier = Arc::new(CertificateVerifier::new(&connection.tls.trust)?);
        Ok(Arc::clone(self.verifier.get_or_init(|| verifier)))
    }

    /// Whether the server did not take a TLS 1.3 session up again on its data connections.
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
            FeatureQuery::InVain => Some(Arc::default()),
            FeatureQuery::Known(features) => Some(Arc::clone(features)),
        }
    }

    /// Keeps the reply to FEAT, `None` where there was none.
    pub(super) fn set_features(&self, features: Option<Arc<ServerFeatures>>) {
        let asked = features.map_or(FeatureQuery::InVain, FeatureQuery::Known);
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
        for _ in 0..REFUSALS_BORNE {
            assert!(profile.proof_of_account().is_some());
        }
        assert_eq!(profile.proof_of_account(), None, "a password that was changed");
        drop(profile.logged_in());
        assert!(profile.proof_of_account().is_some());
        tokio::time::advance(LOGIN_PROVES_FOR).await;
        assert_eq!(profile.proof_of_account(), None);
    }
}
