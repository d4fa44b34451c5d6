//! No bytes are too odd, and no line of a known shape vanishes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

use ftp_listing::{
    EntryKind, LOOK_AHEAD_BYTES, ListingContext, ListingEntry, ListingItem, ListingReader, ListingSource,
    MAX_LINE,
};
use proptest::prelude::*;

fn read(source: ListingSource, listing: &[u8]) -> (Vec<ListingEntry>, usize) {
    let (mut entries, mut unrecognized) = (Vec::new(), 0);
    let mut take = |item| match item {
        ListingItem::Entry(entry) => entries.push(entry),
        ListingItem::Unrecognized(_) | ListingItem::Overlong(_) => unrecognized += 1,
    };
    let mut reader = ListingReader::new(ListingContext {
        source,
        directory: b"/pub".to_vec(),
        now: "2026-11-29T12:00:00Z".parse().unwrap(),
        clock_offset: None,
    });
    reader.push(listing, &mut take);
    reader.finish(&mut take);
    (entries, unrecognized)
}

/// What was written, to be found again.
#[derive(Clone, Debug)]
struct Written {
    name: String,
    is_directory: bool,
    size: u64,
    year: i16,
    month: i8,
    day: i8,
}

fn written(name: &'static str) -> impl Strategy<Value = Written> {
    (name, any::<bool>(), 0..1u64 << 40, 1990..=2026i16, 1..=12i8, 1..=28i8).prop_map(
        |(name, is_directory, size, year, month, day)| Written { name, is_directory, size, year, month, day },
    )
}

/// Names with blanks anywhere, digits, arrows, semicolons and what is no ASCII.
const ANY_NAME: &str = "[a-zé ][a-z0-9 .,;é()>-]{0,20}[a-zé]";
const NAME_WITHOUT_BLANKS: &str = "[a-zA-Z$#@][a-zA-Z0-9$_-]{0,12}";

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Written {
    fn month_name(&self) -> &'static str {
        MONTHS[usize::try_from(self.month).unwrap() - 1]
    }

    fn unix(&self, middle: &str) -> String {
        let kind = if self.is_directory { 'd' } else { '-' };
        let Written { size, day, year, name, .. } = self;
        format!("{kind}rwxr-xr-x{middle} {size:>12} {} {day:>2}  {year} {name}", self.month_name())
    }

    fn dos(&self) -> String {
        let column =
            if self.is_directory { "     <DIR>         ".to_owned() } else { format!("{:>19}", self.size) };
        let Written { day, month, year, name, .. } = self;
        format!("{month:02}-{day:02}-{year:04}  02:15PM {column} {name}")
    }

    fn mlsd(&self) -> String {
        let kind = if self.is_directory { "dir" } else { "file" };
        let Written { size, day, month, year, name, .. } = self;
        format!("type={kind};size={size};modify={year:04}{month:02}{day:02}101112;UNIX.mode=0644; {name}")
    }

    fn eplf(&self) -> String {
        let kind = if self.is_directory { "/" } else { "r" };
        format!("+i8388621.29609,m824255902,{kind},s{},\t{}", self.size, self.name)
    }

    fn as400(&self) -> String {
        let (kind, slash) = if self.is_directory { ("*DIR ", "/") } else { ("*STMF", "") };
        let Written { size, day, month, year, name, .. } = self;
        format!("QSECOFR {size:>14} {day:02}.{month:02}.{:02} 15:09:55 {kind}      {name}{slash}", year % 100)
    }

    fn vms(&self) -> String {
        let Written { size, day, year, name, .. } = self;
        let extension = if self.is_directory { ".DIR" } else { "" };
        let name = format!("{name}{extension};7");
        let gap = if name.len() > 16 { "\r\n                 " } else { "  " };
        let month = self.month_name().to_uppercase();
        format!("{name}{gap}{}/9  {day:>2}-{month}-{year:04} 07:32:04  [A,B]  (RWED,RE,,)", size % 1000)
    }

    fn data_set(&self) -> String {
        let organization = if self.is_directory { "PO" } else { "PS" };
        let Written { day, month, year, name, .. } = self;
        format!(
            "VOL001 3390   {year:04}/{month:02}/{day:02}  1   15  FB      80 27920  {organization}  {name}"
        )
    }

    fn member(&self) -> String {
        let Written { day, month, year, name, .. } = self;
        format!(
            "{name:<9} 01.03 {year:04}/{month:02}/{day:02} {year:04}/{month:02}/{day:02} 09:37    11    11     0 USER"
        )
    }

    fn netware(&self) -> String {
        let kind = if self.is_directory { 'd' } else { '-' };
        let Written { size, day, year, name, .. } = self;
        format!("{kind} [RWCEAFMS] owner  {size:>12} {} {day:02}  {year} {name}", self.month_name())
    }

    fn os2(&self) -> String {
        let kind = if self.is_directory { "DIR" } else { "" };
        let Written { size, day, month, year, name, .. } = self;
        format!("{size:>18} {kind:>12}  {month:02}-{day:02}-{year:04}  11:57  {name}")
    }
}

/// Each line comes back: name and kind always, size and date where the dialect has them.
fn round_trip(
    source: ListingSource,
    all: &[Written],
    line: impl Fn(&Written) -> String,
    (has_size, has_date): (bool, bool),
) {
    let listing: String = all.iter().map(|written| line(written) + "\r\n").collect();
    let (entries, unrecognized) = read(source, listing.as_bytes());
    assert_eq!((entries.len(), unrecognized), (all.len(), 0), "{listing}");
    for (entry, written) in entries.iter().zip(all) {
        assert_eq!(String::from_utf8_lossy(&entry.name), written.name, "{listing}");
        let is_directory = entry.kind == EntryKind::Directory;
        assert_eq!(is_directory, written.is_directory, "{listing}");
        assert_eq!(entry.size, (has_size && !is_directory).then_some(written.size), "{listing}");
        if has_date {
            let at = entry.modified.unwrap_or_else(|| panic!("no time: {listing}")).at;
            assert_eq!(
                (at.year(), at.month(), at.day()),
                (written.year, written.month, written.day),
                "{listing}"
            );
        }
    }
}

fn some(name: &'static str) -> impl Strategy<Value = Vec<Written>> {
    proptest::collection::vec(written(name), 1..6)
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        ftp_listing::fuzz::listing(&bytes);
    }

    #[test]
    fn nor_lines_that_are_nearly_some(
        lines in proptest::collection::vec("[LMN]?[-dl+<]?[rwx -]{0,10}[0-9 :/;.,=]{0,12}(Jan|may|DIR|\t|type=)?[ -~]{0,30}", 0..12)
    ) {
        ftp_listing::fuzz::listing(lines.join("\r\n").as_bytes());
    }

    #[test]
    fn unix_lines_come_back(
        all in some(ANY_NAME),
        middle in prop_oneof![
            Just("   1 owner group"), Just("   1 owner"), Just(" 1"), Just(""), Just("+  1 0 0"), Just("."),
            Just("@ 12 Domain Users some group"), Just("   1 500 12"), Just(" owner"),
        ],
    ) {
        round_trip(ListingSource::List, &all, |written| written.unix(middle), (true, true));
    }

    #[test]
    fn dos_lines_come_back(all in some("[a-z][a-z0-9 .,;()-]{0,20}[a-z]")) {
        round_trip(ListingSource::List, &all, Written::dos, (true, true));
    }

    #[test]
    fn mlsd_lines_come_back(all in some(ANY_NAME)) {
        round_trip(ListingSource::Mlsd, &all, Written::mlsd, (true, true));
        round_trip(ListingSource::List, &all, Written::mlsd, (true, true));
    }

    #[test]
    fn eplf_lines_come_back(all in some(ANY_NAME)) {
        let as_told = all.clone();
        let listing: String = all.iter().map(|written| written.eplf() + "\n").collect();
        let (entries, unrecognized) = read(ListingSource::List, listing.as_bytes());
        prop_assert_eq!((entries.len(), unrecognized), (as_told.len(), 0));
        for (entry, written) in entries.iter().zip(&as_told) {
            prop_assert_eq!(String::from_utf8_lossy(&entry.name), written.name.as_str());
        }
    }

    #[test]
    fn as400_lines_come_back(all in some("[a-z][a-z0-9 .]{0,20}[a-z]")) {
        round_trip(ListingSource::List, &all, Written::as400, (true, true));
    }

    #[test]
    fn vms_lines_come_back(all in some(NAME_WITHOUT_BLANKS)) {
        round_trip(ListingSource::List, &all, Written::vms, (false, true));
    }

    #[test]
    fn data_sets_come_back(all in some(NAME_WITHOUT_BLANKS)) {
        round_trip(ListingSource::List, &all, Written::data_set, (false, false));
    }

    #[test]
    fn members_come_back(all in some(NAME_WITHOUT_BLANKS)) {
        let all: Vec<_> = all.into_iter().map(|written| Written { is_directory: false, ..written }).collect();
        round_trip(ListingSource::List, &all, Written::member, (false, true));
    }

    #[test]
    fn netware_lines_come_back(all in some("[a-z][a-z0-9 .]{0,20}[a-z]")) {
        round_trip(ListingSource::List, &all, Written::netware, (true, true));
    }

    #[test]
    fn os2_lines_come_back(all in some("[a-z][a-z0-9 .]{0,20}[a-z]")) {
        round_trip(ListingSource::List, &all, Written::os2, (true, true));
    }
}

/// A listing of any length needs the memory of its beginning: entries come out while it is read.
#[test]
fn entries_come_out_while_a_listing_is_read() {
    let line = b"-rw-r--r--   1 ftp      ftp          1234 Jan 02  2020 file.csv\r\n";
    let mut reader = ListingReader::new(ListingContext {
        source: ListingSource::List,
        directory: Vec::new(),
        now: "2026-11-29T12:00:00Z".parse().unwrap(),
        clock_offset: None,
    });
    let (mut pushed, mut taken, mut most_held) = (0_usize, 0_usize, 0_usize);
    for _ in 0..100_000 {
        pushed += 1;
        reader.push(line, |_| taken += 1);
        most_held = most_held.max(pushed - taken);
    }
    reader.finish(|_| taken += 1);
    assert_eq!(taken, pushed);
    assert!(most_held * line.len() <= LOOK_AHEAD_BYTES, "{most_held} lines were held");
}

#[test]
fn an_overlong_line_is_one_that_is_not_recognized() {
    let line = b"-rw-r--r--   1 ftp      ftp          1234 Jan 02  2020 file.csv\r\n";
    let listing = [line.as_slice(), &vec![b'x'; 3 * MAX_LINE], b"\r\n", line].concat();
    let (entries, unrecognized) = read(ListingSource::List, &listing);
    assert_eq!((entries.len(), unrecognized), (2, 1));
}

/// The fuzzer's corpus, seeds and finds, tried again.
#[test]
fn the_corpus_finds_nothing() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/listing");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        ftp_listing::fuzz::listing(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0);
}
