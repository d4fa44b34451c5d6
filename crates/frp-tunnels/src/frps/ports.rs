//! Ranges of ports, as people write them.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// `6000` or `6000-6099`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    pub fn range(&self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    pub fn count(&self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    pub fn contains(&self, port: u16) -> bool {
        self.range().contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text:?} is neither PORT nor FIRST-LAST (1 to 65535)")),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(out, "{}", self.first)
        } else {
            write!(out, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        for text in ["1", "6000-6099", "65535"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
        }
        assert_eq!("10-12".parse::<PortRange>().unwrap().count(), 3);
        for wrong in ["", "0", "2-1", "70000", "a-b", "1-"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }
}
