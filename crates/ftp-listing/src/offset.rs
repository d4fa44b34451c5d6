//! A server's clock: its offset from UTC, and the instants that a listed time may mean.

use jiff::{SignedDuration, Timestamp, tz::Offset};

use crate::entry::{Clock, ListedTime, TimePrecision};

/// Offsets in use are between these.
const WESTERNMOST: SignedDuration = SignedDuration::from_hours(-12);
const EASTERNMOST: SignedDuration = SignedDuration::from_hours(14);
/// Every offset in use is a multiple of it.
const STEP_SECONDS: i64 = 15 * 60;
/// Some servers round to the minute instead of truncating seconds.
const ROUNDING_SECONDS: i64 = 60;
/// An offset that was learned from a file is that of the time when the file was changed: daylight saving time may have
/// begun or ended between it and a file whose time is further away than this.
const SAME_SEASON: SignedDuration = SignedDuration::from_hours(14 * 24);
const SUMMER_TIME: SignedDuration = SignedDuration::from_hours(1);

/// The offset of a server's wall clock from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    pub offset: Offset,
    /// The time of the file that it was learned from; `None` if it is configured and always valid.
    pub learned_at: Option<Timestamp>,
}

/// The first and the last instant that a time may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub earliest: Timestamp,
    pub latest: Timestamp,
}

impl ClockOffset {
    /// As configured by the operator.
    pub fn configured(offset: Offset) -> Self {
        ClockOffset { offset, learned_at: None }
    }

    /// Learns it from one file: its time in LIST, and in MDTM (RFC 3659, 3: UTC). `None` if the difference is not an
    /// existing offset: the file was changed in between, or only the day is listed.
    pub fn learn(listed: &ListedTime, modified: Timestamp) -> Option<Self> {
        if listed.clock != Clock::ServerLocal || listed.precision == TimePrecision::Day {
            return None;
        }
        let years = if listed.year_is_inferred { -1..=1 } else { 0..=0 };
        let modified_year = Offset::UTC.to_datetime(modified).year();
        years
            .filter_map(|shift| {
                let year = if listed.year_is_inferred { modified_year + shift } else { listed.at.year() };
                let at = listed.at.with().year(year).build().ok()?;
                difference(at, listed.precision, modified)
            })
            .map(|offset| ClockOffset { offset, learned_at: Some(modified) })
            .next()
    }
}

fn difference(at: jiff::civil::DateTime, precision: TimePrecision, modified: Timestamp) -> Option<Offset> {
    let modified = if precision == TimePrecision::Minute {
        modified.as_second().div_euclid(60) * 60
    } else {
        modified.as_second()
    };
    let seconds = Offset::UTC.to_timestamp(at).ok()?.as_second() - modified;
    let steps = (seconds + STEP_SECONDS / 2).div_euclid(STEP_SECONDS);
    let exact = steps * STEP_SECONDS;
    let in_use = (WESTERNMOST.as_secs()..=EASTERNMOST.as_secs()).contains(&exact);
    if !in_use || (seconds - exact).abs() > ROUNDING_SECONDS {
        return None;
    }
    Offset::from_seconds(i32::try_from(exact).ok()?).ok()
}

impl ListedTime {
    /// The instants that it may mean, if the server's clock has this offset; `None`: any existing offset.
    pub fn range(&self, clock_offset: Option<&ClockOffset>) -> Option<TimeRange> {
        let width = match self.precision {
            TimePrecision::Second => 0,
            TimePrecision::Minute => 59,
            TimePrecision::Day => 24 * 60 * 60 - 1,
        };
        let at = Offset::UTC.to_timestamp(self.at).ok()?;
        let until = at.checked_add(SignedDuration::from_secs(width)).ok()?;
        let (ahead, behind) = match (self.clock, clock_offset) {
            (Clock::Utc, _) => (SignedDuration::ZERO, SignedDuration::ZERO),
            (Clock::ServerLocal, None) => (EASTERNMOST, WESTERNMOST),
            (Clock::ServerLocal, Some(clock)) => {
                let offset = SignedDuration::from_secs(i64::from(clock.offset.seconds()));
                let is_far = clock.learned_at.is_some_and(|learned| {
                    at.checked_sub(offset).map_or(true, |at| at.duration_since(learned).abs() > SAME_SEASON)
                });
                let slack = if is_far { SUMMER_TIME } else { SignedDuration::ZERO };
                (offset + slack, offset - slack)
            }
        };
        Some(TimeRange { earliest: at.checked_sub(ahead).ok()?, latest: until.checked_sub(behind).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn local(at: jiff::civil::DateTime, year_is_inferred: bool) -> ListedTime {
        ListedTime { at, clock: Clock::ServerLocal, precision: TimePrecision::Minute, year_is_inferred }
    }

    #[test]
    fn an_offset_is_learned_from_one_file() {
        let listed = local(date(2026, 11, 29).at(4, 10, 0, 0), true);
        let learned = ClockOffset::learn(&listed, "2026-11-29T12:10:42Z".parse().unwrap()).unwrap();
        assert_eq!(learned.offset, Offset::constant(-8));
        // over New Year's Eve, and the year is not listed
        let listed = local(date(2026, 1, 1).at(1, 30, 0, 0), true);
        let learned = ClockOffset::learn(&listed, "2025-12-31T23:30:00Z".parse().unwrap()).unwrap();
        assert_eq!(learned.offset, Offset::constant(2));
        let listed = local(date(2026, 1, 1).at(5, 15, 0, 0), false);
        let learned = ClockOffset::learn(&listed, "2025-12-31T23:30:10Z".parse().unwrap()).unwrap();
        assert_eq!(learned.offset.seconds(), 5 * 3600 + 45 * 60);
    }

    #[test]
    fn times_of_two_states_of_a_file_teach_nothing() {
        let listed = local(date(2026, 11, 29).at(4, 10, 0, 0), false);
        assert_eq!(ClockOffset::learn(&listed, "2026-11-29T12:17:42Z".parse().unwrap()), None);
        assert_eq!(ClockOffset::learn(&listed, "2026-11-20T12:10:42Z".parse().unwrap()), None);
        let day = ListedTime { precision: TimePrecision::Day, ..listed };
        assert_eq!(ClockOffset::learn(&day, "2026-11-29T12:10:42Z".parse().unwrap()), None);
    }

    #[test]
    fn a_range_is_as_wide_as_what_is_not_known() {
        let listed = local(date(2026, 11, 29).at(4, 10, 0, 0), false);
        let range = |offset: Option<ClockOffset>| {
            let range = listed.range(offset.as_ref()).unwrap();
            (range.earliest.to_string(), range.latest.to_string())
        };
        assert_eq!(range(None), ("2026-11-28T14:10:00Z".into(), "2026-11-29T16:10:59Z".into()));
        let offset = Offset::constant(-8);
        let exact = ("2026-11-29T12:10:00Z".to_owned(), "2026-11-29T12:10:59Z".to_owned());
        assert_eq!(range(Some(ClockOffset::configured(offset))), exact);
        let learned = |at: &str| ClockOffset { offset, learned_at: Some(at.parse().unwrap()) };
        assert_eq!(range(Some(learned("2026-11-25T00:00:00Z"))), exact);
        let summer = ("2026-11-29T11:10:00Z".to_owned(), "2026-11-29T13:10:59Z".to_owned());
        assert_eq!(range(Some(learned("2026-07-25T00:00:00Z"))), summer);
    }
}
