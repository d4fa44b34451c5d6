//! Arbitrary listings. For `make fuzz`, and for the tests, which replay its corpus.

use jiff::Timestamp;

use crate::{ListingContext, ListingItem, ListingReader, ListingSource, ListingSummary};

/// 2026-11-29, 12:00 UTC.
const NOW: i64 = 1_795_953_600;

/// Any bytes are a listing, in pieces of any size; and the results are names of this directory. The first byte selects
/// the command: `N`, `M`, or LIST.
///
/// # Panics
/// If that does not hold.
pub fn listing(input: &[u8]) {
    let (first, bytes) = input.split_first().unwrap_or((&b'L', &[]));
    let source = match first {
        b'N' => ListingSource::Nlst,
        b'M' => ListingSource::Mlsd,
        _ => ListingSource::List,
    };
    let (items, summary) = read(source, bytes, bytes.len().max(1));
    let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
    assert!(summary.entries.values().sum::<u64>() + summary.unrecognized <= lines);
    assert_eq!(items.len() as u64, summary.entries.values().sum::<u64>() + summary.unrecognized);
    for item in &items {
        if let ListingItem::Entry(entry) = item {
            let name = entry.name.as_slice();
            assert!(!name.is_empty() && name != b"." && name != b".." && !name.contains(&b'\n'));
            assert!(!name.ends_with(b"/"), "{entry:?}");
        }
    }
    assert_eq!(read(source, bytes, 7), (items, summary), "in pieces");
}

fn read(source: ListingSource, bytes: &[u8], piece: usize) -> (Vec<ListingItem>, ListingSummary) {
    let context = ListingContext {
        source,
        directory: b"/pub".to_vec(),
        now: Timestamp::from_second(NOW).unwrap_or(Timestamp::UNIX_EPOCH),
        clock_offset: None,
    };
    let mut items = Vec::new();
    let mut reader = ListingReader::new(context);
    for piece in bytes.chunks(piece) {
        reader.push(piece, |item| items.push(item));
    }
    let summary = reader.finish(|item| items.push(item));
    (items, summary)
}
