//! The names of temp files, here and on servers: they identify their owner.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

use crate::config::{TEMP_PREFIX, TEMP_SUFFIX};
use crate::record::Origin;

const PREFIX: &str = TEMP_PREFIX;
const SUFFIX: &str = TEMP_SUFFIX;

/// One start of one pod's process: a restarted pod has another incarnation, so that the temp files of dead processes
/// can be distinguished from those of live ones.
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

/// The records that the files are created for: those of one consumer group in one Kafka cluster, in these topics. Two
/// installations may share a server and a directory, and have topics and groups of the same names: neither can read the
/// other's temp names, so neither takes the other's files for its own.
#[derive(Debug)]
pub(super) struct TempNamespace {
    /// Each topic with its secret.
    topics: Vec<(Arc<str>, [u8; 32])>,
}

impl TempNamespace {
    pub fn new(cluster: &[u8], group: &str, topics: &[Arc<str>]) -> TempNamespace {
        let secret = |topic: &Arc<str>| {
            let parts = [cluster, group.as_bytes(), topic.as_bytes()];
            // With their lengths, so that no two lists of parts give the same bytes.
            let hash = parts.into_iter().fold(Sha256::new(), |hash, part| {
                hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
            });
            (Arc::clone(topic), hash.finalize().into())
        };
        TempNamespace { topics: topics.iter().map(secret).collect() }
    }

    fn secret_of(&self, topic: &str) -> Option<&[u8; 32]> {
        self.topics.iter().find(|(name, _)| **name == *topic).map(|(_, secret)| secret)
    }

    /// The record that a name was created for, and the hash of the source that the file is a part of.
    fn read(&self, parts: &NameParts) -> Option<(Origin, Option<u64>)> {
        let (topic, secret) = self.topics.iter().find(|(_, secret)| tag(secret) == parts.tag)?;
        let pad = Keystream::of(secret, parts.incarnation, parts.number);
        let place = parts.sealed ^ pad.place;
        let partition = u32::try_from(place >> 64).ok()?.cast_signed();
        let offset = u64::try_from(place & u128::from(u64::MAX)).ok()?.cast_signed();
        Some((Origin { topic: Arc::clone(topic), partition, offset }, parts.part.map(|part| part ^ pad.part)))
    }
}

/// The name of one try's temp file: `.ftp-pooler-<record>-<incarnation>-<try>.tmp`, 62 bytes of ASCII; or, if it
/// identifies the source that it is a part of, both in base32: `.ftp-pooler-<48 digits>.tmp`, 64 bytes.
///
/// It does not contain the target's name, which may already have 255 bytes. `record` is the task's record's position in
/// Kafka, which shows whether the file may still be finished; encrypted, since a server's owner need not know how many
/// tasks there are. `try` is different for each name created in a process: a try whose last write still hangs in the
/// file system (or on the server) never meets the next try's file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TempName {
    text: Arc<str>,
    origin: Option<Origin>,
    parts: NameParts,
    /// A hash of the source that the file is a part of.
    part: Option<u64>,
}

/// The fields of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NameParts {
    tag: u32,
    /// Partition and offset, 96 bits, under a [`Keystream`].
    sealed: u128,
    incarnation: Incarnation,
    number: u16,
    /// [`TempName::part`], under a [`Keystream`].
    part: Option<u64>,
}

impl TempName {
    /// The length of a name; one that identifies its source has two more bytes.
    pub const LEN: usize = PREFIX.len() + 32 + 1 + 8 + 1 + 4 + SUFFIX.len();

    /// A new unique name. A topic that the namespace does not contain gives a name without an owner.
    pub(super) fn new(origin: &Origin, incarnation: Incarnation, realm: &TempNamespace) -> TempName {
        static TRIES: AtomicU32 = AtomicU32::new(0);
        let [.., high, low] = TRIES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let number = u16::from_be_bytes([high, low]);
        let nobody = [0; 32];
        let secret = realm.secret_of(&origin.topic).unwrap_or(&nobody);
        let partition = u128::from(origin.partition.cast_unsigned());
        let place = partition << 64 | u128::from(origin.offset.cast_unsigned());
        let sealed = place ^ Keystream::of(secret, incarnation, number).place;
        let parts = NameParts { tag: tag(secret), sealed, incarnation, number, part: None };
        TempName { text: parts.to_string().into(), origin: Some(origin.clone()), parts, part: None }
    }

    /// The same name, which also identifies the source that the file is a part of. Only a process with the namespace's
    /// secret can read that.
    pub(super) fn part_of(&self, source: &[u8], realm: &TempNamespace) -> TempName {
        let secret = self.origin.as_ref().and_then(|origin| realm.secret_of(&origin.topic));
        let Some(secret) = secret else { return self.clone() };
        let hash = Sha256::new().chain_update(secret).chain_update(b"part").chain_update(source).finalize();
        let part = number(hash.iter().take(8));
        let NameParts { incarnation, number, .. } = self.parts;
        let parts =
            NameParts { part: Some(part ^ Keystream::of(secret, incarnation, number).part), ..self.parts };
        TempName { text: parts.to_string().into(), parts, part: Some(part), ..self.clone() }
    }

    /// Parses a name found in a directory; `None` if it is not one of the pooler's.
    pub(super) fn parse(name: &str, realm: &TempNamespace) -> Option<TempName> {
        let parts = NameParts::parse(name)?;
        let (origin, part) = realm.read(&parts).map_or((None, None), |(origin, part)| (Some(origin), part));
        Some(TempName { text: name.into(), origin, parts, part })
    }

    /// Whether a file of this name can only be one of the pooler's temp files, of any installation.
    #[must_use]
    pub fn is_one(name: &str) -> bool {
        NameParts::parse(name).is_some()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The process that created it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.parts.incarnation
    }

    /// Whether both identify the same source, for the same record.
    #[must_use]
    pub fn is_of_same_source(&self, other: &TempName) -> bool {
        self.part.is_some() && self.part == other.part && self.origin == other.origin
    }

    /// The record that it was created for; `None` if that is another installation's.
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

impl NameParts {
    fn parse(name: &str) -> Option<NameParts> {
        let body = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (record, incarnation, number, part) = if body.len() == BASE32 {
            let bytes = from_base32(body)?;
            let (record, rest) = bytes.split_first_chunk::<16>()?;
            let (incarnation, rest) = rest.split_first_chunk()?;
            let (number, rest) = rest.split_first_chunk()?;
            let part = u64::from_be_bytes(*rest.first_chunk()?);
            let record = u128::from_be_bytes(*record);
            (record, u32::from_be_bytes(*incarnation), u16::from_be_bytes(*number), Some(part))
        } else {
            let mut parts = body.splitn(3, '-');
            let record = u128::from_be_bytes(from_hex(parts.next()?)?);
            let incarnation = u32::from_be_bytes(from_hex(parts.next()?)?);
            (record, incarnation, u16::from_be_bytes(from_hex(parts.next()?)?), None)
        };
        let (tag, sealed) = (u32::try_from(record >> 96).ok()?, record & ((1 << 96) - 1));
        Some(NameParts { tag, sealed, incarnation: Incarnation(incarnation), number, part })
    }
}

impl fmt::Display for NameParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NameParts { tag, sealed, incarnation, number, part } = self;
        let Some(part) = part else {
            return write!(f, "{PREFIX}{tag:08x}{sealed:024x}-{incarnation}-{number:04x}{SUFFIX}");
        };
        let record = u128::from(*tag) << 96 | sealed;
        let (incarnation, number) = (incarnation.0.to_be_bytes(), number.to_be_bytes());
        let bytes = [&record.to_be_bytes()[..], &incarnation, &number, &part.to_be_bytes()].concat();
        write!(f, "{PREFIX}{}{SUFFIX}", base32(&bytes))
    }
}

/// Identifies one topic of one namespace.
fn tag(secret: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = *secret;
    u32::from_be_bytes([a, b, c, d])
}

/// Bits that hide the fields of a name, different for each name.
struct Keystream {
    /// 96 of them.
    place: u128,
    part: u64,
}

impl Keystream {
    fn of(secret: &[u8; 32], incarnation: Incarnation, try_number: u16) -> Keystream {
        let digest = Sha256::new()
            .chain_update(secret)
            .chain_update(incarnation.0.to_be_bytes())
            .chain_update(try_number.to_be_bytes())
            .finalize();
        let place = digest.iter().take(12).fold(0, |pad, byte| pad << 8 | u128::from(*byte));
        Keystream { place, part: number(digest.iter().skip(12).take(8)) }
    }
}

fn number<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The number of base32 digits in a name: for 30 bytes.
const BASE32: usize = 48;

/// RFC 4648, 6, in lower case: names also differ on servers that are not case-sensitive.
fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let is_ours = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok().filter(|_| is_ours)
}

/// The big-endian bytes of exactly `2 * N` lower-case hexadecimal digits.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(offset: i64) -> Origin {
        Origin { topic: "ftp-tasks".into(), partition: 3, offset }
    }

    fn realm(cluster: &[u8], group: &str) -> TempNamespace {
        TempNamespace::new(cluster, group, &["ftp-tasks".into(), "ftp-tasks-retry".into()])
    }

    #[test]
    fn a_name_is_short_and_never_given_twice() {
        let (incarnation, realm) = (Incarnation::random().unwrap(), realm(b"c", "g"));
        let one = TempName::new(&origin(7), incarnation, &realm);
        let two = TempName::new(&origin(7), incarnation, &realm);
        assert_eq!(one.as_str().len(), TempName::LEN);
        const { assert!(TempName::LEN <= 64) };
        assert_eq!(one.part_of(b"a source", &realm).as_str().len(), 64);
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
    fn a_part_tells_its_source_to_who_may_read_it_and_to_nobody_else() {
        let (ours, others) = (realm(b"cluster", "group"), realm(b"another", "group"));
        let part = |offset, source: &[u8]| {
            let (first, second) = (Incarnation::random().unwrap(), Incarnation::random().unwrap());
            let make =
                |incarnation| TempName::new(&origin(offset), incarnation, &ours).part_of(source, &ours);
            (make(first), make(second))
        };
        let (left, wanted) = part(7, b"a source");
        let read = TempName::parse(left.as_str(), &ours).unwrap();
        assert_eq!((read.origin(), read.incarnation()), (Some(&origin(7)), left.incarnation()));
        assert!(read.is_of_same_source(&wanted));
        assert!(!read.is_of_same_source(&part(7, b"another").0), "another source");
        assert!(!read.is_of_same_source(&part(8, b"a source").0), "another record");
        let plain = TempName::new(&origin(7), left.incarnation(), &ours);
        assert!(!plain.is_of_same_source(&plain), "one that tells of no source");
        let theirs = TempName::parse(left.as_str(), &others).unwrap();
        assert!(theirs.origin().is_none() && !theirs.is_of_same_source(&theirs));
        // Nothing in two names shows that they have the same source.
        let shown = |name: &TempName| name.parts.part.unwrap();
        assert_ne!(shown(&left), shown(&wanted));
    }

    #[test]
    fn a_name_is_the_same_in_every_version() {
        let realm = realm(b"cluster", "group");
        let secret = realm.secret_of("ftp-tasks").unwrap();
        let sealed = (3_u128 << 64 | 7) ^ Keystream::of(secret, Incarnation(1), 2).place;
        let parts =
            NameParts { tag: tag(secret), sealed, incarnation: Incarnation(1), number: 2, part: None };
        let text = ".ftp-pooler-c9896447d67c8f6f3e7a265398fc3f82-00000001-0002.tmp";
        assert_eq!(parts.to_string(), text);
        let part = TempName::parse(text, &realm).unwrap().part_of(b"a source", &realm);
        assert_eq!(part.as_str(), ".ftp-pooler-zgewir6wpshw6pt2ezjzr7b7qiaaaaabaabb3eazzeg62275.tmp");
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
            ".ftp-pooler-abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnop0.tmp",
            ".ftp-pooler-ABCDEFGHIJKLMNOPQRSTUVWXYZ234567abcdefghijklmnop.tmp",
            ".ftp-pooler-abcdefghijklmnopqrstuvwxyz234567abcdefghijklmno1.tmp",
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
            let part = name.part_of(&offset.to_be_bytes(), &realm);
            prop_assert_eq!(TempName::parse(part.as_str(), &realm), Some(part));
            prop_assert_eq!(TempName::parse(name.as_str(), &realm), Some(name));
        }

        #[test]
        fn whatever_is_parsed_never_panics(name in ".{0,80}") {
            let _ = TempName::parse(&name, &realm(b"c", "g"));
        }
    }
}
