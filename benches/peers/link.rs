//! A wide-area link between two network namespaces of this machine: benches/wan.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::vsftpd::Host;
use crate::support::wait::try_wait_for;

/// The link's round-trip time.
pub const FAR: Duration = Duration::from_millis(20);

/// The far host, as wan.sh lays it out.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Tells the program inside the client's namespace what the server's is called.
const INSIDE: &str = "PEERS_SERVER_NAMESPACE";

const UP: Duration = Duration::from_secs(20);

/// A link that stands; it goes when dropped.
#[derive(Debug)]
pub struct Link {
    name: String,
    /// Ends before the namespaces go.
    process: Option<Process>,
    _scratch: Scratch,
}

/// The far host, where this program runs inside the client's namespace.
pub fn inside() -> Option<Host> {
    let namespace = std::env::var(INSIDE).ok()?;
    let enter = ["ip", "netns", "exec", &namespace].map(str::to_owned).to_vec();
    Some(Host { address: SERVER, enter })
}

impl Link {
    /// Lays the link, or says why it cannot.
    pub fn lay() -> Result<Link, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("it takes root".to_owned());
        }
        remove_leftovers();
        let name = format!("bench{}", std::process::id());
        let scratch = Scratch::new("link");
        let log = scratch.path().join("link.log");
        let args = ["up", &name, &FAR.as_millis().to_string()].map(str::to_owned);
        let process = Process::start(&script(), &args, &log, |_| ());
        let link = Link { name, process: Some(process), _scratch: scratch };
        let process = link.process.as_ref().expect("it was started");
        let up = try_wait_for(UP, || {
            let up = process.log().contains("wan: up");
            (up || !process.is_running()).then_some(up)
        });
        if up == Some(true) { Ok(link) } else { Err(process.log().trim().to_owned()) }
    }

    /// A command that runs in the client's namespace.
    pub fn in_client(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--", "ip", "netns", "exec", &format!("{}-client", self.name)])
            .arg(program)
            .env(INSIDE, format!("{}-server", self.name));
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
        let owner = name.strip_prefix("bench").filter(|pid| pid.parse::<u32>().is_ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(name);
        }
    }
}

fn remove(name: &str) {
    let _ = Command::new(script()).args(["down", name]).status();
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wan/wan.sh")
}
