//! Local storage → server: a temp name in the target's directory, verified, renamed.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::config::RenameOver;
use crate::failure::{Code, Remedy, TryError};
use crate::ftp::{Renamed, Session, Size, Store};
use crate::outcome::Facts;
use crate::storage::{Owner, SharedStrays, SourceFile};
use crate::task::Verify;

use super::compare::{self, Found};
use super::row::{Due, Place, Progress};
use super::tidy::Leftover;
use super::{Job, Stopped, Transferred, give_up, try_again};

/// How long the removal of a temp file on the server may take.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn run(
    session: &mut Session,
    job: &Job<'_>,
    place: &mut Place<'_>,
) -> Result<Progress, Stopped> {
    let directory = directory_of(&job.path)?;
    let temp = format!("{directory}{}", job.owner.temp);
    let (mut source, leftover) = match place.row.take_begun(&temp) {
        Some(begun) => (begun.source, begun.leftover),
        None => {
            let leftover = mark(&job.strays, directory, &job.owner);
            let source = match open(job).await {
                Ok(source) => source,
                Err(stopped) => {
                    leftover.gone();
                    return Err(stopped);
                }
            };
            remove_earlier(session, job, directory).await;
            if is_there(session, job, source.size()).await? {
                leftover.gone();
                return Ok(Progress::Done(already_there(source.size())));
            }
            (source, leftover)
        }
    };
    let put = put(session, job, &temp, &mut source, place).await;
    let transferred = |notes| Transferred { bytes: source.size(), notes, facts: Facts::default() };
    if let Ok(Put::Due { notes }) = put {
        let (path, lease) = (job.path.clone(), job.owner.lease.clone());
        let mut transferred = transferred(notes);
        transferred.facts.connection.clone_from(&job.task.remote);
        place.row.set_due(Due { temp, path, leftover, transferred, lease });
        return Ok(Progress::Due);
    }
    if matches!(put, Ok(Put::Renamed { .. })) || clean_up(session, &temp).await {
        leftover.gone();
    }
    match put? {
        Put::Renamed { notes } | Put::Due { notes } => Ok(Progress::Done(transferred(notes))),
        Put::Superfluous => Ok(Progress::Done(already_there(source.size()))),
    }
}

/// A temp file may stand there from now on.
pub(super) fn mark(strays: &SharedStrays, directory: &str, owner: &Owner) -> Leftover {
    strays.lock().begun(directory, owner, Instant::now());
    Leftover::of(strays, directory, &owner.temp)
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
    Renamed {
        notes: Vec<String>,
    },
    /// It is verified, and will be renamed with the end of the next file, whose STOR is under way.
    Due {
        notes: Vec<String>,
    },
    /// Another owner of the same record was first; the temp file stands.
    Superfluous,
}

/// Whether the file stands at a destination that must not be replaced.
async fn is_there(session: &mut Session, job: &Job<'_>, size: u64) -> Result<bool, Stopped> {
    Ok(!job.task.options.overwrite
        && Box::pin(compare::destination(session, job, size)).await? == Found::Same)
}

fn already_there(bytes: u64) -> Transferred {
    let notes = vec!["the destination was there already, with this content".to_owned()];
    Transferred { bytes, notes, facts: Facts::default() }
}

/// Everything from STOR to RNTO; where it fails, the temp file may stand.
async fn put(
    session: &mut Session,
    job: &Job<'_>,
    temp: &str,
    source: &mut SourceFile,
    place: &mut Place<'_>,
) -> Result<Put, Stopped> {
    store(session, job, temp, source, place).await?;
    let notes = job.stop.or_soon(verify(session, job, temp, source.size())).await?;
    // FTP has no rename that refuses to replace: between this look and RNTO another may be first.
    if is_there(session, job, source.size()).await? {
        return Ok(Put::Superfluous);
    }
    if !source.still_same().await? {
        let message = format!("{}: it changed while it was sent", job.task.local_path.escape_debug());
        return Err(try_again(Code::SourceChanged, message).into());
    }
    if place.row.has_begun_next() {
        return Ok(Put::Due { notes });
    }
    publish(session, job, temp).await?;
    Ok(Put::Renamed { notes })
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
    place: &mut Place<'_>,
) -> Result<(), Stopped> {
    let begun = job.stop.or_soon(session.store(temp)).await?;
    match send_all(begun, job, source, place).await {
        Err(Stopped::Failed(refused))
            if matches!(refused.failure.ftp_code, Some(550 | 553)) && session.is_sound() =>
        {
            job.stop.or_soon(session.make_dirs(temp)).await?;
            *source = open(job).await?;
            let begun = job.stop.or_soon(session.store(temp)).await?;
            send_all(begun, job, source, place).await
        }
        sent => sent,
    }
}

async fn send_all(
    mut store: Store<'_>,
    job: &Job<'_>,
    source: &mut SourceFile,
    place: &mut Place<'_>,
) -> Result<(), Stopped> {
    if let Err(stopped) = send(&mut store, job, source).await {
        store.abort().await;
        return Err(stopped);
    }
    place.finish(store, job).await
}

async fn send(store: &mut Store<'_>, job: &Job<'_>, source: &mut SourceFile) -> Result<(), Stopped> {
    let mut stop = pin!(job.stop.requested());
    loop {
        let chunk = source.read().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            stopped = &mut stop => return Err(stopped),
            sent = store.write(chunk) => sent?,
        }
        job.metrics.bytes("upload", &job.task.remote, chunk.len() as u64);
    }
}

/// Compares the temp file's SIZE with what was sent.
async fn verify(
    session: &mut Session,
    job: &Job<'_>,
    temp: &str,
    sent: u64,
) -> Result<Vec<String>, TryError> {
    if job.task.options.verify == Verify::None {
        return Ok(Vec::new());
    }
    match session.size(temp).await? {
        Size::Bytes(stored) if stored == sent => Ok(Vec::new()),
        Size::Bytes(stored) => {
            let message =
                format!("STOR {}: {sent} bytes were sent, and SIZE says {stored}", temp.escape_debug());
            Err(try_again(Code::IntegrityMismatch, message))
        }
        Size::Unsupported => Ok(vec!["size not verified: the server has no SIZE".to_owned()]),
        Size::Refused { error, .. } => Ok(vec![format!("size not verified: {}", error.failure.message)]),
    }
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
        Renamed::Done => return Ok(()),
        Renamed::GivenUp => {
            job.stop.check()?;
            return Err(Stopped::Cancelled);
        }
        Renamed::TargetRefused(error) => error,
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
async fn clean_up(session: &mut Session, temp: &str) -> bool {
    let removed = session.is_sound()
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
