//! Programs that tests run beside the router: those of `make deps`, and servers that are killed when they are dropped.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::router::until;

/// A program that is killed when it is dropped, its children too.
pub struct Program(Child);

impl Program {
    /// One that is started, in a process group of its own.
    pub fn of(child: Child) -> Program {
        Program(child)
    }

    pub fn start(command: &mut Command) -> Program {
        use std::os::unix::process::CommandExt as _;
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        Program(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

/// A file of the repository.
pub fn source(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).canonicalize().unwrap()
}

/// What `make deps` has put there.
pub fn deps(path: &str) -> PathBuf {
    let deps = std::env::var_os("FTP_POOLER_DEPS").map_or_else(|| source(".").join(".deps"), PathBuf::from);
    let found = deps.join(path);
    assert!(found.exists(), "{} is missing: make deps", found.display());
    found
}

/// The interpreter whose environment has tests/judges/requirements.txt.
pub fn python() -> Command {
    Command::new(deps("judges/bin/python"))
}

/// One that nobody listens on now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub async fn listening(port: u16) {
    until("the server listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
        .await;
}
