//! How many bytes a second may be moved, by weekday and time: the syntax of rclone's `--bwlimit`.

use std::fmt;
use std::sync::Arc;

use jiff::ZonedDateTime;

use super::connection::FtpConnection;
use super::key::FieldAccess;
use super::kind::{KeyValue, quoted};
use super::settings::Config;
use super::size;

/// With a lower limit servers would take a transfer for a hung one.
const LOWEST: u64 = 1 << 10;
const HIGHEST: u64 = 1 << 40;

/// The maximum number of entries in a timetable: one for each hour of the week.
const MAX_ENTRIES: usize = 168;

const MINUTES_OF_DAY: u16 = 24 * 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The syntax of the keys.
pub(super) const SYNTAX: &str = "a limit such as 10M or 10M:1M, or a timetable";

const EXPECTED: &str = "a limit such as 512k, 10M, 10M:1M (up:down) or off, or a timetable such as `08:00,512k 18:00,off` \
                        (a plain number is KiB a second)";

/// Bytes a second in each direction; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BandwidthLimit {
    pub upload: Option<u64>,
    pub download: Option<u64>,
}

/// Which limit applies when, by local time. Without entries there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BandwidthTimetable {
    /// As they were written.
    entries: Arc<[TimetableEntry]>,
    /// Each entry on each of its days, by the minute of the week at which it begins; one a minute.
    starts: Arc<[(u16, BandwidthLimit)]>,
}

/// This limit applies from this time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimetableEntry {
    /// The day of the week, from Monday; `None` is each day.
    day: Option<u16>,
    /// The minute of the day.
    minute: u16,
    limit: BandwidthLimit,
}

impl BandwidthTimetable {
    /// Parses rclone's syntax: one limit, or `[day-]hh:mm,limit` several times.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<BandwidthTimetable, String> {
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).trim();
        if bare.is_empty() {
            return Err(format!("is empty; expected {EXPECTED}"));
        }
        if !bare.contains([' ', ';', ',']) {
            let limit = limit(bare)?;
            return Ok(BandwidthTimetable::of(vec![TimetableEntry { day: None, minute: 0, limit }]));
        }
        let words: Vec<&str> = bare.split([' ', '\t', ';']).filter(|word| !word.is_empty()).collect();
        if words.len() > MAX_ENTRIES {
            return Err(format!("has {} times; expected {MAX_ENTRIES} at most", words.len()));
        }
        let (mut entries, mut wrong) = (Vec::new(), Vec::new());
        for word in words {
            match entry(word) {
                Ok(entry) => entries.push(entry),
                Err(problem) => wrong.push(problem),
            }
        }
        if wrong.is_empty() { Ok(BandwidthTimetable::of(entries)) } else { Err(wrong.join("; ")) }
    }

    fn of(entries: Vec<TimetableEntry>) -> BandwidthTimetable {
        let mut starts: Vec<(u16, BandwidthLimit)> = Vec::new();
        for entry in &entries {
            let days = entry.day.map_or(0..7, |day| day..day + 1);
            starts.extend(days.map(|day| (day * MINUTES_OF_DAY + entry.minute, entry.limit)));
        }
        // Of two for one minute the later one applies, as in rclone: an entry for one day overrides one for all days.
        starts.reverse();
        starts.sort_by_key(|(minute, _)| *minute);
        starts.dedup_by_key(|(minute, _)| *minute);
        BandwidthTimetable { entries: entries.into(), starts: starts.into() }
    }

    /// The limit at this minute of the week, which begins on Monday: that of the latest entry, if necessary from the
    /// week before.
    #[must_use]
    pub fn at(&self, minute_of_week: u16) -> BandwidthLimit {
        let started = self.starts.partition_point(|(minute, _)| *minute <= minute_of_week);
        let latest = started.checked_sub(1).and_then(|index| self.starts.get(index)).or(self.starts.last());
        latest.map_or_else(BandwidthLimit::default, |(_, limit)| *limit)
    }

    /// The limit now, by the clock and time zone of this machine.
    #[must_use]
    pub fn now(&self) -> BandwidthLimit {
        if let [] | [_] = &*self.entries {
            return self.at(0);
        }
        let now = ZonedDateTime::now();
        let day = u16::try_from(now.weekday().to_monday_zero_offset()).unwrap_or_default();
        let of_day = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or_default();
        self.at(day * MINUTES_OF_DAY + of_day)
    }

    /// Whether there is no limit at any time.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.entries.iter().all(|entry| entry.limit == BandwidthLimit::default())
    }
}

impl fmt::Display for BandwidthTimetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [TimetableEntry { day: None, minute: 0, limit }] = &*self.entries {
            return limit.fmt(f);
        }
        if self.entries.is_empty() {
            return BandwidthLimit::default().fmt(f);
        }
        for (index, TimetableEntry { day, minute, limit }) in self.entries.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            let day = day.and_then(|day| DAYS.get(usize::from(day)));
            let day = day.map(|day| format!("{day}-")).unwrap_or_default();
            write!(f, "{gap}{day}{:02}:{:02},{limit}", minute / 60, minute % 60)?;
        }
        Ok(())
    }
}

impl fmt::Display for BandwidthLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |rate: Option<u64>| rate.map_or_else(|| "off".to_owned(), shown_rate);
        if self.upload == self.download {
            return f.write_str(&shown(self.upload));
        }
        write!(f, "{}:{}", shown(self.upload), shown(self.download))
    }
}

/// Formats a rate so that it parses to the same value: bytes need their suffix here.
fn shown_rate(rate: u64) -> String {
    let shown = size::show(rate);
    if shown.ends_with('i') { shown } else { format!("{shown}B") }
}

fn entry(word: &str) -> Result<TimetableEntry, String> {
    let wrong = |what: &str| format!("{}: {what}; expected {EXPECTED}", quoted(word));
    let (when, what) = word.split_once(',').ok_or_else(|| wrong("has no comma between time and limit"))?;
    let (day, time) = match when.split_once('-') {
        None => (None, when),
        Some((day, time)) => (Some(weekday(day).ok_or_else(|| wrong("is not a weekday such as Mon"))?), time),
    };
    let minute = minute_of_day(time).ok_or_else(|| wrong("is not a time from 00:00 to 23:59"))?;
    Ok(TimetableEntry { day, minute, limit: limit(what)? })
}

fn weekday(text: &str) -> Option<u16> {
    const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let lower = text.to_ascii_lowercase();
    let is_day = |name: &&str| **name == lower || name.get(..3) == Some(&lower);
    NAMES.iter().position(is_day).and_then(|day| u16::try_from(day).ok())
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// One rate for both directions, or up and down.
fn limit(text: &str) -> Result<BandwidthLimit, String> {
    let read = |part: &str| match rate(part) {
        Some(rate) => Ok(Some(rate).filter(|rate| *rate > 0)),
        None => Err(format!("found {}; expected {EXPECTED}, from 1k", quoted(text))),
    };
    match text.split_once(':') {
        None => read(text).map(|both| BandwidthLimit { upload: both, download: both }),
        Some((up, down)) => Ok(BandwidthLimit { upload: read(up)?, download: read(down)? }),
    }
}

/// Bytes a second, 0 if there is no limit, as rclone also writes it.
fn rate(text: &str) -> Option<u64> {
    if text.eq_ignore_ascii_case("off") || text == "0" {
        return Some(0);
    }
    // 08:00 is a time that lacks its limit, not eight KiB up.
    if text.len() > 1 && text.starts_with('0') && !text.starts_with("0.") {
        return None;
    }
    let is_plain = text.ends_with(|c: char| c.is_ascii_digit());
    let rate = if is_plain { size::parse(&format!("{text}K")) } else { size::parse(text) };
    rate.filter(|rate| (LOWEST..=HIGHEST).contains(rate))
}

pub(super) const OF_CONNECTION: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| BandwidthTimetable::parse(&value.into_text()).map(|read| ftp.bandwidth = read),
    get: |ftp| KeyValue::Text(ftp.bandwidth.to_string()),
};

pub(super) const OF_POD: FieldAccess<Config> = FieldAccess {
    set: |config, value| {
        BandwidthTimetable::parse(&value.into_text()).map(|read| config.pool.bandwidth = read)
    },
    get: |config| KeyValue::Text(config.pool.bandwidth.to_string()),
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    fn both(rate: u64) -> BandwidthLimit {
        BandwidthLimit { upload: Some(rate), download: Some(rate) }
    }

    fn parse(text: &str) -> BandwidthTimetable {
        BandwidthTimetable::parse(text).unwrap()
    }

    /// `day` from Monday = 0.
    fn at(table: &BandwidthTimetable, day: u16, time: &str) -> BandwidthLimit {
        table.at(day * MINUTES_OF_DAY + minute_of_day(time).unwrap())
    }

    #[test]
    fn limits_are_read_as_rclone_writes_them() {
        let off = BandwidthLimit::default();
        for (text, limit) in [
            ("off", off),
            ("0", off),
            ("10M", both(10 * MIB)),
            ("10MiB", both(10 * MIB)),
            ("1.5M", both(3 * MIB / 2)),
            ("512", both(512 * KIB)),
            ("512k", both(512 * KIB)),
            ("2000B", both(2000)),
            (" \"512k\" ", both(512 * KIB)),
            ("10M:1M", BandwidthLimit { upload: Some(10 * MIB), download: Some(MIB) }),
            ("off:100k", BandwidthLimit { upload: None, download: Some(100 * KIB) }),
        ] {
            assert_eq!(parse(text).at(0), limit, "{text}");
        }
    }

    #[test]
    fn a_timetable_says_what_holds_when() {
        let table = parse("08:00,512k 18:00,off");
        for (time, limit) in [
            ("00:00", BandwidthLimit::default()),
            ("07:59", BandwidthLimit::default()),
            ("08:00", both(512 * KIB)),
            ("17:59", both(512 * KIB)),
            ("18:00", BandwidthLimit::default()),
        ] {
            assert!((0..7).all(|day| at(&table, day, time) == limit), "{time}");
        }
    }

    #[test]
    fn what_is_said_of_a_day_holds_until_the_next_entry() {
        let table = parse("Mon-08:00,512k;fri-18:00,10M:1M Sunday-20:00,2k");
        assert_eq!(at(&table, 0, "07:59"), both(2 * KIB), "of the Sunday before");
        assert_eq!(at(&table, 3, "12:00"), both(512 * KIB));
        assert_eq!(at(&table, 5, "00:00").download, Some(MIB));
        assert_eq!(at(&table, 6, "23:59"), both(2 * KIB));
        let weekend = parse("08:00,512k 18:00,off Sat-08:00,off Sun-08:00,off");
        assert_eq!(at(&weekend, 4, "09:00"), both(512 * KIB));
        assert_eq!(at(&weekend, 5, "09:00"), BandwidthLimit::default());
    }

    #[test]
    fn every_mistake_is_named_with_what_would_be_right() {
        for (text, told) in [
            ("", "is empty"),
            ("fast", "`fast`"),
            ("08:00", "`08:00`"),
            ("500B", "from 1k"),
            ("-1", "`-1`"),
            ("10M:", "`10M:`"),
            ("08:00,512k 25:00,off", "`25:00,off`: is not a time"),
            ("Mo-08:00,512k", "`Mo-08:00,512k`: is not a weekday"),
            ("08:00 512k", "`08:00`: has no comma"),
            ("8:00,1M", "`8:00,1M`: is not a time"),
        ] {
            let problem = BandwidthTimetable::parse(text).unwrap_err();
            assert!(problem.contains(told) && problem.contains("10M:1M (up:down)"), "{text}: {problem}");
        }
        let both = BandwidthTimetable::parse("24:00,1M 08:00,x").unwrap_err();
        assert!(both.contains("`24:00,1M`") && both.contains("`x`"), "{both}");
        assert!(BandwidthTimetable::parse(&"08:00,1M ".repeat(169)).unwrap_err().contains("168 at most"));
    }

    fn any_limit() -> impl Strategy<Value = BandwidthLimit> {
        let rate = || proptest::option::of(LOWEST..=HIGHEST);
        (rate(), rate()).prop_map(|(upload, download)| BandwidthLimit { upload, download })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_the_same(
            entries in proptest::collection::vec((proptest::option::of(0u16..7), 0u16..1440, any_limit()), 1..20)
        ) {
            let entries =
                entries.into_iter().map(|(day, minute, limit)| TimetableEntry { day, minute, limit });
            let table = BandwidthTimetable::of(entries.collect());
            prop_assert_eq!(parse(&table.to_string()), table);
        }

        /// Whatever the entries are: what holds is the limit of the entry that began last.
        #[test]
        fn what_began_last_holds(
            starts in proptest::collection::btree_map(0u16..7 * 1440, any_limit(), 1..20), minute in 0u16..7 * 1440
        ) {
            let entries = starts.iter().map(|(start, limit)| TimetableEntry {
                day: Some(start / 1440), minute: start % 1440, limit: *limit
            });
            let table = BandwidthTimetable::of(entries.collect());
            let ago = |start: u16| (minute + 7 * 1440 - start) % (7 * 1440);
            let latest = starts.iter().min_by_key(|(start, _)| ago(**start)).unwrap();
            prop_assert_eq!(table.at(minute), *latest.1);
        }

        #[test]
        fn no_text_panics(text in "[0-9:,;. offMONk\"-]{0,40}") {
            let _ = BandwidthTimetable::parse(&text);
        }
    }
}
