//! Contents that can be made again from a seed, and names that break careless code.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// `len` bytes that look random, contain every byte value (CR, LF, NUL, 0xFF), and follow from `seed`.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // SplitMix64 (Steele, Lea, Flood 2014)
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// SHA-256 in hex: what a failed comparison prints instead of megabytes.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A file to move: where it lies on both sides, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Relative, `/` between components.
    pub path: String,
    pub seed: u64,
    pub len: usize,
}

impl Sample {
    pub fn content(&self) -> Vec<u8> {
        content(self.seed, self.len)
    }

    /// Panics unless these are its bytes.
    ///
    /// # Panics
    /// Then.
    #[track_caller]
    pub fn assert_is(&self, found: Option<&[u8]>) {
        let Some(found) = found else { panic!("{:?} is not there", self.path) };
        let expected = self.content();
        assert_eq!(found.len(), expected.len(), "length of {:?}", self.path);
        // Hashed only to be printed: in a debug build that takes longer than the transfer.
        let same = found == expected;
        assert!(same, "content of {:?}: {} for {}", self.path, digest(found), digest(&expected));
    }
}

/// What careless code trips over: shells, globs, URLs, option parsers, format strings, trimming.
pub const DIFFICULT: &[&str] = &[
    "plain.txt",
    "two words.txt",
    " leading and trailing ",
    "-rf",
    "--help",
    "[ab]*?.txt",
    "{a,b}",
    "100%.txt",
    "%2e%2e%2f",
    "#hash",
    "a#b?c=d&e",
    "quote'double\"back`tick",
    "back\\slash",
    "semi;colon|pipe",
    "$HOME ~ !x",
    "tab\there",
    "größe.txt",
    "日本語のファイル.txt",
    "e\u{301}clair-decomposed",
    "😀.bin",
    "a:b",
    "...",
    ".hidden",
    "trailing.",
    "(1) (2)",
    "\u{7f}\u{1b}[31mred",
];

/// `count` files: every difficult name, alone and beneath nested directories with difficult names, from
/// nothing to 3 MiB, the boundaries among them.
pub fn samples(count: usize, seed: u64) -> Vec<Sample> {
    const LENGTHS: &[usize] = &[
        0,
        1,
        2,
        511,
        4096,
        4097,
        65_535,
        65_536,
        65_537,
        300_000,
        1_048_576,
        3 * 1024 * 1024,
        1_000,
        12_345,
    ];
    (0..count)
        .map(|i| {
            let name = DIFFICULT.get(i % DIFFICULT.len()).unwrap_or(&"plain");
            let round = i / DIFFICULT.len();
            let directory = DIFFICULT.get((i * 7 + 3) % DIFFICULT.len()).unwrap_or(&"plain");
            let path = match round % 3 {
                0 => format!("{name}{}", suffix(round)),
                1 => format!("new {round}/{name}"),
                _ => format!("{round}/{directory}/deeper/{name}"),
            };
            let len = LENGTHS.get(i % LENGTHS.len()).copied().unwrap_or(0);
            Sample { path, seed: seed.wrapping_add(i as u64), len }
        })
        .collect()
}

fn suffix(round: usize) -> String {
    if round == 0 { String::new() } else { format!(".{round}") }
}

/// Every regular file beneath `root`, relative, sorted: what a test leaves nothing unexpected in.
pub fn list(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(path),
                _ => found.extend(path.strip_prefix(root).map(Path::to_owned)),
            }
        }
    }
    found.sort();
    found
}
