//! How fast a listing is parsed: `cargo run --release -p ftp-listing --example lines_per_second`.

#![allow(clippy::print_stdout, reason = "a figure is what it is for")]

use std::time::Instant;

use ftp_listing::{ListingContext, ListingItem, ListingReader, ListingSource};
use jiff::Timestamp;

const LINES: u32 = 1_000_000;
/// The size of a read from a data connection.
const PIECE: usize = 64 * 1024;

/// A dialect's name, the command, and a generator of its n-th line.
type Sample = (&'static str, ListingSource, fn(u32) -> String);

fn main() {
    let dialects: [Sample; 3] = [
        ("Unix", ListingSource::List, |n| {
            format!(
                "-rw-r--r--   1 ftp      ftp      {n:>12} Nov {:>2} 03:26 report {n:07}.csv\r\n",
                n % 28 + 1
            )
        }),
        ("DOS", ListingSource::List, |n| {
            format!("11-{:02}-26  09:09PM {n:>20} report {n:07}.csv\r\n", n % 28 + 1)
        }),
        ("MLSD", ListingSource::Mlsd, |n| {
            format!(
                "type=file;size={n};modify=202611{:02}010203;UNIX.mode=0644; report {n:07}.csv\r\n",
                n % 28 + 1
            )
        }),
    ];
    for (name, source, line) in dialects {
        let listing: String = (0..LINES).map(line).collect();
        let started = Instant::now();
        let mut reader = ListingReader::new(ListingContext {
            source,
            directory: b"/pub".to_vec(),
            now: Timestamp::now(),
            clock_offset: None,
        });
        let mut with_time = 0_usize;
        let mut take = |item| {
            if matches!(item, ListingItem::Entry(entry) if entry.modified.is_some()) {
                with_time += 1;
            }
        };
        for piece in listing.as_bytes().chunks(PIECE) {
            reader.push(piece, &mut take);
        }
        reader.finish(&mut take);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{name}: {:.2} million lines/s ({with_time} entries with a time)",
            f64::from(LINES) / seconds / 1e6
        );
    }
}
