//! A date as written in a line, before the whole listing determines its meaning.

use jiff::Timestamp;
use jiff::civil::Time;

/// The time of day in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayTime {
    /// `24:00`: midnight at the end of the day.
    EndOfDay,
    At {
        time: Time,
        has_seconds: bool,
    },
}

/// A date that is not interpreted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawDate<'a> {
    /// In UTC, to the second.
    Utc(Timestamp),
    /// A month's name, in some language.
    Named { month: &'a [u8], day: u32, year: Option<i16>, time: Option<DayTime>, offset_seconds: Option<i32> },
    /// Three numbers, whose order may be ambiguous in a single line.
    Numeric { parts: [NumberPart; 3], separator: u8, time: Option<DayTime>, offset_seconds: Option<i32> },
    /// Month and day, or day and month, without a year.
    MonthDay { first: u32, second: u32, time: Option<DayTime> },
    /// Month and day, or day and month, with a year in a separate column.
    MonthDayYear { first: u32, second: u32, year: i16 },
    /// In place of a date there is one that does not exist.
    Unreadable,
}

/// A number of a date, and how many digits it has: `103` means 2003 on servers that were written before 2000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberPart {
    pub value: u32,
    pub digits: u8,
}

/// The order of a numeric date's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    MonthDayYear,
    DayMonthYear,
    YearMonthDay,
}

/// The orders that are possible for all dates of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateOrders(u8);

impl DateOrders {
    pub const ALL: DateOrders = DateOrders(0b111);
    pub const NONE: DateOrders = DateOrders(0);

    fn bit(order: DateOrder) -> u8 {
        match order {
            DateOrder::MonthDayYear => 1,
            DateOrder::DayMonthYear => 2,
            DateOrder::YearMonthDay => 4,
        }
    }

    pub fn with(self, order: DateOrder) -> Self {
        DateOrders(self.0 | Self::bit(order))
    }

    pub fn and(self, other: Self) -> Self {
        DateOrders(self.0 & other.0)
    }

    pub fn has(self, order: DateOrder) -> bool {
        self.0 & Self::bit(order) != 0
    }

    pub fn only(self) -> Option<DateOrder> {
        match self.0 {
            1 => Some(DateOrder::MonthDayYear),
            2 => Some(DateOrder::DayMonthYear),
            4 => Some(DateOrder::YearMonthDay),
            _ => None,
        }
    }
}
