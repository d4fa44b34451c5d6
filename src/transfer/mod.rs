//! One try at one task on one session: the file comes whole, or not at all.

use crate::failure::TryError;
use crate::ftp::Session;
use crate::offsets::Lease;
use crate::record::Origin;
use crate::task::Task;

/// What a try that succeeded did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    pub bytes: u64,
    /// Remarks for the result, such as `size not verified: the server has no SIZE`.
    pub notes: Vec<String>,
}

/// Carries out tasks between sessions and local storage.
#[derive(Debug)]
pub struct Transfer {}

impl Transfer {
    /// One try. The caller cancels by dropping the future; no temp file of ours is left behind then,
    /// locally or (as far as the session still can) remotely, and the session is no longer sound.
    ///
    /// # Errors
    /// See [`TryError`]; the session's soundness is told by [`Session::is_sound`].
    pub async fn run(
        &self,
        session: &mut Session,
        task: &Task,
        origin: &Origin,
        lease: &Lease,
    ) -> Result<Transferred, TryError> {
        todo!()
    }
}
