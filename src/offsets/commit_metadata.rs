//! A commit's metadata: the topic that its offset belongs to, and the completed offsets above it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{CompletedBitmap, MetadataError};

/// Marks the format with a topic's id; [`CompletedBitmap::encode`]'s own has none.
const VERSION: &str = "fp2:";
/// Between the id and the bitmap: not in base64's alphabet.
const SEPARATOR: char = '.';

/// A topic's id (KIP-516): a topic that is deleted and recreated under the same name has another one, and its offsets
/// start again. Written in the form of Kafka's own tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(u128);

impl TopicId {
    /// Zero is sent by brokers that have no ids.
    pub fn new(bits: u128) -> Option<Self> {
        (bits != 0).then_some(TopicId(bits))
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        TopicId::new(u128::from_be_bytes(bytes.try_into().ok()?))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()))
    }
}

/// A commit's decoded metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitMetadata {
    /// `None` if it was not known, or another tool wrote the commit.
    pub topic_id: Option<TopicId>,
    pub done: CompletedBitmap,
}

impl CommitMetadata {
    /// The commit's metadata: at most 4,096 bytes of ASCII.
    pub fn encode(&self) -> String {
        match self.topic_id {
            Some(id) => format!("{VERSION}{id}{SEPARATOR}{}", self.done.encode_bits()),
            None => self.done.encode(),
        }
    }

    /// Decodes what [`CommitMetadata::encode`] wrote; empty metadata contains nothing.
    pub fn decode(metadata: &[u8]) -> Result<Self, MetadataError> {
        let Some(text) = metadata.strip_prefix(VERSION.as_bytes()) else {
            return Ok(CommitMetadata { topic_id: None, done: CompletedBitmap::decode(metadata)? });
        };
        let text = std::str::from_utf8(text).map_err(|_| MetadataError::Foreign)?;
        let (id, bits) = text.split_once(SEPARATOR).ok_or(MetadataError::Foreign)?;
        let id =
            TopicId::read(id).ok_or_else(|| MetadataError::Encoding(format!("{id:?} is not a topic id")))?;
        Ok(CommitMetadata { topic_id: Some(id), done: CompletedBitmap::decode_bits(bits.as_bytes())? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::offsets::MAX_SPAN;

    const METADATA: usize = 4_096;

    #[test]
    fn the_worst_note_fits_into_kafkas_metadata() {
        let every_other = (1..MAX_SPAN).filter(|offset| offset % 2 == 1);
        let note =
            CommitMetadata { topic_id: TopicId::new(u128::MAX), done: CompletedBitmap::new(0, every_other) };
        let text = note.encode();
        assert!(text.len() <= METADATA && text.is_ascii(), "{}", text.len());
        assert_eq!(CommitMetadata::decode(text.as_bytes()), Ok(note));
    }

    #[test]
    fn a_topic_id_is_written_as_kafkas_tools_write_it() {
        // kafka-topics --describe: TopicId: 3Jqlcn2kQPSvWxxjKVKZNg
        let id = TopicId::read("3Jqlcn2kQPSvWxxjKVKZNg").unwrap();
        assert_eq!(id.to_string(), "3Jqlcn2kQPSvWxxjKVKZNg");
        assert_eq!(TopicId::new(0), None);
    }

    #[test]
    fn metadata_of_earlier_versions_and_of_others_is_read_or_told_from_ours() {
        let done = CompletedBitmap::new(7, [9]);
        assert_eq!(
            CommitMetadata::decode(done.encode().as_bytes()),
            Ok(CommitMetadata { topic_id: None, done })
        );
        assert_eq!(CommitMetadata::decode(b""), Ok(CommitMetadata::default()));
        for foreign in [&b"fp3:AAAA"[..], b"written by hand", b"\xff\xfe", b"fp2:\xff.", b"fp2:"] {
            assert_eq!(CommitMetadata::decode(foreign), Err(MetadataError::Foreign), "{foreign:?}");
        }
        for broken in ["fp2:AAAA.", "fp2:3Jqlcn2kQPSvWxxjKVKZNg.***", "fp2:AAAAAAAAAAAAAAAAAAAAAA."] {
            assert!(
                matches!(CommitMetadata::decode(broken.as_bytes()), Err(MetadataError::Encoding(_))),
                "{broken}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            low in 0i64..1 << 40, id: u128, done in prop::collection::btree_set(1i64..MAX_SPAN, 0..200),
        ) {
            let done = CompletedBitmap::new(low, done.into_iter().map(|offset| low + offset));
            let note = CommitMetadata { topic_id: TopicId::new(id), done };
            let text = note.encode();
            prop_assert!(text.len() <= METADATA);
            prop_assert_eq!(CommitMetadata::decode(text.as_bytes()), Ok(note));
        }

        #[test]
        fn no_metadata_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), ours: bool) {
            let mut text = if ours { VERSION.as_bytes().to_vec() } else { Vec::new() };
            text.extend(bytes);
            let _ = CommitMetadata::decode(&text);
        }
    }
}
