//! Local storage → server: a temp name in the target's directory, verified, renamed.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::config::RenameOver;
use crate::failure::{Code, Remedy, TryError};
use crate::ftp::{RenameOutcome, Session, SizeReply, UploadStream};
use crate::insight::TransferPhase;
use crate::outcome::Facts;
use crate::storage::{SourceFile, TempName};
use crate::task::Verify;

use super::claim::{self, Expected};
use super::compare::{self, Found};
use super::go_on::{self, Going, Temp};
use super::resume::Kept;
use super::row::{Due, Place, Progress};
use super::tidy::Leftover;
use super::verify::Check;
use super::{Job, Stopped, Transferred, give_up, mtime, try_again};

/// How long the removal of a temp file on the server may take.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn run(
    session: &mut Session,
    job: &Job<'_>,
    kept: &mut Kept,
    place: &mut Place<'_>,
) -> Result<Progress, Stopped> {
    let directory = directory_of(&job.path)?;
    let mut check = Check::begin(session, job)?;
    let Begun { name, going, mut source, leftover } = match place.row.take_begun(job) {
        Some(begun) => begun,
        None => match begin(session, job, directory, kept, &mut check).await? {
            Begin::Now(begun) => *begun,
            Begin::Superfluous { bytes } => return Ok(Progress::Done(already_there(bytes, check))),
        },
    };
    check.facts.source_mtime = mtime::of_local(&source);
    let mut temp = Temp { path: format!("{directory}{name}"), going, is_given_up: false };
    let put = put(session, job, &mut temp, &mut source, &mut check, place).await;
    let bytes = source.size();
    if matches!(put, Ok(Put::Due)) {
        check.facts.connection.clone_from(&job.task.remote);
        let transferred = Transferred { bytes, notes: check.notes, facts: check.facts };
        let (path, lease) = (job.path.clone(), job.owner.lease.clone());
        place.row.set_due(Due { temp: temp.path, path, leftover, transferred, lease });
        return Ok(Progress::Due);
    }
    let part = || temp.part(directory, &name, &source, session.is_usable());
    let is_kept =
        !temp.is_given_up && put.as_ref().is_err_and(|why| kept.keep_upload(job, &part(), &source, why));
    if is_kept || matches!(put, Ok(Put::Renamed)) || clean_up(session, &temp.path).await {
        leftover.gone();
    }
    match put? {
        Put::Superfluous => Ok(Progress::Done(already_there(bytes, check))),
        Put::Renamed | Put::Due => {
            Ok(Progress::Done(Transferred { bytes, notes: check.notes, facts: check.facts }))
        }
    }
}

/// A source, and the temp file that it goes to.
#[derive(Debug)]
pub(super) struct Begun {
    pub name: TempName,
    /// An earlier try has sent a part of it.
    pub going: Option<Going>,
    pub source: SourceFile,
    pub leftover: Leftover,
}

enum Begin {
    Now(Box<Begun>),
    /// The destination is there.
    Superfluous {
        bytes: u64,
    },
}

async fn begin(
    session: &mut Session,
    job: &Job<'_>,
    directory: &str,
    kept: &mut Kept,
    check: &mut Check,
) -> Result<Begin, Stopped> {
    let source = open(job).await;
    let earlier = source.as_ref().ok().and_then(|source| kept.upload(source));
    let is_worth_it = source.as_ref().is_ok_and(|source| go_on::is_worth_it(job, source));
    let may_go_on = is_worth_it && earlier.is_none() && session.may_restart_store();
    let expected = may_go_on.then(|| Expected::begin(job, directory));
    job.strays.lock().begun(directory, &job.owner, Instant::now());
    let source = source?;
    let bytes = source.size();
    if let Some(why) = session.connection().too_large(bytes) {
        let path = job.task.local_path.escape_debug();
        return Err(give_up(Code::FileTooLarge, format!("{path}: {why}")).into());
    }
    remove_earlier(session, job, directory).await;
    check.facts.source_mtime = mtime::of_local(&source);
    if is_there(session, job, bytes, check).await? {
        return Ok(Begin::Superfluous { bytes });
    }
    let found = match (earlier, expected) {
        (Some(sent), _) => Box::pin(go_on::with_own(session, job, directory, &source, sent)).await?,
        (None, Some(expected)) => {
            Box::pin(claim::with_anothers(session, job, directory, &source, expected)).await?
        }
        (None, None) => None,
    };
    let (name, leftover, going) = if let Some((name, leftover, going)) = found {
        (name, leftover, Some(going))
    } else {
        let name = go_on::name_for(job, &source);
        let leftover = Leftover::of(&job.strays, directory, &name);
        (name, leftover, None)
    };
    Ok(Begin::Now(Box::new(Begun { name, going, source, leftover })))
}

/// Removes what this process's earlier tries at the same record have left, as far as that can be done at once:
/// when the record is answered, nobody may look into its directory again.
async fn remove_earlier(session: &mut Session, job: &Job<'_>, directory: &str) {
    let earlier = job.strays.lock().take_left(directory, &job.owner);
    for temp in earlier {
        let leftover = Leftover::of(&job.strays, directory, &temp);
        if clean_up(session, &format!("{directory}{temp}")).await {
            leftover.gone();
        }
    }
}

/// What became of the temp file.
enum Put {
    Renamed,
    /// It is verified, and will be renamed with the end of the next file, whose STOR is under way.
    Due,
    /// Another owner of the same record was first; the temp file stands.
    Superfluous,
}

/// Whether the file stands at a destination that must not be replaced; its hashes are in `check` then.
async fn is_there(
    session: &mut Session,
    job: &Job<'_>,
    size: u64,
    check: &mut Check,
) -> Result<bool, Stopped> {
    if job.task.options.overwrite {
        return Ok(false);
    }
    check.begin_again(job);
    Ok(Box::pin(compare::destination(session, job, size, check)).await? == Found::Same)
}

fn already_there(bytes: u64, mut check: Check) -> Transferred {
    check.hashed();
    let notes = vec!["the destination was there already, with this content".to_owned()];
    Transferred { bytes, notes, facts: Facts { verified_by: Some("content"), ..check.facts } }
}

/// Everything from STOR to RNTO; where it fails, the temp file may stand.
async fn put(
    session: &mut Session,
    job: &Job<'_>,
    temp: &mut Temp,
    source: &mut SourceFile,
    check: &mut Check,
    place: &mut Place<'_>,
) -> Result<Put, Stopped> {
    check.begin_again(job);
    check.facts.resumed_from = match temp.going {
        Some(_) => Box::pin(go_on::send(session, job, temp, source, check, place)).await?,
        None => None,
    };
    let path = temp.path.as_str();
    if check.facts.resumed_from.is_none() {
        store(session, job, path, source, check, place).await?;
    }
    let temp = path;
    let verified = verified(session, job, temp, source.size(), check).await;
    if verified.is_err() && check.facts.resumed_from.is_some() {
        session.distrust_rest();
    }
    verified?;
    job.stop.or_soon(mtime::keep(session, job, temp, source, check)).await?;
    // FTP has no rename that refuses to replace: between this look and RNTO another may be first.
    if is_there(session, job, source.size(), check).await? {
        return Ok(Put::Superfluous);
    }
    if !source.still_same().await? {
        let message = format!("{}: it changed while it was sent", job.task.local_path.escape_debug());
        return Err(try_again(Code::SourceChanged, message).into());
    }
    if place.row.has_begun_next() {
        return Ok(Put::Due);
    }
    publish(session, job, temp).await?;
    Ok(Put::Renamed)
}

async fn open(job: &Job<'_>) -> Result<SourceFile, Stopped> {
    let source = job.storage.resolve(&job.task.local_path)?;
    job.stop.or(job.storage.open_source(&source)).await
}

/// STOR and the whole file. [`Session::store`] makes directories where STOR is refused; a server that says 150
/// before it looks (libunftp) refuses after it, and gets them and the file once more here.
async fn store(
    session: &mut Session,
    job: &Job<'_>,
    temp: &str,
    source: &mut SourceFile,
    check: &mut Check,
    place: &mut Place<'_>,
) -> Result<(), Stopped> {
    let begun = job.stop.or_soon(session.store(temp)).await?;
    job.gauge.begin(0, Some(source.size()));
    match send_all(begun, job, source, check, place).await {
        Err(Stopped::Failed(refused))
            if matches!(refused.failure.ftp_code, Some(550 | 553)) && session.is_usable() =>
        {
            job.stop.or_soon(session.make_dirs(temp)).await?;
            *source = open(job).await?;
            check.begin_again(job);
            let begun = job.stop.or_soon(session.store(temp)).await?;
            job.gauge.begin(0, Some(source.size()));
            send_all(begun, job, source, check, place).await
        }
        sent => sent,
    }
}

pub(super) async fn send_all(
    mut store: UploadStream<'_>,
    job: &Job<'_>,
    source: &mut SourceFile,
    check: &mut Check,
    place: &mut Place<'_>,
) -> Result<(), Stopped> {
    if let Err(stopped) = send(&mut store, job, source, check).await {
        store.abort().await;
        return Err(stopped);
    }
    job.gauge.enter(TransferPhase::Finish);
    // Then nothing but SIZE comes between STOR and RNFR.
    let options = &job.task.options;
    let is_renamed_next = options.overwrite
        && options.verify != Verify::None
        && !options.preserve_mtime
        && !check.asks_for_hash();
    place.finish(store, job, is_renamed_next).await
}

async fn send(
    store: &mut UploadStream<'_>,
    job: &Job<'_>,
    source: &mut SourceFile,
    check: &mut Check,
) -> Result<(), Stopped> {
    let mut stop = pin!(job.stop.requested());
    loop {
        let chunk = source.read().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        // A process that stood still sends nothing that it has read since: the record's next owner may be going on
        // with this very file.
        job.stop.check()?;
        tokio::select! {
            biased;
            stopped = &mut stop => return Err(stopped),
            sent = store.write(chunk) => sent?,
        }
        check.update(chunk);
        job.gauge.add(chunk.len() as u64);
        job.metrics.bytes("upload", &job.task.remote, chunk.len() as u64);
    }
}

/// Compares what stands on the server with what was sent: by size, and by hash where the task asks for it.
async fn verified(
    session: &mut Session,
    job: &Job<'_>,
    temp: &str,
    sent: u64,
    check: &mut Check,
) -> Result<(), Stopped> {
    // That a server has taken REST for what it is, only the size can tell.
    if job.task.options.verify != Verify::None || check.facts.resumed_from.is_some() {
        job.stop.or_soon(has_size(session, temp, sent, check)).await?;
    }
    check.compare(session, job, temp, "the sent").await
}

async fn has_size(session: &mut Session, temp: &str, sent: u64, check: &mut Check) -> Result<(), TryError> {
    let why = match session.size(temp).await? {
        SizeReply::Bytes(stored) if stored == sent => {
            check.has_size();
            return Ok(());
        }
        SizeReply::Bytes(stored) => {
            let message =
                format!("STOR {}: {sent} bytes were sent, and SIZE says {stored}", temp.escape_debug());
            return Err(try_again(Code::IntegrityMismatch, message));
        }
        SizeReply::Unsupported => "the server has no SIZE".to_owned(),
        SizeReply::Refused { error, .. } => error.failure.message,
    };
    if check.facts.resumed_from.is_some() {
        let message = format!("STOR {}: it went on where it broke off, and {why}", temp.escape_debug());
        return Err(try_again(Code::IntegrityMismatch, message));
    }
    check.notes.push(format!("size not verified: {why}"));
    Ok(())
}

/// Gives the temp file its name. Whether the task is still ours is asked before each command that changes
/// what others see.
async fn publish(session: &mut Session, job: &Job<'_>, temp: &str) -> Result<(), Stopped> {
    job.stop.check()?;
    if session.connection().rename_over == RenameOver::DeleteFirst {
        job.stop.or_soon(session.delete(&job.path)).await?;
    }
    job.stop.or_soon(rename(session, job, temp)).await
}

async fn rename(session: &mut Session, job: &Job<'_>, temp: &str) -> Result<(), Stopped> {
    let path = &job.path;
    let mut error = match session.rename(temp, path, job.stop.still_ours()).await? {
        RenameOutcome::Done => return Ok(()),
        RenameOutcome::Abandoned => {
            job.stop.check()?;
            return Err(Stopped::Cancelled);
        }
        RenameOutcome::TargetRefused(error) => error,
    };
    // A server that does not rename over a file seldom says so: look whether there is one.
    if session.exists(path).await? {
        (error.failure.code, error.remedy) = (Code::Unsupported, Remedy::GiveUp);
        error.failure.message.push_str(
            " (there is a file of that name, and the server does not rename over it: \
             set rename_over = delete_first for this connection)",
        );
    }
    Err(error.into())
}

/// Removes the temp file as far as the session still can; what stays is removed on another one.
pub(super) async fn clean_up(session: &mut Session, temp: &str) -> bool {
    let removed = session.is_usable()
        && timeout(CLEAN_UP_WITHIN, session.delete(temp)).await.is_ok_and(|deleted| deleted.is_ok());
    if !removed {
        let connection = &session.connection().name;
        tracing::info!(connection, temp, "a temp file stays on the server for now");
    }
    removed
}

/// Everything up to the name in `path`, as it was written: relative paths stay relative.
pub(super) fn directory_of(path: &str) -> Result<&str, TryError> {
    let (directory, name) = path.rfind('/').map_or(("", path), |slash| path.split_at(slash + 1));
    if matches!(name, "" | "." | "..") {
        return Err(give_up(Code::PathNotAllowed, format!("{path:?} names no file")));
    }
    Ok(directory)
}
