//! The completed offsets above a low-water mark, as text for a commit's metadata.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::MAX_METADATA;

/// Marks the format. A reader that finds another one falls back to the low-water mark alone.
const VERSION: &str = "fp1:";
/// The bitmap's share of a commit's metadata, without a topic's id (22 letters, `fp2:` and a dot). Whatever fits is
/// read, even if it spans more than [`MAX_SPAN`](super::MAX_SPAN): dropping a bitmap would redo its tasks.
const MAX_TEXT: usize = MAX_METADATA - 27;
/// Six bits a letter.
pub(super) const MAX_BITS: usize = MAX_TEXT * 6;

/// Bit `i` stands for the offset `low + 1 + i`: the low-water mark itself is never completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletedBitmap {
    bits: Vec<u8>,
}

/// Metadata that is not one of our bitmaps. Safe to ignore: the tasks above the low-water mark are redone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("written by something else, or by a newer version")]
    Foreign,
    #[error("not base64: {0}")]
    Encoding(String),
    #[error("spans {0} offsets; at most {MAX_BITS} are possible")]
    TooLong(usize),
}

impl CompletedBitmap {
    /// The bitmap of `done` offsets, all above `low`.
    pub fn new(low: i64, done: impl IntoIterator<Item = i64>) -> Self {
        let mut bits = Vec::new();
        for offset in done {
            let Ok(index) = usize::try_from(offset - low - 1) else { continue };
            let (byte, bit) = (index / 8, index % 8);
            if bits.len() <= byte {
                bits.resize(byte + 1, 0u8);
            }
            if let Some(slot) = bits.get_mut(byte) {
                *slot |= 1 << bit;
            }
        }
        CompletedBitmap { bits }
    }

    /// The completed offsets above `low`, in order.
    pub fn offsets(&self, low: i64) -> BTreeSet<i64> {
        let mut done = BTreeSet::new();
        for (byte, bits) in (0i64..).zip(&self.bits) {
            for bit in (0i64..8).filter(|bit| bits >> bit & 1 == 1) {
                done.insert(low + 1 + byte * 8 + bit);
            }
        }
        done
    }

    /// The commit's metadata; empty if nothing above the low-water mark is completed.
    pub fn encode(&self) -> String {
        if self.bits.is_empty() { String::new() } else { format!("{VERSION}{}", self.encode_bits()) }
    }

    pub(super) fn encode_bits(&self) -> String {
        STANDARD_NO_PAD.encode(&self.bits)
    }

    /// Decodes what [`CompletedBitmap::encode`] wrote.
    pub fn decode(metadata: &[u8]) -> Result<Self, MetadataError> {
        if metadata.is_empty() {
            return Ok(CompletedBitmap::default());
        }
        let text = metadata.strip_prefix(VERSION.as_bytes()).ok_or(MetadataError::Foreign)?;
        Self::decode_bits(text)
    }

    pub(super) fn decode_bits(text: &[u8]) -> Result<Self, MetadataError> {
        let bits =
            STANDARD_NO_PAD.decode(text).map_err(|error| MetadataError::Encoding(error.to_string()))?;
        if text.len() > MAX_TEXT {
            return Err(MetadataError::TooLong(bits.len() * 8));
        }
        Ok(CompletedBitmap { bits })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::offsets::MAX_SPAN;

    #[test]
    fn an_empty_map_is_empty_metadata() {
        assert_eq!(CompletedBitmap::new(7, []).encode(), "");
        assert_eq!(CompletedBitmap::decode(b"").unwrap(), CompletedBitmap::default());
    }

    #[test]
    fn the_worst_map_fits_into_kafkas_metadata() {
        let every_other = (1..MAX_SPAN).filter(|offset| offset % 2 == 1);
        assert!(CompletedBitmap::new(0, every_other).encode().len() <= 4_096);
    }

    #[test]
    fn foreign_metadata_is_told_from_a_broken_map() {
        assert_eq!(CompletedBitmap::decode(b"some other consumer"), Err(MetadataError::Foreign));
        assert_eq!(CompletedBitmap::decode(b"fp2:AAAA"), Err(MetadataError::Foreign));
        assert_eq!(CompletedBitmap::decode(b"\xff\xfe"), Err(MetadataError::Foreign));
        assert!(matches!(CompletedBitmap::decode(b"fp1:***"), Err(MetadataError::Encoding(_))));
        let long = format!("fp1:{}", "A".repeat(4_072));
        assert!(matches!(CompletedBitmap::decode(long.as_bytes()), Err(MetadataError::TooLong(_))));
    }

    /// Pods before this one committed spans of some hundreds more than intake allows.
    #[test]
    fn whatever_kafka_has_stored_is_read() {
        let most = i64::try_from(MAX_BITS).unwrap() / 8 * 8;
        for span in [MAX_SPAN + 9, MAX_SPAN + 204, most] {
            let map = CompletedBitmap::new(7, 8..8 + span);
            assert_eq!(CompletedBitmap::decode(map.encode().as_bytes()), Ok(map), "{span}");
        }
        let too_long = CompletedBitmap::new(7, 8..=8 + most);
        assert!(matches!(
            CompletedBitmap::decode(too_long.encode().as_bytes()),
            Err(MetadataError::TooLong(_))
        ));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(low in 0i64..1 << 40, done in prop::collection::btree_set(1i64..MAX_SPAN, 0..200)) {
            let done: BTreeSet<i64> = done.into_iter().map(|offset| low + offset).collect();
            let map = CompletedBitmap::decode(CompletedBitmap::new(low, done.iter().copied()).encode().as_bytes()).unwrap();
            prop_assert_eq!(map.offsets(low), done);
        }

        #[test]
        fn no_metadata_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = CompletedBitmap::decode(&bytes);
        }
    }
}
