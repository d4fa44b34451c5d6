//! What a process has cost: seconds, CPU, memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::support::process::Process;

/// Between two looks at a process: the error of its seconds.
const LOOK: Duration = Duration::from_millis(5);
/// A run that takes longer is given up.
pub const RUN: Duration = Duration::from_secs(300);
/// `/proc/*/stat` counts CPU in ticks of this length, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What one run has cost.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub elapsed: Duration,
    /// User and system, of the process and of the children it has waited for.
    pub cpu: Duration,
    pub peak_bytes: u64,
}

impl Usage {
    /// Runs a program to its end.
    ///
    /// # Panics
    /// Where it fails, or takes longer than [`RUN`].
    pub fn of(program: &Path, args: &[String], log: &Path, prepare: impl FnOnce(&mut Command)) -> Usage {
        let begin = Instant::now();
        let process = Process::start(program, args, log, prepare);
        let id = Pid::from_raw(process.pid()).expect("a process id");
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut peak_bytes = 0;
        loop {
            peak_bytes = peak_bytes.max(process.peak_rss_bytes());
            // Left as a zombie: its CPU can still be read.
            if waitid(WaitId::Pid(id), ended).is_ok_and(|status| status.is_some()) {
                break;
            }
            assert!(begin.elapsed() < RUN, "it takes too long\n{}", process.log_tail(20));
            std::thread::sleep(LOOK);
        }
        let usage = Usage { elapsed: begin.elapsed(), cpu: cpu(process.pid()), peak_bytes };
        let status = process.wait_exit(RUN).expect("it has ended");
        assert!(status.success(), "{} failed\n{}", process.name(), process.log_tail(20));
        usage
    }
}

/// The CPU that a process has used so far.
///
/// # Panics
/// Where there is no such process.
pub fn cpu(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process's statistics");
    // After the name, which may hold anything: utime, stime, cutime and cstime are fields 14 to 17.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks: u32 =
        fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}
