//! When a file was last changed: MDTM (RFC 3659, 3).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::failure::TryError;

use super::fault::{Fault, Step};
use super::reply::Reply;
use super::session::Session;

/// What a server says about the time of a file's last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modified {
    At(Timestamp),
    /// The server has no MDTM, or its reply is none.
    Unsupported,
    /// Refused for this path; `missing` is true where the server's words are clear.
    Refused {
        error: TryError,
        missing: bool,
    },
}

impl Session {
    /// MDTM. A server that has said once that it has none is not asked again.
    pub async fn modified(&mut self, path: &str) -> Result<Modified, TryError> {
        if self.lacks.mdtm {
            return Ok(Modified::Unsupported);
        }
        let reply = match self.exchange(Step::Mdtm, Some(path)).await {
            Ok(reply) => reply,
            Err(fault) => return Err(self.fail(Step::Mdtm, Some(path), &fault)),
        };
        self.modified_said(path, reply)
    }

    /// What a reply to MDTM means.
    pub(super) fn modified_said(&mut self, path: &str, reply: Reply) -> Result<Modified, TryError> {
        match (reply.code, reply.time()) {
            (213, Some(at)) => Ok(Modified::At(at)),
            (213, None) => Ok(Modified::Unsupported),
            (500 | 502 | 504, _) if !reply.says(Some(path)).oops => {
                self.lacks.mdtm = true;
                Ok(Modified::Unsupported)
            }
            (450 | 501 | 550 | 553, _) => {
                let missing = reply.says(Some(path)).missing;
                let error = self.fail(Step::Mdtm, Some(path), &Fault::Reply(reply));
                Ok(Modified::Refused { error, missing })
            }
            _ => Err(self.fail(Step::Mdtm, Some(path), &Fault::Reply(reply))),
        }
    }
}

/// A time as RFC 3659 (2.3) writes it, in UTC: `YYYYMMDDHHMMSS`, and a fraction where there is one.
pub(super) fn time_val(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() != 14 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| whole.get(from..to)?.parse::<i8>().ok();
    let year = whole.get(..4)?.parse().ok()?;
    // A leap second counts as the one before.
    let second = number(12, 14)?.min(59);
    let at = DateTime::new(year, number(4, 6)?, number(6, 8)?, number(8, 10)?, number(10, 12)?, second, 0);
    let nanoseconds = format!("{:0<9}", fraction.get(..fraction.len().min(9))?).parse::<i64>().ok()?;
    let at = at.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    at.checked_add(nanoseconds.nanoseconds()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reply::reply;
    use super::*;

    #[test]
    fn times_are_read_as_servers_write_them() {
        for (line, expected) in [
            ("213 20250115103000", "2025-01-15T10:30:00Z"),
            ("213 20250115103000.123", "2025-01-15T10:30:00.123Z"),
            ("213 19700101000000 UTC", "1970-01-01T00:00:00Z"),
            ("213 20161231235960", "2016-12-31T23:59:59Z"),
        ] {
            assert_eq!(reply(line).time(), Some(expected.parse().unwrap()), "{line}");
        }
        for line in [
            "213 191250115103000", // the year 2025 as 19125
            "213 2025011510300",
            "213 20251315103000",
            "213 20250115103000.1x",
            "213 2025-01-15 10:30",
            "213",
        ] {
            assert_eq!(reply(line).time(), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_for_a_time_is_read_without_a_panic(text in "[0-9.]{0,30}") {
            let _ = time_val(&text);
        }
    }
}
