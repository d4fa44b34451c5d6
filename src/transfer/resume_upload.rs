//! Uploads that resume what an earlier try has sent: a try of this process, or of another that owned the record before.
//!
//! The earlier sender may still be sending: a broken connection's bytes may be in flight, and another process may be
//! suspended, not dead. They are the same bytes at the same offsets, since a source is sent only as long as it is
//! unchanged (see [`SourceFile::read`]). What must be known is what the server does with them: see [`RestartSupport`].

use std::time::Duration;

use tokio::time::timeout;

use crate::failure::Code;
use crate::ftp::{RestartSupport, Session, SizeReply};
use crate::storage::{SourceFile, TempName};

use super::integrity_check::IntegrityCheck;
use super::orphan_cleanup::RemoteTempFile;
use super::resume_state::{self, MIN_RESUMED_SIZE, PartWriters, ResumeState, UploadedPart};
use super::upload::{self, clean_up};
use super::upload_pipeline::PipelineContext;
use super::{TransferContext, TransferError, retry_on_fresh_session, temp_place};

/// How long a server may take to release a file that another process has started.
const RELEASE_WITHIN: Duration = Duration::from_secs(10);

/// The upload that is resumed.
#[derive(Debug)]
pub(super) struct ResumedUpload {
    /// How many bytes the server has.
    pub there: u64,
    pub writers: PartWriters,
    /// Known only if it was needed.
    pub restarts: Option<RestartSupport>,
    /// They were sent by another process.
    pub is_adopted: bool,
}

/// Its name, and what is there.
pub(super) type FoundUpload = Option<(TempName, RemoteTempFile, ResumedUpload)>;

/// The name under which a new temp file of this source is sent: one that identifies the source to its next owner, if
/// resuming it may be worthwhile.
pub(super) fn name_for(context: &TransferContext<'_>, source: &SourceFile) -> TempName {
    let modified = jiff::Timestamp::try_from(source.modified());
    let is_proof = modified.is_ok_and(|modified| resume_state::is_settled(modified, jiff::Timestamp::now()));
    if is_worth_resuming(context, source) && is_proof {
        part_of(context, source)
    } else {
        context.owner.temp.clone()
    }
}

pub(super) fn is_worth_resuming(context: &TransferContext<'_>, source: &SourceFile) -> bool {
    context.resumes && source.size() >= MIN_RESUMED_SIZE
}

pub(super) fn part_of(context: &TransferContext<'_>, source: &SourceFile) -> TempName {
    let mut told = source.description();
    told.extend_from_slice(context.path.as_bytes());
    context.names.part_of(&context.owner.temp, &told)
}

/// Resumes what this process has sent. What cannot be resumed is removed; if that cannot be decided on this session, it
/// remains in the resume state.
pub(super) async fn resume_own(
    session: &mut Session,
    context: &TransferContext<'_>,
    directory: &str,
    source: &SourceFile,
    resume_state: &mut ResumeState,
) -> Result<FoundUpload, TransferError> {
    let Some((temp, writers)) = resume_state.sent(source) else { return Ok(None) };
    let there = if session.may_restart_store() {
        writers.sure_of(size(session, context, directory, &temp).await?)
    } else {
        0
    };
    let there = if there <= source.size() { there } else { 0 };
    let mut resumed = ResumedUpload { there, writers, restarts: None, is_adopted: false };
    // From the beginning, if necessary: no other process writes to it.
    let mut goes_on = writers.have_ended();
    if there > 0 {
        let restarts = restarts(session, context, directory).await?;
        resumed.restarts = Some(restarts);
        if writers.have_ended() && restarts == RestartSupport::Otherwise {
            resumed.there = 0;
        }
        goes_on |= restarts == RestartSupport::InPlace;
        // A late command must not truncate what is sent now, nor may another pod rely on the file's size.
        if !goes_on
            && restarts == RestartSupport::Cut
            && let Some((temp, renamed)) =
                rename(session, context, directory, &temp, new_name(context)).await?
        {
            resume_state.take_sent();
            return Ok(Some((temp, renamed, resumed)));
        }
    }
    resume_state.take_sent();
    let remote_temp = RemoteTempFile::of(&context.orphans, directory, &temp);
    if goes_on {
        return Ok(Some((temp, remote_temp, resumed)));
    }
    remove(session, directory, &temp, remote_temp).await;
    Ok(None)
}

/// The file until it has its final name.
pub(super) struct TempUpload {
    pub path: String,
    /// The part that an earlier try has sent.
    pub resumed: Option<ResumedUpload>,
    /// No try may resume it, whatever it contains.
    pub is_given_up: bool,
}

impl TempUpload {
    /// What the try leaves for the next one; `end_confirmed` if the server has confirmed its end.
    pub fn part<'a>(
        &self,
        directory: &'a str,
        temp: &'a TempName,
        source: &SourceFile,
        end_confirmed: bool,
    ) -> UploadedPart<'a> {
        let (bytes, writers) = match &self.resumed {
            Some(resumed) => {
                let writers = resumed.writers.and(resumed.there, resumed.restarts, end_confirmed);
                (source.position().max(resumed.there), writers)
            }
            None => (source.position(), PartWriters::first(end_confirmed)),
        };
        UploadedPart { directory, temp, bytes, writers }
    }
}

/// Sends what the server does not have yet of a file that an earlier try has started. The server may not have closed
/// the earlier connection: what it still writes is what the file already contains, since the source is the same. `None`
/// if the file must be sent from the beginning.
pub(super) async fn send(
    session: &mut Session,
    context: &TransferContext<'_>,
    temp: &mut TempUpload,
    source: &mut SourceFile,
    check: &mut IntegrityCheck,
    pipeline: &mut PipelineContext<'_>,
) -> Result<Option<u64>, TransferError> {
    let Some(ResumedUpload { there, writers, is_adopted, .. }) = temp.resumed else { return Ok(None) };
    if there == 0 {
        temp.resumed = None;
        return Ok(None);
    }
    if there == source.size() {
        check.add_sent(context, source, there).await?;
        return Ok(Some(there));
    }
    let limit = if is_adopted { RELEASE_WITHIN } else { Duration::MAX };
    let opening =
        async { Ok::<_, TransferError>(timeout(limit, session.store_from(&temp.path, there)).await) };
    let begun = match context.stop.or_soon(opening).await? {
        Ok(Err(late)) if is_adopted && late.failure.code == Code::Timeout => None,
        Ok(begun) => Some(begun?),
        Err(_) => None,
    };
    let Some(begun) = begun else {
        // vsftpd locks what it receives, and waits for as long as an earlier connection exists.
        temp.is_given_up = true;
        return Err(retry_on_fresh_session(
            "the server does not release the file that another pod has started",
        )
        .into());
    };
    let Some(begun) = begun else {
        if writers.have_ended() {
            temp.resumed = None;
            return Ok(None);
        }
        temp.is_given_up = true;
        return Err(retry_on_fresh_session("the server does not start in the middle of the file").into());
    };
    check.used("REST");
    check.add_sent(context, source, there).await?;
    context.gauge.begin(there, Some(source.size()));
    upload::send_all(begun, context, source, check, pipeline).await?;
    Ok(Some(there))
}

/// 0 if it is not known.
pub(super) async fn size(
    session: &mut Session,
    context: &TransferContext<'_>,
    directory: &str,
    temp: &TempName,
) -> Result<u64, TransferError> {
    Ok(
        match context
            .stop
            .or_soon(session.size(&temp_place::path(&session.connection_handle(), directory, temp)))
            .await?
        {
            SizeReply::Bytes(bytes) => bytes,
            SizeReply::Unsupported | SizeReply::Refused { .. } => 0,
        },
    )
}

pub(super) async fn restarts(
    session: &mut Session,
    context: &TransferContext<'_>,
    directory: &str,
) -> Result<RestartSupport, TransferError> {
    if let Some(known) = session.known_restart_support() {
        return Ok(known);
    }
    let scratch = new_name(context);
    let (remote_temp, path) = (
        RemoteTempFile::of(&context.orphans, directory, &scratch),
        temp_place::path(session.connection(), directory, &scratch),
    );
    let tried = context.stop.or_soon(session.try_restart_support(&path)).await;
    remove(session, directory, &scratch, remote_temp).await;
    match tried {
        Err(TransferError::Failed(error)) if session.is_usable() => {
            tracing::debug!(
                event = "restart_untested", %error,
                "could not test whether the server can start an upload at an offset"
            );
            Ok(RestartSupport::Otherwise)
        }
        tried => tried,
    }
}

/// `None` if the server refuses.
pub(super) async fn rename(
    session: &mut Session,
    context: &TransferContext<'_>,
    directory: &str,
    from: &TempName,
    to: TempName,
) -> Result<Option<(TempName, RemoteTempFile)>, TransferError> {
    context.stop.check()?;
    let remote_temp = RemoteTempFile::of(&context.orphans, directory, &to);
    let place = |temp| temp_place::path(session.connection(), directory, temp);
    let (old, new) = (place(from), place(&to));
    match session.rename(&old, &new, context.stop.may_continue()).await {
        Ok(outcome) => {
            let refusal = context.stop.rename_refusal(outcome)?;
            Ok(refusal.is_none().then_some((to, remote_temp)))
        }
        Err(error) if session.is_usable() => {
            tracing::debug!(event = "partial_upload_kept", %error, "the partial upload keeps its name");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn remove(
    session: &mut Session,
    directory: &str,
    temp: &TempName,
    remote_temp: RemoteTempFile,
) {
    if clean_up(session, &temp_place::path(&session.connection_handle(), directory, temp)).await {
        remote_temp.gone();
    }
}

pub(super) fn new_name(context: &TransferContext<'_>) -> TempName {
    context
        .owner
        .temp
        .origin()
        .map_or_else(|| context.owner.temp.clone(), |record| context.names.name_for(record))
}
