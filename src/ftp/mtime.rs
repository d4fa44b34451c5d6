//! When a file was last changed: MDTM (RFC 3659, 3) asks for it; MFMT and MFF (draft-somers-ftp-mfxx), SITE UTIME and a
//! form of MDTM that many servers support set it.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::failure::TryError;

use super::command::{Command, Step};
use super::fault::Fault;
use super::session::Session;

/// What a server reports about a file's modification time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModifiedReply {
    At(Timestamp),
    /// The server has no MDTM, or its reply contains no time.
    Unsupported,
    /// Refused for this path; `missing` is true if the reply's text is clear.
    Refused {
        error: TryError,
        missing: bool,
    },
}

impl Session {
    /// MDTM. A server that has once replied that it has none is not asked again.
    pub async fn modified(&mut self, path: &str) -> Result<ModifiedReply, TryError> {
        if self.lacks(Step::Mdtm) {
            return Ok(ModifiedReply::Unsupported);
        }
        let reply = self.ask(Step::Mdtm, path).await?;
        match (reply.code, reply.time()) {
            (213, Some(at)) => Ok(ModifiedReply::At(at)),
            (213, None) => Ok(ModifiedReply::Unsupported),
            (500 | 502 | 504, _) if !reply.hints(Some(path)).oops => {
                self.found_missing(Step::Mdtm);
                Ok(ModifiedReply::Unsupported)
            }
            (450 | 501 | 550 | 553, _) => {
                let missing = reply.hints(Some(path)).missing;
                let error = self.fail(Step::Mdtm, Some(path), &Fault::Reply(reply));
                Ok(ModifiedReply::Refused { error, missing })
            }
            _ => Err(self.fail(Step::Mdtm, Some(path), &Fault::Reply(reply))),
        }
    }
}

/// The outcome of setting a file's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetModified {
    /// Set with this command, to the second.
    Done(&'static str),
    /// The server has no command for it.
    Unsupported,
    /// It has one, and refused it for this file.
    Refused(TryError),
}

/// The commands that set a file's time, in the order in which they are tried.
const SETTING_COMMANDS: [Step; 4] = [Step::Mfmt, Step::Mff, Step::SiteUtime, Step::SetMdtm];

impl Session {
    /// Sets a file's modification time with the first command that the server has. One that was found missing is not
    /// tried again on any session of the connection.
    pub async fn set_modified(&mut self, path: &str, at: Timestamp) -> Result<SetModified, TryError> {
        let mut refused = None;
        let name = match self.name_of(path).await {
            Ok(name) => name,
            Err(fault) => return Err(self.fail(Step::Cwd, Some(path), &fault)),
        };
        for (bit, step) in SETTING_COMMANDS.into_iter().enumerate() {
            if self.profile().lacks_mtime_command(bit) || !self.may_set_by(step) {
                continue;
            }
            let time = at.strftime("%Y%m%d%H%M%S").to_string();
            let argument = match step {
                Step::Mff => format!("modify={time}; {name}"),
                // Access, modification, creation.
                Step::SiteUtime => format!("{name} {time} {time} {time} UTC"),
                _ => format!("{time} {name}"),
            };
            let answered = match Command::with(step, &argument) {
                Ok(command) => self.exchange(&command).await,
                Err(fault) => Err(fault),
            };
            let reply = answered.map_err(|fault| self.fail(step, Some(path), &fault))?;
            // A server that does not know this form reports the time of a file with that strange name.
            let is_done = reply.is_done()
                && (step != Step::SetMdtm
                    || reply.time().is_none_or(|told| told.as_second() == at.as_second()));
            if is_done {
                return Ok(SetModified::Done(step.verb()));
            }
            if reply.code == 421 || !(reply.is_done() || reply.is_refusal()) {
                return Err(self.fail(step, Some(path), &Fault::Reply(reply)));
            }
            // A 450 is temporary.
            if matches!(reply.code, 500..=504)
                || (step == Step::SetMdtm && (reply.is_done() || reply.code >= 500))
            {
                self.profile().mtime_command_missing(bit);
            } else {
                refused = Some(self.fail(step, Some(path), &Fault::Reply(reply)));
            }
        }
        Ok(refused.map_or(SetModified::Unsupported, SetModified::Refused))
    }

    /// Whether the server may have this command: FEAT lists the first three; the form of MDTM is tried if they are
    /// missing, as no server lists it. If FEAT lists nothing at all, each is tried.
    fn may_set_by(&self, step: Step) -> bool {
        let features = self.features();
        if self.connection().writing_mdtm {
            return step == Step::SetMdtm;
        }
        match step {
            Step::Mfmt => features.has("MFMT") || features.is_empty(),
            Step::Mff => features.parameters("MFF").is_some_and(|facts| facts.contains("MODIFY")),
            Step::SiteUtime => features.has("SITE UTIME") || features.is_empty(),
            _ => features.has("MDTM") || features.is_empty(),
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
    // A leap second counts as the second before it.
    let second = number(12, 14)?.min(59);
    let at = DateTime::new(year, number(4, 6)?, number(6, 8)?, number(8, 10)?, number(10, 12)?, second, 0);
    let nanoseconds = format!("{:0<9}", fraction.get(..fraction.len().min(9))?).parse::<i64>().ok()?;
    let at = at.ok()?.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp();
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
