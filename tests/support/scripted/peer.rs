//! One control connection, and its data connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::Shared;
use super::misbehave::SilentListener;

pub(super) async fn serve(socket: TcpStream, shared: &Arc<Shared>) -> Result<(), Gone> {
    let (reader, writer): (Reading, Writing) = if let Some(tls) = &shared.tls {
        let (reader, writer) = tokio::io::split(tls.accept(socket).await?);
        (Box::new(reader), Box::new(writer))
    } else {
        let (reader, writer) = socket.into_split();
        (Box::new(reader), Box::new(writer))
    };
    let shared = Arc::clone(shared);
    let peer = Peer {
        shared,
        writer,
        data: None,
        renaming: None,
        from: 0,
        silent: Vec::new(),
        current: String::new(),
    };
    peer.serve(BufReader::new(reader)).await
}

pub(super) type Reading = Box<dyn AsyncRead + Unpin + Send>;
pub(super) type Writing = Box<dyn AsyncWrite + Unpin + Send>;

/// Where the next data connection comes about.
pub(super) enum DataEnd {
    Here(TcpListener),
    /// Active mode.
    At(SocketAddr),
}

/// A data connection.
pub(super) enum Data {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

pub(super) trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

impl Data {
    pub(super) fn io(&mut self) -> &mut dyn Both {
        match self {
            Data::Plain(stream) => stream,
            Data::Secure(stream) => stream,
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Data::Plain(stream) => stream,
            Data::Secure(stream) => stream.get_ref().0,
        }
    }

    /// Said goodbye to, where it has TLS.
    pub(super) async fn close(mut self) {
        let _ = self.io().shutdown().await;
    }
}

/// One control connection.
pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writing,
    pub(super) data: Option<DataEnd>,
    pub(super) renaming: Option<String>,
    /// What REST said, until the next command that is not a question for a port.
    pub(super) from: usize,
    /// The current directory, without a slash at its end.
    pub(super) current: String,
    /// Ports that stay silent as long as the control connection is there.
    pub(super) silent: Vec<SilentListener>,
}

/// The control connection is over.
pub(super) struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Gone {
        Gone
    }
}

impl Peer {
    async fn serve(mut self, mut reader: BufReader<Reading>) -> Result<(), Gone> {
        match self.shared.act_on("GREETING") {
            Some(act) => self.misbehave(("", ""), act, &mut reader).await?,
            None => self.say("220 scripted").await?,
        }
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await? > 0 {
            let command = text(&line).trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            self.shared.state.lock().unwrap().commands.push(command.clone());
            let (verb, argument) = command.split_once(' ').unwrap_or((&command, ""));
            let keeps = matches!(verb, "REST" | "RETR" | "STOR" | "EPSV" | "PASV" | "EPRT");
            match self.shared.act_on(&command) {
                Some(act) => self.misbehave((verb, argument), act, &mut reader).await?,
                None => self.behave(verb, argument).await?,
            }
            if !keeps {
                self.from = 0;
            }
        }
        Ok(())
    }

    pub(super) async fn say(&mut self, text: &str) -> Result<(), Gone> {
        if self.shared.is_torn {
            for byte in format!("{text}\r\n").bytes() {
                self.writer.write_all(&[byte]).await?;
                tokio::task::yield_now().await;
            }
            return Ok(());
        }
        Ok(self.writer.write_all(format!("{text}\r\n").as_bytes()).await?)
    }

    pub(super) async fn listen(&mut self) -> Result<u16, Gone> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        self.data = Some(DataEnd::Here(listener));
        Ok(port)
    }

    /// The data connection, without TLS.
    pub(super) async fn accept_plain(&mut self) -> Result<TcpStream, Gone> {
        Ok(match self.data.take().ok_or(Gone)? {
            DataEnd::Here(listener) => listener.accept().await?.0,
            DataEnd::At(address) => TcpStream::connect(address).await?,
        })
    }

    pub(super) async fn accept(&mut self) -> Result<Data, Gone> {
        let stream = self.accept_plain().await?;
        Ok(match &self.shared.tls {
            Some(tls) => Data::Secure(Box::new(tls.accept(stream).await?)),
            None => Data::Plain(stream),
        })
    }
}

/// UTF-8, or else Latin-1.
fn text(line: &[u8]) -> String {
    let latin1 = || line.iter().map(|&byte| char::from(byte)).collect();
    String::from_utf8(line.to_vec()).unwrap_or_else(|_| latin1())
}
