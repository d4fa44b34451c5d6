//! A client's socket, plain or TLS, that reports activity to the connection's clock and byte counts to the metrics.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::proxy::ClientLink;

/// Plain or TLS.
#[derive(Debug)]
pub enum ClientSocket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's socket beneath hyper.
#[derive(Debug)]
pub struct ClientIo {
    socket: ClientSocket,
    link: Arc<ClientLink>,
    /// Read before hyper took over the socket: the bytes after a PROXY header.
    early: Bytes,
    received: u64,
    sent: u64,
}

/// Bytes are counted in steps of this size.
const COUNT_EVERY: u64 = 64 * 1024;

impl ClientIo {
    pub fn new(socket: ClientSocket, link: Arc<ClientLink>, early: Bytes) -> ClientIo {
        ClientIo { socket, link, early, received: 0, sent: 0 }
    }

    fn count(&mut self, at_least: u64) {
        let metrics = &self.link.worker.router.metrics;
        if self.received >= at_least && self.received > 0 {
            metrics.bytes_received.inc_by(self.received);
            self.received = 0;
        }
        if self.sent >= at_least && self.sent > 0 {
            metrics.bytes_sent.inc_by(self.sent);
            self.sent = 0;
        }
    }

    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(written)) => {
                self.sent += *written as u64;
                self.count(COUNT_EVERY);
                self.link.clock.wrote(false);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.link.clock.wrote(true),
        }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let length = self.early.len().min(buffer.remaining());
            let early = self.early.split_to(length);
            buffer.put_slice(&early);
            self.link.clock.received();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = match &mut self.socket {
            ClientSocket::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            ClientSocket::Tls(socket) => Pin::new(socket).poll_read(cx, buffer),
        };
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.received += read as u64;
            self.count(COUNT_EVERY);
            self.link.clock.received();
        }
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.socket {
            ClientSocket::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            ClientSocket::Tls(socket) => Pin::new(socket).poll_write(cx, bytes),
        };
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.socket {
            ClientSocket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            ClientSocket::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        };
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            ClientSocket::Plain(socket) => socket.is_write_vectored(),
            ClientSocket::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            ClientSocket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            ClientSocket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            ClientSocket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            ClientSocket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
