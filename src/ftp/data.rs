//! A transfer under way: its bytes, its end, and the final reply.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use jiff::Timestamp;
use suppaftp::tokio::AsyncRustlsStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::config::FtpConnection;
use crate::failure::{Code, Failure, Remedy, TryError};

use super::ending::{Ended, Row};
use super::fault::{Fault, Step, StepFault, Wait, within};
use super::files::Size;
use super::pace::Pace;
use super::passive::{DataConnection, Manner, Opened};
use super::reply::Reply;
use super::session::Session;

/// How long a transfer that is given up waits for the server's last word.
const ABORT_WITHIN: Duration = Duration::from_secs(2);

/// How long the `close_notify` of a file that has been received may take to send: it is a courtesy.
pub(super) const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// How long the server's end of a file that it has received is waited for once its reply is in: a ticket comes
/// before that, and no later.
const TICKET_WITHIN: Duration = Duration::from_millis(100);

/// A file that the server is sending.
///
/// Dropped without [`Retrieve::finish`] or [`Retrieve::abort`], its session is no longer sound.
#[derive(Debug)]
pub struct Retrieve<'s>(pub(super) Transfer<'s>);

impl Retrieve<'_> {
    /// Reads what has come into `room`, waiting for the first byte; returns their number, 0 at the end.
    ///
    /// # Errors
    /// `timeout` where no byte comes for the connection's `stall`; else what the server says about it.
    pub async fn read(&mut self, room: &mut (impl BufMut + Send)) -> Result<usize, TryError> {
        self.0.read(room).await
    }

    /// The settings of the session that the file comes over.
    #[must_use]
    pub fn connection(&self) -> Arc<FtpConnection> {
        self.0.session.connection_handle()
    }

    /// When the file was last changed, where that was asked in one burst with RETR.
    #[must_use]
    pub fn modified(&self) -> Option<Timestamp> {
        self.0.modified
    }

    /// Closes the data connection at once (vsftpd and `ProFTPD` wait for that), then reads the final reply.
    /// Says how the bytes ended.
    /// A far server is asked for the next file's port ahead.
    pub async fn finish(self) -> Result<End, TryError> {
        let end = self.0.end;
        self.0.finish_download().await.map(|()| end)
    }

    /// [`Retrieve::finish`], and where the server is told of data connections (active mode) SIZE and RETR of `next`
    /// go out with that: nothing but [`Session::retrieve_sized`] of it may come then.
    pub async fn finish_before(self, next: &str) -> Result<End, TryError> {
        let end = self.0.end;
        self.0.finish_download_before(next).await.map(|()| end)
    }

    /// Whether the next file may be asked for with this one's end.
    #[must_use]
    pub fn may_begin_next(&self) -> bool {
        let session = &*self.0.session;
        self.0.early.is_none()
            && session.may_hurry()
            && session.is_active()
            && !session.lacks.size
            && !session.is_expired()
    }

    /// Gives the transfer up: closes the data connection and waits two seconds at most for the final reply;
    /// where it comes the session stays sound. Returns the reply's code.
    pub async fn abort(self) -> Option<u16> {
        self.0.abort().await
    }
}

/// How the bytes of a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server closed the data connection; where that has TLS, with its `close_notify`.
    Told,
    /// A data connection with TLS ended without `close_notify`: anybody may have cut it off, and only the
    /// file's size can tell that it is whole.
    CutOff,
}

/// A file that the server is receiving.
///
/// Dropped without [`Store::finish`] or [`Store::abort`], its session is no longer sound.
#[derive(Debug)]
pub struct Store<'s>(pub(super) Transfer<'s>);

impl Store<'_> {
    /// Sends all of `chunk`.
    ///
    /// # Errors
    /// `timeout` where the server takes no byte for the connection's `stall`; else what it says about it.
    pub async fn write(&mut self, mut chunk: &[u8]) -> Result<(), TryError> {
        while !chunk.is_empty() {
            let written = self.0.write(chunk).await?;
            chunk = chunk.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends a whole file, and hears of its end.
    pub(super) async fn send(mut self, content: &[u8]) -> Result<(), TryError> {
        self.write(content).await?;
        self.close().await?;
        self.finish(false).await
    }

    /// Closes the data connection, which is the file's end. The final reply is read by [`Store::finish`] or
    /// [`Store::finish_in_row`].
    pub async fn close(&mut self) -> Result<(), TryError> {
        self.0.end_of_file().await
    }

    /// Reads the final reply, once the data connection is closed. With `then_rename` the caller says that SIZE
    /// and RNFR of this file come next: a far server is asked both ahead.
    pub async fn finish(self, then_rename: bool) -> Result<(), TryError> {
        self.0.finish_upload(then_rename).await
    }

    /// The same, where the file stands in a row of uploads to a server that bears commands ahead of their turn.
    pub async fn finish_in_row(self, row: Row<'_>) -> Ended {
        self.0.finish_in_row(row).await
    }

    /// The settings of the session's connection.
    #[must_use]
    pub fn connection(&self) -> &FtpConnection {
        self.0.session.connection()
    }

    /// Whether this file may stand in a row: see [`Store::finish_in_row`].
    #[must_use]
    pub fn may_stand_in_row(&self) -> bool {
        self.0.session.may_stand_in_row()
    }

    /// Whether the next file may go to `path` without a look at what it needs first.
    #[must_use]
    pub fn may_be_followed_by(&self, path: &str) -> bool {
        let session = &*self.0.session;
        session.known.has_directory(path) && (path.is_ascii() || !session.owes_utf8)
    }

    /// Gives the transfer up, like [`Retrieve::abort`]. The server takes what it has for the whole file.
    pub async fn abort(self) -> Option<u16> {
        self.0.abort().await
    }
}

impl Session {
    /// RETR: asks for the file at `path`.
    pub async fn retrieve(&mut self, path: &str) -> Result<Retrieve<'_>, TryError> {
        match self.open_transfer(Step::Retr, path, Manner::Alone).await {
            Ok(opened) => Ok(Retrieve(Transfer::new(self, Step::Receiving, path, opened))),
            Err(fault) => Err(self.fail_at(path, fault)),
        }
    }

    /// SIZE, then RETR; to a far server in one burst.
    ///
    /// # Errors
    /// As of both; a file that SIZE says is missing is not asked for.
    pub async fn retrieve_sized(&mut self, path: &str) -> Result<(Size, Retrieve<'_>), TryError> {
        if (self.lacks.size || !self.may_hurry()) && !self.has_begun(path) {
            let size = self.size_to_retrieve(path).await?;
            return Ok((size, self.retrieve(path).await?));
        }
        let mut opened = match self.open_transfer(Step::Retr, path, Manner::BehindSize).await {
            Ok(opened) => opened,
            Err(fault) => return Err(self.fail_at(path, fault)),
        };
        let size = match opened.size.take() {
            Some(reply) => self.size_said(path, reply)?,
            None => Size::Unsupported,
        };
        // The transfer goes on: its final reply is still owed.
        self.unfinished = true;
        let why = match size {
            Size::Bytes(bytes) => self.connection().too_large(bytes),
            _ => None,
        };
        let retrieve = Retrieve(Transfer::new(self, Step::Receiving, path, opened));
        if let Some(why) = why {
            retrieve.abort().await;
            return Err(too_large(path, &why));
        }
        Ok((size, retrieve))
    }

    /// SIZE before RETR.
    ///
    /// # Errors
    /// As of both; a file that SIZE says is missing, or too large, is not to be asked for.
    pub async fn size_to_retrieve(&mut self, path: &str) -> Result<Size, TryError> {
        match self.size(path).await? {
            Size::Refused { error, missing: true } => Err(error),
            Size::Bytes(bytes) => match self.connection().too_large(bytes) {
                Some(why) => Err(too_large(path, &why)),
                None => Ok(Size::Bytes(bytes)),
            },
            size => Ok(size),
        }
    }

    /// MLSD or LIST: asks what stands in a directory; `argument` may begin with options.
    pub(super) async fn listing(&mut self, step: Step, argument: &str) -> Result<Retrieve<'_>, TryError> {
        match self.open_transfer(step, argument, Manner::Alone).await {
            Ok(opened) => Ok(Retrieve(Transfer::new(self, step, argument, opened))),
            Err(fault) => Err(self.fail_at(argument, fault)),
        }
    }

    /// STOR: sends a file to `path`. Where the server refuses, which may mean that the directory is missing,
    /// the directories above `path` are made and STOR is sent once more.
    pub async fn store(&mut self, path: &str) -> Result<Store<'_>, TryError> {
        let is_known = self.may_hurry() && self.known.has_directory(path);
        let manner = if is_known { Manner::Unaccepted } else { Manner::Alone };
        let opened = match self.open_transfer(Step::Stor, path, manner).await {
            Err(refused) if may_lack_directory(&refused, path) => {
                self.make_dirs(path).await?;
                self.open_transfer(Step::Stor, path, Manner::Alone).await
            }
            opened => opened,
        };
        match opened {
            Ok(opened) => Ok(Store(Transfer::new(self, Step::Sending, path, opened))),
            Err(fault) => Err(self.fail_at(path, fault)),
        }
    }
}

/// `ProFTPD` says 550 with the reason, vsftpd 553 without one, IIS 550, others 450 or 451.
fn may_lack_directory(refused: &StepFault, path: &str) -> bool {
    let Fault::Reply(reply) = &refused.fault else { return false };
    let says = reply.says(Some(path));
    refused.step == Step::Stor
        && path.trim_start_matches('/').contains('/')
        && match reply.code {
            550 | 553 => says.missing || !says.denied,
            450 | 451 | 501 => says.missing,
            _ => false,
        }
}

/// A file that is larger than the connection's `max_file_size`.
fn too_large(path: &str, why: &str) -> TryError {
    let failure = Failure::new(Code::FileTooLarge, format!("RETR {}: {why}", path.escape_debug()));
    TryError { failure, remedy: Remedy::GiveUp }
}

#[derive(Debug)]
pub(super) struct Transfer<'s> {
    pub session: &'s mut Session,
    pub step: Step,
    pub path: String,
    /// `None` once it is closed.
    pub data: Option<DataConnection>,
    pub early: Option<Reply>,
    pace: Pace,
    /// What MDTM said, where it was asked in one burst with RETR.
    modified: Option<Timestamp>,
    end: End,
    /// The final reply was read, or waited for in vain.
    over: bool,
}

impl<'s> Transfer<'s> {
    pub(super) fn new(session: &'s mut Session, step: Step, path: &str, opened: Opened) -> Transfer<'s> {
        let modified = opened.modified.filter(|reply| reply.code == 213).and_then(|reply| reply.time());
        let (path, data, early) = (path.to_owned(), Some(opened.data), opened.early);
        let pace = Pace::new(session.connection().min_rate, step != Step::Sending);
        Transfer { session, step, path, data, early, pace, modified, end: End::Told, over: false }
    }

    async fn read(&mut self, buffer: &mut (impl BufMut + Send)) -> Result<usize, TryError> {
        let Some(data) = &mut self.data else { return Ok(0) };
        let (wait, limit) = self.pace.limit(&self.session.connection().timeouts);
        let begun = Instant::now();
        match within(wait, limit, || waiting_for_bytes(wait), data.read_buf(buffer)).await {
            Ok(Ok(read)) => {
                self.pace.moved(read, begun.elapsed());
                Ok(read)
            }
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.end = End::CutOff;
                Ok(0)
            }
            Ok(Err(error)) => Err(self.broke(data_broke(error)).await),
            Err(fault) => Err(self.broke(self.pace.too_slow(fault)).await),
        }
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<usize, TryError> {
        let waiting = || "the server to take more bytes".to_owned();
        let (wait, limit) = self.pace.limit(&self.session.connection().timeouts);
        let begun = Instant::now();
        let written = match &mut self.data {
            Some(data) => within(wait, limit, waiting, data.write(chunk)).await,
            None => Ok(Ok(0)),
        };
        match written {
            Ok(Ok(0)) => Err(self.broke(data_broke(std::io::ErrorKind::WriteZero.into())).await),
            Ok(Ok(written)) => {
                self.pace.moved(written, begun.elapsed());
                Ok(written)
            }
            Ok(Err(error)) => Err(self.broke(data_broke(error)).await),
            Err(fault) => Err(self.broke(self.pace.too_slow(fault)).await),
        }
    }

    async fn end_of_file(&mut self) -> Result<(), TryError> {
        let Some(data) = &mut self.data else { return Ok(()) };
        let waiting = || "the data connection to end".to_owned();
        let limit = self.session.connection().timeouts.stall;
        match within(Wait::Stall, limit, waiting, data.shutdown()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broke(data_broke(error)).await),
            Err(fault) => Err(self.broke(fault).await),
        }
    }

    pub async fn finish(mut self) -> Result<&'s mut Session, TryError> {
        let limit = self.session.connection().timeouts.close;
        let reply = match (self.early.take(), self.data.take()) {
            (Some(reply), _) => Ok(reply),
            (None, Some(DataConnection::Ssl(mut data))) => {
                if self.step == Step::Receiving {
                    // Where the server has gone already it needs no goodbye.
                    let _ = timeout(GOODBYE_WITHIN, data.shutdown()).await;
                    drop(data);
                    self.session.final_reply(limit).await
                } else {
                    self.session.final_reply_beside(limit, drain(data), TICKET_WITHIN).await
                }
            }
            (None, plain) => {
                drop(plain);
                self.session.final_reply(limit).await
            }
        };
        match reply {
            Ok(reply) if reply.is_done() => {
                self.session.unfinished = false;
                Ok(self.session)
            }
            Ok(reply) => Err(self.session.fail(self.step, Some(&self.path), &Fault::Reply(reply))),
            Err(fault) => Err(self.session.fail(self.step, Some(&self.path), &fault)),
        }
    }

    async fn abort(mut self) -> Option<u16> {
        self.data = None;
        let reply = match self.early.take() {
            Some(reply) => reply,
            None if self.over => return None,
            None => self.session.final_reply(ABORT_WITHIN).await.ok()?,
        };
        self.session.unfinished = !(reply.is_done() || reply.is_refusal() && reply.code != 421);
        Some(reply.code)
    }

    /// The data connection broke or stalled: closes it, and lets the final reply say why.
    async fn broke(&mut self, fault: Fault) -> TryError {
        self.data = None;
        self.over = true;
        let early = self.early.take();
        let stalled = matches!(fault, Fault::TimedOut { .. });
        let fault = self.session.lost_data(self.step, fault, early).await;
        let error = self.session.fail_at(&self.path, fault);
        self.session.unfinished |= stalled;
        error
    }
}

/// Reads what a server sends on a data connection that it only receives on: TLS 1.3's tickets, one of which the
/// next data connection needs. Closed with these unread, the connection would be reset, and bytes lost.
async fn drain(mut data: Box<AsyncRustlsStream>) {
    let mut nothing = [0_u8; 64];
    while matches!(data.read(&mut nothing).await, Ok(1..)) {}
}

fn waiting_for_bytes(wait: Wait) -> String {
    if wait == Wait::FirstByte { "the first byte" } else { "more bytes" }.to_owned()
}

fn data_broke(error: std::io::Error) -> Fault {
    Fault::Broken { what: "the data connection".to_owned(), error }
}
