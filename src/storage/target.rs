//! A task's local path, resolved against `base_path`: purely lexical.

use std::path::{Component, Path};
use std::sync::Arc;

use super::error::StorageError;
use super::temp_name::TempName;

/// The maximum length of one component of a path (Linux: `NAME_MAX`).
const NAME_MAX: usize = 255;

/// A file's location beneath a `base_path`. Equal targets of one storage are the same location, however the task wrote
/// the path. Cheap to clone.
#[derive(Clone, Debug, Eq)]
pub struct LocalTarget {
    shown: Arc<str>,
    relative: Arc<str>,
}

impl LocalTarget {
    /// Resolves `path` against `base_path`: `/x` and `x` are `base_path/x`; an absolute path that already starts with
    /// `base_path`, by whole components, is that file and not a nested one. `.` and doubled slashes are ignored.
    ///
    /// A decoded task has been checked for most of this already; confinement does not rely on it.
    ///
    /// # Errors
    /// [`StorageError::PathNotAllowed`] if there is a NUL, a `..`, a component above 255 bytes, no file name at the
    /// end, or a name reserved for the pooler's temp files.
    pub fn resolve(base_path: &Path, path: &str) -> Result<LocalTarget, StorageError> {
        let refuse = |why: &str| Err(StorageError::PathNotAllowed(format!("local path {path:?}: {why}")));
        if path.contains('\0') {
            return refuse("holds a NUL");
        }
        if path.ends_with('/') || path.ends_with("/.") || path.is_empty() || path == "." {
            return refuse("names a directory, not a file");
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return refuse("`..` is not allowed");
        }
        if parts.iter().any(|part| part.len() > NAME_MAX) {
            return refuse("a component is longer than 255 bytes");
        }
        let Some(inside) = without_base(base_path, path, &parts) else {
            return refuse("is base_path itself, not a file below it");
        };
        if inside.last().is_some_and(|name| TempName::is_one(name)) {
            return refuse("is a name that only the pooler's temp files have");
        }
        Ok(LocalTarget { shown: path.into(), relative: inside.join("/").into() })
    }

    /// A directory beneath `base_path`, for messages; empty is `base_path` itself.
    pub(super) fn directory(relative: &str) -> LocalTarget {
        LocalTarget { shown: relative.into(), relative: relative.into() }
    }

    /// The path as the task wrote it, for messages.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.shown
    }

    /// The path relative to `base_path`, without `.`, `..` or doubled slashes; never empty.
    #[must_use]
    pub fn relative(&self) -> &str {
        &self.relative
    }

    /// Its directory, relative to `base_path`; empty for `base_path` itself.
    pub(super) fn parent(&self) -> &str {
        self.relative.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// Its name in that directory.
    pub(super) fn name(&self) -> &str {
        self.relative.rsplit_once('/').map_or(&self.relative, |(_, name)| name)
    }
}

impl PartialEq for LocalTarget {
    fn eq(&self, other: &Self) -> bool {
        self.relative == other.relative
    }
}

impl std::hash::Hash for LocalTarget {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.relative.hash(state);
    }
}

/// The components of `path` below `base_path`; `None` if none is left.
fn without_base<'a>(base_path: &Path, path: &str, parts: &'a [&'a str]) -> Option<&'a [&'a str]> {
    let base: Vec<&[u8]> = base_path
        .components()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .map(|component| component.as_os_str().as_encoded_bytes())
        .collect();
    let within = base_path.is_absolute()
        && path.starts_with('/')
        && parts.len() >= base.len()
        && base.iter().zip(parts).all(|(base, part)| *base == part.as_bytes());
    let inside = if within { parts.get(base.len()..)? } else { parts };
    (!inside.is_empty()).then_some(inside)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relative(base: &str, path: &str) -> Option<String> {
        LocalTarget::resolve(Path::new(base), path).ok().map(|target| target.relative().to_owned())
    }

    #[test]
    fn a_path_is_taken_beneath_base_path() {
        assert_eq!(relative("/data/storage", "/x").as_deref(), Some("x"));
        assert_eq!(relative("/data/storage", "x").as_deref(), Some("x"));
        assert_eq!(relative("/data/storage", "//a/./b///c").as_deref(), Some("a/b/c"));
        assert_eq!(relative("/data/storage", "data/storage/x").as_deref(), Some("data/storage/x"));
        assert_eq!(relative("/", "/x").as_deref(), Some("x"));
    }

    #[test]
    fn a_path_that_begins_with_base_path_is_the_same_file() {
        assert_eq!(relative("/data/storage", "/data/storage/x").as_deref(), Some("x"));
        assert_eq!(relative("/data/storage/", "//data/./storage/x").as_deref(), Some("x"));
        assert_eq!(relative("/data/storage", "/data/storage2/x").as_deref(), Some("data/storage2/x"));
        assert_eq!(relative("/data/storage", "/data/x").as_deref(), Some("data/x"));
        assert_eq!(relative("/data/storage", "/data").as_deref(), Some("data"));
        assert_eq!(relative("data", "/data/x").as_deref(), Some("data/x"));
    }

    #[test]
    fn what_is_no_files_path_is_refused() {
        let long = "n".repeat(256);
        let temp = ".ftp-pooler-0123456789abcdef0123456789abcdef-01234567-0001.tmp";
        for path in ["", "/", ".", "/.", "a/", "a/.", "..", "/../x", "a/../b", "a/..", "a\0b"] {
            assert_eq!(relative("/data", path), None, "{path:?}");
        }
        assert_eq!(relative("/data", &long), None);
        assert_eq!(relative("/data", temp), None);
        assert_eq!(relative("/data", "/data"), None);
    }

    #[test]
    fn odd_names_are_names() {
        for name in ["-rf", "a b", "[x]", "50%", "#1", "..x", "x..", "...", "ä€𝄞", &"n".repeat(255)] {
            assert_eq!(relative("/data", name).as_deref(), Some(name));
        }
    }

    #[test]
    fn two_ways_to_write_a_place_are_one_target() {
        let base = Path::new("/data");
        let one = LocalTarget::resolve(base, "/data/a/b").unwrap();
        let other = LocalTarget::resolve(base, "a//b").unwrap();
        assert_eq!(one, other);
        assert_eq!((one.parent(), one.name()), ("a", "b"));
        assert_eq!(one.as_written(), "/data/a/b");
    }

    proptest! {
        #[test]
        fn no_path_leads_out(base in "(/[ab.]{1,3}){0,3}/?", path in "[ab./\0]{0,12}") {
            if let Some(relative) = relative(&base, &path) {
                prop_assert!(!relative.is_empty());
                prop_assert!(relative.split('/').all(|part| !["", ".", ".."].contains(&part)));
                prop_assert!(!relative.contains('\0'));
            }
        }
    }
}
