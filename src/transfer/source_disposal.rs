//! A download's source is deleted or moved once the file is safely stored: DELE, or RNFR and RNTO.
//!
//! The source is checked once more right before it is removed. One that was changed since it was fetched is another
//! file, which was not fetched: it remains. So does one that cannot be proved to be the one that was fetched, if the
//! record is redone.

use crate::config::RenameOver;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::ftp::{DeleteOutcome, ModifiedReply, Session, SizeReply};
use crate::outcome::SourceFate;
use crate::task::{After, Task};
use crate::text::shown;

use super::{TransferContext, TransferError, TransferExecutor, TransferredFile, give_up, on_server};

impl TransferExecutor {
    /// The failure of a task that could not be redone correctly: published files on its local connection have no redo
    /// record, so after a crash it would be unknown whether its source was already removed.
    #[must_use]
    pub fn unsupported(&self, task: &Task) -> Option<Failure> {
        let takes_away = task.options.after != After::Keep;
        let storage = self.storages.get(&task.local).filter(|storage| takes_away && !storage.remembers())?;
        let message = format!(
            "options.after: the file system of {:?} keeps no user extended attributes, without which a task that is \
             done again after a crash cannot tell that it has taken its source away",
            storage.name()
        );
        Some(Failure::new(Code::Unsupported, message))
    }
}

/// Rejects what could not be done correctly, before anything is fetched.
///
/// # Errors
/// `destination_exists` if a file already exists at the target of the move, and the task must not replace any.
pub(super) async fn may_begin(
    session: &mut Session,
    context: &TransferContext<'_>,
) -> Result<(), TransferError> {
    match &context.task.options.after {
        After::MoveTo(to) => may_move_to(session, context, &on_server(session, to)?).await,
        After::Delete | After::Keep => Ok(()),
    }
}

async fn may_move_to(
    session: &mut Session,
    context: &TransferContext<'_>,
    to: &str,
) -> Result<(), TransferError> {
    if !context.task.options.overwrite && context.stop.or_soon(session.exists(to)).await? {
        let message = format!("options.after.move_to: {} exists already, and overwrite is false", shown(to));
        return Err(give_up(Code::DestinationExists, message).into());
    }
    Ok(())
}

/// Removes or moves the source of `done` as the task requires. `is_redo`: the file was downloaded by an earlier try.
///
/// # Errors
/// What the server replied; the file is stored all the same, and another try only repeats this step.
pub(super) async fn settle(
    session: &mut Session,
    context: &TransferContext<'_>,
    done: &mut TransferredFile,
    is_redo: bool,
) -> Result<(), TransferError> {
    let taken = match &context.task.options.after {
        After::Keep => return Ok(()),
        After::Delete => delete(session, context, done, is_redo).await,
        After::MoveTo(to) => move_to(session, context, done, is_redo, to).await,
    };
    done.details.after = Some(taken.map_err(the_file_is_there)?);
    Ok(())
}

fn the_file_is_there(stopped: TransferError) -> TransferError {
    match stopped {
        TransferError::Failed(mut error) => {
            let message = &error.failure.message;
            error.failure.message =
                format!("the file has arrived, but its source was not removed: {message}");
            TransferError::Failed(error)
        }
        stopped => stopped,
    }
}

/// The source, checked right before it is removed.
enum SourceState {
    TheSame,
    Gone,
    /// The source must remain; says why.
    Another(&'static str),
}

async fn check_source(
    session: &mut Session,
    context: &TransferContext<'_>,
    done: &TransferredFile,
    is_redo: bool,
) -> Result<SourceState, TransferError> {
    let path = &context.path;
    let size = context.stop.or_soon(session.size(path)).await?;
    match size {
        SizeReply::Bytes(bytes) if bytes != done.bytes => {
            return Ok(SourceState::Another("it has another size now"));
        }
        SizeReply::Refused { .. } | SizeReply::Unsupported if is_gone(session, context, done).await? => {
            return Ok(SourceState::Gone);
        }
        SizeReply::Bytes(_) | SizeReply::Refused { .. } | SizeReply::Unsupported => {}
    }
    let told = match context.stop.or_soon(session.modified(path)).await? {
        ModifiedReply::At(at) => Some(at),
        ModifiedReply::Refused { missing: true, .. } => return Ok(SourceState::Gone),
        // A temporary refusal.
        ModifiedReply::Refused { error, .. } if error.failure.ftp_code.is_some_and(|code| code < 500) => {
            return Err(error.into());
        }
        ModifiedReply::Refused { .. } | ModifiedReply::Unsupported => None,
    };
    Ok(match (done.details.source_mtime, told) {
        (Some(then), Some(now)) if then == now => SourceState::TheSame,
        (Some(_), _) => SourceState::Another("it has another modification time now"),
        (None, _) if is_redo => SourceState::Another(
            "nothing proves that it is the file that was fetched: the server reports no time",
        ),
        (None, _) => SourceState::TheSame,
    })
}

async fn is_gone(
    session: &mut Session,
    context: &TransferContext<'_>,
    done: &TransferredFile,
) -> Result<bool, TransferError> {
    let had_size = done.details.verified_by.is_some();
    context.stop.or_soon(session.is_gone(&context.path, had_size)).await
}

fn kept(done: &mut TransferredFile, why: &str) -> SourceFate {
    done.notes.push(format!("the source was left: {why}"));
    SourceFate::Kept
}

fn was_gone(done: &mut TransferredFile, became: SourceFate) -> SourceFate {
    done.notes.push("the source was gone already".to_owned());
    became
}

async fn delete(
    session: &mut Session,
    context: &TransferContext<'_>,
    done: &mut TransferredFile,
    is_redo: bool,
) -> Result<SourceFate, TransferError> {
    match check_source(session, context, done, is_redo).await? {
        SourceState::TheSame => {}
        SourceState::Gone => return Ok(was_gone(done, SourceFate::Deleted)),
        SourceState::Another(why) => return Ok(kept(done, why)),
    }
    context.stop.check()?;
    match context.stop.or_soon(session.remove(&context.path)).await? {
        DeleteOutcome::Done => Ok(SourceFate::Deleted),
        DeleteOutcome::Refused(_) if is_gone(session, context, done).await? => {
            Ok(was_gone(done, SourceFate::Deleted))
        }
        DeleteOutcome::Refused(error) => Err(error.into()),
    }
}

async fn move_to(
    session: &mut Session,
    context: &TransferContext<'_>,
    done: &mut TransferredFile,
    is_redo: bool,
    to: &str,
) -> Result<SourceFate, TransferError> {
    let to = on_server(session, to)?;
    match check_source(session, context, done, is_redo).await? {
        SourceState::TheSame => {}
        SourceState::Gone => return Ok(was_gone(done, SourceFate::Moved)),
        SourceState::Another(why) => return Ok(kept(done, why)),
    }
    may_move_to(session, context, &to).await?;
    if session.connection().rename_over == RenameOver::DeleteFirst {
        context.stop.check()?;
        context.stop.or_soon(session.delete(&to)).await?;
    }
    let Some(refused) = rename(session, context, &to).await? else { return Ok(SourceFate::Moved) };
    // Its directory is created if it is missing; servers seldom give that as the reason.
    context.stop.or_soon(session.make_dirs(&to)).await?;
    match rename(session, context, &to).await? {
        None => Ok(SourceFate::Moved),
        Some(_) => Err(explained(session, context, &to, refused).await?.into()),
    }
}

/// `Some` if the server accepted RNFR and refused RNTO.
async fn rename(
    session: &mut Session,
    context: &TransferContext<'_>,
    to: &str,
) -> Result<Option<TryError>, TransferError> {
    context.stop.check()?;
    let renaming = session.rename(&context.path, to, context.stop.may_continue());
    let outcome = context.stop.or_soon(renaming).await?;
    context.stop.rename_refusal(outcome)
}

async fn explained(
    session: &mut Session,
    context: &TransferContext<'_>,
    to: &str,
    mut refused: TryError,
) -> Result<TryError, TransferError> {
    if context.stop.or_soon(session.exists(to)).await? {
        (refused.failure.code, refused.remedy) = (Code::Unsupported, Remedy::GiveUp);
        refused.failure.message.push_str(
            " (there is a file of that name, and the server does not rename over it: \
             set rename_over = delete_first for this connection)",
        );
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::config::LocalConnection;
    use crate::metrics::Metrics;
    use crate::storage::{LocalStorage, TempNames};
    use crate::task::{Operation, Options};

    #[test]
    fn where_files_remember_nothing_no_source_is_taken_away_and_everything_else_is_done() {
        let base = tempfile::tempdir().unwrap();
        let local = LocalConnection { name: "local".into(), base_path: base.path().to_owned() };
        let names = TempNames::new(Arc::new(()), "group", ["ftp-tasks".into()]).unwrap();
        let task = |after| Task {
            task_id: "t".into(),
            operation: Operation::Download,
            remote: "remote".into(),
            remote_path: "/f".into(),
            local: "local".into(),
            local_path: "/f".into(),
            options: Options { after, ..Options::default() },
        };
        for (storage, remembers) in [
            (LocalStorage::open(&local).unwrap().without_memory(), false),
            (LocalStorage::open(&local).unwrap(), true),
        ] {
            let storages = BTreeMap::from([("local".to_owned(), storage)]);
            let transfer = TransferExecutor::new(storages, names.clone(), Metrics::default());
            assert_eq!(transfer.unsupported(&task(After::Keep)), None);
            for after in [After::Delete, After::MoveTo("/g".into())] {
                let refused = transfer.unsupported(&task(after)).map(|failure| failure.code);
                assert_eq!(refused, (!remembers).then_some(Code::Unsupported));
            }
        }
    }
}
