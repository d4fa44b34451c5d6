//! The stream beneath suppaftp: plain or TLS, split into replies, and shared with the code that writes bursts.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use suppaftp::tokio::TokioTlsStream;
use suppaftp::{FtpError, FtpResult};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::fault::Fault;
use super::reply_framing::ReplyFraming;
use super::tls::SessionTls;

/// How many bytes are read from the socket at once; most replies are far shorter.
const CHUNK: usize = 2048;

/// A control connection's stream; clones share it. Its lock is held only during a poll.
#[derive(Clone, Debug)]
pub(super) struct ControlStream {
    shared: Arc<Mutex<FramedTransport>>,
    socket: SharedSocket,
}

#[derive(Debug)]
struct FramedTransport {
    transport: ControlTransport,
    framing: ReplyFraming,
}

type ControlTransport = Either<SharedSocket, Box<TlsStream<SharedSocket>>>;

impl ControlStream {
    /// A plain-text stream; `begin` is read before anything that the socket receives.
    pub fn plain(stream: TcpStream, begin: &[u8]) -> ControlStream {
        let socket = SharedSocket(Arc::new(stream));
        let mut framing = ReplyFraming::default();
        framing.push(begin);
        let transport = Either::Left(socket.clone());
        ControlStream { shared: Arc::new(Mutex::new(FramedTransport { transport, framing })), socket }
    }

    /// The TLS handshake. What follows is encrypted, and nothing received before it is read as if it had been.
    pub async fn start_tls(&self, tls: &SessionTls) -> Result<(), Fault> {
        let secured = tls.handshake(self.socket.clone()).await?;
        self.shared().transport = Either::Right(Box::new(secured));
        Ok(())
    }

    /// Whether everything that was received has been read.
    pub fn is_drained(&self) -> bool {
        self.shared().framing.is_empty()
    }

    /// Writes all of `bytes`, concurrently with the reader.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match poll_fn(|context| pin!(&mut self.shared().transport).poll_write(context, bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = bytes.get(written..).unwrap_or_default(),
            }
        }
        poll_fn(|context| pin!(&mut self.shared().transport).poll_flush(context)).await
    }

    /// The underlying socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket.0
    }

    fn shared(&self) -> MutexGuard<'_, FramedTransport> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for ControlStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = self.shared();
        loop {
            let framed = shared.framing.take(room.remaining());
            if !framed.is_empty() {
                room.put_slice(&framed);
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; CHUNK];
            let mut received = ReadBuf::new(&mut chunk);
            ready!(pin!(&mut shared.transport).poll_read(context, &mut received))?;
            shared.framing.push(received.filled());
            if received.filled().is_empty() && shared.framing.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for ControlStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut self.shared().transport).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.shared().transport).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.shared().transport).poll_shutdown(context)
    }
}

impl TokioTlsStream for ControlStream {
    type InnerStream = ControlStream;

    /// Needed for CCC only, which is never sent.
    fn tcp_stream(self) -> FtpResult<TcpStream> {
        Err(FtpError::ConnectionError(io::ErrorKind::Unsupported.into()))
    }

    fn get_ref(&self) -> &TcpStream {
        self.socket()
    }

    fn mut_ref(&mut self) -> &mut ControlStream {
        self
    }
}

/// A shared socket.
#[derive(Clone, Debug)]
pub(super) struct SharedSocket(Arc<TcpStream>);

impl AsyncRead for SharedSocket {
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

impl AsyncWrite for SharedSocket {
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
