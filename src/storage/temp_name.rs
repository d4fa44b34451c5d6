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
pub struct Incarnation(u32);

impl Incarnation {
    /// Drawn from the operating system's randomness; once, at start.
    pub fn random() -> Result<Incarnation, getrandom::Error> {
        getrandom::u32().map(Incarnation)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Whose records the files are made for: those of one consumer group in one Kafka cluster, in these topics.
/// Two installations may share a server and a directory, and have topics and groups of the same names: neither
/// can read the other's temp names, so neither takes the other's files for its own.
#[derive(Debug)]
pub(super) struct Realm {
    /// Each topic with its secret.
    topics: Vec<(Arc<str>, [u8; 32])>,
}

impl Realm {
    pub fn new(cluster: &[u8], group: &str, topics: &[Arc<str>]) -> Realm {
        let secret = |topic: &Arc<str>| {
            let parts = [cluster, group.as_bytes(), topic.as_bytes()];
            // With their lengths, so that no two lists of parts are the same bytes.
            let hash = parts.into_iter().fold(Sha256::new(), |hash, part| {
                hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
            });
            (Arc::clone(topic), hash.finalize().into())
        };
        Realm { topics: topics.iter().map(secret).collect() }
    }

    fn secret_of(&self, topic: &str) -> Option<&[u8; 32]> {
        self.topics.iter().find(|(name, _)| **name == *topic).map(|(_, secret)| secret)
    }

    /// The record that a name was made for.
    fn read(&self, parts: &Parts) -> Option<Origin> {
        let (topic, secret) = self.topics.iter().find(|(_, secret)| tag(secret) == parts.tag)?;
        let place = parts.sealed ^ pad(secret, parts.incarnation, parts.number);
        let partition = u32::try_from(place >> 64).ok()?.cast_signed();
        let offset = u64::try_from(place & u128::from(u64::MAX)).ok()?.cast_signed();
        Some(Origin { topic: Arc::clone(topic), partition, offset })
    }
}

/// The name of one try's temp file: `.ftp-pooler-<record>-<incarnation>-<try>.tmp`, 62 bytes of ASCII.
///
/// It does not hold the target's name, which may have 255 bytes already. `record` is where the task's record
/// stands in Kafka, so that it can be asked whether anybody will still finish the file; enciphered, since a
/// server's owner need not know how many tasks there are. `try` is another one for each name made in a process:
/// a try whose last write still hangs in the file system (or on the server) never meets the next try's file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TempName {
    text: Arc<str>,
    origin: Option<Origin>,
    incarnation: Incarnation,
}

/// What stands in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    tag: u32,
    /// Partition and offset, 96 bits, under a [`pad`].
    sealed: u128,
    incarnation: Incarnation,
    number: u16,
}

impl TempName {
    /// Bytes in a name.
    pub const LEN: usize = PREFIX.len() + 32 + 1 + 8 + 1 + 4 + SUFFIX.len();

    /// A name that was never given before. A topic that the realm does not know is nobody's.
    pub(super) fn new(origin: &Origin, incarnation: Incarnation, realm: &Realm) -> TempName {
        static TRIES: AtomicU32 = AtomicU32::new(0);
        let [.., high, low] = TRIES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let number = u16::from_be_bytes([high, low]);
        let nobody = [0; 32];
        let secret = realm.secret_of(&origin.topic).unwrap_or(&nobody);
        let partition = u128::from(origin.partition.cast_unsigned());
        let place = partition << 64 | u128::from(origin.offset.cast_unsigned());
        let sealed = place ^ pad(secret, incarnation, number);
        let parts = Parts { tag: tag(secret), sealed, incarnation, number };
        TempName { text: parts.to_string().into(), origin: Some(origin.clone()), incarnation }
    }

    /// Reads a name found in a directory; `None` where it is not one of the pooler's.
    pub(super) fn parse(name: &str, realm: &Realm) -> Option<TempName> {
        let parts = Parts::parse(name)?;
        Some(TempName { text: name.into(), origin: realm.read(&parts), incarnation: parts.incarnation })
    }

    /// Whether a file of this name can only be one of the pooler's temp files, of whatever installation.
    #[must_use]
    pub fn is_one(name: &str) -> bool {
        Parts::parse(name).is_some()
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

    /// The record that it was made for; `None` where that is another installation's.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}

impl fmt::Display for TempName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Parts {
    fn parse(name: &str) -> Option<Parts> {
        let mut parts = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.splitn(3, '-');
        let record = hex(parts.next()?, 32)?;
        let incarnation = Incarnation(u32::try_from(hex(parts.next()?, 8)?).ok()?);
        let number = u16::try_from(hex(parts.next()?, 4)?).ok()?;
        let tag = u32::try_from(record >> 96).ok()?;
        Some(Parts { tag, sealed: record & ((1 << 96) - 1), incarnation, number })
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { tag, sealed, incarnation, number } = self;
        write!(f, "{PREFIX}{tag:08x}{sealed:024x}-{incarnation}-{number:04x}{SUFFIX}")
    }
}

/// What tells one topic of one realm from any other.
fn tag(secret: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = *secret;
    u32::from_be_bytes([a, b, c, d])
}

/// 96 bits that hide where a record stands, others for each name.
fn pad(secret: &[u8; 32], incarnation: Incarnation, number: u16) -> u128 {
    let digest = Sha256::new()
        .chain_update(secret)
        .chain_update(incarnation.0.to_be_bytes())
        .chain_update(number.to_be_bytes())
        .finalize();
    digest.iter().take(12).fold(0, |pad, byte| pad << 8 | u128::from(*byte))
}

/// A number of exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let all = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if all { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(offset: i64) -> Origin {
        Origin { topic: "ftp-tasks".into(), partition: 3, offset }
    }

    fn realm(cluster: &[u8], group: &str) -> Realm {
        Realm::new(cluster, group, &["ftp-tasks".into(), "ftp-tasks-retry".into()])
    }

    #[test]
    fn a_name_is_short_and_never_given_twice() {
        let (incarnation, realm) = (Incarnation::random().unwrap(), realm(b"c", "g"));
        let one = TempName::new(&origin(7), incarnation, &realm);
        let two = TempName::new(&origin(7), incarnation, &realm);
        assert_eq!(one.as_str().len(), TempName::LEN);
        const { assert!(TempName::LEN <= 64) };
        assert_ne!(one, two);
    }

    #[test]
    fn only_the_same_installation_reads_a_name() {
        let incarnation = Incarnation::random().unwrap();
        let ours = realm(b"cluster", "group");
        let name = TempName::new(&origin(7), incarnation, &ours);
        assert_eq!(TempName::parse(name.as_str(), &ours).unwrap().origin(), Some(&origin(7)));
        for others in [realm(b"another", "group"), realm(b"cluster", "another"), realm(b"clusterg", "roup")] {
            let read = TempName::parse(name.as_str(), &others).unwrap();
            assert_eq!((read.origin(), read.incarnation()), (None, incarnation));
        }
    }

    #[test]
    fn a_name_is_the_same_in_every_version() {
        let realm = realm(b"cluster", "group");
        let secret = realm.secret_of("ftp-tasks").unwrap();
        let sealed = (3_u128 << 64 | 7) ^ pad(secret, Incarnation(1), 2);
        let parts = Parts { tag: tag(secret), sealed, incarnation: Incarnation(1), number: 2 };
        assert_eq!(parts.to_string(), ".ftp-pooler-c9896447d67c8f6f3e7a265398fc3f82-00000001-0002.tmp");
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "",
            "report.tmp",
            ".ftp-pooler-.tmp",
            ".ftp-pooler-0123456789abcdef0123456789abcdef-01234567.tmp",
            ".ftp-pooler-0123456789ABCDEF0123456789abcdef-01234567-0001.tmp",
            ".ftp-pooler-0123456789abcdef0123456789abcdef-01234567-+001.tmp",
            ".ftp-pooler-0123456789abcdef0123456789abcdef-01234567-0001.tmp2",
            "x.ftp-pooler-0123456789abcdef0123456789abcdef-01234567-0001.tmp",
        ] {
            assert!(!TempName::is_one(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_reads_back_as_what_it_was(partition: i32, offset: i64, incarnation: u32, is_retry: bool) {
            let topic = if is_retry { "ftp-tasks-retry" } else { "ftp-tasks" };
            let origin = Origin { topic: topic.into(), partition, offset };
            let realm = realm(b"c", "g");
            let name = TempName::new(&origin, Incarnation(incarnation), &realm);
            prop_assert_eq!(TempName::parse(name.as_str(), &realm), Some(name));
        }

        #[test]
        fn whatever_is_parsed_never_panics(name in ".{0,80}") {
            let _ = TempName::parse(&name, &realm(b"c", "g"));
        }
    }
}
