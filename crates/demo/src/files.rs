//! The demo's files: names that trip up careless software, and contents that can be generated again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

/// The size that a file never reaches, in bytes.
const SIZE_LIMIT: usize = 256 * 1024;
/// Between the beginnings of two files' contents: odd, so that no two files of the demo begin alike.
const STEP: usize = 4_099;
/// The longest name that file systems and servers take, in bytes.
const LONGEST_NAME: usize = 255;
/// One file in this many is empty: a transfer of no bytes is easily got wrong.
const EMPTY_EVERY: usize = 25;

/// Each must be unique with its number in place of `{}`; each has what some FTP client or server chokes on.
const NAMES: &[&str] = &[
    "report {}.csv",
    "Übergröße {}.dat",
    "#{} 100% [final] (2).txt",
    "写真 {} 📷.jpg",
    "-dash {}.bin",
    "*{}?.log",
    "it's \"quoted\" {}.txt",
    " blank first {}.txt",
    "semi;colon, comma & $HOME {}",
    "back\\slash {}.ini",
    "...dots {}.tar.gz",
    "~{}~",
    "%20%2F {}.html",
    "long {} ",
];

/// Beneath the root of a side; those that do not exist there are made by the transfer.
const DIRECTORIES: &[&str] = &["", "2025/11/", "a b/c#d [e]/", "größe/日本/", "deep/er/and/deep/er/still/"];

/// A file by its number: its path and its content follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoFile {
    number: usize,
}

impl DemoFile {
    pub fn new(number: usize) -> Self {
        DemoFile { number }
    }

    pub fn number(self) -> usize {
        self.number
    }

    /// The path beneath a root, without a leading slash.
    pub fn path(self) -> String {
        let directory = DIRECTORIES.get(self.number / NAMES.len() % DIRECTORIES.len()).unwrap_or(&"");
        let template = NAMES.get(self.number % NAMES.len()).unwrap_or(&"{}");
        let name = template.replace("{}", &self.number.to_string());
        if template.starts_with("long") {
            let name = format!("{name:x<LONGEST_NAME$}");
            return format!("{directory}{name}");
        }
        format!("{directory}{name}")
    }

    /// In bytes: 0 to 256 KiB, small ones more often.
    pub fn size(self) -> usize {
        if self.number.is_multiple_of(EMPTY_EVERY) {
            return 0;
        }
        let mut random = Random(self.number as u64);
        random.below(SIZE_LIMIT) * random.below(SIZE_LIMIT) / SIZE_LIMIT
    }

    /// Writes the file, and the directories above it.
    pub fn write(self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, self.content())
    }

    /// Compares a file with what it should hold, byte for byte; `Err` says how it differs.
    pub fn compare(self, path: &Path) -> Result<(), String> {
        let found = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
        let expected = self.content();
        if found.len() != expected.len() {
            return Err(format!("has {} bytes, should have {}", found.len(), expected.len()));
        }
        if found == expected {
            return Ok(());
        }
        let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
        Err(format!("differs from byte {same} on"))
    }

    /// A part of one long sequence, which begins at another place for each file.
    fn content(self) -> &'static [u8] {
        static SEQUENCE: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let mut random = Random(0);
            (0..2 * SIZE_LIMIT / 8).flat_map(|_| random.next().to_le_bytes()).collect()
        });
        let begin = self.number * STEP % SIZE_LIMIT;
        SEQUENCE.get(begin..begin + self.size()).unwrap_or_default()
    }
}

/// `SplitMix64`: the same numbers from the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or_default()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_files_have_one_path_and_every_name_fits() {
        let mut paths = HashSet::new();
        for path in (0..2_000).map(|number| DemoFile::new(number).path()) {
            assert!(path.split('/').all(|name| !name.is_empty() && name.len() <= LONGEST_NAME), "{path}");
            assert!(paths.insert(path));
        }
        assert!(paths.iter().any(|path| path.rsplit('/').next().unwrap().len() == LONGEST_NAME));
    }

    #[test]
    fn a_file_as_it_was_written_compares_equal() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..40 {
            let (file, path) = (DemoFile::new(number), dir.path().join(number.to_string()));
            file.write(&path).unwrap();
            assert_eq!(path.metadata().unwrap().len(), file.size() as u64);
            assert_eq!(file.compare(&path), Ok(()));
        }
    }

    #[test]
    fn a_byte_that_is_wrong_missing_or_too_many_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = (1..100).map(DemoFile::new).find(|file| file.size() > 10_000).unwrap();
        file.write(&path).unwrap();
        let right = std::fs::read(&path).unwrap();

        let mut wrong = right.clone();
        wrong[9_999] ^= 1;
        std::fs::write(&path, &wrong).unwrap();
        assert_eq!(file.compare(&path), Err("differs from byte 9999 on".to_owned()));

        let size = right.len();
        std::fs::write(&path, &right[..size - 1]).unwrap();
        assert_eq!(file.compare(&path), Err(format!("has {} bytes, should have {size}", size - 1)));
        std::fs::write(&path, [&right[..], b"x"].concat()).unwrap();
        assert_eq!(file.compare(&path), Err(format!("has {} bytes, should have {size}", size + 1)));
        std::fs::remove_file(&path).unwrap();
        assert!(file.compare(&path).unwrap_err().starts_with("cannot be read"));
    }

    #[test]
    fn sizes_run_from_nothing_to_hundreds_of_kilobytes() {
        let sizes: Vec<_> = (0..500).map(|number| DemoFile::new(number).size()).collect();
        assert!(sizes.contains(&0) && sizes.iter().any(|size| *size > 200_000));
        let total: usize = sizes.iter().sum();
        assert!(
            (20 << 20..60 << 20).contains(&total),
            "{total} bytes are too few to see, or too many to wait for"
        );
    }
}
