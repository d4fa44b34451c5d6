//! The last step of an upload: the temp file is renamed to its final name.

use crate::config::RenameOver;
use crate::failure::{Code, Remedy, TryError};
use crate::ftp::Session;
use crate::text::shown;

use super::upload::StoredSize;
use super::{TransferContext, TransferError, give_up, in_place};

/// Renames the temp file to its final name. Whether the task still belongs to this pod is checked before each command
/// that changes what others see.
pub(super) async fn rename_into_place(
    session: &mut Session,
    context: &TransferContext<'_>,
    temp: &str,
) -> Result<(), TransferError> {
    context.stop.check()?;
    if session.connection().rename_over == RenameOver::DeleteFirst {
        context.stop.or_soon(session.delete(&context.path)).await?;
    }
    context.stop.or_soon(rename(session, context, temp)).await
}

async fn rename(
    session: &mut Session,
    context: &TransferContext<'_>,
    temp: &str,
) -> Result<(), TransferError> {
    let path = &context.path;
    let Some(mut error) = renamed(session, context, temp).await? else { return Ok(()) };
    // The temp name has another directory: the file's own may be missing.
    if let (Some(temp_dir), true) = (session.connection().temp_dir.clone(), session.is_usable()) {
        let not_made = session.make_dirs(path).await?;
        error = match renamed(session, context, temp).await? {
            None => return Ok(()),
            Some(refused) => match not_made {
                Some(directory) => directory.before(refused, false),
                None => refused,
            },
        };
        let from_elsewhere = format!(
            " (from temp_dir = {}; without that key a temp name lies beside its file)",
            shown(&temp_dir)
        );
        error.failure.message.push_str(&from_elsewhere);
    }
    // A server that does not rename over an existing file seldom says so: check whether there is one.
    if session.exists(path).await? {
        (error.failure.code, error.remedy) = (Code::Unsupported, Remedy::GiveUp);
        error.failure.message.push_str(
            " (there is a file of that name, and the server does not rename over it: \
             set rename_over = delete_first for this connection)",
        );
    }
    Err(error.into())
}

/// RNFR and RNTO; returns the refusal of the latter.
async fn renamed(
    session: &mut Session,
    context: &TransferContext<'_>,
    temp: &str,
) -> Result<Option<TryError>, TransferError> {
    let outcome = session.rename(temp, &context.path, context.stop.may_continue()).await?;
    context.stop.rename_refusal(outcome)
}

/// Why a file that the server has confirmed was not renamed, as far as its user can do something about it.
pub(super) fn not_renamed(
    mut error: TryError,
    sized: StoredSize,
    context: &TransferContext<'_>,
    session: &Session,
) -> TryError {
    let code = error.failure.ftp_code;
    if sized == StoredSize::NotThere
        && session.has_accepted_stor()
        && code == Some(550)
        && error.failure.code == Code::ProtocolError
    {
        // Sent again it would be accepted again, each time under another name.
        let message = format!(
            "STOR {}: the server has confirmed the file and no longer has it ({}): something there removes files as they \
             arrive, and has it by its temp name. It is not sent again. upload = in_place stores files under their own \
             names",
            shown(&context.path),
            error.failure.message
        );
        error = give_up(Code::Unsupported, message);
        error.failure.ftp_code = code;
    } else if error.failure.code == Code::PermissionDenied && session.connection().temp_dir.is_none() {
        in_place::helped_by_in_place(&mut error);
    }
    error
}
