//! The steps by which a member becomes the owner of a partition, and stops being it. Pure; time is an argument.
//!
//! ```text
//! assigned ─▶ FENCE ─▶ REWIND ─▶ RESTORE ─▶ WORK ── revoked, lost ─▶ gone
//!               ▲                              │
//!               └── after a pause ◀── FAILED ◀─┘  fenced, or a transaction whose outcome is not certain
//! ```
//!
//! The order is essential: once the predecessor is fenced, none of its transactions can be committed any more, so
//! reading from the beginning to the end after that gives everything that it has committed. Any failure leads back to
//! the first step with the state dropped: the result of a commit without a reply is read from the log.

use std::time::Duration;

/// Between a failure and the next beginning.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Begin as the transactional producer that is named after the partition.
    Fence,
    /// Go to the partition's beginning.
    Rewind,
    /// Read on; nothing may be written yet.
    Restore,
    /// The state is complete and may be used.
    Work,
    /// Drop the state and wait.
    Wait,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    New,
    Fenced,
    Restoring,
    Working,
    Failed {
        since: Duration,
    },
}

/// How far a member is with a partition that is assigned to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionOwnership {
    stage: Stage,
}

impl PartitionOwnership {
    pub fn next_step(&self, now: Duration) -> NextStep {
        match self.stage {
            Stage::New => NextStep::Fence,
            Stage::Fenced => NextStep::Rewind,
            Stage::Restoring => NextStep::Restore,
            Stage::Working => NextStep::Work,
            Stage::Failed { since } if now >= since + PAUSE => NextStep::Fence,
            Stage::Failed { .. } => NextStep::Wait,
        }
    }

    /// The producer has its identity: every earlier one is fenced.
    pub fn fenced(&mut self) {
        self.stage = Stage::Fenced;
    }

    /// What is read from now on is read from the beginning, after the predecessor was fenced.
    pub fn rewound(&mut self) {
        if self.stage == Stage::Fenced {
            self.stage = Stage::Restoring;
        }
    }

    /// Whether what is read belongs to the state.
    pub fn is_reading(&self) -> bool {
        matches!(self.stage, Stage::Restoring | Stage::Working)
    }

    /// The partition has been read to its end. True if that completes the state.
    pub fn reached_end(&mut self) -> bool {
        let completes = self.stage == Stage::Restoring;
        if completes {
            self.stage = Stage::Working;
        }
        completes
    }

    /// A call failed, or its outcome is not certain. What is known of the state is worth nothing any more.
    pub fn failed(&mut self, now: Duration) {
        self.stage = Stage::Failed { since: now };
    }
}
