//! The table of lines that servers sent (tests/table.txt), and what is read in them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ftp_listing::{
    Clock, EntryKind, ListingContext, ListingEntry, ListingItem, ListingReader, ListingSource, TimePrecision,
};

const FEWEST_LINES: usize = 150;

fn context(source: ListingSource, directory: &str) -> ListingContext {
    ListingContext {
        source,
        directory: directory.as_bytes().to_vec(),
        now: "2026-11-29T12:00:00Z".parse().unwrap(),
        clock_offset: None,
    }
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let (kind, after) = rest.split_first().unwrap();
        rest = after;
        match kind {
            b't' => bytes.push(b'\t'),
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &rest[2..];
            }
            b'\\' => bytes.push(b'\\'),
            other => panic!("{line}: \\{}", char::from(*other)),
        }
    }
    bytes
}

fn quoted(name: &[u8]) -> String {
    let mut shown = String::from("\"");
    for byte in name {
        match byte {
            b'\t' => shown.push_str("\\t"),
            b'\\' => shown.push_str("\\\\"),
            0x20..=0x7e => shown.push(char::from(*byte)),
            byte => write!(shown, "\\x{byte:02x}").unwrap(),
        }
    }
    shown + "\""
}

fn shown(entry: &ListingEntry) -> String {
    let kind = match entry.kind {
        EntryKind::File => "file",
        EntryKind::Directory => "dir",
        EntryKind::Symlink => "link",
        EntryKind::Other => "other",
        EntryKind::Unknown => "unknown",
    };
    let size = entry.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
    let time = entry.modified.map_or_else(
        || "-".to_owned(),
        |time| {
            let text = time.at.to_string();
            let text = match time.precision {
                TimePrecision::Day => text.split('T').next().unwrap().to_owned(),
                TimePrecision::Minute => text[..16].to_owned(),
                TimePrecision::Second => text,
            };
            text + if time.clock == Clock::Utc { "Z" } else { "" }
        },
    );
    let mut line = format!("< {kind} {size} {time} {}", quoted(&entry.name));
    if let Some(target) = &entry.link_target {
        write!(line, " -> {}", quoted(target)).unwrap();
    }
    if let Some(version) = entry.version {
        write!(line, " ;{version}").unwrap();
    }
    line
}

/// What a listing tells, a line each, and how many lines were read by dialect.
fn read(
    (source, directory): (ListingSource, &str),
    listing: &[u8],
    counts: &mut BTreeMap<&'static str, u64>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut reader = ListingReader::new(context(source, directory));
    let mut take = |item| match item {
        ListingItem::Entry(entry) => lines.push(shown(&entry)),
        ListingItem::Unrecognized(line) | ListingItem::Overlong(line) => {
            lines.push(format!("? {}", quoted(&line)));
        }
    };
    reader.push(listing, &mut take);
    let summary = reader.finish(&mut take);
    for (dialect, count) in summary.entries {
        *counts.entry(dialect.name()).or_default() += count;
    }
    *counts.entry("not understood").or_default() += summary.unrecognized;
    lines
}

/// The table as it should be: each listing with what is read in it now.
fn table_as_read(table: &str) -> (String, usize, BTreeMap<&'static str, u64>) {
    let (mut written, mut count, mut counts) = (String::new(), 0, BTreeMap::new());
    let (mut source, mut directory) = (ListingSource::List, "/pub");
    for block in table.split("\n\n") {
        let mut listing = Vec::new();
        for line in block.lines() {
            if let Some(title) = line.strip_prefix("== ") {
                directory = if title.contains("(of /)") { "/" } else { "/pub" };
                source = if title.starts_with("MLSD") { ListingSource::Mlsd } else { ListingSource::List };
            }
            if let Some(line) = line.strip_prefix('>') {
                listing.extend(unescaped(line.strip_prefix(' ').unwrap_or(line)));
                listing.extend(b"\r\n");
                count += 1;
            }
            if !line.starts_with(['<', '?']) {
                written.push_str(line);
                written.push('\n');
            }
        }
        for line in read((source, directory), &listing, &mut counts) {
            written.push_str(&line);
            written.push('\n');
        }
        written.push('\n');
    }
    (written.trim_end().to_owned() + "\n", count, counts)
}

#[test]
fn every_line_of_the_table_is_read_as_it_says() {
    let table = include_str!("table.txt");
    let (as_read, count, _) = table_as_read(table);
    assert!(count >= FEWEST_LINES, "{count} lines");
    if std::env::var_os("FTP_LISTING_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/table.txt"), &as_read).unwrap();
        return;
    }
    for (index, (expected, found)) in table.lines().zip(as_read.lines()).enumerate() {
        assert_eq!(found, expected, "table.txt:{}", index + 1);
    }
    assert_eq!(as_read.lines().count(), table.lines().count());
}

/// docs/SERVERS.md tells how many lines of each dialect the table has; this test writes it where it is asked to
/// (`FTP_LISTING_BLESS=1 cargo test -p ftp-listing`), and compares else.
#[test]
fn the_document_tells_how_many_lines_are_read() {
    const BEGIN: &str = "<!-- listings begin -->\n";
    const END: &str = "<!-- listings end -->";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/SERVERS.md");
    let (_, lines, counts) = table_as_read(include_str!("table.txt"));
    let mut written = String::from("| Dialect | Entries read |\n|---|--:|\n");
    for (dialect, count) in &counts {
        if *dialect != "not understood" {
            writeln!(written, "| {dialect} | {count} |").unwrap();
        }
    }
    writeln!(written, "| not understood, and reported | {} |", counts["not understood"]).unwrap();
    writeln!(written, "| all lines, with headings, totals and wrapped ones | {lines} |").unwrap();
    let document = std::fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    if std::env::var_os("FTP_LISTING_BLESS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{written}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(table, written);
}
