//! One feed at work: its files, its listings, and what was asked of it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::due::{ListingPast, next_listing};
use super::planner::{FeedFiles, FeedRules, MAX_KNOWN};
use super::records::{FeedRecord, FeedRequest};
use super::status::FeedStatus;
use super::version::PathHash;
use crate::config::{ChangedFiles, FeedConfig};
use crate::listing::{WalkError, WalkSummary};

/// Files that cannot become tasks and are remembered, so that each is reported once.
const MAX_REFUSED: usize = 10_000;

/// A feed's state in its partition's owner.
#[derive(Debug, Default)]
pub(super) struct FeedState {
    pub files: FeedFiles,
    pub status: FeedStatus,
    /// Stops the listing that is under way.
    pub listing: Option<CancellationToken>,
    pub paused: Option<FeedRequest>,
    pub run: Option<FeedRequest>,
    pub forget: BTreeSet<PathHash>,
    pub forget_all: bool,
    /// Of which no task can be made.
    pub refused: BTreeSet<PathHash>,
    rechecks: u32,
    /// Counts listings: what comes of an earlier one is nothing any more.
    pub listings: u64,
}

impl Drop for FeedState {
    fn drop(&mut self) {
        self.stop_listing();
    }
}

/// What a feed's configuration says of versions.
pub(super) fn rules(feed: &FeedConfig) -> FeedRules {
    FeedRules {
        settle: feed.settle,
        ignores_changes: feed.changed == ChangedFiles::Ignore,
        remember: feed.remember,
    }
}

impl FeedState {
    /// Applies a request, or notes that it is done.
    pub fn read_request(&mut self, record: FeedRecord) {
        match record {
            FeedRecord::Pause { request, .. } => self.paused = request,
            FeedRecord::Run { request, .. } => self.run = request,
            FeedRecord::Forget { hash: None, request, .. } => self.forget_all = request.is_some(),
            FeedRecord::Forget { hash: Some(hash), request, .. } => {
                if request.is_some() {
                    self.forget.insert(hash);
                } else {
                    self.forget.remove(&hash);
                }
            }
            FeedRecord::File { .. } | FeedRecord::Status { .. } => {}
        }
    }

    /// Restores what earlier owners have committed.
    pub fn restore(&mut self, record: FeedRecord) {
        match record {
            FeedRecord::File { hash, taken: Some(taken), .. } => self.files.restore(hash, taken.version()),
            FeedRecord::File { hash, taken: None, .. } => self.files.forget(hash),
            FeedRecord::Status { status, .. } => {
                let status = status.map(|status| *status).unwrap_or_default();
                self.status = FeedStatus { is_listing: false, settling: 0, ..status };
            }
            request => self.read_request(request),
        }
    }

    /// Whether a listing shall begin now; says in the status when the next one is.
    pub fn is_due(&mut self, feed: &FeedConfig, now: Timestamp) -> bool {
        let known_since = *self.status.known_since.get_or_insert(now);
        let past = ListingPast {
            known_since,
            begun: self.status.listed_at,
            ended: self.status.listed_until,
            failures: self.status.failures,
            is_settling: self.files.settling() > 0,
            rechecks: self.rechecks,
        };
        let next = next_listing(&feed.schedule, feed.settle, &past, now);
        self.status.paused_by = self.paused.as_ref().map(|request| request.by.clone());
        self.status.next_at = Some(next).filter(|_| self.paused.is_none());
        if self.listing.is_some() || self.files.has_changes() || self.is_to_forget() {
            return false;
        }
        self.run.is_some() || (self.paused.is_none() && next <= now)
    }

    /// Something was asked to be forgotten, and is not yet.
    pub fn is_to_forget(&self) -> bool {
        self.forget_all || !self.forget.is_empty()
    }

    pub fn begin_listing(&mut self, feed: &FeedConfig, stop: CancellationToken, now: Timestamp) {
        // for files that settle, or since it is time
        let is_regular = self
            .status
            .listed_at
            .is_none_or(|last| feed.schedule.next_after(last).is_some_and(|regular| regular <= now));
        self.rechecks = if is_regular { 0 } else { self.rechecks.saturating_add(1) };
        self.files.begin_listing();
        self.listings += 1;
        self.listing = Some(stop);
        self.status.is_listing = true;
        self.status.listed_at = Some(now);
    }

    /// The listing has ended; what it has found to be taken is committed soon.
    pub fn end_listing(
        &mut self,
        feed: &FeedConfig,
        ended: Result<WalkSummary, WalkError>,
        (now, wall): (Duration, Timestamp),
    ) {
        self.listing = None;
        // What may be a file and could not be read may be one that is known.
        let is_whole = ended.as_ref().is_ok_and(|seen| seen.passed.may_be_files == 0);
        let counts = self.files.end_listing(is_whole, now, rules(feed));
        let status = &mut self.status;
        (status.is_listing, status.listed_until) = (false, Some(wall));
        (status.chosen, status.new, status.settling) =
            (counts.chosen, counts.planned, self.files.settling() as u64);
        match ended {
            Ok(seen) => {
                (status.files, status.directories, status.passed_over) =
                    (seen.files, seen.directories, seen.passed.may_be_files);
                status.failures = 0;
                status.error = partly(&seen, counts.beyond);
            }
            Err(error) => {
                status.failures = status.failures.saturating_add(1);
                status.error = Some(error.to_string());
            }
        }
        if counts.postponed > 0 {
            self.run = Some(FeedRequest::default()); // what is left comes at once
        }
    }

    /// Nothing that is under way is wanted any more: the feed is another one now, or none.
    pub fn start_over(&mut self) {
        self.stop_listing();
        self.listings += 1;
        self.files.start_over();
        self.refused.clear();
        self.rechecks = 0;
        self.status.settling = 0;
    }

    pub fn refuse(&mut self, hash: PathHash) -> bool {
        self.refused.len() < MAX_REFUSED && self.refused.insert(hash)
    }

    fn stop_listing(&mut self) {
        if let Some(stop) = self.listing.take() {
            stop.cancel();
            self.status.is_listing = false;
        }
    }
}

/// What of a whole listing could not become tasks.
fn partly(seen: &WalkSummary, beyond: u64) -> Option<String> {
    if beyond > 0 {
        return Some(format!(
            "{beyond} files are not taken: more than {MAX_KNOWN} are known; make several feeds of it"
        ));
    }
    let first = seen.passed.entries.first().filter(|_| seen.passed.may_be_files > 0)?;
    let count = seen.passed.may_be_files;
    Some(format!("{count} entries that may be files were passed over, such as {}", first.entry))
}
