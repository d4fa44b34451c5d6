//! A recurring schedule: a duration, or a cron expression in a time zone.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use croner::errors::CronError;
use croner::{CivilDateTime, Cron, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

use super::duration;

/// The shortest and the longest duration.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// When a feed lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedSchedule {
    Every(Duration),
    Cron(Box<CronSchedule>),
}

impl Default for FeedSchedule {
    fn default() -> Self {
        FeedSchedule::Every(Duration::from_secs(60))
    }
}

/// A cron expression, as written and as parsed.
#[derive(Clone, Debug)]
pub struct CronSchedule {
    text: String,
    cron: Cron,
    zone: TimeZone,
}

impl PartialEq for CronSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Eq for CronSchedule {}

impl FeedSchedule {
    /// Parses `30s`, `1h`, or five fields of cron (six with seconds).
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn parse(text: &str) -> Result<FeedSchedule, String> {
        if let Some(every) = duration::parse(text) {
            return if (SHORTEST..=LONGEST).contains(&every) {
                Ok(FeedSchedule::Every(every))
            } else {
                Err("expected a duration from 1s to 30d".to_owned())
            };
        }
        let cron = Cron::from_str(text.trim()).map_err(|error| {
            format!("{error}; expected a duration such as 30s, or a cron expression such as `*/5 * * * *`")
        })?;
        let schedule = CronSchedule { text: text.trim().to_owned(), cron, zone: TimeZone::UTC };
        if schedule.next_after(Timestamp::now()).is_none() {
            return Err("is never due; expected a cron expression such as `*/5 * * * *`".to_owned());
        }
        Ok(FeedSchedule::Cron(Box::new(schedule)))
    }

    /// The same schedule in this time zone, which a duration does not need.
    pub(super) fn in_zone(self, zone: TimeZone) -> FeedSchedule {
        match self {
            FeedSchedule::Cron(cron) => FeedSchedule::Cron(Box::new(CronSchedule { zone, ..*cron })),
            every @ FeedSchedule::Every(_) => every,
        }
    }

    /// The first due time after `last`.
    #[must_use]
    pub fn next_after(&self, last: Timestamp) -> Option<Timestamp> {
        match self {
            FeedSchedule::Every(every) => last.checked_add(SignedDuration::try_from(*every).ok()?).ok(),
            FeedSchedule::Cron(cron) => cron.next_after(last),
        }
    }
}

impl CronSchedule {
    fn next_after(&self, last: Timestamp) -> Option<Timestamp> {
        let last = CronTime(last.to_zoned_datetime(self.zone.clone()));
        self.cron.find_next_occurrence(&last, false).ok().map(|next| next.0.timestamp())
    }
}

impl fmt::Display for FeedSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeedSchedule::Every(every) => f.write_str(&duration::show(*every)),
            FeedSchedule::Cron(cron) => f.write_str(&cron.text),
        }
    }
}

/// A time in a zone, in the form over which croner searches. (croner supports jiff 0.2.)
#[derive(Clone, Debug)]
struct CronTime(ZonedDateTime);

impl CronDateTime for CronTime {
    fn to_civil(&self) -> CivilDateTime {
        let at = self.0.datetime();
        let part = |part: i8| u32::from(part.unsigned_abs());
        let [month, day, hour, minute, second] =
            [at.month(), at.day(), at.hour(), at.minute(), at.second()].map(part);
        // jiff's fields are within croner's ranges
        let civil = CivilDateTime::from_ymd_hms_opt(at.year().into(), month, day, hour, minute, second);
        civil.unwrap_or_else(|| unreachable!("{at} is a date"))
    }

    fn civil_weekday(&self) -> Weekday {
        use jiff::civil::Weekday as Day;
        match self.0.weekday() {
            Day::Monday => Weekday::Monday,
            Day::Tuesday => Weekday::Tuesday,
            Day::Wednesday => Weekday::Wednesday,
            Day::Thursday => Weekday::Thursday,
            Day::Friday => Weekday::Friday,
            Day::Saturday => Weekday::Saturday,
            Day::Sunday => Weekday::Sunday,
        }
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let at = DateTime::new(
            year,
            part(civil.month())?,
            part(civil.day())?,
            part(civil.hour())?,
            part(civil.minute())?,
            part(civil.second())?,
            0,
        );
        let ambiguous =
            self.0.time_zone().to_ambiguous_zoned_datetime(at.map_err(|_| CronError::InvalidDate)?);
        let zoned = |zoned: Result<ZonedDateTime, jiff::Error>| {
            zoned.map(CronTime).map_err(|_| CronError::InvalidTime)
        };
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(zoned(ambiguous.unambiguous())?),
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(zoned(ambiguous.clone().earlier())?, zoned(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(CronTime)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

/// A zone of the IANA database.
///
/// # Errors
/// What would be right.
pub(super) fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        format!("there is no time zone `{name}` here; expected a name such as UTC or Europe/Berlin")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = FeedSchedule::parse(text).unwrap().in_zone(time_zone(zone).unwrap());
        let mut at: Timestamp = after.parse().unwrap();
        let next = |_| {
            at = schedule.next_after(at).unwrap();
            at.to_string()
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn a_duration_and_an_expression_are_due_again_and_again() {
        assert_eq!(times("90s", "UTC", "2026-01-01T00:00:00Z", 1), ["2026-01-01T00:01:30Z"]);
        let five = times("*/5 6-7 * * MON-FRI", "UTC", "2026-01-02T07:51:00Z", 2);
        assert_eq!(five, ["2026-01-02T07:55:00Z", "2026-01-05T06:00:00Z"]);
    }

    #[test]
    fn an_expression_is_of_its_zone_over_a_change_of_the_clocks_too() {
        let daily = times("0 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(daily, ["2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z"]);
    }

    #[test]
    fn nonsense_is_told() {
        for text in ["", "soon", "0s", "61 * * * *", "* * *", "0 0 31 2 *", "1000d"] {
            assert!(FeedSchedule::parse(text).is_err(), "{text}");
        }
        assert!(time_zone("Mars/Olympus").unwrap_err().contains("Europe/Berlin"));
    }
}
