//! Lists the files of a place, and makes tasks of them: what `submit` does once, and feeds do again and again.
//!
//! ```text
//! location      a place, CONNECTION:PATH
//! walk          lists it, directory by directory, with sessions of whoever asks; walk/server: on a server
//! filter        which of its files are chosen: pure
//! passed_over   what was listed and is not chosen, though it may be a file: counted, named
//! task_builder  the tasks between two places: pure
//! task_ids      task ids: random, or from what is moved
//! ```
//!
//! A listing is read as it arrives: what is kept of it is the directories that wait to be listed, and, of the directory that
//! is listed, entries of which more must be asked.

mod filter;
mod location;
mod passed_over;
mod task_builder;
mod task_ids;
mod walk;

pub use filter::{BadCriterion, Decision, FileFilter, ListedSource};
pub use location::{Location, LocationConnection};
pub use passed_over::PassedOver;
pub use task_builder::TaskBuilder;
pub use task_ids::{TaskContent, of_content, random, sha256_uuid};
pub use walk::{ListingSessions, WalkError, WalkSummary, WalkVisitor, walk};
