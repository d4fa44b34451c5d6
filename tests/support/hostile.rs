//! Servers that accept and then behave badly.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two pieces of endless talk: fast enough to fill memory, too slow to eat a processor.
const BREATH: Duration = Duration::from_millis(5);

/// What a server does to whoever connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Accepts and never speaks.
    Silent,
    /// Greets with a multi-line reply that never ends.
    EndlessGreeting,
    /// Greets with one line that never ends.
    EndlessLine,
    /// Logs in, then stalls in every transfer: the data connection is accepted and carries nothing.
    StalledTransfer,
}

/// A server that counts who came.
#[derive(Debug)]
pub struct Hostile {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    accepted: AtomicUsize,
    transfers: AtomicUsize,
    gone: AtomicBool,
    guests: Mutex<Vec<TcpStream>>,
}

impl Hostile {
    /// # Panics
    /// Where the system gives no port.
    pub fn start(manner: Manner) -> Hostile {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let addr = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let host = Arc::clone(&shared);
        std::thread::spawn(move || {
            for guest in listener.incoming() {
                if host.gone.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(guest) = guest {
                    host.receive(guest, manner);
                }
            }
        });
        Hostile { addr, shared }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Control connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Transfers that were begun (and stalled).
    pub fn transfers(&self) -> usize {
        self.shared.transfers.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::SeqCst);
        for guest in self.shared.guests().drain(..) {
            let _ = guest.shutdown(std::net::Shutdown::Both);
        }
        let _ = TcpStream::connect(self.addr); // wakes the host
    }
}

impl Shared {
    fn guests(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(self: &Arc<Self>, guest: TcpStream, manner: Manner) {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let Ok(kept) = guest.try_clone() else { return };
        self.guests().push(kept);
        let shared = Arc::clone(self);
        std::thread::spawn(move || match manner {
            Manner::Silent => {}
            Manner::EndlessGreeting => talk(guest, b"220-And another thing\r\n"),
            Manner::EndlessLine => talk(guest, b"220 and so on "),
            Manner::StalledTransfer => {
                let _ = shared.stall(guest);
            }
        });
    }

    /// Just enough of FTP to be trusted with a transfer.
    fn stall(&self, mut guest: TcpStream) -> std::io::Result<()> {
        guest.write_all(b"220 Welcome\r\n")?;
        let commands = BufReader::new(guest.try_clone()?);
        let mut data: Option<TcpListener> = None;
        for command in commands.lines() {
            let command = command?;
            let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "USER" => "331 Password?".to_owned(),
                "PASS" => "230 Come in".to_owned(),
                "SIZE" => "213 1000000".to_owned(),
                "PWD" => "257 \"/\" is the current directory".to_owned(),
                "EPSV" | "PASV" => {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                    let port = listener.local_addr()?.port();
                    data = Some(listener);
                    if verb == "EPSV" {
                        format!("229 Extended passive mode (|||{port}|)")
                    } else {
                        format!("227 Passive mode (127,0,0,1,{},{})", port >> 8, port & 0xff)
                    }
                }
                "RETR" | "STOR" => {
                    self.transfers.fetch_add(1, Ordering::SeqCst);
                    if let Some((connection, _)) =
                        data.take().map(|listener| listener.accept()).transpose()?
                    {
                        self.guests().push(connection);
                    }
                    "150 Here it comes".to_owned()
                }
                "QUIT" => return guest.write_all(b"221 Goodbye\r\n"),
                "FEAT" => "502 No".to_owned(),
                _ => "200 Fine".to_owned(),
            };
            guest.write_all(format!("{reply}\r\n").as_bytes())?;
        }
        Ok(())
    }
}

/// Says the same thing until the guest leaves.
fn talk(mut guest: TcpStream, what: &[u8]) {
    let piece = what.repeat(1 + 4096 / what.len());
    while guest.write_all(&piece).is_ok() {
        std::thread::sleep(BREATH);
    }
}
