//! A transfer in progress: its bytes, the end of its data connection, and the final reply.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::BufMut;
use jiff::Timestamp;
use suppaftp::tokio::AsyncRustlsStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::failure::TryError;

use super::command::Step;
use super::data_connection::DataConnection;
use super::fault::{Fault, Wait, within};
use super::open_transfer::OpenedTransfer;
use super::reply::Reply;
use super::session::Session;
use super::transfer_rate::TransferRate;

/// How long to wait for the final reply of an aborted transfer.
const ABORT_WITHIN: Duration = Duration::from_secs(2);

/// How long sending `close_notify` for a received file may take: it is only a courtesy.
const CLOSE_NOTIFY_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait for the server's end of a received file once its reply is in: a TLS ticket arrives before that, or
/// not at all.
const TICKET_WITHIN: Duration = Duration::from_millis(100);

/// How long a server may take to close the data connection of an upload before this end closes it, with nothing
/// pipelined.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// How the bytes of a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataEnd {
    /// The server closed the data connection; where that has TLS, with its `close_notify`.
    Closed,
    /// A data connection with TLS ended without `close_notify`: an attacker may have cut it off, and only the file's
    /// size can show that it is complete.
    CutOff,
}

#[derive(Debug)]
pub(super) struct DataTransfer<'s> {
    pub session: &'s mut Session,
    pub step: Step,
    pub path: String,
    /// The final reply, if it came before the bytes.
    pub early: Option<Reply>,
    /// MDTM's reply, if it was sent in one burst with RETR.
    pub modified: Option<Timestamp>,
    pub end: DataEnd,
    /// `None` once it is closed.
    data: Option<DataConnection>,
    rate: TransferRate,
    /// The final reply was read, or awaited until its deadline.
    is_over: bool,
}

impl<'s> DataTransfer<'s> {
    pub fn new(session: &'s mut Session, step: Step, path: &str, opened: OpenedTransfer) -> DataTransfer<'s> {
        let modified = opened.modified.filter(|reply| reply.code == 213).and_then(|reply| reply.time());
        let rate = TransferRate::new(session.connection().min_rate, step != Step::Sending);
        DataTransfer {
            session,
            step,
            path: path.to_owned(),
            early: opened.early,
            modified,
            end: DataEnd::Closed,
            data: opened.data,
            rate,
            is_over: false,
        }
    }

    pub async fn read(&mut self, buffer: &mut (impl BufMut + Send)) -> Result<usize, TryError> {
        let Some(data) = &mut self.data else { return Ok(0) };
        let (wait, limit) = self.rate.limit(&self.session.connection().timeouts);
        let started = Instant::now();
        match within(wait, limit, || waiting_for_bytes(wait), data.read_buf(buffer)).await {
            Ok(Ok(read)) => {
                self.rate.moved(read, started.elapsed());
                Ok(read)
            }
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.end = DataEnd::CutOff;
                Ok(0)
            }
            Ok(Err(error)) => Err(self.broke(data_broke(error)).await),
            Err(fault) => Err(self.broke(self.rate.too_slow(fault)).await),
        }
    }

    pub async fn write(&mut self, chunk: &[u8]) -> Result<usize, TryError> {
        let waiting = || "the server to take more bytes".to_owned();
        let (wait, limit) = self.rate.limit(&self.session.connection().timeouts);
        let started = Instant::now();
        let written = match &mut self.data {
            Some(data) => within(wait, limit, waiting, data.write(chunk)).await,
            None => Ok(Ok(0)),
        };
        match written {
            Ok(Ok(0)) => Err(self.broke(data_broke(ErrorKind::WriteZero.into())).await),
            Ok(Ok(written)) => {
                self.rate.moved(written, started.elapsed());
                Ok(written)
            }
            Ok(Err(error)) => Err(self.broke(data_broke(error)).await),
            Err(fault) => Err(self.broke(self.rate.too_slow(fault)).await),
        }
    }

    /// Closes this end of the data connection, which is the file's end.
    pub async fn end_of_file(&mut self) -> Result<(), TryError> {
        let Some(data) = &mut self.data else { return Ok(()) };
        let waiting = || "the data connection to end".to_owned();
        let limit = self.session.connection().timeouts.stall;
        match within(Wait::Stall, limit, waiting, data.shutdown()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broke(data_broke(error)).await),
            Err(fault) => Err(self.broke(fault).await),
        }
    }

    /// Closes the data connection, and reads the final reply.
    pub async fn finish(mut self) -> Result<&'s mut Session, TryError> {
        let limit = self.session.connection().timeouts.close;
        let reply = match (self.early.take(), self.data.take()) {
            (Some(reply), _) => Ok(reply),
            (None, Some(DataConnection::Ssl(mut data))) if self.step == Step::Receiving => {
                // If the server has gone already, it needs no `close_notify`.
                let _ = timeout(CLOSE_NOTIFY_WITHIN, data.shutdown()).await;
                drop(data);
                self.session.final_reply(limit).await
            }
            (None, Some(DataConnection::Ssl(data))) => {
                let drained = drain(data);
                tokio::pin!(drained);
                let reply = async { self.session.final_reply(limit).await };
                tokio::pin!(reply);
                tokio::select! {
                    biased;
                    () = &mut drained => reply.await,
                    reply = &mut reply => {
                        let _ = timeout(TICKET_WITHIN, drained).await;
                        reply
                    }
                }
            }
            (None, plain) => {
                drop(plain);
                self.session.final_reply(limit).await
            }
        };
        match reply {
            Ok(reply) if reply.is_done() => Ok(self.session),
            Ok(reply) => Err(self.fail(&Fault::Reply(reply))),
            Err(fault) => Err(self.fail(&fault)),
        }
    }

    /// Closes the data connection, and waits a moment for the final reply. Returns its code.
    pub async fn abort(mut self) -> Option<u16> {
        self.data = None;
        let reply = match self.early.take() {
            Some(reply) => reply,
            None if self.is_over => return None,
            None => self.session.final_reply(ABORT_WITHIN).await.ok()?,
        };
        Some(reply.code)
    }

    /// Closes the data connection of a received file, with TLS's `close_notify`.
    pub async fn close_received(&mut self) {
        if let Some(DataConnection::Ssl(data)) = &mut self.data {
            let _ = timeout(CLOSE_NOTIFY_WITHIN, data.shutdown()).await;
        }
        self.data = None;
    }

    /// Waits until the server has closed the data connection of a file that it has received; false if it waits for this
    /// end to close first.
    pub async fn was_closed_by_server(&mut self) -> bool {
        let Some(data) = &mut self.data else { return false };
        let is_closed = timeout(CLOSED_WITHIN, data.read_u8()).await.is_ok_and(|read| read.is_err());
        if is_closed {
            self.data = None;
        }
        is_closed
    }

    pub fn fail(&mut self, fault: &Fault) -> TryError {
        self.session.fail(self.step, Some(&self.path), fault)
    }

    /// The data connection broke or stalled: closes it, and uses the final reply to explain why.
    async fn broke(&mut self, fault: Fault) -> TryError {
        self.data = None;
        self.is_over = true;
        if matches!(fault, Fault::TimedOut { .. }) {
            self.session.retire("a data connection stalled");
        }
        let early = self.early.take();
        let fault = self.session.data_lost(self.step, fault, early).await;
        self.session.fail_at(&self.path, fault)
    }
}

/// Reads what a server sends on a data connection on which it only receives: TLS 1.3's tickets, one of which the next
/// data connection needs. Closing with these unread would reset the connection and lose bytes.
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
