//! Local storage → server: a temp name in the target's directory, verified, renamed.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::failure::{Code, TryError};
use crate::ftp::{Session, SizeReply, UploadStream};
use crate::insight::TransferPhase;
use crate::outcome::TransferDetails;
use crate::storage::{SourceFile, TempName};
use crate::task::Verify;
use crate::text::shown;

use super::adopt_upload::{self, AdoptionCandidates};
use super::compare_destination::{self, DestinationState};
use super::in_place::InPlaceReason;
use super::integrity_check::IntegrityCheck;
use super::orphan_cleanup::RemoteTempFile;
use super::resume_state::ResumeState;
use super::resume_upload::{self, ResumedUpload, TempUpload};
use super::upload_pipeline::{PendingRename, PipelineContext, TransferProgress};
use super::upload_rename::{not_renamed, rename_into_place};
use super::{
    TransferContext, TransferError, TransferredFile, give_up, in_place, mtime, temp_place, throttled,
    try_again, write_only,
};

/// How long the removal of a temp file on the server may take.
pub(super) const CLEAN_UP_WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn run(
    session: &mut Session,
    context: &TransferContext<'_>,
    resume_state: &mut ResumeState,
    pipeline: &mut PipelineContext<'_>,
) -> Result<TransferProgress, TransferError> {
    let connection = session.connection_handle();
    let directory = temp_place::directory(&connection, &context.path)?;
    let directory = directory.as_ref();
    let mut check = IntegrityCheck::begin(session, context)?;
    if let Some(why) = InPlaceReason::of(session, &context.path) {
        return in_place::run(session, context, pipeline, &mut check, why).await;
    }
    let PreparedUpload { name, resumed, mut source, remote_temp } =
        match pipeline.pipeline.take_started(context) {
            Some(begun) => begun,
            None => match begin(session, context, directory, resume_state, &mut check).await? {
                UploadStart::Now(begun) => *begun,
                UploadStart::Superfluous { bytes } => {
                    return Ok(TransferProgress::Done(already_there(bytes, check)));
                }
            },
        };
    check.details.source_mtime = mtime::of_local(&source);
    let path = temp_place::path(&connection, directory, &name);
    let mut temp = TempUpload { path, resumed, is_given_up: false };
    let put = put(session, context, &mut temp, &mut source, &mut check, pipeline).await;
    let bytes = source.size();
    if matches!(put, Ok(PutOutcome::RenamePending)) {
        check.details.connection.clone_from(&context.task.remote);
        let transferred = TransferredFile { bytes, notes: check.notes, details: check.details };
        let (path, lease) = (context.path.clone(), context.owner.lease.clone());
        pipeline.pipeline.set_pending(PendingRename {
            temp: temp.path,
            path,
            remote_temp,
            transferred,
            lease,
        });
        return Ok(TransferProgress::RenamePending);
    }
    let part = || temp.part(directory, &name, &source, session.is_usable());
    let is_kept = !temp.is_given_up
        && put.as_ref().is_err_and(|why| resume_state.keep_upload(context, &part(), &source, why));
    // Only now is the kind of server known; there is no file in that case.
    let is_data_set = matches!(put, Err(TransferError::Failed(_))) && becomes_data_set(session, context);
    if is_kept || is_data_set || matches!(put, Ok(PutOutcome::Renamed)) || clean_up(session, &temp.path).await
    {
        remote_temp.gone();
    } else {
        write_only::note(session, &temp.path, put.as_ref().err());
    }
    for note in &mut check.notes {
        *note = temp_place::text_by_destination(note, &context.path, &temp.path);
    }
    match put {
        Err(TransferError::Failed(_)) if is_data_set => {
            return in_place::run(session, context, pipeline, &mut check, InPlaceReason::DataSet).await;
        }
        Err(TransferError::Failed(error)) => {
            let failure = temp_place::by_destination(error.failure, &context.path, &temp.path);
            Err(TransferError::Failed(TryError { failure, ..error }))
        }
        put => put,
    }
    .map(|put| match put {
        PutOutcome::Superfluous => TransferProgress::Done(already_there(bytes, check)),
        PutOutcome::Renamed | PutOutcome::RenamePending => {
            TransferProgress::Done(TransferredFile { bytes, notes: check.notes, details: check.details })
        }
    })
}

/// Whether the server has refused the temp name as a data set's, and the file's own name may be one.
fn becomes_data_set(session: &Session, context: &TransferContext<'_>) -> bool {
    session.is_usable() && session.has_data_sets() && in_place::may_be_data_set(&context.path)
}

/// A source, and the temp file that it is sent to.
#[derive(Debug)]
pub(super) struct PreparedUpload {
    pub name: TempName,
    /// An earlier try has sent a part of it.
    pub resumed: Option<ResumedUpload>,
    pub source: SourceFile,
    pub remote_temp: RemoteTempFile,
}

enum UploadStart {
    Now(Box<PreparedUpload>),
    /// The destination already has the file.
    Superfluous {
        bytes: u64,
    },
}

async fn begin(
    session: &mut Session,
    context: &TransferContext<'_>,
    directory: &str,
    resume_state: &mut ResumeState,
    check: &mut IntegrityCheck,
) -> Result<UploadStart, TransferError> {
    let source = open(context).await;
    let has_earlier = source.as_ref().is_ok_and(|source| resume_state.sent(source).is_some());
    let is_worth_resuming =
        source.as_ref().is_ok_and(|source| resume_upload::is_worth_resuming(context, source));
    let may_resume = is_worth_resuming && !has_earlier && session.may_restart_store();
    let expected = may_resume.then(|| AdoptionCandidates::begin(context, directory));
    context.orphans.lock().begun(directory, &context.owner, Instant::now());
    let source = source?;
    let bytes = source.size();
    not_too_large(session, context, bytes)?;
    remove_earlier(session, context, directory).await;
    check.details.source_mtime = mtime::of_local(&source);
    if is_there(session, context, bytes, check).await? {
        return Ok(UploadStart::Superfluous { bytes });
    }
    write_only::check(
        session,
        context,
        &temp_place::path(&session.connection_handle(), directory, &context.owner.temp),
    )
    .await?;
    let found = match expected {
        _ if has_earlier => {
            Box::pin(resume_upload::resume_own(session, context, directory, &source, resume_state)).await?
        }
        Some(expected) => {
            Box::pin(adopt_upload::adopt(session, context, directory, &source, expected)).await?
        }
        None => None,
    };
    let (name, remote_temp, resumed) = if let Some((name, remote_temp, resumed)) = found {
        (name, remote_temp, Some(resumed))
    } else {
        let name = resume_upload::name_for(context, &source);
        let remote_temp = RemoteTempFile::of(&context.orphans, directory, &name);
        (name, remote_temp, None)
    };
    Ok(UploadStart::Now(Box::new(PreparedUpload { name, resumed, source, remote_temp })))
}

pub(super) fn not_too_large(
    session: &Session,
    context: &TransferContext<'_>,
    bytes: u64,
) -> Result<(), TryError> {
    match session.connection().too_large(bytes) {
        Some(why) => {
            let path = shown(&context.task.local_path);
            Err(give_up(Code::FileTooLarge, format!("{path}: {why}")))
        }
        None => Ok(()),
    }
}

/// Removes what this process's earlier tries at the same record have left, as far as that can be done at once: once the
/// record is answered, its directory may never be searched again.
async fn remove_earlier(session: &mut Session, context: &TransferContext<'_>, directory: &str) {
    let earlier = context.orphans.lock().take_leftovers(directory, &context.owner);
    for temp in earlier {
        let remote_temp = RemoteTempFile::of(&context.orphans, directory, &temp);
        if clean_up(session, &temp_place::path(&session.connection_handle(), directory, &temp)).await {
            remote_temp.gone();
        }
    }
}

/// What happened to the temp file.
enum PutOutcome {
    Renamed,
    /// It is verified, and will be renamed with the end of the next file, whose STOR is in progress.
    RenamePending,
    /// Another owner of the same record was first; the temp file remains.
    Superfluous,
}

/// Whether the file already is at a destination that must not be replaced; its hashes are in `check` then.
async fn is_there(
    session: &mut Session,
    context: &TransferContext<'_>,
    size: u64,
    check: &mut IntegrityCheck,
) -> Result<bool, TransferError> {
    if context.task.options.overwrite {
        return Ok(false);
    }
    check.begin_again(context);
    Ok(Box::pin(compare_destination::destination(session, context, size, check)).await?
        == DestinationState::Same)
}

fn already_there(bytes: u64, mut check: IntegrityCheck) -> TransferredFile {
    check.hashed();
    let notes = vec!["the destination was there already, with this content".to_owned()];
    TransferredFile {
        bytes,
        notes,
        details: TransferDetails { verified_by: Some("content"), ..check.details },
    }
}

/// Everything from STOR to RNTO; if it fails, the temp file may exist.
async fn put(
    session: &mut Session,
    context: &TransferContext<'_>,
    temp: &mut TempUpload,
    source: &mut SourceFile,
    check: &mut IntegrityCheck,
    pipeline: &mut PipelineContext<'_>,
) -> Result<PutOutcome, TransferError> {
    check.begin_again(context);
    check.details.resumed_from = match temp.resumed {
        Some(_) => Box::pin(resume_upload::send(session, context, temp, source, check, pipeline)).await?,
        None => None,
    };
    context.log_resumed(check.details.resumed_from);
    let path = temp.path.as_str();
    if check.details.resumed_from.is_none() {
        store(session, context, path, source, check, pipeline).await?;
    }
    let temp = path;
    let verified = verified(session, context, temp, source.size(), check).await;
    if verified.is_err() && check.details.resumed_from.is_some() {
        session.distrust_rest();
    }
    let sized = verified?;
    context.stop.or_soon(mtime::keep(session, context, temp, source, check)).await?;
    // FTP has no rename that refuses to replace: another client may be first between this check and RNTO.
    if is_there(session, context, source.size(), check).await? {
        return Ok(PutOutcome::Superfluous);
    }
    if !source.still_same().await? {
        let message = format!("{}: it changed while it was sent", shown(&context.task.local_path));
        return Err(try_again(Code::SourceChanged, message).into());
    }
    if pipeline.pipeline.has_started_next() {
        return Ok(PutOutcome::RenamePending);
    }
    match rename_into_place(session, context, temp).await {
        Ok(()) => Ok(PutOutcome::Renamed),
        Err(TransferError::Failed(error)) => Err(not_renamed(error, sized, context, session).into()),
        Err(stopped) => Err(stopped),
    }
}

pub(super) async fn open(context: &TransferContext<'_>) -> Result<SourceFile, TransferError> {
    let source = context.storage.resolve(&context.task.local_path)?;
    context.stop.or(context.storage.open_source(&source)).await
}

/// STOR and the whole file. [`Session::store`] creates directories if STOR is refused; a server that replies 150 before
/// it checks (libunftp, Apache `FtpServer`) refuses after it, and gets them and the file once more here.
pub(super) async fn store(
    session: &mut Session,
    context: &TransferContext<'_>,
    temp: &str,
    source: &mut SourceFile,
    check: &mut IntegrityCheck,
    pipeline: &mut PipelineContext<'_>,
) -> Result<(), TransferError> {
    let begun = context.stop.or_soon(session.store(temp)).await?;
    context.gauge.begin(0, Some(source.size()));
    match send_all(begun, context, source, check, pipeline).await {
        Err(TransferError::Failed(refused))
            if matches!(refused.failure.ftp_code, Some(550 | 551 | 553)) && session.is_usable() =>
        {
            let not_made = context.stop.or_soon(session.make_dirs(temp)).await?;
            *source = open(context).await?;
            check.begin_again(context);
            let begun = context.stop.or_soon(session.store(temp)).await?;
            context.gauge.begin(0, Some(source.size()));
            match (send_all(begun, context, source, check, pipeline).await, not_made) {
                (Err(TransferError::Failed(refused)), Some(directory))
                    if matches!(refused.failure.ftp_code, Some(550 | 551 | 553)) =>
                {
                    Err(directory.before(refused, false).into())
                }
                (sent, _) => sent,
            }
        }
        sent => sent,
    }
}

pub(super) async fn send_all(
    mut store: UploadStream<'_>,
    context: &TransferContext<'_>,
    source: &mut SourceFile,
    check: &mut IntegrityCheck,
    pipeline: &mut PipelineContext<'_>,
) -> Result<(), TransferError> {
    if let Err(stopped) = send(&mut store, context, source, check).await {
        store.abort().await;
        return Err(stopped);
    }
    context.gauge.enter(TransferPhase::Finish);
    // Then only SIZE comes between STOR and RNFR.
    let options = &context.task.options;
    let is_renamed_next = store.path() != context.path
        && options.overwrite
        && options.verify != Verify::None
        && !store.connection().no_check_upload
        && !options.preserve_mtime
        && !check.asks_for_hash();
    pipeline.finish(store, context, is_renamed_next).await
}

async fn send(
    store: &mut UploadStream<'_>,
    context: &TransferContext<'_>,
    source: &mut SourceFile,
    check: &mut IntegrityCheck,
) -> Result<(), TransferError> {
    let mut stop = pin!(context.stop.requested());
    loop {
        let chunk = source.read().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            stopped = &mut stop => return Err(stopped),
            sent = throttled::write(store, context, chunk) => sent?,
        }
        check.update(chunk);
    }
}

/// What SIZE has shown about a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredSize {
    /// It is right, or was not asked for, or there was no answer.
    RightOrUnknown,
    /// The server reports that there is no such file.
    NotThere,
}

/// Compares the file on the server with what was sent: by size, and by hash if the task asks for it.
pub(super) async fn verified(
    session: &mut Session,
    context: &TransferContext<'_>,
    temp: &str,
    sent: u64,
    check: &mut IntegrityCheck,
) -> Result<StoredSize, TransferError> {
    let mut sized = StoredSize::RightOrUnknown;
    // Only the size can show that a server has really honoured REST.
    let is_resumed = check.details.resumed_from.is_some();
    if session.connection().no_check_upload && !is_resumed {
        if context.task.options.verify != Verify::None {
            check.notes.push("size not verified: no_check_upload is set for the connection".to_owned());
        }
    } else if context.task.options.verify != Verify::None || is_resumed {
        sized = context.stop.or_soon(has_size(session, temp, sent, check)).await?;
    }
    check.compare(session, context, temp, "the sent").await?;
    Ok(sized)
}

async fn has_size(
    session: &mut Session,
    temp: &str,
    sent: u64,
    check: &mut IntegrityCheck,
) -> Result<StoredSize, TryError> {
    let mut sized = StoredSize::RightOrUnknown;
    let why = match session.size(temp).await? {
        SizeReply::Bytes(stored) if stored == sent => {
            check.has_size();
            return Ok(sized);
        }
        SizeReply::Bytes(stored) => {
            let message = format!("STOR {}: {sent} bytes were sent, and SIZE says {stored}", shown(temp));
            return Err(try_again(Code::IntegrityMismatch, message));
        }
        SizeReply::Unsupported => "the server has no SIZE".to_owned(),
        SizeReply::Refused { error, .. } => {
            if error.failure.code == Code::SourceNotFound {
                sized = StoredSize::NotThere;
            }
            error.failure.message
        }
    };
    if check.details.resumed_from.is_some() {
        let message = format!("STOR {}: it was resumed where it broke off, and {why}", shown(temp));
        return Err(try_again(Code::IntegrityMismatch, message));
    }
    check.notes.push(format!("size not verified: {why}"));
    Ok(sized)
}

/// Removes the temp file as far as the session still can; otherwise another session removes it.
pub(super) async fn clean_up(session: &mut Session, temp: &str) -> bool {
    let removed = session.is_usable()
        && timeout(CLEAN_UP_WITHIN, session.delete(temp)).await.is_ok_and(|deleted| deleted.is_ok());
    if !removed {
        let connection = &session.connection().name;
        tracing::info!(
            event = "temp_file_may_remain",
            connection,
            temp,
            "temp file remains on the server for now"
        );
    }
    removed
}
