//! An FTP server that does what it is told, and otherwise behaves: for the faults that real servers have
//! but do not show on demand. Files live in memory; every command is written down.

#![allow(dead_code, reason = "each test binary uses its own part")]

mod acts;
mod behave;
mod misbehave;
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub use acts::{Act, End};
use peer::serve;

/// A server that is not started yet.
#[derive(Debug, Default)]
pub struct Script {
    rules: Vec<Rule>,
    state: State,
    is_secure: bool,
    is_torn: bool,
}

#[derive(Debug)]
struct Rule {
    /// A verb, or a verb and the begin of its argument.
    command: String,
    act: Act,
    once: bool,
    /// So many times it does not count yet.
    later: usize,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// What MDTM says; without any the server has none.
    modified: BTreeMap<String, String>,
    /// `None`: any directory is there.
    directories: Option<BTreeSet<String>>,
    commands: Vec<String>,
    /// STOR behind REST cuts the file there first, as Pure-FTPd does.
    cuts: bool,
    /// Files are named in the current directory; a path is refused with this.
    refuses_paths: Option<String>,
}

/// A started server; it takes no more connections when this is dropped.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    tls: Option<TlsAcceptor>,
    is_torn: bool,
    rules: Mutex<Vec<Rule>>,
    state: Mutex<State>,
    logins: AtomicUsize,
    open: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Script {
    pub fn new() -> Script {
        Script::default()
    }

    /// Every reply comes one byte a packet.
    pub fn torn(mut self) -> Script {
        self.is_torn = true;
        self
    }

    /// Implicit TLS on all connections, with a certificate that nobody has issued.
    pub fn secure(mut self) -> Script {
        self.is_secure = true;
        self
    }

    pub fn file(mut self, path: &str, content: &[u8]) -> Script {
        self.state.files.insert(path.to_owned(), content.to_vec());
        self
    }

    /// The server has MDTM, and says this of the file.
    pub fn modified(mut self, path: &str, time: &str) -> Script {
        self.state.modified.insert(path.to_owned(), time.to_owned());
        self
    }

    /// STOR behind REST cuts the file there first, as Pure-FTPd does.
    pub fn cuts(mut self) -> Script {
        self.state.cuts = true;
        self
    }

    /// No command takes a path but CWD and MKD; it is refused so.
    pub fn refuses_paths(mut self, reply: &str) -> Script {
        self.state.refuses_paths = Some(reply.to_owned());
        self
    }

    /// STOR needs its directory now, and MKD its parent; these are there.
    pub fn directories(mut self, paths: &[&str]) -> Script {
        self.state.directories = Some(paths.iter().map(|path| (*path).to_owned()).collect());
        self
    }

    /// Each time this command comes. `GREETING` is the connect itself. The first rule that fits counts.
    pub fn on(mut self, command: &str, act: Act) -> Script {
        self.rules.push(Rule { command: command.to_owned(), act, once: false, later: 0 });
        self
    }

    /// The next time this command comes.
    pub fn once(mut self, command: &str, act: Act) -> Script {
        self.rules.push(Rule { command: command.to_owned(), act, once: true, later: 0 });
        self
    }

    /// The next time but `later` that this command comes.
    pub fn nth(mut self, command: &str, later: usize, act: Act) -> Script {
        self.rules.push(Rule { command: command.to_owned(), act, once: true, later });
        self
    }

    pub fn say(self, command: &str, reply: &str) -> Script {
        self.on(command, Act::Say(reply.to_owned()))
    }

    pub async fn start(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls: self.is_secure.then(acceptor),
            is_torn: self.is_torn,
            rules: Mutex::new(self.rules),
            state: Mutex::new(self.state),
            logins: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept_all(listener, Arc::clone(&shared)));
        Server { address, shared, accepting }
    }
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept_all(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        shared.open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let _ = socket.set_nodelay(true);
            let _ = serve(socket, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

impl Server {
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.state(|state| state.files.get(path).cloned())
    }

    pub fn put(&self, path: &str, content: &[u8]) {
        self.state(|state| state.files.insert(path.to_owned(), content.to_vec()));
    }

    pub fn modify(&self, path: &str, time: &str) {
        self.state(|state| state.modified.insert(path.to_owned(), time.to_owned()));
    }

    pub fn paths(&self) -> Vec<String> {
        self.state(|state| state.files.keys().cloned().collect())
    }

    /// Every command so far, in order, over all sessions.
    pub fn commands(&self) -> Vec<String> {
        self.state(|state| state.commands.clone())
    }

    pub fn verbs(&self) -> Vec<String> {
        self.commands().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    pub fn forget_commands(&self) {
        self.state(|state| state.commands.clear());
    }

    /// Successful logins so far.
    pub fn logins(&self) -> usize {
        self.shared.logins.load(Ordering::SeqCst)
    }

    /// Control connections that the server holds open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// From now on, and before all other rules.
    pub fn now_on(&self, command: &str, act: Act) {
        self.shared
            .rules
            .lock()
            .unwrap()
            .insert(0, Rule { command: command.to_owned(), act, once: false, later: 0 });
    }

    /// The next time but `later` that this command comes.
    pub fn nth(&self, command: &str, later: usize, act: Act) {
        let rule = Rule { command: command.to_owned(), act, once: true, later };
        self.shared.rules.lock().unwrap().insert(0, rule);
    }

    /// The next time this command comes, before all other rules.
    pub fn next(&self, command: &str, act: Act) {
        self.shared
            .rules
            .lock()
            .unwrap()
            .insert(0, Rule { command: command.to_owned(), act, once: true, later: 0 });
    }

    /// From now on without any rules.
    pub fn behave(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn act_on(&self, line: &str) -> Option<Act> {
        let mut rules = self.rules.lock().unwrap();
        let verb = line.split(' ').next();
        let fits = |rule: &Rule| {
            verb == Some(&rule.command) || (rule.command.contains(' ') && line.starts_with(&rule.command))
        };
        let found = rules.iter().position(fits)?;
        if rules[found].later > 0 {
            rules[found].later -= 1;
            return None;
        }
        if rules[found].once { Some(rules.remove(found).act) } else { Some(rules[found].act.clone()) }
    }
}
