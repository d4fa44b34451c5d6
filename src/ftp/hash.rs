//! The server's own hash of a file: HASH (draft-ietf-ftpext-hash), XSHA256 and the like, if FEAT lists them.

use crate::digest::Algorithm;
use crate::failure::TryError;

use super::command::{Command, Step};
use super::fault::{Fault, Wait};
use super::features::ServerFeatures;
use super::reply::Reply;
use super::session::Session;

/// The strongest first. HASH comes before the X commands: its reply names the algorithm.
const BY_STRENGTH: [Algorithm; 5] =
    [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Sha1, Algorithm::Md5, Algorithm::Crc32];

/// Commands with a single algorithm each. `MD5` is that of draft-twine-ftpmd5.
const SINGLE_ALGORITHM_COMMANDS: [(&str, Algorithm); 7] = [
    ("XSHA256", Algorithm::Sha256),
    ("XSHA512", Algorithm::Sha512),
    ("XSHA1", Algorithm::Sha1),
    ("XSHA", Algorithm::Sha1),
    ("XMD5", Algorithm::Md5),
    ("MD5", Algorithm::Md5),
    ("XCRC", Algorithm::Crc32),
];

/// What a server reports about a file's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHash {
    /// Lower-case hex.
    Value(String),
    /// It has the command, but does not compute the hash of this file.
    Refused(TryError),
}

/// How to request a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HashCommand {
    Hash,
    Own(&'static str),
}

/// The best algorithm for which these features include a command, and the command.
fn best(features: &ServerFeatures) -> Option<(Algorithm, HashCommand)> {
    BY_STRENGTH.into_iter().find_map(|algorithm| {
        if listed(features).any(|(offered, _)| offered == algorithm) {
            return Some((algorithm, HashCommand::Hash));
        }
        let mut own = SINGLE_ALGORITHM_COMMANDS.iter().filter(|(_, of)| *of == algorithm);
        own.find(|(command, _)| features.has(command)).map(|(command, of)| (*of, HashCommand::Own(command)))
    })
}

/// The algorithms in `HASH SHA-1;SHA-256*;CRC32`, each with whether it is the current one.
fn listed(features: &ServerFeatures) -> impl Iterator<Item = (Algorithm, bool)> {
    let list = features.parameters("HASH").unwrap_or_default();
    list.split(';').filter_map(|entry| {
        let name = entry.trim();
        Some((algorithm(name.trim_end_matches('*'))?, name.ends_with('*')))
    })
}

/// The algorithm that HASH starts with.
pub(super) fn current(features: &ServerFeatures) -> Option<Algorithm> {
    listed(features).find(|(_, in_use)| *in_use).map(|(algorithm, _)| algorithm)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    let bare: String = name.chars().filter(|c| *c != '-').collect();
    Algorithm::from_name(&bare.to_ascii_lowercase()).filter(|algorithm| *algorithm != Algorithm::Xxh3)
}

/// The algorithm's name in the draft.
fn draft_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha256 => "SHA-256",
        Algorithm::Sha512 => "SHA-512",
        Algorithm::Sha1 => "SHA-1",
        Algorithm::Md5 => "MD5",
        Algorithm::Crc32 => "CRC32",
        Algorithm::Xxh3 => "XXH3",
    }
}

impl Session {
    /// The algorithm of the best hash that the server computes; `None` if it computes none.
    #[must_use]
    pub fn hashes_by(&self) -> Option<Algorithm> {
        if self.lacks(Step::Hash) { None } else { best(self.features()).map(|(algorithm, _)| algorithm) }
    }

    /// The server's hash of a file by [`Session::hashes_by`], and the command's name. Takes as long as the server needs
    /// to read the file, up to the connection's `hash_timeout`.
    pub async fn hash_of(&mut self, path: &str) -> Result<(ServerHash, &'static str), TryError> {
        let Some((algorithm, command)) = best(self.features()) else {
            let nothing = Fault::Garbled;
            return Err(self.fail(Step::Hash, Some(path), &nothing));
        };
        if command == HashCommand::Hash && self.hash_algorithm() != Some(algorithm) {
            let reply = self.ask_hash(Step::OptsHash, path, draft_name(algorithm)).await?;
            if !reply.is_done() {
                return self.no_hash(Step::OptsHash, path, reply);
            }
            self.set_hash_algorithm(algorithm);
        }
        let name = match self.name_of(path).await {
            Ok(name) => name,
            Err(fault) => return Err(self.fail(Step::Cwd, Some(path), &fault)),
        };
        let (step, argument) = match command {
            HashCommand::Hash => (Step::Hash, name),
            HashCommand::Own("MD5") => (Step::XHash("MD5"), name),
            // ProFTPD, for one, takes a second word for the start offset.
            HashCommand::Own(command) if name.contains(char::is_whitespace) => {
                (Step::XHash(command), format!("\"{name}\""))
            }
            HashCommand::Own(command) => (Step::XHash(command), name),
        };
        let reply = self.ask_hash(step, path, &argument).await?;
        if reply.is_refusal() {
            return self.no_hash(step, path, reply);
        }
        match value(&reply, algorithm, path).filter(|_| reply.is_done()) {
            Some(value) => Ok((ServerHash::Value(value), step.verb())),
            None => Err(self.fail(step, Some(path), &Fault::Reply(reply))),
        }
    }

    async fn ask_hash(&mut self, step: Step, path: &str, argument: &str) -> Result<Reply, TryError> {
        let limit = self.connection().timeouts.hash;
        let asked = match Command::with(step, argument) {
            Ok(command) => self.exchange_within(&command, Wait::Hash, limit).await,
            Err(fault) => Err(fault),
        };
        asked.map_err(|fault| self.fail(step, Some(path), &fault))
    }

    /// A temporary refusal is retried later; any other is final.
    fn no_hash(
        &mut self,
        step: Step,
        path: &str,
        reply: Reply,
    ) -> Result<(ServerHash, &'static str), TryError> {
        if matches!(reply.code, 500 | 502) && !reply.hints(Some(path)).oops {
            self.found_missing(Step::Hash);
        }
        let is_for_now = reply.code < 500;
        let error = self.fail(step, Some(path), &Fault::Reply(reply));
        if is_for_now { Err(error) } else { Ok((ServerHash::Refused(error), step.verb())) }
    }
}

/// The hash in a reply: `SHA-256 0-12 a948… a b.txt`, or `A948…`, or `a b.txt 6F59…`. A path may look like a hash too:
/// it comes last with HASH, and first with the others.
fn value(reply: &Reply, algorithm: Algorithm, path: &str) -> Option<String> {
    let words: Vec<&str> = reply.words().collect();
    let has_path = |words: &[&str]| words.len() > path.split_ascii_whitespace().count();
    let fits = |word: &&&str| {
        let length = algorithm.bytes() * 2;
        let is_long_enough = word.len() == length || algorithm == Algorithm::Crc32 && word.len() < length;
        is_long_enough && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let named = words.iter().rposition(|word| self::algorithm(word) == Some(algorithm));
    let found = match named.and_then(|at| words.get(at + 1..)).filter(|rest| has_path(rest)) {
        Some(rest) => rest.iter().find(fits),
        None => words.iter().rev().find(fits),
    };
    found.map(|word| format!("{:0>width$}", word.to_ascii_lowercase(), width = algorithm.bytes() * 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reply::{Reply, reply};
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn features(lines: &[&str]) -> ServerFeatures {
        ServerFeatures::parse(
            format!("211-ServerFeatures:\r\n {}\r\n211 End\r\n", lines.join("\r\n ")).as_bytes(),
        )
    }

    #[test]
    fn the_best_hash_is_asked_for_by_the_command_that_the_server_has() {
        for (lines, expected) in [
            (&["HASH CRC32;MD5;SHA-1*;SHA-256;SHA-512;", "XSHA256"][..], Some(("sha256", HashCommand::Hash))),
            (&["HASH MD5*", "XSHA256", "XCRC"], Some(("sha256", HashCommand::Own("XSHA256")))),
            (&["XCRC filename;start;end", "XMD5"], Some(("md5", HashCommand::Own("XMD5")))),
            (&["MD5"], Some(("md5", HashCommand::Own("MD5")))),
            (&["XCRC"], Some(("crc32", HashCommand::Own("XCRC")))),
            (&["HASH WHIRLPOOL*"], None),
            (&["SIZE", "HASHING"], None),
        ] {
            let found = best(&features(lines)).map(|(algorithm, command)| (algorithm.name(), command));
            assert_eq!(found, expected, "{lines:?}");
        }
        assert_eq!(current(&features(&["HASH CRC32;SHA-1*;SHA-256"])), Some(Algorithm::Sha1));
        assert_eq!(current(&features(&["HASH CRC32;SHA-256"])), None);
    }

    #[test]
    fn a_hash_is_read_as_servers_write_it() {
        let hash = format!("213-Computing SHA-256 digest\r\n213 SHA-256 0-2 {ABC} a b.txt");
        let upper = ABC.to_ascii_uppercase();
        for (line, path) in [
            (hash.clone(), "a b.txt"),
            // A name that looks like another hash.
            (format!("213 SHA-256 0-2 {ABC} {}", "0".repeat(64)), &*"0".repeat(64)),
            (format!("213 sha256 {ABC} f"), "f"),
            (format!("250-Computing SHA256 digest\r\n250 {upper}"), "f"),
            (format!("250 {} {ABC}", "0".repeat(64)), &*"0".repeat(64)),
        ] {
            assert_eq!(value(&reply(&line), Algorithm::Sha256, path).as_deref(), Some(ABC), "{line}");
        }
        for (line, expected) in [
            ("250-Computing CRC32 digest\r\n250 AF083B2D", "af083b2d"),
            ("250 83B2D", "00083b2d"),
            ("213 CRC32 0-12 af083b2d beef", "af083b2d"),
        ] {
            assert_eq!(value(&reply(line), Algorithm::Crc32, "beef").as_deref(), Some(expected), "{line}");
        }
        let md5 = "251 a b.txt 6F5902AC237024BDD0C176CB93063DC4";
        let expected = "6f5902ac237024bdd0c176cb93063dc4";
        assert_eq!(value(&reply(md5), Algorithm::Md5, "a b.txt").as_deref(), Some(expected));
        for line in ["250 done", "213 SHA-256 0-2 xyz f", "250"] {
            assert_eq!(value(&reply(line), Algorithm::Sha256, "f"), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_for_a_hash_is_read_without_a_panic_and_has_its_length(
            text in "([0-9a-fA-F]{1,70}|SHA-256|CRC32|MD5|[ \\-a-z])*",
            path in "[0-9a-f ]{1,20}",
        ) {
            let Some(reply) = Reply::parse(format!("213 {text}\r\n").as_bytes(), "") else { return Ok(()) };
            for algorithm in BY_STRENGTH {
                if let Some(value) = value(&reply, algorithm, &path) {
                    prop_assert_eq!(value.len(), algorithm.bytes() * 2);
                }
            }
        }
    }
}
