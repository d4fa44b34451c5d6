//! What stands at an upload's destination already: nothing, this very file, or another.

use bytes::BufMut;

use crate::failure::{Code, TryError};
use crate::ftp::{DownloadStream, Session, SizeReply};
use crate::storage::CHUNK;

use super::verify::Check;
use super::{Job, Stopped, give_up};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A file with the local source's size and content.
    Same,
}

/// Looks at the destination of a task that must not replace anything: by SIZE, and where that is the local
/// source's size, `size`, by reading it back. Who put it there is not told by that: an earlier try whose
/// answer was lost, or somebody with the same file.
///
/// # Errors
/// `destination_exists` where it is another file, or one that cannot be read.
pub(super) async fn destination(
    session: &mut Session,
    job: &Job<'_>,
    size: u64,
    check: &mut Check,
) -> Result<Found, Stopped> {
    let path = &job.path;
    match job.stop.or_soon(session.size(path)).await? {
        SizeReply::Refused { .. } => return Ok(Found::Nothing),
        SizeReply::Bytes(there) if there != size => return Err(exists(path, "with another size").into()),
        SizeReply::Unsupported if !job.stop.or_soon(session.exists(path)).await? => {
            return Ok(Found::Nothing);
        }
        SizeReply::Bytes(_) | SizeReply::Unsupported => {}
    }
    let mut retrieve = match job.stop.or_soon(session.retrieve(path)).await {
        Ok(retrieve) => retrieve,
        Err(Stopped::Failed(error)) if error.failure.ftp_code.is_some_and(|code| code >= 500) => {
            let why = format!("and cannot be compared: {}", error.failure.message);
            return Err(exists(path, &why).into());
        }
        Err(stopped) => return Err(stopped),
    };
    match compare(&mut retrieve, job, check).await {
        Ok(Compared::Same) => {
            job.stop.or_soon(retrieve.finish()).await?;
            Ok(Found::Same)
        }
        Ok(Compared::Shorter) => {
            // A connection that broke looks like a file that ends: the reply tells them apart.
            job.stop.or_soon(retrieve.finish()).await?;
            Err(exists(path, "with other content").into())
        }
        Ok(Compared::Other) => {
            retrieve.abort().await;
            Err(exists(path, "with other content").into())
        }
        Err(stopped) => {
            retrieve.abort().await;
            Err(stopped)
        }
    }
}

/// What the server sends, beside the local source.
enum Compared {
    Same,
    /// It is the source's beginning, and the data connection has ended.
    Shorter,
    Other,
}

/// Compares to the last byte; reads no further than they agree.
async fn compare(
    retrieve: &mut DownloadStream<'_>,
    job: &Job<'_>,
    check: &mut Check,
) -> Result<Compared, Stopped> {
    let target = job.storage.resolve(&job.task.local_path)?;
    let mut source = job.stop.or(job.storage.open_source(&target)).await?;
    let mut received = Vec::with_capacity(CHUNK);
    loop {
        let mut expected = source.read().await?;
        check.update(expected);
        if expected.is_empty() {
            let more = job.stop.or(retrieve.read(&mut received)).await?;
            return Ok(if more == 0 { Compared::Same } else { Compared::Other });
        }
        while !expected.is_empty() {
            received.clear();
            let mut room = (&mut received).limit(expected.len());
            job.stop.or(retrieve.read(&mut room)).await?;
            match expected.strip_prefix(received.as_slice()) {
                Some(_) if received.is_empty() => return Ok(Compared::Shorter),
                Some(rest) => expected = rest,
                None => return Ok(Compared::Other),
            }
        }
        received.clear();
    }
}

fn exists(path: &str, how: &str) -> TryError {
    let message = format!("{} is there already, {how}, and overwrite is false", path.escape_debug());
    give_up(Code::DestinationExists, message)
}
