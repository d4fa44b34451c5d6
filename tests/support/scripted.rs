//! An FTP server that does what it is told, and otherwise behaves: for the faults that real servers have
//! but do not show on demand. Files live in memory; every command is written down.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the server does instead of behaving.
#[derive(Clone, Debug)]
pub enum Act {
    /// Says this (a line end is added), and does nothing else.
    Say(String),
    /// Says this without a line end, and waits for the next command.
    Mutter(String),
    /// Says this, then closes the control connection.
    SayAndClose(String),
    /// Says this, one byte a packet.
    Torn(String),
    /// Says these bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Says this, and after it nothing any more.
    SayAndHang(String),
    /// Says this, and goes on with that for ever, or until the client has had enough.
    Flood(String, String),
    /// Closes the control connection without a word.
    Close,
    /// Never answers.
    Hang,
    /// RETR: 150, these bytes, then this end.
    Send(Vec<u8>, End),
    /// RETR: 226 before a single byte is sent, and nothing after them.
    SendLate(Vec<u8>),
    /// STOR: 150, takes at most so many bytes, then this end.
    Take(usize, End),
    /// RETR: 150, then one byte after the other, with such a pause between two, until the client closes it; then 426.
    Drip(Duration),
    /// EPSV: names a port on which connections wait for ever to be accepted.
    NobodyAccepts,
    /// EPSV: names a port on which nobody listens.
    DeadPort,
    /// PASV: names the right port at another address.
    ForeignAddress,
}

/// How a data connection ends.
#[derive(Clone, Debug)]
pub enum End {
    /// Closed; then the reply.
    Close(String),
    /// Reset; then the reply.
    Reset(String),
    /// Closed; no reply.
    Silence,
    /// Left open, and no reply.
    Stall,
    /// Bytes until the client closes it; then 426.
    Endless,
    /// Left alone for half a second, then read to its end; then the reply.
    Dawdle(String),
    /// Closed, together with the control connection.
    Vanish,
}

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

async fn serve(socket: TcpStream, shared: &Arc<Shared>) -> Result<(), Gone> {
    let (reader, writer): (Reading, Writing) = if let Some(tls) = &shared.tls {
        let (reader, writer) = tokio::io::split(tls.accept(socket).await?);
        (Box::new(reader), Box::new(writer))
    } else {
        let (reader, writer) = socket.into_split();
        (Box::new(reader), Box::new(writer))
    };
    let shared = Arc::clone(shared);
    let peer = Peer { shared, writer, data: None, renaming: None, from: 0 };
    peer.serve(BufReader::new(reader)).await
}

type Reading = Box<dyn AsyncRead + Unpin + Send>;
type Writing = Box<dyn AsyncWrite + Unpin + Send>;

/// Where the next data connection comes about.
enum DataEnd {
    Here(TcpListener),
    /// Active mode.
    At(SocketAddr),
}

/// A data connection.
enum Data {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

impl Data {
    fn io(&mut self) -> &mut dyn Both {
        match self {
            Data::Plain(stream) => stream,
            Data::Secure(stream) => stream,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Data::Plain(stream) => stream,
            Data::Secure(stream) => stream.get_ref().0,
        }
    }

    /// Said goodbye to, where it has TLS.
    async fn close(mut self) {
        let _ = self.io().shutdown().await;
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

/// One control connection.
struct Peer {
    shared: Arc<Shared>,
    writer: Writing,
    data: Option<DataEnd>,
    renaming: Option<String>,
    /// What REST said, until the next command that is not a question for a port.
    from: usize,
}

/// The control connection is over.
struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Gone {
        Gone
    }
}

impl Peer {
    async fn serve(mut self, mut reader: BufReader<Reading>) -> Result<(), Gone> {
        match self.shared.act_on("GREETING") {
            Some(act) => self.misbehave("", act, &mut reader).await?,
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
                Some(act) => self.misbehave(argument, act, &mut reader).await?,
                None => self.behave(verb, argument).await?,
            }
            if !keeps {
                self.from = 0;
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_lines, reason = "an arm for each act")]
    async fn misbehave(
        &mut self,
        argument: &str,
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
            Act::DeadPort => {
                let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
                self.say(&format!("229 Entering Extended Passive Mode (|||{port}|)")).await
            }
            Act::ForeignAddress => {
                let port = self.listen().await?;
                self.say(&format!("227 Entering Passive Mode (192,0,2,1,{},{}).", port >> 8, port & 255))
                    .await
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

    async fn behave(&mut self, verb: &str, argument: &str) -> Result<(), Gone> {
        match verb {
            "USER" => self.say("331 password, please").await,
            "PASS" => {
                self.shared.logins.fetch_add(1, Ordering::SeqCst);
                self.say("230 logged in").await
            }
            "TYPE" | "NOOP" | "PBSZ" | "PROT" => self.say("200 ok").await,
            "EPSV" => {
                let port = self.listen().await?;
                self.say(&format!("229 Entering Extended Passive Mode (|||{port}|)")).await
            }
            "PASV" => {
                let port = self.listen().await?;
                self.say(&format!("227 Entering Passive Mode (127,0,0,1,{},{}).", port >> 8, port & 255))
                    .await
            }
            "EPRT" => match argument.split('|').nth(3).and_then(|port| port.parse().ok()) {
                Some(port) => {
                    self.data = Some(DataEnd::At(SocketAddr::from(([127, 0, 0, 1], port))));
                    self.say("200 there, then").await
                }
                None => self.say("501 where?").await,
            },
            "QUIT" => {
                self.say("221 bye").await?;
                Err(Gone)
            }
            "REST" => {
                self.from = argument.parse().unwrap_or(0);
                self.say("350 restarting").await
            }
            "RETR" => self.retrieve(argument).await,
            "STOR" => self.store(argument).await,
            "LIST" => self.list(argument).await,
            _ => {
                let reply = self.about_files(verb, argument);
                self.say(&reply).await
            }
        }
    }

    fn about_files(&mut self, verb: &str, path: &str) -> String {
        let mut state = self.shared.state.lock().unwrap();
        match verb {
            "SIZE" => match state.files.get(path) {
                Some(content) => format!("213 {}", content.len()),
                None => "550 Could not get file size.".to_owned(),
            },
            "MDTM" if !state.modified.is_empty() => match state.modified.get(path) {
                Some(time) => format!("213 {time}"),
                None => "550 Could not get file modification time.".to_owned(),
            },
            "DELE" if state.files.remove(path).is_some() => "250 deleted".to_owned(),
            "RNFR" if state.files.contains_key(path) => {
                self.renaming = Some(path.to_owned());
                "350 and to?".to_owned()
            }
            "RNTO" => match self.renaming.take().and_then(|from| state.files.remove(&from)) {
                Some(content) => {
                    state.files.insert(path.to_owned(), content);
                    "250 renamed".to_owned()
                }
                None => "503 RNFR first".to_owned(),
            },
            "MKD" if state.has_parent(path) && state.make(path) => "257 made".to_owned(),
            "DELE" | "RNFR" | "MKD" => format!("550 {verb} failed."),
            _ => "500 Unknown command.".to_owned(),
        }
    }

    async fn retrieve(&mut self, path: &str) -> Result<(), Gone> {
        let Some(content) = self.shared.state.lock().unwrap().files.get(path).cloned() else {
            return self.say("550 Failed to open file.").await;
        };
        self.say("150 here it comes").await?;
        let mut data = self.accept().await?;
        let from = std::mem::take(&mut self.from);
        let sent = data.io().write_all(content.get(from..).unwrap_or_default()).await;
        data.close().await;
        self.say(if sent.is_ok() { "226 sent" } else { "426 broken" }).await
    }

    /// The names in a directory, with -a or without.
    async fn list(&mut self, argument: &str) -> Result<(), Gone> {
        let directory = argument.strip_prefix("-a").unwrap_or(argument).trim().trim_end_matches('/');
        let directory = if directory == "." { "" } else { directory };
        let names: String = {
            let state = self.shared.state.lock().unwrap();
            let inside = |path: &String| {
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                (above == directory).then(|| format!("{name}\r\n"))
            };
            state.files.keys().filter_map(inside).collect()
        };
        self.say("150 here it comes").await?;
        let mut data = self.accept().await?;
        let sent = data.io().write_all(names.as_bytes()).await;
        data.close().await;
        self.say(if sent.is_ok() { "226 sent" } else { "426 broken" }).await
    }

    async fn store(&mut self, path: &str) -> Result<(), Gone> {
        if !self.shared.state.lock().unwrap().has_parent(path) {
            return self.say("553 Could not create file.").await;
        }
        self.say("150 send it").await?;
        let mut data = self.accept().await?;
        let mut rest = Vec::new();
        let mut content = match std::mem::take(&mut self.from) {
            0 => Vec::new(),
            from => {
                let mut there =
                    self.shared.state.lock().unwrap().files.get(path).cloned().unwrap_or_default();
                let behind = there.split_off(from.min(there.len()));
                if !self.shared.state.lock().unwrap().cuts {
                    rest = behind;
                }
                there
            }
        };
        let begin = content.len();
        let got = data.io().read_to_end(&mut content).await;
        data.close().await;
        content.extend(rest.into_iter().skip(content.len() - begin));
        self.shared.state.lock().unwrap().files.insert(path.to_owned(), content);
        self.say(if got.is_ok() { "226 stored" } else { "426 broken" }).await
    }

    async fn say(&mut self, text: &str) -> Result<(), Gone> {
        if self.shared.is_torn {
            for byte in format!("{text}\r\n").bytes() {
                self.writer.write_all(&[byte]).await?;
                tokio::task::yield_now().await;
            }
            return Ok(());
        }
        Ok(self.writer.write_all(format!("{text}\r\n").as_bytes()).await?)
    }

    async fn listen(&mut self) -> Result<u16, Gone> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        self.data = Some(DataEnd::Here(listener));
        Ok(port)
    }

    async fn accept(&mut self) -> Result<Data, Gone> {
        let stream = match self.data.take().ok_or(Gone)? {
            DataEnd::Here(listener) => listener.accept().await?.0,
            DataEnd::At(address) => TcpStream::connect(address).await?,
        };
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

impl State {
    fn has_parent(&self, path: &str) -> bool {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.directories.as_ref().is_none_or(|there| parent.is_empty() || there.contains(parent))
    }

    /// False where it is there already: like vsftpd's, the refusal does not say so.
    fn make(&mut self, path: &str) -> bool {
        self.directories.as_mut().is_some_and(|there| there.insert(path.to_owned()))
    }
}
