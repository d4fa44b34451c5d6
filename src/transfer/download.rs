//! Server → local storage: a temp file beside the target, verified, made durable, renamed.

use std::pin::pin;

use crate::failure::{Code, TryError};
use crate::ftp::{End, Retrieve, Session, Size};
use crate::outcome::Facts;
use crate::storage::{Begun, TempFile};
use crate::task::Verify;

use super::{Job, Stopped, Transferred, try_again};

pub(super) async fn run(session: &mut Session, job: &Job<'_>) -> Result<Transferred, Stopped> {
    let target = job.storage.resolve(&job.task.local_path)?;
    let begun = job.storage.create(&target, job.owner.clone(), job.task.options.overwrite);
    let mut file = match job.stop.or(begun).await? {
        Begun::Now(file) => file,
        // Its answer was lost, not the file.
        Begun::Before { bytes } => {
            return Ok(Transferred {
                bytes,
                notes: vec!["the file was brought by an earlier try".to_owned()],
                facts: Facts::default(),
            });
        }
    };
    match fetch(session, job, &mut file).await {
        Ok(notes) => {
            let bytes = file.len();
            // Not torn off: whether the file has its name must be known.
            file.publish(job.stop.still_ours()).await?;
            Ok(Transferred { bytes, notes, facts: Facts::default() })
        }
        Err(stopped) => {
            file.discard().await;
            Err(stopped)
        }
    }
}

/// Brings the whole file, and says what could not be verified about it.
async fn fetch(session: &mut Session, job: &Job<'_>, file: &mut TempFile) -> Result<Vec<String>, Stopped> {
    let path = &job.path;
    let (promised, mut retrieve) = job.stop.or(begin(session, path, job.task.options.verify)).await?;
    if let Err(stopped) = receive(&mut retrieve, job, file, promised.bytes).await {
        retrieve.abort().await;
        return Err(stopped);
    }
    let end = job.stop.or(retrieve.finish()).await?;
    match promised.bytes {
        Some(bytes) if bytes != file.len() => Err(mismatch(path, bytes, file.len()).into()),
        None if end == End::CutOff && job.task.options.verify != Verify::None => {
            Err(cut_off(path, file.len()).into())
        }
        _ => Ok(promised.notes),
    }
}

/// What the server said about the file before it was asked for it.
struct Promised {
    bytes: Option<u64>,
    notes: Vec<String>,
}

async fn begin<'s>(
    session: &'s mut Session,
    path: &str,
    verify: Verify,
) -> Result<(Promised, Retrieve<'s>), TryError> {
    if verify == Verify::None {
        return Ok((Promised { bytes: None, notes: Vec::new() }, session.retrieve(path).await?));
    }
    let (size, retrieve) = session.retrieve_sized(path).await?;
    let (bytes, note) = match size {
        Size::Bytes(bytes) => (Some(bytes), None),
        Size::Unsupported => (None, Some("size not verified: the server has no SIZE".to_owned())),
        // vsftpd says the same of a file that is missing and of one that it just will not measure: RETR tells.
        Size::Refused { error, .. } => (None, Some(format!("size not verified: {}", error.failure.message))),
    };
    Ok((Promised { bytes, notes: note.into_iter().collect() }, retrieve))
}

async fn receive(
    retrieve: &mut Retrieve<'_>,
    job: &Job<'_>,
    file: &mut TempFile,
    promised: Option<u64>,
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
