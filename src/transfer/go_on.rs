//! Uploads that go on with what an earlier try has sent: one of this process, or of another that had the record
//! before.
//!
//! Who sent it may be sending still: a broken connection's bytes may be under way, and another process may be frozen,
//! not dead. They are the same bytes at the same places, since a source is sent only as long as it is what it was
//! (see [`SourceFile::read`]). What must be known of the server is what it does to them: see [`RestartSupport`].

use std::time::Duration;

use tokio::time::timeout;

use crate::failure::{Code, TryError};
use crate::ftp::{RenameOutcome, RestartSupport, Session, SizeReply};
use crate::storage::{SourceFile, TempName};

use super::resume::{self, Part, RESUME_FROM, Sent, Writers};
use super::row::{self, Place};
use super::tidy::Leftover;
use super::upload::{self, clean_up};
use super::verify::Check;
use super::{Job, Stopped};

/// How long a server may take to let a file go on that another process has begun.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// What an upload goes on with.
#[derive(Debug)]
pub(super) struct Going {
    /// Bytes that are there.
    pub there: u64,
    pub writers: Writers,
    /// As far as it had to be known.
    pub restarts: Option<RestartSupport>,
    /// Another process has sent them.
    pub is_anothers: bool,
}

/// Where it stands, and what is there.
pub(super) type Found = Option<(TempName, Leftover, Going)>;

/// The name under which a new temp file of this source is sent: one that tells its next owner what it is a part of,
/// where going on may be worth it.
pub(super) fn name_for(job: &Job<'_>, source: &SourceFile) -> TempName {
    let modified = jiff::Timestamp::try_from(source.modified());
    let is_proof = modified.is_ok_and(|modified| resume::is_settled(modified, jiff::Timestamp::now()));
    if is_worth_it(job, source) && is_proof { part_of(job, source) } else { job.owner.temp.clone() }
}

pub(super) fn is_worth_it(job: &Job<'_>, source: &SourceFile) -> bool {
    job.resumes && source.size() >= RESUME_FROM
}

pub(super) fn part_of(job: &Job<'_>, source: &SourceFile) -> TempName {
    let mut told = source.description();
    told.extend_from_slice(job.path.as_bytes());
    job.names.part_of(&job.owner.temp, &told)
}

/// Goes on with what this process has sent. What it cannot go on with is removed.
pub(super) async fn with_own(
    session: &mut Session,
    job: &Job<'_>,
    directory: &str,
    source: &SourceFile,
    sent: Sent,
) -> Result<Found, Stopped> {
    let Some((temp, writers)) = sent.take() else { return Ok(None) };
    let leftover = Leftover::of(&job.strays, directory, &temp);
    let there = if session.may_restart_store() {
        writers.sure_of(size(session, job, directory, &temp).await?)
    } else {
        0
    };
    let there = if there <= source.size() { there } else { 0 };
    let mut going = Going { there, writers, restarts: None, is_anothers: false };
    if writers.have_ended() {
        // Nobody else writes to it: it may as well be written from its begin.
        return Ok(Some((temp, leftover, going)));
    }
    if there > 0 {
        let restarts = restarts(session, job, directory).await?;
        going.restarts = Some(restarts);
        match restarts {
            RestartSupport::InPlace => return Ok(Some((temp, leftover, going))),
            // A command that is late must not cut what comes now, nor another pod rely on the file's size.
            RestartSupport::Cut => {
                if let Some((temp, renamed)) = rename(session, job, directory, &temp, new_name(job)).await? {
                    leftover.gone();
                    return Ok(Some((temp, renamed, going)));
                }
            }
            RestartSupport::Otherwise => {}
        }
    }
    remove(session, directory, &temp, leftover).await;
    Ok(None)
}

/// Where the file stands until it has its name.
pub(super) struct Temp {
    pub path: String,
    /// What of it an earlier try has sent.
    pub going: Option<Going>,
    /// Whatever is there, no try goes on with it.
    pub is_given_up: bool,
}

impl Temp {
    /// What the try has left, for the next one; `is_sound` where the server has told its end.
    pub fn part<'a>(
        &self,
        directory: &'a str,
        temp: &'a TempName,
        source: &SourceFile,
        is_sound: bool,
    ) -> Part<'a> {
        let (bytes, writers) = match &self.going {
            Some(going) => {
                let writers = going.writers.and(going.there, going.restarts, is_sound);
                (source.position().max(going.there), writers)
            }
            None => (source.position(), Writers::first(is_sound)),
        };
        Part { directory, temp, bytes, writers }
    }
}

/// Sends what the server does not have yet of a file that an earlier try has begun. The earlier connection may not be
/// gone at the server: what it still writes is what stands there, the source being the same. `None` where the file
/// has to be sent from its begin.
pub(super) async fn send(
    session: &mut Session,
    job: &Job<'_>,
    temp: &mut Temp,
    source: &mut SourceFile,
    check: &mut Check,
    place: &mut Place<'_>,
) -> Result<Option<u64>, Stopped> {
    let Some(Going { there, writers, is_anothers, .. }) = temp.going else { return Ok(None) };
    if there == 0 {
        temp.going = None;
        return Ok(None);
    }
    if there == source.size() {
        check.take_in_source(job, source, there).await?;
        return Ok(Some(there));
    }
    let limit = if is_anothers { LET_GO_WITHIN } else { Duration::MAX };
    let opening = async { Ok::<_, Stopped>(timeout(limit, session.store_from(&temp.path, there)).await) };
    let begun = match job.stop.or_soon(opening).await? {
        Ok(Err(late)) if is_anothers && late.failure.code == Code::Timeout => None,
        Ok(begun) => Some(begun?),
        Err(_) => None,
    };
    let Some(begun) = begun else {
        // vsftpd locks what it receives, and waits for as long as an earlier connection stands.
        temp.is_given_up = true;
        return Err(row::again("the server does not let the file go that another pod has begun").into());
    };
    let Some(begun) = begun else {
        if writers.have_ended() {
            temp.going = None;
            return Ok(None);
        }
        temp.is_given_up = true;
        return Err(row::again("the server does not begin in the middle of the file").into());
    };
    check.used("REST");
    check.take_in_source(job, source, there).await?;
    job.gauge.begin(there, Some(source.size()));
    upload::send_all(begun, job, source, check, place).await?;
    Ok(Some(there))
}

/// 0 where it is not told.
pub(super) async fn size(
    session: &mut Session,
    job: &Job<'_>,
    directory: &str,
    temp: &TempName,
) -> Result<u64, Stopped> {
    Ok(match job.stop.or_soon(session.size(&format!("{directory}{temp}"))).await? {
        SizeReply::Bytes(bytes) => bytes,
        SizeReply::Unsupported | SizeReply::Refused { .. } => 0,
    })
}

pub(super) async fn restarts(
    session: &mut Session,
    job: &Job<'_>,
    directory: &str,
) -> Result<RestartSupport, Stopped> {
    if let Some(known) = session.known_restart_support() {
        return Ok(known);
    }
    let scratch = new_name(job);
    let (leftover, path) = (Leftover::of(&job.strays, directory, &scratch), format!("{directory}{scratch}"));
    let tried = job.stop.or_soon(session.try_restart_support(&path)).await;
    remove(session, directory, &scratch, leftover).await;
    match tried {
        Err(Stopped::Failed(error)) if session.is_usable() => {
            tracing::debug!(%error, "not tried whether the server goes on in the middle of a file");
            Ok(RestartSupport::Otherwise)
        }
        tried => tried,
    }
}

/// `None` where the server refuses.
pub(super) async fn rename(
    session: &mut Session,
    job: &Job<'_>,
    directory: &str,
    from: &TempName,
    to: TempName,
) -> Result<Option<(TempName, Leftover)>, Stopped> {
    job.stop.check()?;
    let leftover = Leftover::of(&job.strays, directory, &to);
    let (old, new) = (format!("{directory}{from}"), format!("{directory}{to}"));
    let renamed: Result<RenameOutcome, TryError> = session.rename(&old, &new, job.stop.still_ours()).await;
    match renamed {
        Ok(RenameOutcome::Done) => Ok(Some((to, leftover))),
        Ok(RenameOutcome::Abandoned) => {
            job.stop.check()?;
            Err(Stopped::Cancelled)
        }
        Ok(RenameOutcome::TargetRefused(_)) => Ok(None),
        Err(error) if session.is_usable() => {
            tracing::debug!(%error, "what was sent of the file keeps its name");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn remove(session: &mut Session, directory: &str, temp: &TempName, leftover: Leftover) {
    if clean_up(session, &format!("{directory}{temp}")).await {
        leftover.gone();
    }
}

pub(super) fn new_name(job: &Job<'_>) -> TempName {
    job.owner.temp.origin().map_or_else(|| job.owner.temp.clone(), |record| job.names.name_for(record))
}
