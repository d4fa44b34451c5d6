//! Uploads without a temp name: STOR to the file's own name, and SIZE if it may be asked.
//!
//! For accounts that may not rename, for servers whose jobs pick files up as they arrive, and for data sets (z/OS),
//! beside whose names no temp name is possible. The guarantees of a temp name are lost:
//!
//! - A reader may see a part of the file, and a file that existed before is lost with the first byte.
//! - A try that fails leaves what it has sent under the file's name. It is not removed: the record may have another
//!   owner by then, whose complete file that would be. The next try overwrites it from the first byte: nothing shows
//!   whose bytes they are, so no upload is resumed.
//! - A task that is redone (its answer was lost) stores the same file again. A job that collects files as they arrive
//!   gets it twice.
//! - `overwrite: false` cannot be honoured: a part that an earlier try has left cannot be told from another client's
//!   file. It is refused before anything is sent.
//!
//! There is still exactly one answer, and it keeps its meaning: `completed` is reported only after the server has
//! confirmed the whole file and, unless `no_check_upload` is set, its size has been checked.

use std::fmt::Write as _;

use ftp_listing::data_set;

use crate::config::UploadMode;
use crate::failure::{Code, TryError};
use crate::ftp::Session;

use super::integrity_check::IntegrityCheck;
use super::upload_pipeline::{PipelineContext, TransferProgress};
use super::{TransferContext, TransferError, TransferredFile, give_up, mtime, try_again, upload};
use crate::text::shown;

/// Why a file is stored under its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InPlaceReason {
    /// The connection's `upload = in_place`.
    Configured,
    DataSet,
}

impl InPlaceReason {
    /// `None` if a temp name can be used, as far as is known.
    pub fn of(session: &Session, path: &str) -> Option<InPlaceReason> {
        if session.connection().upload == UploadMode::InPlace {
            return Some(InPlaceReason::Configured);
        }
        let is_data_set = session.has_data_sets() && !path.contains('/');
        is_data_set.then_some(InPlaceReason::DataSet)
    }

    fn note(self) -> &'static str {
        match self {
            InPlaceReason::Configured => {
                "stored in place, without a temp name (upload = in_place): readers may have seen a part of it"
            }
            InPlaceReason::DataSet => {
                "stored in place, without a temp name, as it is a data set: readers may have seen a part of it"
            }
        }
    }
}

/// Whether a path may be a data set's, on any server.
pub(super) fn may_be_data_set(path: &str) -> bool {
    data_set::is_quoted(path) || !path.contains('/')
}

/// One try.
pub(super) async fn run(
    session: &mut Session,
    context: &TransferContext<'_>,
    pipeline: &mut PipelineContext<'_>,
    check: &mut IntegrityCheck,
    why: InPlaceReason,
) -> Result<TransferProgress, TransferError> {
    if !context.task.options.overwrite {
        let message = format!(
            "options.overwrite: false needs a temp name, and {} is stored in place: what an earlier try has left could \
             not be told from another's file",
            shown(&context.path)
        );
        return Err(give_up(Code::Unsupported, message).into());
    }
    let mut source = upload::open(context).await?;
    let bytes = source.size();
    upload::not_too_large(session, context, bytes)?;
    check.details.source_mtime = mtime::of_local(&source);
    check.begin_again(context);
    context.stop.check()?;
    let path = context.path.as_str();
    if let Err(stopped) = upload::store(session, context, path, &mut source, check, pipeline).await {
        return Err(if session.has_accepted_stor() { left_there(stopped) } else { stopped });
    }
    // From here on the file has its final name, whatever happens.
    checked(session, context, bytes, why, check).await.map_err(left_there)?;
    context.stop.or_soon(mtime::keep(session, context, path, &source, check)).await?;
    if !source.still_same().await? {
        let message = format!("{}: it changed while it was sent", shown(&context.task.local_path));
        return Err(left_there(try_again(Code::SourceChanged, message).into()));
    }
    check.notes.push(why.note().to_owned());
    let done = TransferredFile {
        bytes,
        notes: std::mem::take(&mut check.notes),
        details: std::mem::take(&mut check.details),
    };
    Ok(TransferProgress::Done(done))
}

async fn checked(
    session: &mut Session,
    context: &TransferContext<'_>,
    bytes: u64,
    why: InPlaceReason,
    check: &mut IntegrityCheck,
) -> Result<(), TransferError> {
    if why == InPlaceReason::DataSet {
        check.notes.push("size not verified: a data set has records, not bytes".to_owned());
        check.hashed();
        return Ok(());
    }
    upload::verified(session, context, &context.path, bytes, check).await.map(|_| ())
}

/// The file was stored, but is not as expected.
fn left_there(stopped: TransferError) -> TransferError {
    match stopped {
        TransferError::Failed(mut error) => {
            error
                .failure
                .message
                .push_str("; what was sent is under the file's own name (upload = in_place)");
            TransferError::Failed(error)
        }
        other => other,
    }
}

/// The setting for accounts that may not rename.
pub(super) const KEY: &str = "upload = in_place";

/// Adds a hint for a server that has accepted a file but does not rename it.
pub(super) fn helped_by_in_place(error: &mut TryError) {
    let _ = write!(
        error.failure.message,
        " (the account may store files and not rename them: set {KEY} for this connection, and no_check_upload = true \
         where it may not ask for their size either)"
    );
}
