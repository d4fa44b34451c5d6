//! A proxy before a broker, which reads Kafka's framing: it can take the brokers out of the answers to metadata requests, give
//! the broker another address, hold up every frame for a while, and cut all connections.
//!
//! Clients begin at an address that stays (as a Kubernetes service does) and are led to another one by the answers, which
//! name the proxy instead of the broker.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kafka's numbers of the requests whose answers name brokers.
const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;
/// From this version on an answer to a metadata request is in the compact encoding.
const COMPACT_METADATA: i16 = 9;

/// The broker's host, as its answers name it.
const HOST: &[u8] = b"127.0.0.1";

/// A running proxy. Dropped, it lets nobody through any more.
#[derive(Debug)]
pub struct KafkaProxy {
    bootstrap: SocketAddr,
    shared: Arc<Shared>,
    /// Where the broker is said to be; the last one is open.
    moved: Mutex<Arc<AtomicBool>>,
}

#[derive(Debug)]
struct Shared {
    broker: SocketAddr,
    advertised: AtomicU16,
    without_brokers: AtomicBool,
    /// Answers from which the brokers were taken.
    blanked: AtomicUsize,
    delay_ms: AtomicU64,
    gone: Arc<AtomicBool>,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
}

impl KafkaProxy {
    /// A proxy before the broker at `bootstrap` (`127.0.0.1:9092`).
    ///
    /// # Panics
    /// Where the system gives no port.
    pub fn before(bootstrap: &str) -> KafkaProxy {
        let shared = Arc::new(Shared {
            broker: bootstrap.parse().expect("an address"),
            advertised: AtomicU16::new(0),
            without_brokers: AtomicBool::new(false),
            blanked: AtomicUsize::new(0),
            delay_ms: AtomicU64::new(0),
            gone: Arc::default(),
            open: Mutex::default(),
        });
        let bootstrap = listen(&shared, Arc::clone(&shared.gone));
        let proxy = KafkaProxy { bootstrap, shared, moved: Mutex::default() };
        proxy.move_on();
        proxy
    }

    /// Where clients begin.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.to_string()
    }

    /// The broker has another address from now on: nobody listens at the last one, and all connections are cut.
    pub fn move_on(&self) {
        let closed = Arc::new(AtomicBool::new(false));
        let addr = listen(&self.shared, Arc::clone(&closed));
        self.shared.advertised.store(addr.port(), Ordering::SeqCst);
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *moved, closed).store(true, Ordering::SeqCst);
        drop(moved);
        self.cut();
    }

    /// Nobody listens any more where the broker is said to be.
    pub fn close_advertised(&self) {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Whether the answers to metadata requests name no brokers, as those of a broker that has only just started.
    pub fn set_without_brokers(&self, without: bool) {
        self.shared.without_brokers.store(without, Ordering::SeqCst);
    }

    /// Answers from which the brokers were taken.
    pub fn blanked(&self) -> usize {
        self.shared.blanked.load(Ordering::SeqCst)
    }

    /// What is sent, either way, arrives so much later from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Cuts every connection that is open now.
    pub fn cut(&self) {
        for (client, broker) in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = broker.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for KafkaProxy {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::SeqCst);
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).store(true, Ordering::SeqCst);
        self.cut();
    }
}

/// Listens until `closed`.
fn listen(shared: &Arc<Shared>, closed: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let addr = listener.local_addr().expect("its address");
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        while !closed.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((client, _)) => {
                    let _ = client.set_nonblocking(false);
                    shared.admit(client);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    });
    addr
}

/// The versions of a connection's metadata and coordinator requests, by their correlation ids.
type Asked = Arc<Mutex<HashMap<[u8; 4], (i16, i16)>>>;

impl Shared {
    fn admit(self: &Arc<Self>, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(self.broker) else { return };
        let _ = (client.set_nodelay(true), broker.set_nodelay(true));
        let (Ok(client2), Ok(broker2)) = (client.try_clone(), broker.try_clone()) else { return };
        let (Ok(client3), Ok(broker3)) = (client.try_clone(), broker.try_clone()) else { return };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push((client3, broker3));
        let asked = Asked::default();
        let (noting, shared) = (Arc::clone(&asked), Arc::clone(self));
        std::thread::spawn(move || {
            shared.pass(client, broker2, |frame| {
                note(&noting, &frame);
                frame
            });
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let look = Arc::clone(&shared);
            shared.pass(broker, client2, move |frame| look.rewritten(&asked, frame));
        });
    }

    /// Passes frames on until either side is gone, each as late as is wanted when it comes.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, look: impl Fn(Vec<u8>) -> Vec<u8>) {
        let (send, late) = channel::<(Instant, Vec<u8>)>();
        std::thread::scope(|scope| {
            let mut out = to.try_clone().expect("a socket");
            scope.spawn(move || {
                for (due, frame) in late {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let size = u32::try_from(frame.len()).unwrap_or(0).to_be_bytes();
                    if out.write_all(&[&size[..], &frame].concat()).is_err() {
                        return;
                    }
                }
            });
            while let Ok(frame) = read_frame(&mut from) {
                let due = Instant::now() + Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
                if send.send((due, look(frame))).is_err() {
                    break;
                }
            }
            drop(send);
        });
        let _ = (from.shutdown(Shutdown::Both), to.flush(), to.shutdown(Shutdown::Both));
    }

    fn rewritten(&self, asked: &Asked, mut frame: Vec<u8>) -> Vec<u8> {
        let correlation = frame.first_chunk::<4>().copied().unwrap_or_default();
        let request = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&correlation);
        let Some((key, version)) = request else { return frame };
        if key == METADATA && self.without_brokers.load(Ordering::SeqCst) {
            self.blanked.fetch_add(1, Ordering::SeqCst);
            return without_brokers(&frame, version).expect("an answer to a metadata request");
        }
        // The host stands before its port in each version's encoding.
        let is = [HOST, &u32::from(self.broker.port()).to_be_bytes()].concat();
        let other = u32::from(self.advertised.load(Ordering::SeqCst)).to_be_bytes();
        let mut at = 0;
        while let Some(found) = frame[at..].windows(is.len()).position(|window| window == is) {
            at += found + is.len();
            frame[at - other.len()..at].copy_from_slice(&other);
        }
        frame
    }
}

fn read_frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap_or(0)];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

/// Remembers a request whose answer names brokers.
fn note(asked: &Asked, frame: &[u8]) {
    let [k1, k2, v1, v2, id @ ..] = frame else { return };
    let (key, version) = (i16::from_be_bytes([*k1, *k2]), i16::from_be_bytes([*v1, *v2]));
    if let Some(id) = id.first_chunk::<4>().filter(|_| key == METADATA || key == FIND_COORDINATOR) {
        asked.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, (key, version));
    }
}

/// What stands in an answer, from front to back.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    fn int<const N: usize>(&mut self) -> Option<[u8; N]> {
        let read = self.bytes.get(self.at..)?.first_chunk::<N>().copied();
        self.at += N;
        read
    }

    fn varint(&mut self) -> Option<usize> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let [byte] = self.int()?;
            value |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                return Some(value);
            }
        }
    }
}

/// An answer to a metadata request of this version, header and all, with an empty list of brokers.
fn without_brokers(frame: &[u8], version: i16) -> Option<Vec<u8>> {
    let is_compact = version >= COMPACT_METADATA;
    let mut fields = Fields { bytes: frame, at: 4 };
    if is_compact {
        fields.varint()?; // the header's tags
    }
    if version >= 3 {
        fields.skip(4); // throttle time
    }
    let begin = fields.at;
    let brokers = if is_compact {
        fields.varint()?.saturating_sub(1)
    } else {
        usize::try_from(i32::from_be_bytes(fields.int()?)).unwrap_or(0)
    };
    for _ in 0..brokers {
        fields.skip(4); // its id
        if is_compact {
            let host = fields.varint()?.saturating_sub(1);
            fields.skip(host + 4);
            let rack = fields.varint()?.saturating_sub(1);
            fields.skip(rack);
            fields.varint()?; // tags
        } else {
            let host = i16::from_be_bytes(fields.int()?);
            fields.skip(usize::try_from(host).unwrap_or(0) + 4);
            if version >= 1 {
                let rack = i16::from_be_bytes(fields.int()?);
                fields.skip(usize::try_from(rack).unwrap_or(0));
            }
        }
    }
    let none: &[u8] = if is_compact { &[1] } else { &[0; 4] };
    Some([frame.get(..begin)?, none, frame.get(fields.at..)?].concat())
}
