//! Lists the files of a place, and creates tasks for them: once for `submit`, repeatedly for feeds.
//!
//! ```text
//! location      a place, CONNECTION:PATH
//! walk          lists it, directory by directory, with sessions of the caller; walk/server: on a server
//! filter        which of its files are selected: pure
//! passed_over   entries that were listed and not selected, though they may be files: counted, named
//! task_builder  the tasks between two places: pure
//! task_ids      task ids: random, or derived from the content
//! ```
//!
//! A listing is read as it arrives: all that is kept in memory are the directories still to be listed, and, of the
//! directory that is being listed, entries that need a further query.

mod filter;
mod location;
mod passed_over;
mod task_builder;
mod task_ids;
mod walk;

pub use filter::{BadCriterion, FileFilter, FilterDecision, ListedSource};
pub use location::{Location, LocationConnection};
pub use passed_over::PassedOver;
pub use task_builder::TaskBuilder;
pub use task_ids::{TaskContent, of_content, random, sha256_uuid};
pub use walk::{ListingSessions, WalkError, WalkSummary, WalkVisitor, walk};
