//! A lane's place on its line.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Carried, Line, Seek, State};
use crate::dispatch::queue::Entry;
use crate::insight::{ProgressGauge, TransferPhase};

/// A lane's place on its line. However the lane ends, it is counted rightly.
#[derive(Debug)]
pub(in crate::dispatch) struct Duty {
    line: Arc<Line>,
    number: u64,
    has_session: bool,
    has_left: bool,
}

impl Duty {
    pub(super) fn new(line: Arc<Line>, number: u64) -> Self {
        Duty { line, number, has_session: false, has_left: false }
    }

    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// For a lane without session and task: what to do next. `limit` is the connection's present one.
    pub fn seek(&mut self, now: Instant, limit: usize) -> Seek {
        let line = Arc::clone(&self.line);
        let mut state = line.state();
        let seek = state.seek(now, limit);
        if matches!(seek, Seek::Leave) {
            self.leave(&mut state);
        }
        seek
    }

    pub fn got_session(&mut self) {
        let before = std::mem::replace(&mut self.has_session, true);
        self.line.state().with_session += usize::from(!before);
    }

    pub fn lost_session(&mut self) {
        let before = std::mem::replace(&mut self.has_session, false);
        self.line.state().with_session -= usize::from(before);
    }

    /// Takes the next task, if there is one and the breaker lets it be tried.
    pub fn take(&mut self, now: Instant) -> Option<Box<Entry>> {
        let (entry, is_superfluous) = {
            let mut state = self.line.state();
            if state.stopped || state.is_held(now) {
                return None;
            }
            let entry = state.queue.pop()?;
            let phase = if self.has_session { TransferPhase::Begin } else { TransferPhase::Login };
            state.carried.entry(self.number).or_default().push(Carried::new(&entry, now, phase));
            (entry, state.free() > state.queue.ready())
        };
        if is_superfluous {
            self.line.changed.notify_waiters();
        }
        Some(entry)
    }

    /// The task has been answered, or is to be dropped.
    pub fn finish(&mut self, entry: &Entry) {
        self.line.state().put_down(self.number, entry);
    }

    /// The task is to be tried again: at once, or when it is due. Where nothing is begun any more it is dropped. The
    /// task back where its connection is no more: it is to be answered.
    pub fn give_back(&mut self, entry: Box<Entry>, due: Option<Instant>) -> Option<Box<Entry>> {
        let mut state = self.line.state();
        state.put_down(self.number, &entry);
        match due {
            _ if state.stopped => {}
            _ if state.removed => return Some(entry),
            None => state.queue.push_front(entry),
            Some(due) => state.queue.delay(entry, due),
        }
        None
    }

    /// The task's transfer begins, and writes to this gauge; until then it is tried with a login.
    pub fn transfers(&self, entry: &Entry, now: Instant) -> Arc<ProgressGauge> {
        let mut state = self.line.state();
        let mut own = state.carried.get_mut(&self.number).into_iter().flatten();
        let carried = own.find(|carried| carried.origin == entry.job.record.origin);
        let gauge = carried.map(|carried| {
            carried.transfers = Some(now);
            carried.gauge.enter(TransferPhase::Begin);
            Arc::clone(&carried.gauge)
        });
        gauge.unwrap_or_default() // a task in hand is always counted as carried
    }

    fn leave(&mut self, state: &mut State) {
        if !std::mem::replace(&mut self.has_left, true) {
            state.lanes -= 1;
            state.with_session -= usize::from(self.has_session);
            state.carried.remove(&self.number);
        }
    }
}

impl State {
    /// The lane has this task no more.
    fn put_down(&mut self, lane: u64, entry: &Entry) {
        let Some(carried) = self.carried.get_mut(&lane) else { return };
        carried.retain(|carried| carried.origin != entry.job.record.origin);
        if carried.is_empty() {
            self.carried.remove(&lane);
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let line = Arc::clone(&self.line);
        self.leave(&mut line.state());
    }
}
