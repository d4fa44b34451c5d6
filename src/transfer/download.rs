//! Server → local storage: a temp file beside the target, verified, made durable, renamed.

use std::pin::pin;

use crate::failure::{Code, TryError};
use crate::ftp::{DataEnd, DownloadStream, Session, SizeReply};
use crate::insight::TransferPhase;
use crate::storage::{DownloadStart, PublishMetadata, TempFile};
use crate::task::{After, Verify};

use super::resume::{self, Kept};
use super::row::Place;
use super::verify::Check;
use super::{Job, Stopped, Transferred, after, give_up, memory, mtime, try_again};

pub(super) async fn run(
    session: &mut Session,
    job: &Job<'_>,
    kept: &mut Kept,
    row: &mut Place<'_>,
) -> Result<Transferred, Stopped> {
    let begun = match kept.download() {
        Some(file) => DownloadStart::Now(file),
        None => create(session, job).await?,
    };
    let mut file = match begun {
        DownloadStart::Now(file) => file,
        // Its answer was lost, not the file.
        DownloadStart::Before { bytes, memory } => {
            let notes = vec!["the file was brought by an earlier try".to_owned()];
            let mut done = Transferred { bytes, notes, facts: memory::read(&memory) };
            after::settle(session, job, &mut done, true).await?;
            return Ok(done);
        }
    };
    match fetch(session, job, &mut file, row).await {
        Ok(Check { notes, facts, .. }) => {
            let mut done = Transferred { bytes: file.len(), notes, facts };
            // Not torn off: whether the file has its name must be known.
            file.publish(finish(job, &done), job.stop.still_ours()).await?;
            after::settle(session, job, &mut done, false).await?;
            Ok(done)
        }
        Err(stopped) => {
            kept.keep_download(job, file, &stopped).await;
            Err(stopped)
        }
    }
}

fn finish(job: &Job<'_>, done: &Transferred) -> PublishMetadata {
    let options = &job.task.options;
    PublishMetadata {
        memory: memory::write(&done.facts),
        must_remember: options.after != After::Keep,
        modified: done.facts.source_mtime.filter(|_| options.preserve_mtime),
    }
}

async fn create(session: &Session, job: &Job<'_>) -> Result<DownloadStart, Stopped> {
    let target = job.storage.resolve(&job.task.local_path)?;
    // Of a file that is on its way from its begin already, no part is of use.
    let resumes = job.resumes && !session.has_started(&job.path);
    let place = resumes.then(|| resume::place(session.connection(), job));
    let (owner, overwrite) = (job.owner.clone(), job.task.options.overwrite);
    job.stop.or(job.storage.create_or_resume(&target, owner, overwrite, place)).await
}

/// Brings the whole file, and says what is known and what could not be verified about it.
async fn fetch(
    session: &mut Session,
    job: &Job<'_>,
    file: &mut TempFile,
    row: &mut Place<'_>,
) -> Result<Check, Stopped> {
    let mut check = Check::begin(session, job)?;
    after::may_begin(session, job).await?;
    mtime::of_source(session, job, &mut check).await?;
    let (promised, mut retrieve) = match resume::point(session, job, file).await? {
        None => job.stop.or(begin(session, job, file)).await?,
        Some(point) => {
            check.take_in(job, file).await?;
            if let Some(retrieve) = job.stop.or(session.retrieve_from(&job.path, point.offset)).await? {
                (Promised { bytes: Some(point.size), note: None }, retrieve)
            } else {
                file.start_over().await?;
                check.begin_again(job);
                job.stop.or(begin(session, job, file)).await?
            }
        }
    };
    if let Some(bytes) = promised.bytes {
        file.expect(bytes);
    }
    // Where there is nothing, it began anew.
    check.facts.resumed_from = Some(file.len()).filter(|bytes| *bytes > 0);
    job.gauge.begin(file.len(), promised.bytes);
    if let Err(stopped) = receive(&mut retrieve, job, file, promised.bytes, &mut check).await {
        retrieve.abort().await;
        return Err(distrusting(session, &check, stopped));
    }
    job.gauge.enter(TransferPhase::Finish);
    let end = row.finish_download(retrieve, job).await?;
    match verified(session, job, file, promised, end, &mut check).await {
        Ok(()) => Ok(check),
        Err(stopped) => Err(distrusting(session, &check, stopped)),
    }
}

/// A file that went on where it was, and turned out wrong: a server that ignores REST, for one, sends it from its
/// begin.
fn distrusting(session: &Session, check: &Check, stopped: Stopped) -> Stopped {
    if let Stopped::Failed(error) = &stopped
        && check.facts.resumed_from.is_some()
        && error.failure.code == Code::IntegrityMismatch
    {
        session.distrust_rest();
    }
    stopped
}

/// Compares what has come with what was promised, and with the server's hash where the task asks for it.
async fn verified(
    session: &mut Session,
    job: &Job<'_>,
    file: &TempFile,
    promised: Promised,
    end: DataEnd,
    check: &mut Check,
) -> Result<(), Stopped> {
    let path = &job.path;
    match promised.bytes {
        Some(bytes) if bytes != file.len() => return Err(mismatch(path, bytes, file.len()).into()),
        Some(_) => check.has_size(),
        None if end == DataEnd::CutOff && is_compared(job) => {
            return Err(cut_off(path, file.len()).into());
        }
        None => {}
    }
    check.notes.extend(promised.note);
    check.compare(session, job, path, "the received").await
}

/// A file whose source goes away is compared in any case.
fn is_compared(job: &Job<'_>) -> bool {
    let options = &job.task.options;
    options.verify != Verify::None || options.after != After::Keep
}

/// What the server said about the file before it was asked for it.
struct Promised {
    bytes: Option<u64>,
    note: Option<String>,
}

async fn begin<'s>(
    session: &'s mut Session,
    job: &Job<'_>,
    file: &mut TempFile,
) -> Result<(Promised, DownloadStream<'s>), TryError> {
    let path = &job.path;
    if !is_compared(job) {
        return Ok((Promised { bytes: None, note: None }, session.retrieve(path).await?));
    }
    let (size, retrieve) = if session.asks_size_separately() && !session.has_started(path) {
        let size = session.size_to_retrieve(path).await?;
        if let SizeReply::Bytes(bytes) = size
            && let Some(source) = resume::stamp(session, job, bytes).await?
        {
            file.is_part_of(source);
        }
        (size, session.retrieve(path).await?)
    } else {
        let (size, retrieve) = session.retrieve_sized(path).await?;
        if let (SizeReply::Bytes(bytes), Some(modified)) = (&size, retrieve.modified())
            && let Some(source) = resume::stamped(&retrieve.connection(), job, *bytes, modified)
        {
            file.is_part_of(source);
        }
        (size, retrieve)
    };
    let (bytes, note) = match size {
        SizeReply::Bytes(bytes) => (Some(bytes), None),
        SizeReply::Unsupported => (None, Some("size not verified: the server has no SIZE".to_owned())),
        // vsftpd says the same of a file that is missing and of one that it just will not measure: RETR tells.
        SizeReply::Refused { error, .. } => {
            (None, Some(format!("size not verified: {}", error.failure.message)))
        }
    };
    Ok((Promised { bytes, note }, retrieve))
}

async fn receive(
    retrieve: &mut DownloadStream<'_>,
    job: &Job<'_>,
    file: &mut TempFile,
    promised: Option<u64>,
    check: &mut Check,
) -> Result<(), Stopped> {
    let connection = retrieve.connection();
    let too_large = |bytes| connection.too_large(bytes);
    let mut stop = pin!(job.stop.requested());
    loop {
        let mut room = file.room().await?;
        let read = tokio::select! {
            biased;
            stopped = &mut stop => return Err(stopped),
            read = retrieve.read(&mut room) => read?,
        };
        drop(room);
        if read == 0 {
            return Ok(());
        }
        check.update(file.latest(read));
        job.gauge.add(read as u64);
        job.metrics.bytes("download", &job.task.remote, read as u64);
        // An endless file must not fill the disk.
        if let Some(promised) = promised.filter(|promised| *promised < file.len()) {
            return Err(mismatch(&job.path, promised, file.len()).into());
        }
        if promised.is_none()
            && let Some(why) = too_large(file.len())
        {
            let path = job.path.escape_debug();
            return Err(give_up(Code::FileTooLarge, format!("RETR {path}: {why}")).into());
        }
    }
}

fn mismatch(path: &str, promised: u64, received: u64) -> TryError {
    let more = if received > promised { "at least " } else { "" };
    let path = path.escape_debug();
    let message = format!("RETR {path}: the server said SIZE {promised}, and sent {more}{received} bytes");
    try_again(Code::IntegrityMismatch, message)
}

fn cut_off(path: &str, received: u64) -> TryError {
    let path = path.escape_debug();
    let message = format!(
        "RETR {path}: the TLS data connection was cut off after {received} bytes, and no SIZE says that these \
         are all"
    );
    try_again(Code::IntegrityMismatch, message)
}
