//! Uploads to a directory where temp files can neither be renamed nor removed: after the first one, none is sent.

use tokio::time::timeout;

use crate::failure::Code;
use crate::ftp::Session;
use crate::text::shown;

use super::upload::CLEAN_UP_WITHIN;
use super::{TransferContext, TransferError, give_up, in_place};

/// Records a temp file that must remain because the account lacks the rights to rename or remove it.
pub(super) fn note(session: &Session, temp: &str, why: Option<&TransferError>) {
    if let Some(TransferError::Failed(error)) = why
        && error.failure.code == Code::PermissionDenied
        && session.is_usable()
        && session.has_accepted_stor()
    {
        session.found_write_only(temp, &error.failure);
    }
}

/// Refuses an upload with a temp name in the directory of `temp`, unless the file that remained there can be removed by
/// now.
pub(super) async fn check(
    session: &mut Session,
    context: &TransferContext<'_>,
    temp: &str,
) -> Result<(), TransferError> {
    let Some(known) = session.write_only_directory(temp) else { return Ok(()) };
    context.stop.check()?;
    let removing = timeout(CLEAN_UP_WITHIN, session.delete(&known.stays)).await;
    if removing.is_ok_and(|removed| removed == Ok(true)) {
        session.forget_write_only(temp);
        return Ok(());
    }
    let message = format!(
        "STOR {}: not sent, since a temp file would stay: {} could neither be renamed nor removed there ({})",
        shown(&context.path),
        shown(&known.stays),
        known.refusal.message
    );
    let mut error = give_up(Code::PermissionDenied, message);
    error.failure.ftp_code = known.refusal.ftp_code;
    if !known.refusal.message.contains(in_place::KEY) {
        in_place::helped_by_in_place(&mut error);
    }
    Err(error.into())
}
