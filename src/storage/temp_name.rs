//! The names of temp files, here and on servers: they tell whose they are.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use crate::record::Origin;

const PREFIX: &str = ".ftp-pooler-";
const SUFFIX: &str = ".tmp";

/// One start of one pod's process: a restarted pod has another incarnation, so that the temp files of dead
/// ones can be told from those of the living.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Drawn from the operating system's randomness; once, at start.
    pub fn random() -> Result<Incarnation, getrandom::Error> {
        getrandom::u64().map(Incarnation)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The name of one try's temp file: `.ftp-pooler-<origin>-<incarnation>-<try>.tmp`, 58 bytes of ASCII.
///
/// It does not hold the target's name, which may have 255 bytes already. `origin` is a hash of where the
/// task's record stands in Kafka. `try` is another one for each name made in a process: a try whose last
/// write still hangs in the file system (or on the server) never meets the next try's file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TempName {
    text: Arc<str>,
    origin: u64,
    incarnation: Incarnation,
}

impl TempName {
    /// Bytes in a name.
    pub const LEN: usize = PREFIX.len() + 16 + 1 + 16 + 1 + 8 + SUFFIX.len();

    /// A name that was never given before.
    #[must_use]
    pub fn new(origin: &Origin, incarnation: Incarnation) -> TempName {
        static TRIES: AtomicU32 = AtomicU32::new(0);
        Self::of(hash(origin), incarnation, TRIES.fetch_add(1, Ordering::Relaxed))
    }

    /// Reads a name found in a directory; `None` where it is not one of the pooler's.
    #[must_use]
    pub fn parse(name: &str) -> Option<TempName> {
        let mut parts = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.splitn(3, '-');
        let origin = hex(parts.next()?, 16)?;
        let incarnation = Incarnation(hex(parts.next()?, 16)?);
        hex(parts.next()?, 8)?;
        Some(TempName { text: name.into(), origin, incarnation })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Which process made it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Of the record that it was made for.
    pub(super) fn record_hash(&self) -> u64 {
        self.origin
    }

    /// Whether it was made for this record (by its hash).
    #[must_use]
    pub fn is_for(&self, origin: &Origin) -> bool {
        self.origin == hash(origin)
    }

    fn of(origin: u64, incarnation: Incarnation, number: u32) -> TempName {
        let text = format!("{PREFIX}{origin:016x}-{incarnation}-{number:08x}{SUFFIX}").into();
        TempName { text, origin, incarnation }
    }
}

impl fmt::Display for TempName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first 64 bits of the origin's SHA-256.
fn hash(origin: &Origin) -> u64 {
    let digest = Sha256::new()
        .chain_update(origin.topic.as_bytes())
        .chain_update([0])
        .chain_update(origin.partition.to_be_bytes())
        .chain_update(origin.offset.to_be_bytes())
        .finalize();
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// A number of exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let all = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if all { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(offset: i64) -> Origin {
        Origin { topic: "ftp-tasks".into(), partition: 3, offset }
    }

    #[test]
    fn a_name_is_short_and_never_given_twice() {
        let incarnation = Incarnation::random().unwrap();
        let one = TempName::new(&origin(7), incarnation);
        let two = TempName::new(&origin(7), incarnation);
        assert_eq!(one.as_str().len(), TempName::LEN);
        const { assert!(TempName::LEN <= 64) };
        assert_ne!(one, two);
        assert!(one.is_for(&origin(7)) && two.is_for(&origin(7)));
        assert!(!one.is_for(&origin(8)));
    }

    #[test]
    fn a_records_hash_is_the_same_in_every_version() {
        assert_eq!(hash(&origin(7)), 0x4c17_13f7_a5f6_6af3);
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "",
            "report.tmp",
            ".ftp-pooler-.tmp",
            ".ftp-pooler-0123456789abcdef-0123456789abcdef.tmp",
            ".ftp-pooler-0123456789ABCDEF-0123456789abcdef-00000001.tmp",
            ".ftp-pooler-0123456789abcdef-0123456789abcdef-+0000001.tmp",
            ".ftp-pooler-0123456789abcdef-0123456789abcdef-00000001.tmp2",
            "x.ftp-pooler-0123456789abcdef-0123456789abcdef-00000001.tmp",
        ] {
            assert_eq!(TempName::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_reads_back_as_what_it_was(origin: u64, incarnation: u64, number: u32) {
            let name = TempName::of(origin, Incarnation(incarnation), number);
            prop_assert_eq!(TempName::parse(name.as_str()), Some(name));
        }

        #[test]
        fn whatever_is_parsed_never_panics(name in ".{0,80}") {
            let _ = TempName::parse(&name);
        }
    }
}
