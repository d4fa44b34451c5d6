//! The step between fork and frpc: our own program, run again, sets the parent-death signal and becomes frpc.
//!
//! `PR_SET_PDEATHSIG` must be set in the child. Between fork and exec only unsafe code could do it; after an exec
//! safe code can, and the setting survives the next exec.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::{env, io, process};

/// The first argument that asks for it.
pub const SUBCOMMAND: &str = "__exec-child";

/// What a shell answers where a program cannot be run.
const CANNOT_EXECUTE: i32 = 126;

/// What is started as the step before frpc.
static HELPER: OnceLock<PathBuf> = OnceLock::new();

/// Names another program that calls [`run_if_requested`]: for processes that cannot, such as tests. The first
/// one named is kept.
pub fn use_helper(program: PathBuf) {
    let _ = HELPER.set(program);
}

/// The program to start; an error where `main` has not promised that it is fit for it.
pub(super) fn helper() -> io::Result<PathBuf> {
    let missing = || io::Error::other("exec_child::run_if_requested was not called first in main");
    HELPER.get().cloned().ok_or_else(missing)
}

/// To be called first in `main` of every program that starts tunnels by this library. Returns unless this
/// process was started as the step before frpc.
pub fn run_if_requested() {
    // opened by the child itself: right even when the file has been replaced since
    use_helper(PathBuf::from("/proc/self/exe"));
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != SUBCOMMAND) {
        return;
    }
    let error = become_child(arguments.next(), arguments.next(), arguments.collect());
    eprint_line(&error);
    process::exit(CANNOT_EXECUTE);
}

/// Returns the reason if it fails.
fn become_child(parent: Option<OsString>, program: Option<OsString>, arguments: Vec<OsString>) -> String {
    let parent = parent.and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, program) else {
        return format!("{SUBCOMMAND} PARENT_PID PROGRAM [ARGUMENT…]");
    };
    let signal = rustix::process::Signal::KILL;
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(signal)) {
        return format!("cannot ask for the parent-death signal: {error}");
    }
    // the parent may have ended before the signal was asked for
    if rustix::process::getppid().is_none_or(|pid| pid.as_raw_nonzero().get() != parent) {
        return "the parent process has ended".to_owned();
    }
    let error = Command::new(&program).args(arguments).exec();
    format!("cannot start {}: {error}", program.to_string_lossy())
}

#[allow(clippy::print_stderr, reason = "its output is read by the parent as the child's last line")]
fn eprint_line(text: &str) {
    eprintln!("{text}");
}
