//! The peer does what it is told instead of behaving.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::peer::{Data, Gone, Peer, Reading};
use super::{Act, End};

impl Peer {
    #[allow(clippy::too_many_lines, reason = "an arm for each act")]
    pub(super) async fn misbehave(
        &mut self,
        (verb, argument): (&str, &str),
        act: Act,
        reader: &mut BufReader<Reading>,
    ) -> Result<(), Gone> {
        match act {
            Act::Say(text) => self.say(&text).await,
            Act::Mutter(text) => Ok(self.writer.write_all(text.as_bytes()).await?),
            Act::SayAndClose(text) => {
                self.say(&text).await?;
                Err(Gone)
            }
            Act::Torn(text) => {
                for byte in format!("{text}\r\n").bytes() {
                    self.writer.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            }
            Act::Bytes(bytes) => Ok(self.writer.write_all(&bytes).await?),
            Act::SayAndHang(text) => {
                self.say(&text).await?;
                let _ = reader.read_to_end(&mut Vec::new()).await;
                Err(Gone)
            }
            Act::Flood(begin, more) => {
                self.writer.write_all(begin.as_bytes()).await?;
                let more = more.repeat(64 * 1024 / more.len());
                loop {
                    self.writer.write_all(more.as_bytes()).await?;
                }
            }
            Act::Close => Err(Gone),
            Act::Hang => {
                // Until the client gives up.
                let _ = reader.read_to_end(&mut Vec::new()).await;
                Err(Gone)
            }
            Act::Send(bytes, end) => {
                self.say("150 here it comes").await?;
                let mut data = self.accept().await?;
                data.io().write_all(&bytes).await?;
                self.end(data, end, reader).await
            }
            Act::SendLate(bytes) => {
                self.say("226 done already").await?;
                let mut data = self.accept().await?;
                data.io().write_all(&bytes).await?;
                data.close().await;
                Ok(())
            }
            Act::Take(most, end) => {
                self.say("150 send it").await?;
                let mut data = self.accept().await?;
                let mut taken = Vec::new();
                data.io().take(most as u64).read_to_end(&mut taken).await?;
                self.shared.state.lock().unwrap().files.insert(argument.to_owned(), taken);
                self.end(data, end, reader).await
            }
            Act::Drip(pause) => {
                self.say("150 here it comes").await?;
                let mut data = self.accept().await?;
                while data.io().write_all(b"x").await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                self.say("426 you closed it").await
            }
            Act::NobodyAccepts => {
                let port = self.listen().await?;
                self.say(&format!("229 Entering Extended Passive Mode (|||{port}|)")).await?;
                // The connection stands, as far as the client can see.
                let _listening = self.data.take();
                let _ = reader.read_to_end(&mut Vec::new()).await;
                Err(Gone)
            }
            Act::NothingToSend(reply) => {
                self.say("150 here it comes").await?;
                drop(self.accept_plain().await?);
                self.say(&reply).await
            }
            Act::DeadPort => {
                let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
                self.say(&passive(verb, [127, 0, 0, 1], port)).await
            }
            Act::FullPort => {
                let listener = silent_listener().await?;
                let port = listener.local_addr()?.port();
                self.silent.push(listener);
                self.say(&passive(verb, [127, 0, 0, 1], port)).await
            }
            Act::ForeignAddress => {
                let port = self.listen().await?;
                self.say(&passive("PASV", [192, 0, 2, 1], port)).await
            }
        }
    }

    async fn end(&mut self, mut data: Data, end: End, reader: &mut BufReader<Reading>) -> Result<(), Gone> {
        match end {
            End::Close(reply) => {
                data.close().await;
                self.say(&reply).await
            }
            End::Reset(reply) => {
                socket2::SockRef::from(data.tcp()).set_linger(Some(Duration::ZERO))?;
                drop(data);
                self.say(&reply).await
            }
            End::Silence => Ok(()),
            End::Stall => {
                // Held, and unread, until the client closes the control connection.
                let _ = reader.read_to_end(&mut Vec::new()).await;
                Err(Gone)
            }
            End::Endless => {
                while data.io().write_all(&[b'x'; 8192]).await.is_ok() {}
                self.say("426 you closed it").await
            }
            End::Dawdle(reply) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _ = data.io().read_to_end(&mut Vec::new()).await;
                self.say(&reply).await
            }
            End::Vanish => Err(Gone),
        }
    }
}

/// The reply to EPSV or PASV.
fn passive(verb: &str, [a, b, c, d]: [u8; 4], port: u16) -> String {
    if verb == "PASV" {
        format!("227 Entering Passive Mode ({a},{b},{c},{d},{},{}).", port >> 8, port & 255)
    } else {
        format!("229 Entering Extended Passive Mode (|||{port}|)")
    }
}

/// A listener whose queue is full: the next connect gets no answer, as behind a firewall that drops packets.
async fn silent_listener() -> std::io::Result<SilentListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(1)?;
    let address = listener.local_addr()?;
    let mut waiting = Vec::new();
    // Linux takes some more than it was told; the first that has to wait is the one after.
    while waiting.len() < 16 {
        match tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            Ok(stream) => waiting.push(stream?),
            Err(_) => break,
        }
    }
    Ok(SilentListener { listener, _waiting: waiting })
}

/// See [`silent_listener`].
pub(super) struct SilentListener {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl SilentListener {
    fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }
}
