//! The accounting behind its lock: delivers grants to waiters, and evictions to the pool.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accounting::{AccountingAction, SessionAccounting, SessionId, WaiterId};
use crate::metrics::{CloseReason, Metrics};

/// An idle session to be closed.
#[derive(Debug)]
pub(super) struct Eviction {
    pub connection: Arc<str>,
    pub session: SessionId,
    pub reason: CloseReason,
}

/// The one place where sessions are counted. Its lock is never held across an await, nor while a
/// session or a permit is dropped.
pub(super) struct SharedAccounting {
    state: Mutex<AccountingState>,
    evictions: mpsc::UnboundedSender<Eviction>, // at most one for each idle session
    emptied: Notify,
    metrics: Metrics,
    /// Sessions are closed in tasks spawned from `drop`, on whatever thread that runs.
    pub handle: Handle,
}

type GrantSender = oneshot::Sender<WaiterGrant>;

struct AccountingState {
    accounting: SessionAccounting,
    waiters: HashMap<WaiterId, GrantSender>,
    /// Cancelled when a session must be closed whatever it is doing.
    interruptions: HashMap<SessionId, CancellationToken>,
}

impl SharedAccounting {
    /// Also returns the receiver of the sessions that must be closed.
    pub fn new(
        accounting: SessionAccounting,
        metrics: Metrics,
        handle: Handle,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Eviction>) {
        let (evictions, evicted) = mpsc::unbounded_channel();
        let state = Mutex::new(AccountingState {
            accounting,
            waiters: HashMap::new(),
            interruptions: HashMap::new(),
        });
        (Arc::new(SharedAccounting { state, evictions, emptied: Notify::new(), metrics, handle }), evicted)
    }

    /// Waits for an idle session or for permission to open one, in the position of `earlier` if there is one; `None`
    /// once the pool is closed. Cancel-safe.
    pub async fn wait(
        self: &Arc<Self>,
        connection: &Arc<str>,
        earlier: &mut Option<WaiterId>,
    ) -> Option<WaiterGrant> {
        let (sender, receiver) = oneshot::channel();
        let waiter = self.locked(connection, |state| {
            let waiter = state.accounting.wait(connection, *earlier)?;
            state.waiters.insert(waiter, sender);
            Some(waiter)
        })?;
        *earlier = Some(waiter);
        let _guard = WaiterGuard { accounting: self, connection, waiter };
        receiver.await.ok()
    }

    /// Makes a session idle: `put_back` runs if it may be kept, under the lock, so that no waiter is granted an idle
    /// session that has not been returned yet. Otherwise returns why it must be closed.
    pub fn make_idle(
        self: &Arc<Self>,
        held: (&Arc<str>, SessionId),
        put_back: impl FnOnce(),
    ) -> Option<CloseReason> {
        let (connection, session) = held;
        self.update(connection, |accounting| {
            let refusal = accounting.make_idle(session, Instant::now());
            if refusal.is_none() {
                put_back();
            }
            refusal
        })
    }

    /// See [`SessionAccounting::remove`].
    pub fn remove(self: &Arc<Self>, connection: &str) {
        let waiters: Vec<_> = self.locked(connection, |state| {
            let waiting = state.accounting.remove(connection);
            waiting.iter().filter_map(|waiter| state.waiters.remove(waiter)).collect()
        });
        drop(waiters); // which ends their waits
    }

    /// Closes sessions that have been idle too long, and raises lowered limits.
    pub fn tick(self: &Arc<Self>, session_timeout: Duration) {
        let now = Instant::now();
        self.with_lock(|state| {
            state.accounting.expire(now, session_timeout);
            state.accounting.raise_limits(now);
            for (connection, limit) in state.accounting.limits() {
                self.metrics.session_limit(connection, limit);
            }
        });
    }

    pub fn lower_limit(self: &Arc<Self>, connection: &str) {
        self.with_lock(|state| {
            state.accounting.lower_limit(connection, Instant::now());
            self.metrics.session_limit(connection, state.accounting.limit(connection));
        });
    }

    /// Open sessions of the pod.
    pub fn open(self: &Arc<Self>) -> usize {
        self.read(SessionAccounting::open)
    }

    pub fn close(self: &Arc<Self>) {
        let waiters = self.with_lock(|state| {
            state.accounting.close();
            std::mem::take(&mut state.waiters)
        });
        drop(waiters); // which ends their waits
    }

    /// Resolves when no session is open.
    pub async fn wait_until_empty(self: &Arc<Self>) {
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub fn read<R>(self: &Arc<Self>, read: impl FnOnce(&SessionAccounting) -> R) -> R {
        self.with_lock(|state| read(&state.accounting))
    }

    /// Changes the accounting of a connection, and shows its sessions in the metrics.
    pub fn update<R>(
        self: &Arc<Self>,
        connection: &str,
        change: impl FnOnce(&mut SessionAccounting) -> R,
    ) -> R {
        self.locked(connection, |state| change(&mut state.accounting))
    }

    fn locked<R>(self: &Arc<Self>, connection: &str, change: impl FnOnce(&mut AccountingState) -> R) -> R {
        self.with_lock(|state| {
            let result = change(state);
            self.show(&state.accounting, connection);
            result
        })
    }

    fn with_lock<R>(self: &Arc<Self>, change: impl FnOnce(&mut AccountingState) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let (mut grants, mut interrupted) = (Vec::new(), Vec::new());
        for action in state.accounting.take_actions() {
            if let AccountingAction::Interrupt { session } = action {
                interrupted.extend(state.interruptions.remove(&session));
            } else {
                grants.extend(self.prepare(&mut state, action));
            }
        }
        drop(state);
        interrupted.iter().for_each(CancellationToken::cancel);
        for (waiter, grant) in grants {
            // A waiter that was cancelled in between drops its grant, which returns it.
            drop(waiter.map(|waiter| waiter.send(grant)));
        }
        result
    }

    fn prepare(
        self: &Arc<Self>,
        state: &mut AccountingState,
        action: AccountingAction,
    ) -> Option<(Option<GrantSender>, WaiterGrant)> {
        match action {
            AccountingAction::TakeIdle { waiter, connection } => {
                let hold = IdleHold { accounting: Arc::clone(self), connection };
                Some((state.waiters.remove(&waiter), WaiterGrant::Idle(hold)))
            }
            AccountingAction::MayConnect { waiter, connection, session } => {
                let interrupted = CancellationToken::new();
                state.interruptions.insert(session, interrupted.clone());
                let permit = SessionPermit { accounting: Arc::clone(self), connection, session, interrupted };
                Some((state.waiters.remove(&waiter), WaiterGrant::MayOpen(permit)))
            }
            AccountingAction::Close { connection, session, reason } => {
                self.show(&state.accounting, &connection);
                // The receiver lives as long as the pool.
                drop(self.evictions.send(Eviction { connection, session, reason }));
                None
            }
            AccountingAction::Interrupt { .. } => None, // by the caller, without the lock
        }
    }

    fn show(&self, accounting: &SessionAccounting, connection: &str) {
        let counts = accounting.counts(connection);
        // A closing session is still open at the server.
        self.metrics.sessions(connection, counts.idle, counts.busy + counts.closing, counts.connecting);
    }
}

impl fmt::Debug for SharedAccounting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedAccounting").finish_non_exhaustive()
    }
}

/// What a waiter is granted.
#[derive(Debug)]
pub(super) enum WaiterGrant {
    Idle(IdleHold),
    MayOpen(SessionPermit),
}

/// An idle session is held for the owner of this until it is dropped.
#[derive(Debug)]
pub(super) struct IdleHold {
    accounting: Arc<SharedAccounting>,
    connection: Arc<str>,
}

impl Drop for IdleHold {
    fn drop(&mut self) {
        self.accounting.update(&self.connection, |accounting| accounting.release_hold(&self.connection));
    }
}

/// The right to one open session. It must be dropped after the session's socket, not before.
#[derive(Debug)]
pub(super) struct SessionPermit {
    accounting: Arc<SharedAccounting>,
    connection: Arc<str>,
    session: SessionId,
    interrupted: CancellationToken,
}

impl SessionPermit {
    pub fn connection(&self) -> &Arc<str> {
        &self.connection
    }

    pub fn session(&self) -> SessionId {
        self.session
    }

    pub fn accounting(&self) -> &Arc<SharedAccounting> {
        &self.accounting
    }

    /// Cancelled when the session must be closed without delay.
    pub fn interrupted(&self) -> &CancellationToken {
        &self.interrupted
    }

    /// Changes the session's state.
    pub fn update<R>(&self, change: impl FnOnce(&mut SessionAccounting, SessionId) -> R) -> R {
        self.accounting.update(&self.connection, |accounting| change(accounting, self.session))
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        let (connection, session) = (&self.connection, self.session);
        let open = self.accounting.locked(connection, |state| {
            state.interruptions.remove(&session);
            state.accounting.session_closed(session);
            state.accounting.open()
        });
        if open == 0 {
            self.accounting.emptied.notify_waiters();
        }
    }
}

/// Cancels the wait when it is dropped.
struct WaiterGuard<'a> {
    accounting: &'a Arc<SharedAccounting>,
    connection: &'a Arc<str>,
    waiter: WaiterId,
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.accounting.locked(self.connection, |state| {
            state.waiters.remove(&self.waiter);
            state.accounting.cancel_wait(self.connection, self.waiter);
        });
    }
}
