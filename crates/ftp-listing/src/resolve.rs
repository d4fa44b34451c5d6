//! Determines the meaning of a date: by the whole listing, and by the current time.

use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, ToSpan, tz::Offset};

use crate::date::{DateOrder, DateOrders, DayTime, NumberPart, RawDate};
use crate::entry::{Clock, ListedTime, TimePrecision};
use crate::evidence::Evidence;
use crate::reader::ListingContext;

/// How many years back are searched for a date without year: at least one of eight has a 29 February.
const YEARS_BACK: i16 = 8;

pub struct Resolver {
    /// The latest civil time that a present file can have: one day after now.
    pub limit: DateTime,
}

impl Resolver {
    pub fn new(context: &ListingContext) -> Self {
        let offset = context.clock_offset.map_or(Offset::UTC, |clock| clock.offset);
        let now = offset.to_datetime(context.now);
        Resolver { limit: now.checked_add(1.day()).unwrap_or(now) }
    }

    /// `None` if there is no such date, or the listing does not determine it.
    pub fn resolve(
        &self,
        date: &RawDate,
        evidence: &Evidence,
        (allowed, default): (DateOrders, Option<DateOrder>),
    ) -> Option<ListedTime> {
        match *date {
            RawDate::Unreadable => None,
            RawDate::Utc(at) => Some(ListedTime {
                at: Offset::UTC.to_datetime(at),
                clock: Clock::Utc,
                precision: TimePrecision::Second,
                year_is_inferred: false,
            }),
            RawDate::Named { month, day, year, time, offset_seconds } => {
                let month = evidence.languages().month(month)?;
                let day = i8::try_from(day).ok()?;
                match year {
                    Some(year) => listed(Date::new(year, month, day).ok()?, time, offset_seconds, false),
                    None => self.infer_year(month, day, time),
                }
            }
            RawDate::Numeric { parts, separator, time, offset_seconds } => {
                let default = default_order(separator, default);
                let orders = self.orders(parts, allowed, default.is_some());
                let order = choose(orders, evidence.orders(), default)?;
                listed(self.in_order(parts, order)?, time, offset_seconds, false)
            }
            RawDate::MonthDay { first, second, time } => {
                let (month, day) = month_and_day(first, second, evidence, default)?;
                self.infer_year(month, day, time)
            }
            RawDate::MonthDayYear { first, second, year } => {
                let (month, day) = month_and_day(first, second, evidence, default)?;
                listed(Date::new(year, month, day).ok()?, None, None, false)
            }
        }
    }

    /// The last year in which the date exists and is at most a day in the future.
    fn infer_year(&self, month: i8, day: i8, time: Option<DayTime>) -> Option<ListedTime> {
        let newest = self.limit.year();
        (0..=YEARS_BACK).find_map(|back| {
            let date = Date::new(newest - back, month, day).ok()?;
            listed(date, time, None, true).filter(|listed| listed.at <= self.limit)
        })
    }

    /// The orders in which the parts are a date; only those that are at most a day in the future, unless there is a
    /// default order: some servers' clocks are ahead.
    pub fn orders(&self, parts: [NumberPart; 3], allowed: DateOrders, has_default: bool) -> DateOrders {
        let year_is_first = parts[0].digits == 4;
        let all = [DateOrder::MonthDayYear, DateOrder::DayMonthYear, DateOrder::YearMonthDay]
            .into_iter()
            .filter(|order| year_is_first || allowed.has(*order));
        let exists = |order: &DateOrder| self.in_order(parts, *order).is_some();
        let is_past = |order: &DateOrder| {
            self.in_order(parts, *order).is_some_and(|date| has_default || date <= self.limit.date())
        };
        let add = |orders: DateOrders, order: DateOrder| orders.with(order);
        let past = all.clone().filter(is_past).fold(DateOrders::NONE, add);
        if past == DateOrders::NONE { all.filter(exists).fold(DateOrders::NONE, add) } else { past }
    }

    fn in_order(&self, parts: [NumberPart; 3], order: DateOrder) -> Option<Date> {
        let [a, b, c] = parts;
        let (year, month, day) = match order {
            DateOrder::MonthDayYear => (c, a, b),
            DateOrder::DayMonthYear => (c, b, a),
            DateOrder::YearMonthDay => (a, b, c),
        };
        let value = i16::try_from(year.value).ok()?;
        let year = match year.digits {
            4 => value,
            // the century in which the year is not in the future
            2 if 2000 + value <= self.limit.year() => 2000 + value,
            // and 103 is 2003 on servers that were written before 2000
            2 | 3 => 1900 + value,
            _ => return None,
        };
        if month.digits > 2 || day.digits > 2 || year < 1970 {
            return None;
        }
        Date::new(year, i8::try_from(month.value).ok()?, i8::try_from(day.value).ok()?).ok()
    }
}

/// Dots are used in countries where the day comes first.
pub fn default_order(separator: u8, default: Option<DateOrder>) -> Option<DateOrder> {
    if separator == b'.' { Some(DateOrder::DayMonthYear) } else { default }
}

fn choose(of_line: DateOrders, of_listing: DateOrders, default: Option<DateOrder>) -> Option<DateOrder> {
    let both = of_line.and(of_listing);
    let possible = if both == DateOrders::NONE { of_line } else { both };
    possible.only().or_else(|| default.filter(|order| possible.has(*order)))
}

fn month_and_day(
    first: u32,
    second: u32,
    evidence: &Evidence,
    default: Option<DateOrder>,
) -> Option<(i8, i8)> {
    let day_is_first = if first > 12 {
        true
    } else if second > 12 || first == second {
        false
    } else {
        let orders = evidence.orders();
        match (orders.has(DateOrder::DayMonthYear), orders.has(DateOrder::MonthDayYear)) {
            (true, false) => true,
            (false, true) => false,
            _ => default? == DateOrder::DayMonthYear,
        }
    };
    let (month, day) = if day_is_first { (second, first) } else { (first, second) };
    Some((i8::try_from(month).ok()?, i8::try_from(day).ok()?))
}

fn listed(
    date: Date,
    time: Option<DayTime>,
    offset_seconds: Option<i32>,
    year_is_inferred: bool,
) -> Option<ListedTime> {
    let (at, precision) = match time {
        None => (date.to_datetime(Time::midnight()), TimePrecision::Day),
        Some(DayTime::EndOfDay) => {
            (date.tomorrow().ok()?.to_datetime(Time::midnight()), TimePrecision::Minute)
        }
        Some(DayTime::At { time, has_seconds }) => {
            let precision = if has_seconds { TimePrecision::Second } else { TimePrecision::Minute };
            (date.to_datetime(time), precision)
        }
    };
    let (at, clock) = match offset_seconds {
        None => (at, Clock::ServerLocal),
        Some(offset) => {
            let offset = SignedDuration::from_secs(i64::from(offset));
            (at.checked_sub(offset).ok()?, Clock::Utc)
        }
    };
    Some(ListedTime { at, clock, precision, year_is_inferred })
}
