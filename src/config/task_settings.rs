//! The `options` of tasks that are created for files. Unset options are left to the pool's defaults.

use std::fmt;
use std::time::Duration;

/// How files are moved: `options` of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSettings {
    pub overwrite: Option<bool>,
    pub retry_count: Option<u64>,
    /// `none`, `size`, `hash` or `auto`.
    pub verify: Option<String>,
    pub after: AfterTransfer,
    pub preserve_mtime: Option<bool>,
    pub resume: Option<bool>,
    pub defer: Option<bool>,
    /// Counted from the creation of the task.
    pub deadline: Option<Duration>,
}

/// What happens to a download's source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AfterTransfer {
    #[default]
    Keep,
    Delete,
    /// It keeps its path beneath this directory.
    MoveTo(String),
}

impl AfterTransfer {
    /// Parses `keep`, `delete`, `move_to:DIRECTORY`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<AfterTransfer, String> {
        match text.split_once(':') {
            None if text == "keep" => Ok(AfterTransfer::Keep),
            None if text == "delete" => Ok(AfterTransfer::Delete),
            Some(("move_to" | "move-to", directory)) if !directory.is_empty() => {
                Ok(AfterTransfer::MoveTo(directory.to_owned()))
            }
            _ => Err("expected keep, delete or move_to:DIRECTORY".to_owned()),
        }
    }

    /// Whether the source is removed from its place after the transfer.
    #[must_use]
    pub fn removes_source(&self) -> bool {
        matches!(self, AfterTransfer::Delete | AfterTransfer::MoveTo(_))
    }
}

impl fmt::Display for AfterTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AfterTransfer::Keep => f.write_str("keep"),
            AfterTransfer::Delete => f.write_str("delete"),
            AfterTransfer::MoveTo(directory) => write!(f, "move_to:{directory}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_takes_what_the_contract_has() {
        for text in ["keep", "delete", "move_to:/done"] {
            assert_eq!(AfterTransfer::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(AfterTransfer::parse("move_to:/done"), Ok(AfterTransfer::MoveTo("/done".into())));
        for wrong in ["", "move_to", "move_to:", "remove", "delete:x"] {
            assert!(AfterTransfer::parse(wrong).is_err(), "{wrong}");
        }
    }
}
