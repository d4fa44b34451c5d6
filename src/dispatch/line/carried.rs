//! What a line's lanes have in their hands, and where a task of the line is.

use tokio::time::Instant;

use super::Line;
use crate::dispatch::order::Place;
use crate::dispatch::queue::{Entry, Turn};
use crate::dispatch::whereabouts::{WaitsFor, Whereabouts};
use crate::record::Origin;

/// A task in flight.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) origin: Origin,
    place: Place,
    task_id: String,
    attempts: u32,
    since: Instant,
    /// Since when it has a session.
    pub(super) transfers: Option<Instant>,
}

impl Carried {
    pub(super) fn new(entry: &Entry, since: Instant) -> Self {
        let origin = entry.job.record.origin.clone();
        let (place, task_id) = (entry.place, entry.job.task.task_id.clone());
        Carried { origin, place, task_id, attempts: entry.tries.attempts + 1, since, transfers: None }
    }
}

impl Line {
    /// The task of this record, if it is on this line.
    pub fn whereabouts(&self, origin: &Origin, now: Instant) -> Option<Whereabouts> {
        let state = self.state();
        if let Some(carried) = state.carried.values().flatten().find(|carried| carried.origin == *origin) {
            let Carried { task_id, attempts, .. } = carried;
            let waits_for = match carried.transfers {
                Some(since) => WaitsFor::Transfer { since: now - since },
                None => WaitsFor::Login { since: now - carried.since },
            };
            let (task_id, attempts) = (task_id.clone(), *attempts);
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
        let carried = carried.map(|carried| carried.task_id.clone());
        carried.or_else(|| waiting().map(|entry| entry.job.task.task_id.clone()))
    }
}
