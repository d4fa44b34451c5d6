//! What exists at the destination already, for `--skip-existing`.

use std::collections::HashMap;
use std::io;

use super::patient_session::PatientSessions;
use crate::config::FileCriteria;
use crate::listing::{FilterDecision, ListedSource, Location, WalkError, WalkVisitor, walk};

/// Files at the destination that are held at most: some hundred bytes each.
const MAX_FILES: usize = 5_000_000;

/// Sizes by the path beneath the destination.
#[derive(Debug, Default)]
pub(super) struct ExistingFiles {
    sizes: HashMap<String, u64>,
    /// The destination's own name, if it may be that of a file.
    name: Option<String>,
}

impl ExistingFiles {
    /// Lists the destination; a missing one is empty.
    ///
    /// # Errors
    /// It cannot be listed to its end, or holds more than [`MAX_FILES`].
    pub async fn list(
        destination: &Location,
        is_recursive: bool,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<ExistingFiles, WalkError> {
        let mut sizes = SizesByPath::default();
        let everything = FileCriteria { recursive: is_recursive, ..FileCriteria::default() };
        let sessions = PatientSessions::with(destination, say);
        match walk(destination, &everything, &mut sizes, &sessions).await {
            Err(error) if !error.is_missing() => return Err(error),
            _ => {}
        }
        let SizesByPath(sizes) = sizes;
        let name = destination.path.rsplit('/').next().filter(|name| !name.is_empty());
        Ok(ExistingFiles { sizes, name: name.map(str::to_owned) })
    }

    /// Whether a file of the source exists there, judging by its size.
    pub fn has(&self, found: &ListedSource, is_single: bool) -> bool {
        let path = self.name.as_ref().filter(|_| is_single).unwrap_or(&found.path);
        found.size.is_some() && self.sizes.get(path).copied() == found.size
    }
}

/// Accepts every file.
#[derive(Default)]
struct SizesByPath(HashMap<String, u64>);

impl WalkVisitor for SizesByPath {
    fn decide(&self, _: &ListedSource) -> FilterDecision {
        FilterDecision::Take
    }

    fn enters(&self, _: &str) -> bool {
        true
    }

    fn take(&mut self, found: &ListedSource, _: bool) -> io::Result<()> {
        if self.0.len() >= MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files are at the destination")));
        }
        self.0.extend(found.size.map(|size| (found.path.clone(), size)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_if_one_of_its_size_is_under_the_name_that_it_gets() {
        let found =
            |path: &str, size| ListedSource { path: path.to_owned(), size, modified: None, exact_time: None };
        let sizes = HashMap::from([("a/b".to_owned(), 3), ("other".to_owned(), 5)]);
        let beneath = ExistingFiles { sizes: sizes.clone(), name: None };
        assert!(beneath.has(&found("a/b", Some(3)), false));
        assert!(!beneath.has(&found("a/b", Some(4)), false) && !beneath.has(&found("b", Some(3)), false));
        assert!(!beneath.has(&found("a/b", None), false), "who does not know moves it");
        let renamed = ExistingFiles { sizes, name: Some("other".to_owned()) };
        assert!(renamed.has(&found("mine", Some(5)), true) && !renamed.has(&found("mine", Some(5)), false));
    }
}
