//! Entries for which no task was created, though they were listed. Pure.

use serde::Serialize;

/// How many entries are named; the others are counted.
const NAMED: usize = 20;

/// Why no task was created for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassReason {
    /// A device, a pipe: it is known not to be a file.
    NoFile,
    /// A symlink to a directory, or to nothing.
    LinkToNoFile,
    /// A line in no known listing format.
    NotUnderstood,
    NotInCharset,
    /// Its name cannot be sent in a command.
    NoFileName,
    /// `--newer-than` or `--older-than` is set, and the file's time is not known well enough.
    TimeNotKnown,
    /// `--min-size` or `--max-size` is set, and the size is not known.
    SizeNotKnown,
    /// The server refuses to list it.
    DirectoryRefused,
    /// Too many entries of one directory would need a query each.
    TooMany,
}

impl PassReason {
    #[must_use]
    pub fn may_be_file(self) -> bool {
        !matches!(self, PassReason::NoFile | PassReason::LinkToNoFile)
    }
}

/// An entry for which no task was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedEntry {
    /// Its path beneath the source; or the text of an unreadable line.
    pub entry: String,
    pub reason: PassReason,
}

/// The format of `--output json`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PassedOver {
    pub count: u64,
    /// How many of them may be files that should have been sent.
    pub may_be_files: u64,
    /// The first twenty; possible files before the others.
    pub entries: Vec<PassedEntry>,
}

impl PassedOver {
    pub fn add(&mut self, entry: String, reason: PassReason) {
        self.count += 1;
        let may_be_file = reason.may_be_file();
        self.may_be_files += u64::from(may_be_file);
        let passed = PassedEntry { entry, reason };
        if self.entries.len() < NAMED {
            let at = if may_be_file {
                self.entries.partition_point(|known| known.reason.may_be_file())
            } else {
                self.entries.len()
            };
            self.entries.insert(at, passed);
        } else if may_be_file
            && let Some(last) = self.entries.iter().rposition(|known| !known.reason.may_be_file())
        {
            self.entries.remove(last);
            let at = self.entries.partition_point(|known| known.reason.may_be_file());
            self.entries.insert(at, passed);
        }
    }

    /// Lines for the terminal.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.entries.iter().map(PassedEntry::told).collect();
        let more = self.count - self.entries.len() as u64;
        if more > 0 {
            lines.push(format!("… and {more} more were passed over"));
        }
        if self.may_be_files > 0 {
            lines
                .push(format!("{} of those passed over may be files that should be sent", self.may_be_files));
        }
        lines
    }
}

impl PassedEntry {
    fn told(&self) -> String {
        let why = match self.reason {
            PassReason::NoFile => ": no file",
            PassReason::LinkToNoFile => ": a symlink that does not lead to a file",
            PassReason::TimeNotKnown => {
                ": when it was changed is not known well enough for --newer-than or --older-than"
            }
            PassReason::SizeNotKnown => ": its size is not known, for --min-size or --max-size",
            PassReason::TooMany => ": more entries of one directory than are asked for one by one",
            // the text is sufficient
            PassReason::NotUnderstood
            | PassReason::NotInCharset
            | PassReason::NoFileName
            | PassReason::DirectoryRefused => "",
        };
        format!("passed over: {}{why}", self.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_may_be_files_are_named_first() {
        let mut passed = PassedOver::default();
        for n in 0..NAMED + 5 {
            passed.add(format!("link-{n}"), PassReason::NoFile);
        }
        passed.add("odd".into(), PassReason::NotUnderstood);
        passed.add("old".into(), PassReason::TimeNotKnown);
        assert_eq!((passed.count, passed.may_be_files, passed.entries.len()), (27, 2, NAMED));
        assert_eq!((passed.entries[0].entry.as_str(), passed.entries[1].entry.as_str()), ("odd", "old"));
        let told = passed.told();
        assert!(told[1].contains("--older-than") && told[NAMED].contains("7 more"), "{told:?}");
        assert!(told[NAMED + 1].starts_with("2 of those"), "{told:?}");
    }
}
