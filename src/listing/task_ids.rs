//! Task ids: random, or derived from the content.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// The input of a content id. Two tasks with the same input are the same task submitted twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskContent<'a> {
    pub operation: &'a str,
    /// Connection and path.
    pub source: (&'a str, &'a str),
    pub destination: (&'a str, &'a str),
    /// If the listing contains it.
    pub size: Option<u64>,
    /// In seconds; only if it is exact, since LIST formats the same time differently after half a year.
    pub modified: Option<Timestamp>,
}

/// A random UUID (RFC 9562, version 4).
///
/// # Errors
/// If the system has no randomness.
pub fn random() -> Result<String, std::io::Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(uuid(bytes, 4))
}

/// The content's id: a UUID (RFC 9562, version 8) of its SHA-256.
#[must_use]
pub fn of_content(content: &TaskContent<'_>) -> String {
    let size = content.size.map(|size| size.to_string()).unwrap_or_default();
    let modified = content.modified.map(|at| at.as_second().to_string()).unwrap_or_default();
    sha256_uuid(&[
        "ftp-pooler submit 1", // scripts rely on these ids
        content.operation,
        content.source.0,
        content.source.1,
        content.destination.0,
        content.destination.1,
        &size,
        &modified,
    ])
}

/// A UUID (version 8) of the SHA-256 of these parts.
#[must_use]
pub fn sha256_uuid(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts give the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    uuid(bytes, 8)
}

fn uuid(bytes: [u8; 16], version: u128) -> String {
    let free = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62);
    let id = format!("{:032x}", free | version << 76 | 0x2 << 62);
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &str, size: Option<u64>) -> TaskContent<'_> {
        TaskContent {
            operation: "download",
            source: ("remote", path),
            destination: ("local", "/in"),
            size,
            modified: None,
        }
    }

    #[test]
    fn the_same_thing_has_the_same_id_and_another_one_another() {
        let id = of_content(&content("/a", Some(1)));
        assert_eq!(id, of_content(&content("/a", Some(1))));
        for other in [content("/b", Some(1)), content("/a", Some(2)), content("/a", None)] {
            assert_ne!(id, of_content(&other));
        }
        // Long-running scripts rely on it.
        assert_eq!(id, "7c8ef98b-679a-8217-b451-b3b0b638ab02");
    }

    #[test]
    fn ids_are_uuids() {
        let random = random().unwrap();
        let groups: Vec<usize> = random.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(random.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&random.as_bytes()[19]));
        assert_eq!(of_content(&content("/a", None)).as_bytes()[14], b'8');
    }
}
