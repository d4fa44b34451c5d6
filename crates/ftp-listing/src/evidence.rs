//! What the lines of a listing reveal about one another.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::bytes::leading_blanks;
use crate::date::{DateOrder, DateOrders, RawDate};
use crate::date_match::DateForm;
use crate::dialects::{NameField, ParsedLine};
use crate::months::Languages;
use crate::resolve::{Resolver, default_order};

/// How many lines must all have more than one blank after the date, before the blanks count as padding rather than as
/// part of names.
const PADDED_LINES: usize = 8;

/// The column at which the names of several lines begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameColumn {
    Unseen,
    At(usize),
    /// Not all at the same column.
    Mixed,
}

/// What was found in the lines that were read before the first entry is returned.
#[derive(Clone, Debug)]
pub struct Evidence {
    orders: DateOrders,
    languages: Languages,
    /// The minimum number of blanks after a date in ls's form, and the number of such lines.
    ls_gap: (usize, usize),
    other_gap: usize,
    /// Lines with a time and no year before it; how many of them have four digits after it; names after these.
    times: usize,
    year_columns: usize,
    names_behind_years: HashSet<u64>,
    has_names_twice: bool,
    /// The column at which names begin in DOS lines with a size.
    dos_column: NameColumn,
    /// The leftmost column at which a DOS directory's name begins.
    dos_directory_column: usize,
    recognized: usize,
    single_fields: usize,
    others: usize,
}

impl Default for Evidence {
    fn default() -> Self {
        Evidence {
            orders: DateOrders::ALL,
            languages: Languages::ALL,
            ls_gap: (usize::MAX, 0),
            other_gap: usize::MAX,
            times: 0,
            year_columns: 0,
            names_behind_years: HashSet::new(),
            has_names_twice: false,
            dos_column: NameColumn::Unseen,
            dos_directory_column: usize::MAX,
            recognized: 0,
            single_fields: 0,
            others: 0,
        }
    }
}

impl Evidence {
    pub fn orders(&self) -> DateOrders {
        self.orders
    }

    pub fn languages(&self) -> Languages {
        self.languages
    }

    /// A server that replies to LIST with names: no line has columns, and each has one field.
    pub fn is_names_alone(&self) -> bool {
        self.recognized == 0 && self.others == 0 && self.single_fields > 0
    }

    /// Whether the four digits after a time are a year: all lines have them, and the names after them differ.
    fn has_year_column(&self) -> bool {
        self.year_columns > 0 && self.year_columns == self.times && !self.has_names_twice
    }

    pub fn see_unrecognized(&mut self, line: &[u8]) {
        if line.iter().any(|byte| crate::bytes::is_blank(*byte)) {
            self.others += 1;
        } else {
            self.single_fields += 1;
        }
    }

    pub fn see(&mut self, parsed: &ParsedLine, resolver: &Resolver) {
        self.recognized += 1;
        self.see_date(parsed, resolver);
        match &parsed.name {
            NameField::AfterDate { tail, form, narrow_year, year_column } => {
                let gap = leading_blanks(tail).saturating_sub(usize::from(*narrow_year));
                match form {
                    DateForm::Ls => self.ls_gap = (self.ls_gap.0.min(gap), self.ls_gap.1 + 1),
                    DateForm::Other => self.other_gap = self.other_gap.min(gap),
                }
                if let Some(RawDate::Named { year: None, time: Some(_), .. }) = parsed.date {
                    self.see_year_column(year_column.as_ref().map(|(name, _)| *name));
                }
            }
            NameField::Placed { start, .. } => self.see_dos_name(*start),
            NameField::Padded { line, field_end } => {
                let blanks = leading_blanks(line.get(*field_end..).unwrap_or_default());
                self.dos_directory_column = self.dos_directory_column.min(field_end + blanks);
            }
            _ => {}
        }
    }

    fn see_date(&mut self, parsed: &ParsedLine, resolver: &Resolver) {
        match parsed.date {
            Some(RawDate::Named { month, .. }) => self.languages = self.languages.narrowed_by(month),
            Some(RawDate::Numeric { parts, separator, .. }) => {
                let has_default = default_order(separator, parsed.default_order).is_some();
                self.orders = self.orders.and(resolver.orders(parts, parsed.orders, has_default));
            }
            Some(RawDate::MonthDay { first, second, .. } | RawDate::MonthDayYear { first, second, .. }) => {
                let order = match (first > 12, second > 12) {
                    (true, false) => DateOrder::DayMonthYear,
                    (false, true) => DateOrder::MonthDayYear,
                    _ => return,
                };
                self.orders = self.orders.and(DateOrders::NONE.with(order));
            }
            _ => {}
        }
    }

    fn see_year_column(&mut self, name: Option<&[u8]>) {
        self.times += 1;
        if let Some(name) = name {
            self.year_columns += 1;
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            self.has_names_twice |= !self.names_behind_years.insert(hasher.finish());
        }
    }

    fn see_dos_name(&mut self, start: usize) {
        self.dos_column = match self.dos_column {
            NameColumn::Unseen => NameColumn::At(start),
            NameColumn::At(seen) if seen == start => NameColumn::At(start),
            _ => NameColumn::Mixed,
        };
    }

    /// The name, and the date that belongs to it.
    pub fn name<'a>(&self, parsed: &ParsedLine<'a>) -> (NameBytes<'a>, Option<RawDate<'a>>) {
        match &parsed.name {
            NameField::Exact(name) => (NameBytes::Borrowed(name), parsed.date),
            NameField::Placed { line, start } => {
                (NameBytes::Borrowed(line.get(*start..).unwrap_or_default()), parsed.date)
            }
            NameField::Composed(name) => (NameBytes::Owned(name.clone()), parsed.date),
            NameField::AfterDate { tail, form, narrow_year, year_column } => {
                if let Some((tail, date)) = year_column.filter(|_| self.has_year_column()) {
                    return (NameBytes::Borrowed(tail.get(1..).unwrap_or_default()), Some(date));
                }
                let gap = self.gap(*form, *narrow_year, leading_blanks(tail));
                (NameBytes::Borrowed(tail.get(gap..).unwrap_or_default()), parsed.date)
            }
            NameField::Padded { line, field_end } => {
                let rest = line.get(*field_end..).unwrap_or_default();
                let blanks = leading_blanks(rest);
                // the column of files, if some directory's name begins at it as well
                let column = match self.dos_column {
                    NameColumn::At(column) if column == self.dos_directory_column => {
                        column.checked_sub(*field_end)
                    }
                    _ => None,
                };
                let gap = column.filter(|gap| (1..=blanks).contains(gap)).unwrap_or(blanks);
                (NameBytes::Borrowed(rest.get(gap..).unwrap_or_default()), parsed.date)
            }
        }
    }

    fn gap(&self, form: DateForm, narrow_year: bool, blanks: usize) -> usize {
        let gap = match form {
            DateForm::Ls if self.ls_gap.1 >= PADDED_LINES => self.ls_gap.0.max(1) + usize::from(narrow_year),
            DateForm::Ls => 1 + usize::from(narrow_year),
            DateForm::Other => self.other_gap.max(1),
        };
        gap.min(blanks)
    }
}

/// A name, borrowed from its line or composed.
#[derive(Clone, Debug)]
pub enum NameBytes<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl NameBytes<'_> {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            NameBytes::Borrowed(name) => name,
            NameBytes::Owned(name) => name,
        }
    }
}
