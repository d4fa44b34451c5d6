//! Adopts a partial upload that another process has sent for a record that this pod now owns.
//!
//! It is found by its name, which identifies the record and, to this installation, the source. It is first renamed to a
//! name of the new owner: of two pods that want it the server gives it to one, and the process that had it before does
//! not find it when it resumes, so it can neither rename it nor start writing to it again.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::failure::{Remedy, TryError};
use crate::ftp::{RestartSupport, Session};
use crate::storage::{AdoptionSearch, SharedOrphanTracker, SourceFile, TempFileStamp, TempName};

use super::orphan_cleanup::{self, RemoteTempFile};
use super::resume_state::{MIN_RESUMED_SIZE, PartWriters};
use super::resume_upload::{self, FoundUpload, ResumedUpload};
use super::{TransferContext, TransferError, retry_on_fresh_session};

/// How often to check whether another task's search of the directory has ended.
const SEARCH_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How many temp files are removed before the upload begins; the rest are removed later.
const MAX_REMOVED_AT_ONCE: usize = 8;

/// Resumes what another process has left of this record's upload: the largest part of this very source. Its other temp
/// files are removed.
pub(super) async fn adopt(
    session: &mut Session,
    context: &TransferContext<'_>,
    directory: &str,
    source: &SourceFile,
    mut expected: AdoptionCandidates<'_>,
) -> Result<FoundUpload, TransferError> {
    expected.search(session, context).await?;
    expected.take();
    let wanted = resume_upload::part_of(context, source);
    let is_of_use = |bytes| (MIN_RESUMED_SIZE..=source.size()).contains(&bytes);
    let mut parts = Vec::new();
    for (temp, _) in expected.found.clone() {
        if temp.is_of_same_source(&wanted) && session.may_restart_store() {
            parts.push((resume_upload::size(session, context, directory, &temp).await?, temp));
        }
    }
    let best = parts.into_iter().filter(|(bytes, _)| is_of_use(*bytes)).max_by_key(|(bytes, _)| *bytes);
    let best = best.map(|(_, temp)| temp);
    let others = expected.found.extract_if(.., |(temp, _)| best.as_ref() != Some(temp));
    expected.unwanted.extend(others.map(|(temp, _)| temp));
    expected.remove(session, context).await?;
    let Some(temp) = best else { return Ok(None) };
    let restarts = resume_upload::restarts(session, context, directory).await?;
    let name = match restarts {
        RestartSupport::InPlace => wanted,
        RestartSupport::Cut => resume_upload::new_name(context),
        RestartSupport::Otherwise => {
            expected.give_up();
            expected.remove(session, context).await?;
            return Ok(None);
        }
    };
    let renamed = resume_upload::rename(session, context, directory, &temp, name).await?;
    expected.found.clear();
    let Some((name, remote_temp)) = renamed else {
        // Another process has taken it, or it cannot be renamed.
        expected.unwanted.push(temp);
        expected.remove(session, context).await?;
        return Ok(None);
    };
    // No other process starts writing to it under this name: now its size can be relied on.
    let there = resume_upload::size(session, context, directory, &name).await?;
    if !is_of_use(there) {
        resume_upload::remove(session, directory, &name, remote_temp).await;
        return Ok(None);
    }
    let (path, bytes) = (context.task.remote_path.as_str(), there);
    tracing::info!(event = "upload_adopted", path, bytes, "adopted the partial upload of another pod");
    let restarts = Some(restarts);
    Ok(Some((
        name,
        remote_temp,
        ResumedUpload { there, writers: PartWriters::UNKNOWN, restarts, is_adopted: true },
    )))
}

/// Reserves the temp files of the record's earlier owners for its upload, as long as this exists. Those that are not
/// adopted remain available to its next try.
pub(super) struct AdoptionCandidates<'a> {
    context: &'a TransferContext<'a>,
    directory: &'a str,
    found: Vec<(TempName, TempFileStamp)>,
    unwanted: Vec<TempName>,
}

impl<'a> AdoptionCandidates<'a> {
    pub fn begin(context: &'a TransferContext<'a>, directory: &'a str) -> AdoptionCandidates<'a> {
        context.orphans.lock().expect(directory, &context.owner);
        AdoptionCandidates { context, directory, found: Vec::new(), unwanted: Vec::new() }
    }

    /// Searches the directory, unless that was done since the assignment.
    async fn search(
        &self,
        session: &mut Session,
        context: &TransferContext<'_>,
    ) -> Result<(), TransferError> {
        let until = Instant::now() + orphan_cleanup::WITHIN;
        while Instant::now() < until {
            let search = context.orphans.lock().search(self.directory, &context.owner, Instant::now());
            match search {
                AdoptionSearch::Over => break,
                AdoptionSearch::UnderWay => {
                    let pause = async {
                        sleep(SEARCH_POLL_INTERVAL).await;
                        Ok::<_, TransferError>(())
                    };
                    context.stop.or(pause).await?;
                }
                AdoptionSearch::Scan => return self.scan(session, context).await,
            }
        }
        Ok(())
    }

    async fn scan(&self, session: &mut Session, context: &TransferContext<'_>) -> Result<(), TransferError> {
        let mut looking =
            DirectorySearch { orphans: &context.orphans, directory: self.directory, is_over: false };
        let scan =
            timeout(orphan_cleanup::WITHIN, orphan_cleanup::search(session, self.directory, context.names));
        let scanned = context.stop.or(async { Ok::<_, TransferError>(scan.await) }).await?;
        let found = match scanned {
            Ok(Ok(found)) => found,
            // The file was not started: another session costs nothing, and continues without the search.
            Ok(Err(error)) if !session.is_usable() => {
                return Err(TryError { remedy: Remedy::FreshSession, ..error }.into());
            }
            Err(_) => return Err(retry_on_fresh_session("the directory was not listed in time").into()),
            Ok(Err(_)) => return Ok(()),
        };
        looking.is_over = true;
        let (orphans, names, directory) =
            (context.orphans.clone(), context.names.clone(), self.directory.to_owned());
        let doubtful = orphans.note(&directory, found, &names);
        // Kafka is asked about other records' files, which does not concern this upload.
        tokio::spawn(async move { orphans.ask(&directory, doubtful, &names).await });
        Ok(())
    }

    fn take(&mut self) {
        self.found = self.context.orphans.lock().take_expected(&self.context.owner);
    }

    fn give_up(&mut self) {
        self.unwanted.extend(self.found.drain(..).map(|(temp, _)| temp));
    }

    /// Removes unwanted temp files, immediately if they are not too many.
    async fn remove(
        &mut self,
        session: &mut Session,
        context: &TransferContext<'_>,
    ) -> Result<(), TransferError> {
        for temp in self.unwanted.split_off(self.unwanted.len().saturating_sub(MAX_REMOVED_AT_ONCE)) {
            context.stop.check()?;
            let remote_temp = RemoteTempFile::of(&context.orphans, self.directory, &temp);
            resume_upload::remove(session, self.directory, &temp, remote_temp).await;
        }
        Ok(())
    }
}

impl Drop for AdoptionCandidates<'_> {
    fn drop(&mut self) {
        let mut orphans = self.context.orphans.lock();
        let mut found = orphans.take_expected(&self.context.owner);
        found.append(&mut self.found);
        orphans.return_unadopted(self.directory, found);
        orphans.not_wanted(self.directory, &self.context.owner, self.unwanted.drain(..));
    }
}

/// A search of a directory, which is repeated if it is interrupted.
struct DirectorySearch<'a> {
    orphans: &'a SharedOrphanTracker,
    directory: &'a str,
    is_over: bool,
}

impl Drop for DirectorySearch<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.orphans.lock().scan_failed(self.directory, Instant::now());
        }
    }
}
