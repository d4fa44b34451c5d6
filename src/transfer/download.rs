//! Server → local storage: a temp file beside the target, verified, made durable, renamed.

use std::pin::pin;

use crate::failure::{Code, TryError};
use crate::ftp::{End, Retrieve, Session, Size};
use crate::storage::{Begun, Finish, TempFile};
use crate::task::{After, Verify};

use super::verify::Check;
use super::{Job, Stopped, Transferred, after, memory, mtime, try_again};

pub(super) async fn run(session: &mut Session, job: &Job<'_>) -> Result<Transferred, Stopped> {
    let target = job.storage.resolve(&job.task.local_path)?;
    let begun = job.storage.create(&target, job.owner.clone(), job.task.options.overwrite);
    let mut file = match job.stop.or(begun).await? {
        Begun::Now(file) => file,
        // Its answer was lost, not the file.
        Begun::Before { bytes, memory } => {
            let notes = vec!["the file was brought by an earlier try".to_owned()];
            let mut done = Transferred { bytes, notes, facts: memory::read(&memory) };
            after::settle(session, job, &mut done, true).await?;
            return Ok(done);
        }
    };
    match fetch(session, job, &mut file).await {
        Ok(Check { notes, facts, .. }) => {
            let mut done = Transferred { bytes: file.len(), notes, facts };
            // Not torn off: whether the file has its name must be known.
            file.publish(finish(job, &done), job.stop.still_ours()).await?;
            after::settle(session, job, &mut done, false).await?;
            Ok(done)
        }
        Err(stopped) => {
            file.discard().await;
            Err(stopped)
        }
    }
}

fn finish(job: &Job<'_>, done: &Transferred) -> Finish {
    let options = &job.task.options;
    Finish {
        memory: memory::write(&done.facts),
        must_remember: options.after != After::Keep,
        modified: done.facts.source_mtime.filter(|_| options.preserve_mtime),
    }
}

/// Brings the whole file, and says what is known and what could not be verified about it.
async fn fetch(session: &mut Session, job: &Job<'_>, file: &mut TempFile) -> Result<Check, Stopped> {
    let path = &job.path;
    let mut check = Check::begin(session, job)?;
    after::may_begin(session, job).await?;
    mtime::of_source(session, job, &mut check).await?;
    let (promised, mut retrieve) = job.stop.or(begin(session, job)).await?;
    if let Err(stopped) = receive(&mut retrieve, job, file, promised.bytes, &mut check).await {
        retrieve.abort().await;
        return Err(stopped);
    }
    let end = job.stop.or(retrieve.finish()).await?;
    match promised.bytes {
        Some(bytes) if bytes != file.len() => return Err(mismatch(path, bytes, file.len()).into()),
        Some(_) => check.has_size(),
        None if end == End::CutOff && job.task.options.verify != Verify::None => {
            return Err(cut_off(path, file.len()).into());
        }
        None => {}
    }
    check.notes.extend(promised.note);
    check.compare(session, job, path, "the received").await?;
    Ok(check)
}

/// What the server said about the file before it was asked for it.
struct Promised {
    bytes: Option<u64>,
    note: Option<String>,
}

async fn begin<'s>(session: &'s mut Session, job: &Job<'_>) -> Result<(Promised, Retrieve<'s>), TryError> {
    let (path, options) = (&job.path, &job.task.options);
    // Whose source goes away is compared in any case.
    if options.verify == Verify::None && options.after == After::Keep {
        return Ok((Promised { bytes: None, note: None }, session.retrieve(path).await?));
    }
    let (size, retrieve) = session.retrieve_sized(path).await?;
    let (bytes, note) = match size {
        Size::Bytes(bytes) => (Some(bytes), None),
        Size::Unsupported => (None, Some("size not verified: the server has no SIZE".to_owned())),
        // vsftpd says the same of a file that is missing and of one that it just will not measure: RETR tells.
        Size::Refused { error, .. } => (None, Some(format!("size not verified: {}", error.failure.message))),
    };
    Ok((Promised { bytes, note }, retrieve))
}

async fn receive(
    retrieve: &mut Retrieve<'_>,
    job: &Job<'_>,
    file: &mut TempFile,
    promised: Option<u64>,
    check: &mut Check,
) -> Result<(), Stopped> {
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
        job.metrics.bytes("download", &job.task.remote, read as u64);
        // An endless file must not fill the disk.
        if let Some(promised) = promised.filter(|promised| *promised < file.len()) {
            return Err(mismatch(&job.path, promised, file.len()).into());
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
