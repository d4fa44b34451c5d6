//! Commits' metadata as nobody would write it. For `make fuzz`, and for the tests, which try its corpus again.

use super::CompletedBitmap;
use super::completed_bitmap::MAX_BITS;

/// Any metadata is a map of offsets above the low-water mark, which reads back as it was, or no map.
///
/// # Panics
/// Where what comes out is neither.
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
