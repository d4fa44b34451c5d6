//! Removes orphaned temp files from the servers: on sessions that have nothing else to do, and right after an
//! assignment with a small part of one session's time.
//!
//! Which files, and where they are searched, is the same as for local ones: see `storage::orphans`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout;

use crate::failure::TryError;
use crate::ftp::{Session, SizeReply};
use crate::storage::{CleanupAction, SharedOrphanTracker, TempFileStamp, TempName, TempNames};

use super::{TransferExecutor, temp_place};

/// How long one action may delay the session's next task.
pub(super) const WITHIN: Duration = Duration::from_secs(10);
/// For how many temp files of one directory SIZE is sent at most.
const MAX_SIZES: usize = 100;
/// How many temp files of one directory are recorded at most.
const MAX_FOUND: usize = 10_000;

impl TransferExecutor {
    /// Performs one due action on this session's server: searches a directory, or removes a file. False if nothing is
    /// due. Takes some seconds; the session may be unusable afterwards, or if this is dropped.
    pub async fn clean_up(&self, session: &mut Session) -> bool {
        let orphans = self.orphans_at(&session.connection().name);
        let action = orphans.lock().next(Instant::now());
        let Some(action) = action else { return false };
        self.run_action(session, &orphans, action).await;
        true
    }

    /// Like [`TransferExecutor::clean_up`], but only what must not wait until the session is idle.
    pub async fn clean_up_at_once(&self, session: &mut Session) -> bool {
        let orphans = self.orphans_at(&session.connection().name);
        let started = Instant::now();
        let action = orphans.lock().next_urgent(started);
        let Some(action) = action else { return false };
        self.run_action(session, &orphans, action).await;
        orphans.lock().rest(started, Instant::now());
        true
    }

    /// Whether an action is due on the connection's server.
    pub fn needs_cleanup(&self, connection: &str) -> bool {
        self.orphans_at(connection).lock().has_work(Instant::now())
    }

    async fn run_action(&self, session: &mut Session, orphans: &SharedOrphanTracker, action: CleanupAction) {
        match action {
            CleanupAction::Remove { directory, temp, tries } => {
                remove(session, orphans, directory, temp, tries).await;
            }
            CleanupAction::Scan { directory } => {
                match timeout(WITHIN, search(session, &directory, &self.names)).await {
                    Ok(Ok(found)) => orphans.judge(&directory, found, &self.names).await,
                    failed => {
                        if let Ok(Err(error)) = failed {
                            let connection = &session.connection().name;
                            tracing::debug!(
                                event = "orphan_scan_failed", connection, %error,
                                "could not search for temp files"
                            );
                        }
                        orphans.lock().scan_failed(&directory, Instant::now());
                    }
                }
            }
        }
    }
}

async fn remove(
    session: &mut Session,
    orphans: &SharedOrphanTracker,
    directory: Arc<str>,
    temp: TempName,
    tries: u8,
) {
    let path = temp_place::path(session.connection(), &directory, &temp);
    let removed = timeout(WITHIN, session.delete(&path)).await;
    let connection = &session.connection().name;
    match removed {
        Ok(Ok(true)) => tracing::info!(
            event = "orphan_removed",
            connection,
            path,
            "removed orphaned temp file from the server"
        ),
        Ok(Ok(false)) => {}
        _ => {
            if !orphans.lock().removal_failed(directory, temp, tries, Instant::now()) {
                tracing::warn!(
                    event = "orphan_removal_failed",
                    connection,
                    path,
                    "orphaned temp file may remain on the server"
                );
            }
        }
    }
}

/// Other processes' temp files in the directory.
pub(super) async fn search(
    session: &mut Session,
    directory: &str,
    names: &TempNames,
) -> Result<Vec<(TempName, TempFileStamp)>, TryError> {
    let connection = session.connection_handle();
    let listed = session.files_in(directory, |name| temp_place::is_one(&connection, name)).await?;
    let mut found = Vec::new();
    let mut sizes = 0;
    for file in listed.into_iter().take(MAX_FOUND) {
        let Some(temp) = temp_place::read(&connection, names, &file.name)
            .filter(|temp| temp.incarnation() != names.incarnation())
        else {
            continue;
        };
        let mut stamp = file.size.zip(file.exact_time().map(Timestamp::as_second));
        // Files of this installation need no size: their records decide.
        if stamp.is_none() && temp.origin().is_none() && sizes < MAX_SIZES {
            sizes += 1;
            // A live upload grows.
            if let SizeReply::Bytes(size) =
                session.size(&temp_place::path(&connection, directory, &temp)).await?
            {
                stamp = Some((size, 0));
            }
        }
        found.push((temp, stamp));
    }
    Ok(found)
}

/// A temp file that may be on the server. If it is dropped before [`RemoteTempFile::gone`] is called, it is removed
/// later.
#[derive(Debug)]
pub(super) struct RemoteTempFile {
    orphans: SharedOrphanTracker,
    directory: String,
    temp: Option<TempName>,
}

impl RemoteTempFile {
    pub fn of(orphans: &SharedOrphanTracker, directory: &str, temp: &TempName) -> Self {
        RemoteTempFile { orphans: orphans.clone(), directory: directory.to_owned(), temp: Some(temp.clone()) }
    }

    pub fn gone(mut self) {
        self.temp = None;
    }
}

impl Drop for RemoteTempFile {
    fn drop(&mut self) {
        if let Some(temp) = self.temp.take() {
            self.orphans.lock().left(&self.directory, temp);
        }
    }
}
