//! A wide-area link between two network namespaces of this machine (benches/wan), which counts round trips.
//!
//! Counted are the kernels' own packets, handshakes and acknowledgements included, so that what is counted is
//! what a user on such a link waits for. Who runs in the client's namespace is this same program again.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::process::Process;
use super::scratch::Scratch;
use super::vsftpd::Host;
use super::wait::try_wait_for;

/// The far host, as wan.sh lays it out.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Tells the program inside the client's namespace what the server's is called.
const INSIDE: &str = "FTP_POOLER_TEST_SERVER_NAMESPACE";
/// Tells it where the link says how many round trips there were.
const COUNTED: &str = "FTP_POOLER_TEST_LINK_LOG";

/// What the names of links begin with.
const PREFIX: &str = "wl";

/// Links that this process has laid.
static LINKS: AtomicUsize = AtomicUsize::new(0);

const UP: Duration = Duration::from_secs(20);

/// A link that stands; it goes when dropped.
#[derive(Debug)]
pub struct Link {
    name: String,
    /// Ends before the namespaces go.
    process: Option<Process>,
    scratch: Scratch,
}

/// The far host, where this program runs inside the client's namespace.
pub fn inside() -> Option<Host> {
    let namespace = std::env::var(INSIDE).ok()?;
    let enter = ["ip", "netns", "exec", &namespace].map(str::to_owned).to_vec();
    Some(Host { address: SERVER, enter })
}

/// Round trips since the link was laid, where this program runs inside the client's namespace: the longest chain
/// of packets of which each was sent after the one before had come.
///
/// # Panics
/// Where the link does not count.
pub fn round_trips() -> usize {
    let log = std::env::var(COUNTED).expect("a link that counts");
    let log = std::fs::read_to_string(log).expect("the link's log");
    // The last line may be half written.
    let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let counted = complete.lines().rev().find_map(|line| line.strip_prefix("wan: trip ")?.parse().ok());
    counted.unwrap_or(0)
}

impl Link {
    /// Lays a link with this round-trip time, or says why it cannot.
    pub fn lay(round_trip: Duration) -> Result<Link, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("it takes root".to_owned());
        }
        remove_leftovers();
        // The kernel takes no names longer than 15 bytes.
        let name = format!("{PREFIX}{}x{}", std::process::id(), LINKS.fetch_add(1, Ordering::Relaxed));
        let scratch = Scratch::new("link");
        let log = log_in(&scratch);
        let args = ["up", &name, &round_trip.as_millis().to_string(), "0", "count"].map(str::to_owned);
        let process = Process::start(&script(), &args, &log, |_| ());
        let link = Link { name, process: Some(process), scratch };
        let process = link.process.as_ref().expect("it was started");
        let up = try_wait_for(UP, || {
            let up = process.log().contains("wan: up");
            (up || !process.is_running()).then_some(up)
        });
        if up == Some(true) { Ok(link) } else { Err(process.log().trim().to_owned()) }
    }

    fn log(&self) -> PathBuf {
        log_in(&self.scratch)
    }

    /// A command that runs in the client's namespace.
    pub fn in_client(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--", "ip", "netns", "exec", &format!("{}-client", self.name)])
            .arg(program)
            .env(INSIDE, format!("{}-server", self.name))
            .env(COUNTED, self.log());
        command
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.process.take());
        remove(&self.name);
    }
}

/// What earlier runs left that were killed: their names hold their process.
fn remove_leftovers() {
    let output = Command::new("ip").args(["netns", "list"]).output();
    let list = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    for line in list.lines() {
        let name = line.split(['-', ' ']).next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('x').next());
        let owner = owner.filter(|pid| pid.parse::<u32>().is_ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(name);
        }
    }
}

fn remove(name: &str) {
    let _ = Command::new(script()).args(["down", name]).status();
}

fn log_in(scratch: &Scratch) -> PathBuf {
    scratch.path().join("link.log")
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wan/wan.sh")
}
