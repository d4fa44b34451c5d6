//! What another process has sent of a record's upload, taken over by the record's next owner.
//!
//! It is found by its name, which tells the record and, to who may read it, of which source it is a part. It gets a name
//! of the new owner's first: of two who want it the server gives it to one, and who had it before finds it no more
//! when he wakes, so he can neither rename it nor write to it anew.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::failure::{Remedy, TryError};
use crate::ftp::{RestartSupport, Session};
use crate::storage::{AdoptionSearch, SharedOrphanTracker, SourceFile, TempFileStamp, TempName};

use super::go_on::{self, Found, Going};
use super::resume::{RESUME_FROM, Writers};
use super::tidy::{self, Leftover};
use super::{Job, Stopped, row};

/// Between two looks at whether somebody else's look into a directory has ended.
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);
/// Temp files that are removed before the upload begins; the rest go later.
const REMOVED_AT_ONCE: usize = 8;

/// Goes on with what another process has left of this record's upload: the largest part of this very source. Its other
/// temp files are removed.
pub(super) async fn with_anothers(
    session: &mut Session,
    job: &Job<'_>,
    directory: &str,
    source: &SourceFile,
    mut expected: Expected<'_>,
) -> Result<Found, Stopped> {
    expected.search(session, job).await?;
    expected.take();
    let wanted = go_on::part_of(job, source);
    let is_of_use = |bytes| (RESUME_FROM..=source.size()).contains(&bytes);
    let mut parts = Vec::new();
    for (temp, _) in expected.found.clone() {
        if temp.is_of_same_source(&wanted) && session.may_restart_store() {
            parts.push((go_on::size(session, job, directory, &temp).await?, temp));
        }
    }
    let best = parts.into_iter().filter(|(bytes, _)| is_of_use(*bytes)).max_by_key(|(bytes, _)| *bytes);
    let best = best.map(|(_, temp)| temp);
    let others = expected.found.extract_if(.., |(temp, _)| best.as_ref() != Some(temp));
    expected.unwanted.extend(others.map(|(temp, _)| temp));
    expected.remove(session, job).await?;
    let Some(temp) = best else { return Ok(None) };
    let restarts = go_on::restarts(session, job, directory).await?;
    let name = match restarts {
        RestartSupport::InPlace => wanted,
        RestartSupport::Cut => go_on::new_name(job),
        RestartSupport::Otherwise => {
            expected.give_up();
            expected.remove(session, job).await?;
            return Ok(None);
        }
    };
    let renamed = go_on::rename(session, job, directory, &temp, name).await?;
    expected.found.clear();
    let Some((name, leftover)) = renamed else {
        // Somebody else has it, or it cannot be renamed.
        expected.unwanted.push(temp);
        expected.remove(session, job).await?;
        return Ok(None);
    };
    // Under this name nobody else begins to write to it: now its size can be relied on.
    let there = go_on::size(session, job, directory, &name).await?;
    if !is_of_use(there) {
        go_on::remove(session, directory, &name, leftover).await;
        return Ok(None);
    }
    let (path, bytes) = (job.task.remote_path.as_str(), there);
    tracing::info!(path, bytes, "the upload goes on where another pod's broke off");
    let restarts = Some(restarts);
    Ok(Some((name, leftover, Going { there, writers: Writers::UNKNOWN, restarts, is_anothers: true })))
}

/// What is found of a record's earlier owners is kept for its upload, as long as this stands. What it does not take
/// stays for its next try.
pub(super) struct Expected<'a> {
    job: &'a Job<'a>,
    directory: &'a str,
    found: Vec<(TempName, TempFileStamp)>,
    unwanted: Vec<TempName>,
}

impl<'a> Expected<'a> {
    pub fn begin(job: &'a Job<'a>, directory: &'a str) -> Expected<'a> {
        job.strays.lock().expect(directory, &job.owner);
        Expected { job, directory, found: Vec::new(), unwanted: Vec::new() }
    }

    /// Has the directory looked into, unless that was done since the assignment.
    async fn search(&self, session: &mut Session, job: &Job<'_>) -> Result<(), Stopped> {
        let until = Instant::now() + tidy::WITHIN;
        while Instant::now() < until {
            let search = job.strays.lock().search(self.directory, &job.owner, Instant::now());
            match search {
                AdoptionSearch::Over => break,
                AdoptionSearch::UnderWay => {
                    let pause = async {
                        sleep(LOOK_UP_EVERY).await;
                        Ok::<_, Stopped>(())
                    };
                    job.stop.or(pause).await?;
                }
                AdoptionSearch::Look => return self.look(session, job).await,
            }
        }
        Ok(())
    }

    async fn look(&self, session: &mut Session, job: &Job<'_>) -> Result<(), Stopped> {
        let mut looking = Looking { strays: &job.strays, directory: self.directory, is_over: false };
        let look = timeout(tidy::WITHIN, tidy::look(session, self.directory, job.names));
        let looked = job.stop.or(async { Ok::<_, Stopped>(look.await) }).await?;
        let found = match looked {
            Ok(Ok(found)) => found,
            // The file has not been begun: another session costs it nothing, and does without the look.
            Ok(Err(error)) if !session.is_usable() => {
                return Err(TryError { remedy: Remedy::FreshSession, ..error }.into());
            }
            Err(_) => return Err(row::again("the directory was not listed in time").into()),
            Ok(Err(_)) => return Ok(()),
        };
        looking.is_over = true;
        let (strays, names, directory) = (job.strays.clone(), job.names.clone(), self.directory.to_owned());
        let doubtful = strays.note(&directory, found, &names);
        // Kafka is asked about other records' files, which is nothing to this upload.
        tokio::spawn(async move { strays.ask(&directory, doubtful, &names).await });
        Ok(())
    }

    fn take(&mut self) {
        self.found = self.job.strays.lock().take_expected(&self.job.owner);
    }

    fn give_up(&mut self) {
        self.unwanted.extend(self.found.drain(..).map(|(temp, _)| temp));
    }

    /// Removes what is not wanted, at once where that is not too much.
    async fn remove(&mut self, session: &mut Session, job: &Job<'_>) -> Result<(), Stopped> {
        for temp in self.unwanted.split_off(self.unwanted.len().saturating_sub(REMOVED_AT_ONCE)) {
            job.stop.check()?;
            let leftover = Leftover::of(&job.strays, self.directory, &temp);
            go_on::remove(session, self.directory, &temp, leftover).await;
        }
        Ok(())
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let mut strays = self.job.strays.lock();
        let mut found = strays.take_expected(&self.job.owner);
        found.append(&mut self.found);
        strays.seen_again(self.directory, found);
        strays.not_wanted(self.directory, &self.job.owner, self.unwanted.drain(..));
    }
}

/// A look into a directory, which is repeated where it does not come to its end.
struct Looking<'a> {
    strays: &'a SharedOrphanTracker,
    directory: &'a str,
    is_over: bool,
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.strays.lock().not_looked(self.directory, Instant::now());
        }
    }
}
