//! A doorman in front of an FTP server's control port, who counts exactly how many sessions are open.
//!
//! A session is open from its connect until *the server* has closed its end: only then does the server
//! count it no more, and only after we have counted it out does the client see the close. So a client that
//! opens the next session in time with the close of the last one is never counted wrongly, which sampling
//! the server's processes cannot promise. Data connections go past the doorman.

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
        std::thread::spawn(move || {
            let _ = pass(client, &server2);
            let _ = server2.shutdown(Shutdown::Write);
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let _ = pass(server, &client2);
            // Counted out first: the client may open its next session as soon as it sees the close.
            shared.turnstiles().for_each(Turnstile::leave);
            shared.sessions().retain(|(at, _, _)| *at != entered);
            let _ = client2.shutdown(Shutdown::Both);
        });
    }

    fn turnstiles(&self) -> impl Iterator<Item = &Turnstile> {
        self.turnstiles.iter().chain([&self.own]).map(AsRef::as_ref)
    }
}

/// Passes bytes on until the sender closes or the receiver is gone.
fn pass(mut from: TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(buffer.get(..n).unwrap_or_default())?,
        }
    }
}
