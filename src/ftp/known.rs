//! What the sessions of one connection have found out about its server, so that the next need not.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::FtpConnection;

use super::fault::Step;
use super::features::Features;
use super::restart::Restarts;
use super::trust::Verifier;

/// What is known of one connection's server, as long as its settings are the same.
#[derive(Debug, Default)]
pub struct Known {
    verifier: OnceLock<Arc<Verifier>>,
    tls12_only: AtomicBool,
    features: Mutex<Asked>,
    refuses_opts_utf8: AtomicBool,
    /// A bit for each way to set a file's time that it does not know.
    lacks_ways: AtomicU8,
    /// It does not begin in the middle of a file that it sends, or of one that it is sent.
    refuses_rest_to_send: AtomicBool,
    refuses_rest_to_store: AtomicBool,
    /// What STOR does behind REST, when that was tried last.
    restarts: Mutex<Option<(Restarts, Instant)>>,
    /// It did not bear a command ahead of its turn.
    objection: Mutex<Option<Objection>>,
    is_near: bool,
    /// It is taken for a far one.
    is_far: bool,
    /// Directories that have taken a file: no look at what STOR says of them is needed before its bytes.
    directories: Mutex<HashSet<String>>,
}

/// The server is asked one thing at a time until then.
#[derive(Clone, Copy, Debug)]
struct Objection {
    until: Instant,
    times: u32,
}

/// What looks like an objection may have been the network, once: so it lapses, later each time.
const FIRST_OBJECTION: Duration = Duration::from_secs(600);
/// Of doublings: ten minutes become 21 hours.
const MAX_DOUBLINGS: u32 = 7;

/// For so long it is believed that STOR behind REST does what it did when it was tried: another server may stand
/// behind the name some day.
const TRIED_FOR: Duration = Duration::from_secs(600);

/// Directories of one server that are remembered.
const DIRECTORIES: usize = 10_000;

/// What came of FEAT.
#[derive(Clone, Debug, Default)]
enum Asked {
    #[default]
    NotYet,
    /// There was no reply; no session asks again.
    InVain,
    Told(Arc<Features>),
}

impl Known {
    /// Of a server that is taken for a far one, however near it is.
    #[must_use]
    pub fn far() -> Known {
        Known { is_far: true, ..Known::default() }
    }

    /// Of a server that is taken for a near one, however long its replies take on a busy machine.
    #[must_use]
    pub fn near() -> Known {
        Known { is_near: true, ..Known::default() }
    }

    /// Whether the server did not bear a command ahead of its turn: it is asked one thing at a time.
    #[must_use]
    pub fn objects(&self) -> bool {
        self.is_near || self.objection().is_some_and(|objection| Instant::now() < objection.until)
    }

    /// True where it was not known.
    pub(super) fn objected(&self) -> bool {
        let mut objection = self.objection();
        let now = Instant::now();
        if objection.is_some_and(|objection| now < objection.until) {
            return false;
        }
        let times = objection.map_or(0, |objection| objection.times);
        *objection = Some(Objection {
            until: now + FIRST_OBJECTION * (1 << times.min(MAX_DOUBLINGS)),
            times: times.saturating_add(1),
        });
        true
    }

    fn objection(&self) -> MutexGuard<'_, Option<Objection>> {
        self.objection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_far(&self) -> bool {
        self.is_far
    }

    /// A file was stored at `path`.
    pub(super) fn directory_took(&self, path: &str) {
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

    /// It takes no more: somebody may have removed it.
    pub(super) fn forget_directory(&self, path: &str) {
        self.directories().remove(directory_of(path));
    }

    fn directories(&self) -> MutexGuard<'_, HashSet<String>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server does not let this command (RETR or STOR) begin in the middle of a file.
    pub(super) fn refuses_rest(&self, step: Step) -> bool {
        self.rest(step).load(Ordering::Relaxed)
    }

    pub(super) fn refused_rest(&self, step: Step) {
        self.rest(step).store(true, Ordering::Relaxed);
    }

    pub(super) fn restarts(&self) -> Option<Restarts> {
        let tried = *self.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        tried.filter(|(_, at)| at.elapsed() < TRIED_FOR).map(|(seen, _)| seen)
    }

    pub(super) fn does_restart(&self, seen: Restarts) {
        *self.restarts.lock().unwrap_or_else(PoisonError::into_inner) = Some((seen, Instant::now()));
    }

    fn rest(&self, step: Step) -> &AtomicBool {
        if step == Step::Stor { &self.refuses_rest_to_store } else { &self.refuses_rest_to_send }
    }

    /// The judge of the server's certificates, made once.
    pub(super) fn verifier(&self, connection: &FtpConnection) -> Result<Arc<Verifier>, String> {
        if let Some(verifier) = self.verifier.get() {
            return Ok(Arc::clone(verifier));
        }
        let verifier = Arc::new(Verifier::new(&connection.tls.trust)?);
        Ok(Arc::clone(self.verifier.get_or_init(|| verifier)))
    }

    /// Whether the server did not take a TLS 1.3 session up again on its data connections.
    pub(super) fn is_tls12_only(&self) -> bool {
        self.tls12_only.load(Ordering::Relaxed)
    }

    pub(super) fn only_tls12(&self) {
        self.tls12_only.store(true, Ordering::Relaxed);
    }

    /// The server's features; `None` where they must be asked for.
    pub(super) fn features(&self) -> Option<Arc<Features>> {
        match &*self.features.lock().unwrap_or_else(PoisonError::into_inner) {
            Asked::NotYet => None,
            Asked::InVain => Some(Arc::default()),
            Asked::Told(features) => Some(Arc::clone(features)),
        }
    }

    /// Keeps the reply to FEAT, `None` where there was none.
    pub(super) fn told_features(&self, features: Option<Arc<Features>>) {
        let asked = features.map_or(Asked::InVain, Asked::Told);
        *self.features.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    pub(super) fn lacks_way(&self, bit: usize) -> bool {
        self.lacks_ways.load(Ordering::Relaxed) & (1 << bit) != 0
    }

    pub(super) fn lacks_this_way(&self, bit: usize) {
        self.lacks_ways.fetch_or(1 << bit, Ordering::Relaxed);
    }

    pub(super) fn takes_opts_utf8(&self) -> bool {
        !self.refuses_opts_utf8.load(Ordering::Relaxed)
    }

    pub(super) fn no_opts_utf8(&self) {
        self.refuses_opts_utf8.store(true, Ordering::Relaxed);
    }
}

fn directory_of(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| path.get(..=slash).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_objection_lapses_and_lasts_longer_each_time() {
        let known = Known::default();
        assert!(!known.objects());
        assert!(known.objected());
        assert!(!known.objected(), "that was known");
        tokio::time::advance(FIRST_OBJECTION).await;
        assert!(!known.objects());
        assert!(known.objected());
        tokio::time::advance(FIRST_OBJECTION).await;
        assert!(known.objects(), "twice as long");
        tokio::time::advance(FIRST_OBJECTION).await;
        assert!(!known.objects());
    }
}
