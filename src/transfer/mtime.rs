//! A file's modification time: read from the server, and set there.

use jiff::Timestamp;

use crate::failure::TryError;
use crate::ftp::{ModifiedReply, Session, SetModified};
use crate::storage::SourceFile;
use crate::task::After;

use super::integrity_check::IntegrityCheck;
use super::{TransferContext, TransferError};

/// The start of the year 0.
const YEAR_0: i64 = -62_167_219_200;

/// The time of a download's source, if the task needs it: to preserve it, or to recognise the source.
pub(super) async fn of_source(
    session: &mut Session,
    context: &TransferContext<'_>,
    check: &mut IntegrityCheck,
) -> Result<(), TransferError> {
    let options = &context.task.options;
    if !options.preserve_mtime && options.after == After::Keep {
        return Ok(());
    }
    let why = match context.stop.or_soon(session.modified(&context.path)).await? {
        ModifiedReply::At(at) => {
            check.details.source_mtime = Some(at);
            check.used("MDTM");
            return Ok(());
        }
        ModifiedReply::Refused { error, missing: true } => return Err(error.into()),
        ModifiedReply::Refused { error, .. } => error.failure.message,
        ModifiedReply::Unsupported => "the server has no MDTM".to_owned(),
    };
    if options.preserve_mtime {
        check.notes.push(format!("modification time not kept: {why}"));
    }
    Ok(())
}

/// Sets the modification time of the file at `path` to the local source's, if the task asks for it and the server can.
pub(super) async fn keep(
    session: &mut Session,
    context: &TransferContext<'_>,
    path: &str,
    source: &SourceFile,
    check: &mut IntegrityCheck,
) -> Result<(), TryError> {
    if !context.task.options.preserve_mtime {
        return Ok(());
    }
    let Some(at) = of_local(source) else { return Ok(()) };
    let why = match session.set_modified(path, at).await? {
        SetModified::Done(command) => {
            check.used(command);
            return Ok(());
        }
        SetModified::Unsupported => "the server has no command for it".to_owned(),
        SetModified::Refused(error) => error.failure.message,
    };
    check.notes.push(format!("modification time not kept: {why}"));
    Ok(())
}

/// `None` if its year does not have four digits.
pub(super) fn of_local(source: &SourceFile) -> Option<Timestamp> {
    let at = Timestamp::try_from(source.modified()).ok()?;
    (at.as_second() >= YEAR_0).then_some(at)
}
