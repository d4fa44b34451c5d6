//! A real vsftpd on a free port: the unpacked one of `make deps`, an installed one, or one that is given.
//!
//! It runs as whoever runs the tests (`run_as_launching_user`), so it needs no root, no system user and no
//! PAM service, and behaves alike everywhere. Its one account is vsftpd's anonymous one, which with
//! `secure_email_list_enable` has a password that is checked. There is no chroot: an absolute remote path is
//! an absolute path of this machine ([`Vsftpd::absolute`]), a relative one lies beneath the login directory.

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::deps_dir;
use super::ports::free_port;
use super::process::Process;
use super::scratch::Scratch;
use super::wait::{try_wait_for, wait_until};

/// The account of every instance.
pub const USER: &str = "ftp";
/// Its password; any other is refused with 530.
pub const PASSWORD: &str = "correct horse";
/// Any path with this in it is refused with `550 Permission denied.`
pub const FORBIDDEN: &str = "forbidden";

const START: Duration = Duration::from_secs(10);
const START_ATTEMPTS: usize = 3;

/// Where a server runs.
#[derive(Clone, Debug)]
pub struct Host {
    pub address: Ipv4Addr,
    /// What a command begins with to run there: `ip netns exec …`; empty here.
    pub enter: Vec<String>,
}

impl Default for Host {
    fn default() -> Self {
        Host { address: Ipv4Addr::LOCALHOST, enter: Vec::new() }
    }
}

/// A running server with a directory of its own. The process comes first: it must end before its files go.
#[derive(Debug)]
pub struct Vsftpd {
    process: Mutex<Process>,
    /// How to run on its host.
    enter: Vec<String>,
    addr: SocketAddr,
    log: PathBuf,
    root: PathBuf,
    scratch: Scratch,
}

impl Vsftpd {
    /// A server without limits.
    ///
    /// # Panics
    /// Where it does not start; its output is in the message.
    pub fn start() -> Vsftpd {
        Vsftpd::with(&[])
    }

    /// A server with further settings, named as in vsftpd.conf(5): `("max_clients", "3")`,
    /// `("anon_max_rate", "100000")` (bytes a second), `("idle_session_timeout", "2")`.
    ///
    /// # Panics
    /// Where it does not start; its output is in the message.
    pub fn with(settings: &[(&str, &str)]) -> Vsftpd {
        Vsftpd::at(&Host::default(), settings)
    }

    /// The same on another host.
    ///
    /// # Panics
    /// Where it does not start; its output is in the message.
    pub fn at(host: &Host, settings: &[(&str, &str)]) -> Vsftpd {
        let mut error = String::new();
        for _ in 0..START_ATTEMPTS {
            match Vsftpd::try_start(host, settings) {
                Ok(server) => return server,
                Err(e) => error = e,
            }
        }
        panic!("vsftpd did not start: {error}")
    }

    fn try_start(host: &Host, settings: &[(&str, &str)]) -> Result<Vsftpd, String> {
        let scratch = Scratch::new("vsftpd");
        let root = scratch.dir("root");
        let log = scratch.path().join("vsftpd.log");
        let addr = SocketAddr::from((host.address, free_port()));
        let passwords = scratch.path().join("passwords");
        fs::write(&passwords, format!("{PASSWORD}\n")).expect("a password file");
        let mut conf = configuration(addr, &root, &log, &passwords, &scratch.dir("empty"));
        for (key, value) in settings {
            writeln!(conf, "{key}={value}").expect("a string takes everything");
        }
        let file = scratch.path().join("vsftpd.conf");
        fs::write(&file, conf).expect("vsftpd.conf");
        let process = Mutex::new(boot(&host.enter, scratch.path(), addr)?);
        // Where the settings say so.
        let root = settings.iter().find(|(key, _)| *key == "anon_root").map_or(root, |(_, at)| at.into());
        let server = Vsftpd { process, enter: host.enter.clone(), addr, log, root, scratch };
        // Our look was a session too: it must have come and gone, or it is counted as somebody else's.
        wait_until("the end of our look at vsftpd", START, || {
            server.count("] CONNECT: ") > 0 && server.sessions_now() == 0
        });
        Ok(server)
    }

    /// Kills the server and every session of it (SIGKILL).
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Starts it again on its port, with its files.
    ///
    /// # Panics
    /// Where it does not start; its output is in the message.
    pub fn restart(&self) {
        let process = boot(&self.enter, self.scratch.path(), self.addr);
        *self.process() = process.unwrap_or_else(|e| panic!("vsftpd did not come back: {e}"));
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The login directory, as a path of this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The absolute remote path of a file beneath the login directory.
    pub fn absolute(&self, relative: &str) -> String {
        format!("{}/{relative}", self.root.display())
    }

    /// Puts a file there, its directories included.
    ///
    /// # Panics
    /// Where the file system refuses.
    pub fn put(&self, relative: &str, content: &[u8]) {
        let path = self.root.join(relative);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("directories");
        fs::write(path, content).expect("a file at the server");
    }

    /// Reads a file there; `None` where there is none.
    pub fn get(&self, relative: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(relative)).ok()
    }

    /// Sessions that the server has open now, logged in or not: it forks one child for each.
    pub fn sessions_now(&self) -> usize {
        self.process().children()
    }

    /// Logins that succeeded, from the server's log.
    pub fn logins(&self) -> usize {
        self.count("] OK LOGIN: ")
    }

    /// Logins that were refused.
    pub fn refused_logins(&self) -> usize {
        self.count("] FAIL LOGIN: ")
    }

    /// Control connections that were turned away because the server was full (421).
    pub fn turned_away(&self) -> usize {
        self.count("\"421 ")
    }

    /// Lines of the server's log in which `text` stands: a command is `FTP command: Client "…", "SIZE a"`.
    pub fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// The server's log: connections, logins, every command and reply (passwords as `<password>`).
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

/// Starts the process on the configuration that lies in `scratch`, and waits until it takes connections.
fn boot(enter: &[String], scratch: &Path, addr: SocketAddr) -> Result<Process, String> {
    let (binary, libraries) = binary();
    let own = [binary.display().to_string(), scratch.join("vsftpd.conf").display().to_string()];
    let command = [enter, &own].concat();
    let (program, args) = command.split_first().expect("a program");
    let process = Process::start(Path::new(program), args, &scratch.join("vsftpd.out"), |command| {
        command.env("LD_LIBRARY_PATH", libraries);
    });
    let up = try_wait_for(START, || {
        if !process.is_running() {
            return Some(false);
        }
        TcpStream::connect(addr).is_ok().then_some(true)
    });
    if up == Some(true) { Ok(process) } else { Err(process.log_tail(10)) }
}

/// The binary, and the directories of the libraries unpacked beside it.
fn binary() -> (PathBuf, String) {
    if let Some(given) = std::env::var_os("FTP_POOLER_TEST_VSFTPD") {
        return (given.into(), String::new());
    }
    let unpacked = deps_dir().join("vsftpd");
    // Written by install-deps.sh, relative to the unpacked packages.
    let relative = fs::read_to_string(unpacked.join("library-path")).unwrap_or_default();
    let libraries: Vec<_> =
        relative.trim().split(':').map(|part| unpacked.join(part).display().to_string()).collect();
    let places = [unpacked.join("usr/sbin/vsftpd"), PathBuf::from("/usr/sbin/vsftpd")];
    match places.into_iter().find(|place| place.is_file()) {
        Some(found) => (found, libraries.join(":")),
        None => panic!("no vsftpd in {} nor in /usr/sbin: run `make deps`", unpacked.display()),
    }
}

/// seccomp and namespaces off: they fail on some kernels and in containers. No delay after a wrong
/// password. Every command and reply goes to the log, which is how logins are counted.
fn configuration(addr: SocketAddr, root: &Path, log: &Path, passwords: &Path, empty: &Path) -> String {
    format!(
        "listen=YES
listen_address={ip}
listen_port={port}
background=NO
run_as_launching_user=YES
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
secure_chroot_dir={empty}
nopriv_user=nobody
ftp_username=nobody
local_enable=NO
anonymous_enable=YES
anon_root={root}
secure_email_list_enable=YES
email_password_file={passwords}
delay_failed_login=0
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
allow_writeable_chroot=YES
chown_uploads=NO
deny_file={{*{FORBIDDEN}*}}
connect_from_port_20=NO
max_clients=0
max_per_ip=0
xferlog_enable=YES
log_ftp_protocol=YES
vsftpd_log_file={log}
",
        ip = addr.ip(),
        port = addr.port(),
        root = root.display(),
        log = log.display(),
        passwords = passwords.display(),
        empty = empty.display(),
    )
}
