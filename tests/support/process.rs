//! Child processes that die with the test process, whatever ends it.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

use super::wait::try_wait_for;

/// A running child in a process group of its own; the group is killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `program args…`; `prepare` sets its environment and directory. Both outputs go to `log`.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(program: &Path, args: &[String], log: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        // The kernel kills the child when the thread that started it ends: see `nursery`.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        prepare(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log file"))
            .stderr(output)
            .process_group(0);
        let child = spawn_in_nursery(command).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        Process { name, child: Mutex::new(child), pid, log: log.to_owned() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How it ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        child.try_wait().expect("the child's status")
    }

    pub fn is_running(&self) -> bool {
        self.status().is_none()
    }

    /// Sends a signal to the process alone; nothing happens where it has ended.
    /// Whether it is stopped by a signal (state T in its `/proc` entry).
    pub fn is_frozen(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }

    pub fn signal(&self, signal: Signal) {
        if self.is_running() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Kills the whole group (SIGKILL) and waits for the end.
    pub fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = self.wait_exit(Duration::from_secs(10));
    }

    /// Waits for the end; `None` where it still runs then.
    pub fn wait_exit(&self, within: Duration) -> Option<ExitStatus> {
        try_wait_for(within, || self.status())
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines that it has written, under a heading that names the file.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let tail = all.get(all.len().saturating_sub(lines)..).unwrap_or_default();
        format!("--- the end of {}:\n{}\n---", self.log.display(), tail.join("\n"))
    }

    /// Physical memory in use (`VmRSS`), in bytes; 0 once it has ended.
    pub fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most physical memory that it ever used (`VmHWM`), in bytes; 0 once it has ended.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Its children that run now.
    pub fn children(&self) -> usize {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Birth = (Command, Sender<io::Result<Child>>);

/// Starts children from one thread that lives as long as the test process: the parent-death signal fires
/// when the *thread* that forked ends, and a test's thread ends long before a shared broker may.
fn spawn_in_nursery(command: Command) -> io::Result<Child> {
    static NURSERY: OnceLock<Sender<Birth>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (requests, inbox) = channel::<Birth>();
        std::thread::Builder::new()
            .name("nursery".to_owned())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("the nursery's thread");
        requests
    });
    let (reply, child) = channel();
    nursery.send((command, reply)).expect("the nursery lives");
    child.recv().expect("the nursery answers")
}
