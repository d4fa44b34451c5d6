//! The control connection as suppaftp holds it, and a second hold on it, by which bursts are written.
//!
//! suppaftp writes one command and reads its reply. A plain socket can be written to beside that; a TLS stream
//! cannot, unless it is shared: so the stream that suppaftp is given is a handle.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use suppaftp::tokio::{ImplAsyncFtpStream, TokioTlsStream};
use suppaftp::{FtpError, FtpResult};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The control connection, plain or with TLS.
pub(super) type Control = ImplAsyncFtpStream<ControlTls>;

/// The TLS of a control connection; clones are the same stream. Its lock is held for a poll only.
#[derive(Clone, Debug)]
pub(super) struct ControlTls {
    stream: Arc<Mutex<TlsStream<Socket>>>,
    socket: Socket,
}

impl ControlTls {
    pub fn new(stream: TlsStream<Socket>) -> ControlTls {
        let socket = stream.get_ref().0.clone();
        ControlTls { stream: Arc::new(Mutex::new(stream)), socket }
    }

    /// Writes all of `bytes`, beside whoever reads.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match poll_fn(|context| pin!(&mut *self.stream()).poll_write(context, bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = bytes.get(written..).unwrap_or_default(),
            }
        }
        poll_fn(|context| pin!(&mut *self.stream()).poll_flush(context)).await
    }

    fn stream(&self) -> MutexGuard<'_, TlsStream<Socket>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for ControlTls {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        pin!(&mut *self.stream()).poll_read(context, room)
    }
}

impl AsyncWrite for ControlTls {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut *self.stream()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut *self.stream()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut *self.stream()).poll_shutdown(context)
    }
}

impl TokioTlsStream for ControlTls {
    type InnerStream = ControlTls;

    /// For CCC, which is never sent.
    fn tcp_stream(self) -> FtpResult<TcpStream> {
        Err(FtpError::ConnectionError(io::ErrorKind::Unsupported.into()))
    }

    fn get_ref(&self) -> &TcpStream {
        &self.socket.0
    }

    fn mut_ref(&mut self) -> &mut ControlTls {
        self
    }
}

/// A socket that several hold.
#[derive(Clone, Debug)]
pub(super) struct Socket(Arc<TcpStream>);

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Socket {
        Socket(Arc::new(stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(room.initialize_unfilled()) {
                Ok(read) => {
                    room.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // It was not ready after all: wait again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write))
    }
}
