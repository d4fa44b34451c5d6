//! Local files, confined beneath a connection's `base_path` by the kernel. Only this module touches them.
//!
//! A path is resolved lexically first ([`Target`]), then by the kernel: directories are opened with openat2's
//! `RESOLVE_BENEATH`, and everything else is done by name relative to their descriptors. So a symlink that
//! leads out is refused even if it appears in the middle of an operation. A relative symlink to a directory
//! beneath `base_path` is followed (the kernel refuses absolute ones, wherever they lead); so is a source
//! that is one. A destination that is a symlink is replaced itself, never written through.
//!
//! A download is a [`TempFile`] until it is whole and durable: write, fsync, rename, fsync of the directory.
//! An upload reads a [`SourceFile`]. Every call into the file system is made off the runtime's threads and
//! has a deadline.

mod beneath;
mod check;
mod disk;
mod draft;
mod error;
mod finish;
mod listing;
mod mark;
mod names;
mod owner;
mod part;
mod resume;
mod source;
mod strays;
mod sweep;
mod target;
mod temp_file;
mod temp_name;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use beneath::Confinement;
pub use check::Check;
pub use error::StorageError;
pub use finish::Finish;
pub use listing::Listed;
pub use mark::Mark;
pub use names::Names;
pub use owner::Owner;
pub use part::{Place, Stamp as SourceStamp};
pub use source::{Identity, SourceFile};
pub use strays::{Errand, LOOK_EVERY, Search, Stamp};
pub use sweep::SharedStrays;
pub use target::Target;
pub use temp_file::{CHUNK, Earlier, TempFile};
pub use temp_name::{Incarnation, TempName};

use crate::config::LocalConnection;
use beneath::Beneath;
use disk::{Disk, Job};
use draft::{Look, Plan};
use error::{Doing, Side};
use mark::Remembered;
use part::Parts;

/// Who has a storage in which nobody works.
const OWNER_AND_SWEEP: usize = 2;

/// The files of one local connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storage {
    connection: Arc<LocalConnection>,
    beneath: Arc<Beneath>,
    disk: Disk,
    strays: SharedStrays,
    remembers: bool,
    parts: Parts,
}

/// How a download begins.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "taken apart at once; a box would cost each file an allocation")]
pub enum Begun {
    Now(TempFile),
    /// It was done before: the file stands there, whole and durable.
    Before {
        bytes: u64,
        /// What it was to remember ([`Finish::memory`]).
        memory: String,
    },
}

impl Storage {
    /// Opens `base_path`, which must be a directory. It stays the directory that was opened, also where
    /// another is moved to its name or mounted over it, until it is removed itself. Blocks.
    ///
    /// # Errors
    /// As of any local path; the message names `base_path`.
    pub fn open(connection: &LocalConnection) -> Result<Storage, StorageError> {
        let beneath = Beneath::open(&connection.base_path).map_err(|errno| {
            let path = connection.base_path.to_string_lossy();
            Doing { what: "open base_path", path: &path, side: Side::Base }.failed(errno)
        })?;
        if beneath.confinement() == Confinement::CapStd {
            tracing::warn!(connection = connection.name, "no openat2 here: paths are confined by cap-std");
        }
        let storage = Storage::with(connection, beneath, Disk::new(disk::CALLS, disk::CALL_DEADLINE));
        if !storage.remembers {
            tracing::warn!(
                connection = connection.name,
                "no user extended attributes here: a download that is done again after a crash is transferred again, \
                 and finds its own file in the way where `overwrite` is false; one with an `after` other than \
                 `keep` is refused"
            );
        }
        Ok(storage)
    }

    fn with(connection: &LocalConnection, beneath: Beneath, disk: Disk) -> Storage {
        Storage {
            remembers: beneath.base().is_ok_and(mark::can_be_put),
            connection: Arc::new(connection.clone()),
            beneath: Arc::new(beneath),
            disk,
            strays: SharedStrays::new(LOOK_EVERY),
            parts: Parts::default(),
        }
    }

    /// The same, with directories looked at for temp files of the dead after this time, not after an hour.
    #[must_use]
    pub fn sweeping_every(self, look_every: Duration) -> Storage {
        Storage { strays: SharedStrays::new(look_every), ..self }
    }

    /// As on a file system without extended attributes.
    #[cfg(test)]
    pub(crate) fn without_memory(self) -> Storage {
        Storage { remembers: false, ..self }
    }

    /// The connection's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// Whether published files remember their record: without that nobody can tell, once a download's source is
    /// gone, whether it was brought.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// The place that a task's local path means; lexical, see [`Target::resolve`].
    ///
    /// # Errors
    /// [`StorageError::PathNotAllowed`].
    pub fn resolve(&self, path: &str) -> Result<Target, StorageError> {
        Target::resolve(&self.connection.base_path, path)
    }

    /// Begins a file at `target`. What is bound to fail is refused now, before a byte is fetched; nothing is
    /// made before bytes have come (see [`TempFile`]). Missing parents are made with it.
    ///
    /// A file that is there and was made for the same record is left as it is, whatever `overwrite` says:
    /// its answer was lost, not the file.
    ///
    /// # Errors
    /// [`StorageError::DestinationExists`] where something is there and `overwrite` is false;
    /// `PathNotAllowed` where it is a directory, has a file among its parents, or leads out.
    pub async fn create(
        &self,
        target: &Target,
        owner: Owner,
        overwrite: bool,
    ) -> Result<Begun, StorageError> {
        self.create_or_resume(target, owner, overwrite, None).await
    }

    /// [`Storage::create`], and looks for what an earlier owner of the record has brought of the source at `place`:
    /// see [`TempFile::earlier`].
    pub async fn create_or_resume(
        &self,
        target: &Target,
        owner: Owner,
        overwrite: bool,
        place: Option<Place>,
    ) -> Result<Begun, StorageError> {
        let plan = Plan { target: target.clone(), owner, overwrite, source: None };
        let (beneath, parts, early) = (self.beneath(), self.parts.clone(), plan.clone());
        let job = Job { what: "create", target: target.clone(), side: Side::Destination };
        let look =
            move |_: &disk::Abandoned<'_>| early.look(&beneath, place.as_ref().map(|place| (&parts, place)));
        let look = self.disk.call(job, look).await;
        // Only now: what an earlier owner has left is swept away from here on.
        self.strays.lock().begun(target.parent(), &plan.owner, Instant::now());
        Ok(match look? {
            Look::Before(Remembered { size, memory }) => Begun::Before { bytes: size, memory },
            Look::Now(part) => Begun::Now(TempFile::new(self.clone(), plan, part)),
        })
    }

    /// Opens the regular file at `target` for reading; a FIFO, a device, a socket or a directory is
    /// [`StorageError::PathNotAllowed`], and never waited for.
    pub async fn open_source(&self, target: &Target) -> Result<SourceFile, StorageError> {
        SourceFile::open(self.clone(), target.clone()).await
    }

    /// Tries the directory out: asks for the room left, makes a file and removes it. Blocks.
    ///
    /// # Errors
    /// Where not even the room left can be told.
    pub fn check(&self) -> Result<Check, StorageError> {
        Check::of(&self.beneath, &self.connection.base_path)
    }

    /// True once no call into the file system is under way, the removal of cancelled tasks' temp files
    /// included; false if that takes longer than `within`. For the end of a pod, when no task is left.
    pub async fn settled(&self, within: Duration) -> bool {
        self.disk.settled(within).await
    }

    /// Whether somebody besides its owner and its sweep has a file of it, or a call into the file system is under way.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        // A file has a clone of the storage.
        Arc::strong_count(&self.beneath) > OWNER_AND_SWEEP || !self.disk.is_idle()
    }

    fn beneath(&self) -> Arc<Beneath> {
        Arc::clone(&self.beneath)
    }

    fn disk(&self) -> &Disk {
        &self.disk
    }
}
