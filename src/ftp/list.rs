//! What stands in a directory, hidden files included (MLSD, else LIST -a).

use bytes::BufMut;

use crate::failure::TryError;

use super::fault::Step;
use super::mlsd::MlsdLine;
use super::session::Session;

/// Bytes of one list that are read; what comes after them is not looked at.
const MAX_LIST: usize = 4 << 20;

/// A file, as a list tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    /// Bytes and time of change (as `YYYYMMDDHHMMSS`, UTC), where the server tells both.
    pub stamp: Option<(u64, i64)>,
}

impl Session {
    /// The files in `directory` (with the slash at its end; empty for the one logged in to), hidden ones
    /// included, whose names fulfil `is_wanted`. Of a huge directory only the first four mebibytes of the list.
    ///
    /// Names with a space in them are told by MLSD (RFC 3659, 7) only: LIST's lines are of no fixed form, and what
    /// is read of them is their last word.
    ///
    /// # Errors
    /// As of RETR. A directory that is empty or missing, which servers do not tell apart, has no files.
    pub async fn files_in(
        &mut self,
        directory: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Listed>, TryError> {
        let path = match directory.trim_end_matches('/') {
            "" if directory.is_empty() => ".",
            "" => "/",
            path => path,
        };
        if self.features.has("MLST") {
            match self.list(Step::Mlsd, path).await {
                // Some say in FEAT what they do not have.
                Err(error) if self.is_sound() && matches!(error.failure.ftp_code, Some(500..=504)) => {}
                listed => return Ok(files(&self.unless_missing(listed)?, machine_line, is_wanted)),
            }
        }
        // Without -a hidden files are not listed; Pure-FTPd lists none by NLST, with or without it.
        let listed = match self.list(Step::List, &format!("-a {path}")).await {
            // Where options are not known, they are a name, or not taken at all.
            Err(error)
                if self.is_sound() && matches!(error.failure.ftp_code, Some(450 | 500..=504 | 550)) =>
            {
                self.list(Step::List, path).await
            }
            listed => listed,
        };
        Ok(files(&self.unless_missing(listed)?, people_line, is_wanted))
    }

    fn unless_missing(&self, listed: Result<String, TryError>) -> Result<String, TryError> {
        match listed {
            Err(error) if self.is_sound() && matches!(error.failure.ftp_code, Some(450 | 550)) => {
                Ok(String::new())
            }
            listed => listed,
        }
    }

    async fn list(&mut self, step: Step, argument: &str) -> Result<String, TryError> {
        let mut retrieve = self.listing(step, argument).await?;
        let mut list = Vec::new();
        while list.len() < MAX_LIST {
            let mut room = (&mut list).limit(64 * 1024);
            if retrieve.read(&mut room).await? == 0 {
                break;
            }
        }
        if list.len() < MAX_LIST {
            retrieve.finish().await?;
        } else {
            retrieve.abort().await;
        }
        Ok(String::from_utf8_lossy(&list).into_owned())
    }
}

fn files(list: &str, read: impl Fn(&str) -> Option<Listed>, is_wanted: impl Fn(&str) -> bool) -> Vec<Listed> {
    list.lines().filter_map(read).filter(|file| is_wanted(&file.name)).collect()
}

/// A line of MLSD. `None` for what is no file.
fn machine_line(line: &str) -> Option<Listed> {
    let line = MlsdLine::parse(line)?;
    if line.fact("type").is_some_and(|kind| !kind.eq_ignore_ascii_case("file")) {
        return None;
    }
    let size = line.fact("size").and_then(|size| size.parse().ok());
    let time = line.fact("modify").and_then(|time| time.split('.').next()?.parse().ok());
    Some(Listed { name: last_part(line.name)?, stamp: size.zip(time) })
}

/// A line of LIST, made for people: its last word is the name, or its end. The rest is no measure: sizes and
/// times stand in no fixed place.
fn people_line(line: &str) -> Option<Listed> {
    let name = line.split_ascii_whitespace().next_back()?;
    Some(Listed { name: last_part(name)?, stamp: None })
}

/// Some give the directory as well.
fn last_part(name: &str) -> Option<String> {
    let name = name.rsplit('/').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(name: &str, stamp: Option<(u64, i64)>) -> Listed {
        Listed { name: name.to_owned(), stamp }
    }

    #[test]
    fn machine_lines_are_read_as_servers_write_them() {
        let line = "modify=20261126011500;perm=adfrw;size=17;type=file;unique=1U2;UNIX.mode=0644; .a b";
        assert_eq!(machine_line(line), Some(listed(".a b", Some((17, 20_261_126_011_500)))));
        let line = "Type=file;Size=17;Modify=20261126011500.123; /d/x";
        assert_eq!(machine_line(line), Some(listed("x", Some((17, 20_261_126_011_500)))));
        assert_eq!(machine_line("type=file; x"), Some(listed("x", None)));
        for line in ["type=cdir;modify=20261126011500; .", "type=dir; d", "", "x", "type=file; d/"] {
            assert_eq!(machine_line(line), None, "{line}");
        }
    }

    #[test]
    fn of_lines_for_people_the_last_word_is_read() {
        let unix = "-rw-r--r--    1 1000     1000           17 Nov 26 01:15 .ftp-pooler-x.tmp";
        assert_eq!(people_line(unix), Some(listed(".ftp-pooler-x.tmp", None)));
        let dos = "11-26-26  01:15AM                   17 x";
        assert_eq!(people_line(dos), Some(listed("x", None)));
        assert_eq!(people_line("d/x"), Some(listed("x", None)));
        assert_eq!(people_line("   "), None);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".{0,80}") {
            let _ = (machine_line(&line), people_line(&line));
        }
    }
}
