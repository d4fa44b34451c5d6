//! What a published file records of its result, so that a redo returns the same one.

use jiff::Timestamp;

use crate::digest::{Algorithm, FileHash};
use crate::outcome::TransferDetails;

const VERIFIED_BY: &str = "by";
const SOURCE_MTIME: &str = "mtime";

/// `by=size mtime=2025-01-15T10:30:00Z sha256=…`; unknown values are omitted.
pub(super) fn write(details: &TransferDetails) -> String {
    let verified_by = details.verified_by.map(|by| format!("{VERIFIED_BY}={by}"));
    let mtime = details.source_mtime.map(|at| format!("{SOURCE_MTIME}={at}"));
    let hashes = details.hashes.iter().map(|hash| format!("{}={}", hash.algorithm.name(), hash.value));
    verified_by.into_iter().chain(mtime).chain(hashes).collect::<Vec<_>>().join(" ")
}

/// Parses it; what it does not understand is skipped, as another version may have written it.
pub(super) fn read(redo_record: &str) -> TransferDetails {
    let mut details = TransferDetails::default();
    for (name, value) in redo_record.split(' ').filter_map(|pair| pair.split_once('=')) {
        match (name, Algorithm::from_name(name)) {
            (_, Some(algorithm)) => details.hashes.push(FileHash { algorithm, value: value.to_owned() }),
            (VERIFIED_BY, None) if value == "size" => details.verified_by = Some("size"),
            (VERIFIED_BY, None) => details.verified_by = Algorithm::from_name(value).map(Algorithm::name),
            (SOURCE_MTIME, None) => details.source_mtime = value.parse::<Timestamp>().ok(),
            _ => {}
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_read_again() {
        let sha = FileHash { algorithm: Algorithm::Sha256, value: "ab".repeat(32) };
        let details = TransferDetails {
            verified_by: Some("sha256"),
            source_mtime: Some("2025-01-15T10:30:00.123Z".parse().unwrap()),
            hashes: vec![sha],
            ..TransferDetails::default()
        };
        assert_eq!(read(&write(&details)), details);
        for details in [
            TransferDetails::default(),
            TransferDetails { verified_by: Some("size"), ..TransferDetails::default() },
        ] {
            assert_eq!(read(&write(&details)), details);
        }
    }

    #[test]
    fn what_another_version_wrote_is_passed_over() {
        assert_eq!(read("by=telepathy mtime=yesterday colour=red x"), TransferDetails::default());
    }
}
