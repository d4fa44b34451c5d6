//! What a line's lanes have in their hands, and where a task of the line is.

use std::sync::Arc;

use tokio::time::Instant;

use super::Line;
use crate::dispatch::order::Place;
use crate::dispatch::queue::{Entry, Turn};
use crate::dispatch::whereabouts::{WaitsFor, Whereabouts};
use crate::insight::{LongestRunning, ProgressGauge, TransferPhase};
use crate::record::Origin;
use crate::task::Task;

/// A task in flight.
#[derive(Clone, Debug)]
pub(in crate::dispatch) struct Carried {
    pub(super) origin: Origin,
    place: Place,
    pub task: Arc<Task>,
    /// This try's number.
    pub attempts: u32,
    pub since: Instant,
    /// Since when it has a session.
    pub(super) transfers: Option<Instant>,
    pub gauge: Arc<ProgressGauge>,
}

impl Carried {
    pub(super) fn new(entry: &Entry, since: Instant, phase: TransferPhase) -> Self {
        let gauge = Arc::new(ProgressGauge::default());
        gauge.enter(phase);
        Carried {
            origin: entry.job.record.origin.clone(),
            place: entry.place,
            task: Arc::clone(&entry.job.task),
            attempts: entry.tries.attempts + 1,
            since,
            transfers: None,
            gauge,
        }
    }
}

impl Line {
    /// The task of this record, if it is on this line.
    pub fn whereabouts(&self, origin: &Origin, now: Instant) -> Option<Whereabouts> {
        let state = self.state();
        if let Some(carried) = state.carried.values().flatten().find(|carried| carried.origin == *origin) {
            let Carried { task, attempts, .. } = carried;
            let waits_for = match carried.transfers {
                Some(since) => WaitsFor::Transfer { since: now - since },
                None => WaitsFor::Login { since: now - carried.since },
            };
            let (task_id, attempts) = (task.task_id.clone(), *attempts);
            return Some(Whereabouts {
                task_id,
                connection: self.connection.to_string(),
                attempts,
                waits_for,
            });
        }
        let (entry, turn) = state.queue.find(origin)?;
        Some(entry.whereabouts(match (turn, state.breaker.last_failure()) {
            (Turn::Due(due), _) => WaitsFor::Retry { due_in: due.saturating_duration_since(now) },
            (Turn::Ready { .. }, Some(last)) if state.with_session == 0 => {
                WaitsFor::Breaker { state: state.breaker.state(now), last: last.to_string() }
            }
            (Turn::Ready { ahead }, _) => WaitsFor::Session { ahead, sessions: state.with_session },
        }))
    }

    /// The task on this line that has this place.
    pub fn holder(&self, place: Place) -> Option<String> {
        let state = self.state();
        let carried = state.carried.values().flatten().find(|carried| carried.place == place);
        let waiting = || state.queue.waiting().find(|entry| entry.place == place);
        let carried = carried.map(|carried| carried.task.task_id.clone());
        carried.or_else(|| waiting().map(|entry| entry.job.task.task_id.clone()))
    }

    /// Shows all tasks in flight; those that are kept are copied under the lock, and no others.
    pub fn show(&self, longest: &mut LongestRunning<Instant, Carried>) {
        for carried in self.state().carried.values().flatten() {
            longest.see(carried.since, || carried.clone());
        }
    }
}
