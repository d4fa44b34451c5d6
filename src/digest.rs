//! File hashes: the algorithms, and their computation over bytes as they pass by.

use std::fmt;
use std::hash::Hasher as _;

use data_encoding::HEXLOWER;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use twox_hash::XxHash3_64;

/// A hash that is computed here; FTP servers compute all of them except XXH3, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
    Sha1,
    Md5,
    Crc32,
    /// XXH3, 64 bits: detects accidental corruption at the least cost, but is no protection against manipulation.
    Xxh3,
}

impl Algorithm {
    pub const ALL: &[Algorithm] = &[
        Algorithm::Sha256,
        Algorithm::Sha512,
        Algorithm::Sha1,
        Algorithm::Md5,
        Algorithm::Crc32,
        Algorithm::Xxh3,
    ];

    /// Its name in results and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
            Algorithm::Sha1 => "sha1",
            Algorithm::Md5 => "md5",
            Algorithm::Crc32 => "crc32",
            Algorithm::Xxh3 => "xxh3",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// The length of its value in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
            Algorithm::Sha1 => 20,
            Algorithm::Md5 => 16,
            Algorithm::Crc32 => 4,
            Algorithm::Xxh3 => 8,
        }
    }
}

/// A file's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHash {
    pub algorithm: Algorithm,
    /// Lower-case hex, the most significant byte first.
    pub value: String,
}

/// Computes a hash over bytes that arrive in pieces.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    state: HasherState,
}

#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "one or two for each running transfer")]
enum HasherState {
    Sha256(Sha256),
    Sha512(Sha512),
    Sha1(Sha1),
    Md5(Md5),
    Crc32(crc32fast::Hasher),
    Xxh3(Box<XxHash3_64>),
}

impl Hasher {
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Hasher {
        let state = match algorithm {
            Algorithm::Sha256 => HasherState::Sha256(Sha256::new()),
            Algorithm::Sha512 => HasherState::Sha512(Sha512::new()),
            Algorithm::Sha1 => HasherState::Sha1(Sha1::new()),
            Algorithm::Md5 => HasherState::Md5(Md5::new()),
            Algorithm::Crc32 => HasherState::Crc32(crc32fast::Hasher::new()),
            Algorithm::Xxh3 => HasherState::Xxh3(Box::new(XxHash3_64::new())),
        };
        Hasher { algorithm, state }
    }

    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            HasherState::Sha256(state) => state.update(bytes),
            HasherState::Sha512(state) => state.update(bytes),
            HasherState::Sha1(state) => state.update(bytes),
            HasherState::Md5(state) => state.update(bytes),
            HasherState::Crc32(state) => state.update(bytes),
            HasherState::Xxh3(state) => state.write(bytes),
        }
    }

    #[must_use]
    pub fn finish(self) -> FileHash {
        let value = match self.state {
            HasherState::Sha256(state) => HEXLOWER.encode(&state.finalize()),
            HasherState::Sha512(state) => HEXLOWER.encode(&state.finalize()),
            HasherState::Sha1(state) => HEXLOWER.encode(&state.finalize()),
            HasherState::Md5(state) => HEXLOWER.encode(&state.finalize()),
            HasherState::Crc32(state) => HEXLOWER.encode(&state.finalize().to_be_bytes()),
            HasherState::Xxh3(state) => HEXLOWER.encode(&state.finish().to_be_bytes()),
        };
        FileHash { algorithm: self.algorithm, value }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.algorithm).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `printf abc | …sum`; XXH3's is that of `xxhsum -H3`.
    #[test]
    fn each_algorithm_gives_the_value_that_others_give() {
        for (name, expected) in [
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "sha512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("crc32", "352441c2"),
            ("xxh3", "78af5f94892f3950"),
        ] {
            let algorithm = Algorithm::from_name(name).unwrap();
            let mut hasher = Hasher::new(algorithm);
            for piece in [&b"a"[..], b"", b"bc"] {
                hasher.update(piece);
            }
            assert_eq!(hasher.finish(), FileHash { algorithm, value: expected.to_owned() }, "{name}");
            assert_eq!(expected.len(), algorithm.bytes() * 2);
        }
    }
}
