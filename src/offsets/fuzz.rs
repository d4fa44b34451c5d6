//! Arbitrary commit metadata. For `make fuzz`, and for the tests, which replay its corpus.

use super::CompletedBitmap;
use super::completed_bitmap::MAX_BITS;

/// Any metadata is either a bitmap of offsets above the low-water mark, which encodes to the same text, or none.
///
/// # Panics
/// If the result is neither.
pub fn metadata(text: &[u8]) {
    const LOW: i64 = 41;
    let Ok(map) = CompletedBitmap::decode(text) else { return };
    let done = map.offsets(LOW);
    assert!(
        done.iter()
            .all(|offset| usize::try_from(offset - LOW).is_ok_and(|bit| (1..=MAX_BITS).contains(&bit)))
    );
    let again = CompletedBitmap::new(LOW, done.iter().copied());
    assert_eq!(again.offsets(LOW), done);
    let read = CompletedBitmap::decode(again.encode().as_bytes());
    assert_eq!(read.as_ref().map(|map| map.offsets(LOW)), Ok(done));
}

#[cfg(test)]
#[test]
fn the_corpus_finds_nothing() {
    assert!(crate::corpus::each("done_map", metadata) > 0);
}
