//! A date as a line has it, before the whole listing says what it means.

use jiff::Timestamp;
use jiff::civil::Time;

/// The time of day in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayTime {
    /// `24:00`: the midnight that ends the day.
    EndOfDay,
    At {
        time: Time,
        has_seconds: bool,
    },
}

/// A date, not yet understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawDate<'a> {
    /// In UTC, to the second.
    Utc(Timestamp),
    /// A month's name, in some language.
    Named { month: &'a [u8], day: u32, year: Option<i16>, time: Option<DayTime>, offset_seconds: Option<i32> },
    /// Three numbers, in an order that one line may not tell.
    Numeric { parts: [NumberPart; 3], separator: u8, time: Option<DayTime>, offset_seconds: Option<i32> },
    /// Month and day, or day and month, without a year.
    MonthDay { first: u32, second: u32, time: Option<DayTime> },
    /// Month and day, or day and month, with a year in a column of its own.
    MonthDayYear { first: u32, second: u32, year: i16 },
    /// Where a date is, there is none that exists.
    Unreadable,
}

/// A number of a date, and how many digits it has: `103` is 2003 for servers that were written before 2000.
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

/// Orders that all dates of a listing allow.
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
