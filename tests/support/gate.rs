//! A doorman in front of an FTP server's control port, who counts exactly how many sessions are open.
//!
//! A session is open from its connect until *the server* has closed its end: only then does the server
//! count it no more, and only after we have counted it out does the client see the close. So a client that
//! opens the next session in time with the close of the last one is never counted wrongly, which sampling
//! the server's processes cannot promise. Data connections go past the doorman.
//!
//! He can also hold back one command, or the reply to it: so a pod is caught right before it, or right after.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Counts sessions; several gates can share one, so that a pod's total is seen.
#[derive(Debug, Default)]
pub struct Turnstile {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    open: usize,
    most: usize,
    total: usize,
}

impl Turnstile {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Sessions open now.
    pub fn open(&self) -> usize {
        self.counts().open
    }

    /// The most sessions that were ever open at once.
    pub fn most(&self) -> usize {
        self.counts().most
    }

    /// All sessions that were ever opened.
    pub fn total(&self) -> usize {
        self.counts().total
    }

    fn enter(&self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.open += 1;
        counts.total += 1;
        counts.most = counts.most.max(counts.open);
    }

    fn leave(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).open -= 1;
    }

    fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is held back of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The server never hears of it.
    Command,
    /// The server does it, and the client never hears of that.
    Reply,
}

/// The doorman of one server. Dropped, it lets nobody in any more.
#[derive(Debug)]
pub struct Gate {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    turnstiles: Vec<Arc<Turnstile>>,
    own: Arc<Turnstile>,
    /// Connections still to be closed before a word is said.
    slam: AtomicUsize,
    shut: AtomicBool,
    gone: AtomicBool,
    hold: Mutex<Option<(String, Hold)>>,
    held: AtomicUsize,
    open: Mutex<Vec<(Instant, TcpStream, TcpStream)>>,
}

impl Gate {
    /// A gate before `server`, counting for itself and for each turnstile given.
    ///
    /// # Panics
    /// Where the system gives no port.
    pub fn before(server: SocketAddr, turnstiles: &[Arc<Turnstile>]) -> Gate {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let addr = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            server,
            turnstiles: turnstiles.to_vec(),
            own: Turnstile::new(),
            slam: AtomicUsize::new(0),
            shut: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            hold: Mutex::default(),
            held: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        let doorman = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if doorman.gone.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    doorman.admit(client);
                }
            }
        });
        Gate { addr, shared }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What this gate has counted.
    pub fn count(&self) -> &Turnstile {
        &self.shared.own
    }

    /// Closes each of the next `connections` before the server has said a word.
    pub fn slam(&self, connections: usize) {
        self.shared.slam.store(connections, Ordering::SeqCst);
    }

    /// The server is gone: open sessions are cut, new ones closed at once, until [`Gate::open_again`].
    pub fn shut(&self) {
        self.shared.shut.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn open_again(&self) {
        self.shared.shut.store(false, Ordering::SeqCst);
    }

    /// Holds back every command that begins like this, or its reply, and all that comes after it on its session.
    pub fn hold(&self, command: &str, what: Hold) {
        *self.shared.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some((command.to_owned(), what));
    }

    /// From now on nothing is held back; the sessions on which something was stay as they are.
    pub fn hold_nothing(&self) {
        *self.shared.hold.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sessions on which something was held back.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// Cuts every session that is open now.
    pub fn cut(&self) {
        for (_, client, server) in self.shared.sessions().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::SeqCst);
        self.cut();
        let _ = TcpStream::connect(self.addr); // wakes the doorman
    }
}

impl Shared {
    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, TcpStream, TcpStream)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, client: TcpStream) {
        let slammed = self.slam.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if slammed.is_ok() || self.shut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else { return };
        let (Ok(client3), Ok(server3)) = (client.try_clone(), server.try_clone()) else { return };
        let entered = Instant::now();
        self.sessions().push((entered, client3, server3));
        self.turnstiles().for_each(Turnstile::enter);
        let (shared, is_mute) = (Arc::clone(self), Arc::new(AtomicBool::new(false)));
        let mute = Arc::clone(&is_mute);
        std::thread::spawn(move || {
            let mut is_deaf = false;
            let _ = pass(client, &server2, |said| {
                match shared.holds(said).filter(|_| !is_deaf && !mute.load(Ordering::SeqCst)) {
                    Some(Hold::Command) => is_deaf = true,
                    Some(Hold::Reply) => mute.store(true, Ordering::SeqCst),
                    None => return !is_deaf,
                }
                shared.held.fetch_add(1, Ordering::SeqCst);
                !is_deaf
            });
            let _ = server2.shutdown(Shutdown::Write);
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let _ = pass(server, &client2, |_| !is_mute.load(Ordering::SeqCst));
            // Counted out first: the client may open its next session as soon as it sees the close.
            shared.turnstiles().for_each(Turnstile::leave);
            shared.sessions().retain(|(at, _, _)| *at != entered);
            let _ = client2.shutdown(Shutdown::Both);
        });
    }

    /// What is to be held back of this, if anything is.
    fn holds(&self, said: &[u8]) -> Option<Hold> {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        hold.as_ref().filter(|(command, _)| said.starts_with(command.as_bytes())).map(|(_, what)| *what)
    }

    fn turnstiles(&self) -> impl Iterator<Item = &Turnstile> {
        self.turnstiles.iter().chain([&self.own]).map(AsRef::as_ref)
    }
}

/// Passes bytes on until the sender closes or the receiver is gone; those that `lets` does not let are dropped.
fn pass(mut from: TcpStream, mut to: &TcpStream, mut lets: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => {
                let said = buffer.get(..n).unwrap_or_default();
                if lets(said) {
                    to.write_all(said)?;
                }
            }
        }
    }
}
