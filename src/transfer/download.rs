//! Server → local storage: a temp file in the target's directory, verified, made durable, renamed.

use std::pin::pin;

use crate::failure::{Code, TryError};
use crate::ftp::{DataEnd, DownloadStream, Session, SizeReply};
use crate::insight::TransferPhase;
use crate::storage::{DownloadStart, FinalFileMetadata, TempFile};
use crate::task::{After, Operation, Task, Verify};
use crate::text::shown;

use super::integrity_check::IntegrityCheck;
use super::resume_state::{self, ResumeState};
use super::upload_pipeline::{PipelineContext, TransferRequest};
use super::{
    TransferContext, TransferError, TransferredFile, give_up, mtime, redo_record, source_disposal, throttled,
    try_again,
};

pub(super) async fn run(
    session: &mut Session,
    context: &TransferContext<'_>,
    resume_state: &mut ResumeState,
    pipeline: &mut PipelineContext<'_>,
) -> Result<TransferredFile, TransferError> {
    let started = match resume_state.download() {
        Some(file) => DownloadStart::Now(file),
        None => create(session, context).await?,
    };
    let mut file = match started {
        DownloadStart::Now(file) => file,
        // Its answer was lost, not the file.
        DownloadStart::Before { bytes, redo_record } => {
            let notes = vec!["the file was brought by an earlier try".to_owned()];
            let mut done = TransferredFile { bytes, notes, details: redo_record::read(&redo_record) };
            source_disposal::settle(session, context, &mut done, true).await?;
            return Ok(done);
        }
    };
    match fetch(session, context, &mut file, pipeline).await {
        Ok(IntegrityCheck { notes, details, .. }) => {
            let mut done = TransferredFile { bytes: file.len(), notes, details };
            // Not interrupted: it must be known whether the file was renamed.
            file.finalize(metadata(context, &done), context.stop.may_continue()).await?;
            source_disposal::settle(session, context, &mut done, false).await?;
            Ok(done)
        }
        Err(stopped) => {
            resume_state.keep_download(context, file, &stopped).await;
            Err(stopped)
        }
    }
}

fn metadata(context: &TransferContext<'_>, done: &TransferredFile) -> FinalFileMetadata {
    let options = &context.task.options;
    FinalFileMetadata {
        redo_record: redo_record::write(&done.details),
        needs_redo_record: options.after != After::Keep,
        modified: done.details.source_mtime.filter(|_| options.preserve_mtime),
    }
}

async fn create(session: &Session, context: &TransferContext<'_>) -> Result<DownloadStart, TransferError> {
    let target = context.storage.resolve(&context.task.local_path)?;
    // If the whole file is already being sent, no partial file is needed.
    let resumes = context.resumes && !session.has_started(&context.path);
    let source = resumes.then(|| resume_state::source_id(session.connection(), context));
    let (owner, overwrite) = (context.owner.clone(), context.task.options.overwrite);
    context.stop.or(context.storage.create_or_resume(&target, owner, overwrite, source)).await
}

/// Downloads the whole file, and records what is known and what could not be verified about it.
async fn fetch(
    session: &mut Session,
    context: &TransferContext<'_>,
    file: &mut TempFile,
    pipeline: &mut PipelineContext<'_>,
) -> Result<IntegrityCheck, TransferError> {
    let mut check = IntegrityCheck::begin(session, context)?;
    source_disposal::may_begin(session, context).await?;
    mtime::of_source(session, context, &mut check).await?;
    let (promised, mut download) = match resume_state::point(session, context, file).await? {
        None => context.stop.or(begin(session, context, file)).await?,
        Some(point) => {
            check.add_received(context, file).await?;
            if let Some(download) =
                context.stop.or(session.retrieve_from(&context.path, point.offset)).await?
            {
                (PromisedSize { bytes: Some(point.size), note: None }, download)
            } else {
                file.start_over().await?;
                check.begin_again(context);
                context.stop.or(begin(session, context, file)).await?
            }
        }
    };
    if let Some(bytes) = promised.bytes {
        file.expect(bytes);
    }
    // If there are no bytes yet, it starts from the beginning.
    check.details.resumed_from = Some(file.len()).filter(|bytes| *bytes > 0);
    context.log_resumed(check.details.resumed_from);
    context.gauge.begin(file.len(), promised.bytes);
    if let Err(stopped) = receive(&mut download, context, file, promised.bytes, &mut check).await {
        download.abort().await;
        return Err(distrusting_rest(session, &check, stopped));
    }
    context.gauge.enter(TransferPhase::Finish);
    let end = finish(download, context, pipeline).await?;
    match verified(session, context, file, promised, end, &mut check).await {
        Ok(()) => Ok(check),
        Err(stopped) => Err(distrusting_rest(session, &check, stopped)),
    }
}

/// A file that was resumed, and turned out wrong: a server that ignores REST, for one, sends it from the beginning.
fn distrusting_rest(session: &Session, check: &IntegrityCheck, stopped: TransferError) -> TransferError {
    if let TransferError::Failed(error) = &stopped
        && check.details.resumed_from.is_some()
        && error.failure.code == Code::IntegrityMismatch
    {
        session.distrust_rest();
    }
    stopped
}

/// Ends the download whose bytes have all arrived; in active mode together with the start of the next one.
async fn finish(
    download: DownloadStream<'_>,
    context: &TransferContext<'_>,
    pipeline: &mut PipelineContext<'_>,
) -> Result<DataEnd, TransferError> {
    let may_pipeline =
        may_be_pipelined(context.task) && pipeline.next_task.may_pipeline() && download.may_start_next();
    match if may_pipeline { next_path(&download, pipeline) } else { None } {
        Some(next) => context.stop.or(download.finish_before(&next)).await,
        None => context.stop.or(download.finish()).await,
    }
}

/// Takes the next task; returns its path on the server if it is a download that can be pipelined.
fn next_path(download: &DownloadStream<'_>, pipeline: &mut PipelineContext<'_>) -> Option<String> {
    let TransferRequest { task, record, .. } = pipeline.next_task.next()?;
    let path = download.connection().on_server(&task.remote_path)?;
    (may_be_pipelined(task) && record.lease.is_live() && path.is_ascii()).then_some(path)
}

/// Whether only SIZE and RETR are sent for it.
fn may_be_pipelined(task: &Task) -> bool {
    let options = &task.options;
    task.operation == Operation::Download
        && options.verify == Verify::Size
        && options.after == After::Keep
        && !options.preserve_mtime
}

/// Compares the received file with the announced size, and with the server's hash if the task asks for it.
async fn verified(
    session: &mut Session,
    context: &TransferContext<'_>,
    file: &TempFile,
    promised: PromisedSize,
    end: DataEnd,
    check: &mut IntegrityCheck,
) -> Result<(), TransferError> {
    let path = &context.path;
    match promised.bytes {
        Some(bytes) if bytes != file.len() => return Err(mismatch(path, bytes, file.len()).into()),
        Some(_) => check.has_size(),
        None if end == DataEnd::CutOff && is_compared(context) => {
            return Err(truncated(path, file.len()).into());
        }
        None => {}
    }
    check.notes.extend(promised.note);
    check.compare(session, context, path, "the received").await
}

/// A file whose source will be removed is compared in any case.
fn is_compared(context: &TransferContext<'_>) -> bool {
    let options = &context.task.options;
    options.verify != Verify::None || options.after != After::Keep
}

/// What the server reported about the file before sending it.
struct PromisedSize {
    bytes: Option<u64>,
    note: Option<String>,
}

async fn begin<'s>(
    session: &'s mut Session,
    context: &TransferContext<'_>,
    file: &mut TempFile,
) -> Result<(PromisedSize, DownloadStream<'s>), TryError> {
    let path = &context.path;
    if !is_compared(context) {
        return Ok((PromisedSize { bytes: None, note: None }, session.retrieve(path).await?));
    }
    let (size, download) = if session.asks_size_separately() && !session.has_started(path) {
        let size = session.size_to_retrieve(path).await?;
        if let SizeReply::Bytes(bytes) = size
            && let Some(source) = resume_state::stamp(session, context, bytes).await?
        {
            file.is_part_of(source);
        }
        (size, session.retrieve(path).await?)
    } else {
        let (size, download) = session.retrieve_sized(path).await?;
        if let (SizeReply::Bytes(bytes), Some(modified)) = (&size, download.modified())
            && let Some(source) = resume_state::stamped(&download.connection(), context, *bytes, modified)
        {
            file.is_part_of(source);
        }
        (size, download)
    };
    let (bytes, note) = match size {
        SizeReply::Bytes(bytes) => (Some(bytes), None),
        SizeReply::Unsupported => (None, Some("size not verified: the server has no SIZE".to_owned())),
        // vsftpd replies the same for a missing file and for one that it will not measure: RETR will show.
        SizeReply::Refused { error, .. } => {
            (None, Some(format!("size not verified: {}", error.failure.message)))
        }
    };
    Ok((PromisedSize { bytes, note }, download))
}

async fn receive(
    download: &mut DownloadStream<'_>,
    context: &TransferContext<'_>,
    file: &mut TempFile,
    promised: Option<u64>,
    check: &mut IntegrityCheck,
) -> Result<(), TransferError> {
    let connection = download.connection();
    let too_large = |bytes| connection.too_large(bytes);
    let mut stop = pin!(context.stop.requested());
    loop {
        let mut room = file.room().await?;
        let read = tokio::select! {
            biased;
            stopped = &mut stop => return Err(stopped),
            read = throttled::read(download, context, &mut room) => read?,
        };
        drop(room);
        if read == 0 {
            return Ok(());
        }
        check.update(file.latest(read));
        context.gauge.add(read as u64);
        context.metrics.bytes("download", &context.task.remote, read as u64);
        // An endless file must not fill the disk.
        if let Some(promised) = promised.filter(|promised| *promised < file.len()) {
            return Err(mismatch(&context.path, promised, file.len()).into());
        }
        if promised.is_none()
            && let Some(why) = too_large(file.len())
        {
            let path = shown(&context.path);
            return Err(give_up(Code::FileTooLarge, format!("RETR {path}: {why}")).into());
        }
    }
}

fn mismatch(path: &str, promised: u64, received: u64) -> TryError {
    let more = if received > promised { "at least " } else { "" };
    let path = shown(path);
    let message = format!("RETR {path}: the server said SIZE {promised}, and sent {more}{received} bytes");
    try_again(Code::IntegrityMismatch, message)
}

fn truncated(path: &str, received: u64) -> TryError {
    let path = shown(path);
    let message = format!(
        "RETR {path}: the TLS data connection was cut off after {received} bytes, and no SIZE says that these \
         are all"
    );
    try_again(Code::IntegrityMismatch, message)
}
