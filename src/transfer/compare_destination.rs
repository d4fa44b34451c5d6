//! What already exists at an upload's destination: nothing, this very file, or another.

use bytes::BufMut;

use crate::failure::{Code, TryError};
use crate::ftp::{DownloadStream, Session, SizeReply};
use crate::storage::CHUNK;
use crate::text::shown;

use super::integrity_check::IntegrityCheck;
use super::{TransferContext, TransferError, give_up, throttled};

/// The result of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DestinationState {
    Nothing,
    /// A file with the local source's size and content.
    Same,
}

/// Checks the destination of a task that must not replace anything: by SIZE, and if that equals the local source's
/// size, `size`, by reading the file back. That does not show who put it there: an earlier try whose answer was lost,
/// or someone else with the same file.
///
/// # Errors
/// `destination_exists` if it is another file, or one that cannot be read.
pub(super) async fn destination(
    session: &mut Session,
    context: &TransferContext<'_>,
    size: u64,
    check: &mut IntegrityCheck,
) -> Result<DestinationState, TransferError> {
    let path = &context.path;
    match context.stop.or_soon(session.size(path)).await? {
        SizeReply::Refused { .. } => return Ok(DestinationState::Nothing),
        SizeReply::Bytes(there) if there != size => return Err(exists(path, "with another size").into()),
        SizeReply::Unsupported if !context.stop.or_soon(session.exists(path)).await? => {
            return Ok(DestinationState::Nothing);
        }
        SizeReply::Bytes(_) | SizeReply::Unsupported => {}
    }
    let mut retrieve = match context.stop.or_soon(session.retrieve(path)).await {
        Ok(retrieve) => retrieve,
        Err(TransferError::Failed(error)) if error.failure.ftp_code.is_some_and(|code| code >= 500) => {
            let why = format!("and cannot be compared: {}", error.failure.message);
            return Err(exists(path, &why).into());
        }
        Err(stopped) => return Err(stopped),
    };
    match compare(&mut retrieve, context, check).await {
        Ok(ContentComparison::Same) => {
            context.stop.or_soon(retrieve.finish()).await?;
            Ok(DestinationState::Same)
        }
        Ok(ContentComparison::Shorter) => {
            // A connection that broke looks like the end of the file: the reply distinguishes them.
            context.stop.or_soon(retrieve.finish()).await?;
            Err(exists(path, "with other content").into())
        }
        Ok(ContentComparison::Other) => {
            retrieve.abort().await;
            Err(exists(path, "with other content").into())
        }
        Err(stopped) => {
            retrieve.abort().await;
            Err(stopped)
        }
    }
}

/// What the server sends, compared with the local source.
enum ContentComparison {
    Same,
    /// It is a prefix of the source, and the data connection has ended.
    Shorter,
    Other,
}

/// Compares up to the last byte; stops reading at the first difference.
async fn compare(
    retrieve: &mut DownloadStream<'_>,
    context: &TransferContext<'_>,
    check: &mut IntegrityCheck,
) -> Result<ContentComparison, TransferError> {
    let target = context.storage.resolve(&context.task.local_path)?;
    let mut source = context.stop.or(context.storage.open_source(&target)).await?;
    let mut received = Vec::with_capacity(CHUNK);
    loop {
        let mut expected = source.read().await?;
        check.update(expected);
        if expected.is_empty() {
            let more = context.stop.or(throttled::read(retrieve, context, &mut received)).await?;
            return Ok(if more == 0 { ContentComparison::Same } else { ContentComparison::Other });
        }
        while !expected.is_empty() {
            received.clear();
            let mut room = (&mut received).limit(expected.len());
            context.stop.or(throttled::read(retrieve, context, &mut room)).await?;
            match expected.strip_prefix(received.as_slice()) {
                Some(_) if received.is_empty() => return Ok(ContentComparison::Shorter),
                Some(rest) => expected = rest,
                None => return Ok(ContentComparison::Other),
            }
        }
        received.clear();
    }
}

fn exists(path: &str, how: &str) -> TryError {
    let message = format!("{} exists already, {how}, and overwrite is false", shown(path));
    give_up(Code::DestinationExists, message)
}
