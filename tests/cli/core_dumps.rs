//! A core file holds the passwords that the process has read: a pod makes none, unless it is told to.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};

use super::*;

/// A program with as large a core file as it likes, in a directory where it may lie.
fn with_core_file(program: &str, args: &[&str], directory: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\"", program]).args(args);
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// Ends it with the signal of a failed assertion.
fn crash(mut child: Child) -> ExitStatus {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).unwrap();
    child.wait().unwrap()
}

/// A pod that has read its configuration and tells that it begins.
fn running_pod(place: &Place) -> Child {
    let config = place.path("config.yaml").display().to_string();
    let args = ["run", "--config", &config];
    let mut command = with_core_file(env!("CARGO_BIN_EXE_ftp-pooler"), &args, place.dir.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let begins = said.find(|line| line.contains("pod_starting"));
    assert!(begins.is_some(), "it has ended: {:?}", child.wait());
    std::thread::spawn(move || said.for_each(drop)); // so that it need not wait for its reader
    child
}

#[test]
fn a_pod_that_crashes_leaves_no_core_file_unless_core_dumps_says_so() {
    let place = Place::new();
    let sleep = with_core_file("sleep", &["1000"], place.dir.path()).spawn().unwrap();
    wait_until_it_is(&sleep, "sleep");
    if !crash(sleep).core_dumped() {
        return; // this system makes no core files
    }
    let api = "api:\n  host: 127.0.0.1\n  port: 0\nmetrics:\n  port: 0\n";
    let kafka = "kafka:\n  bootstrap_servers: [\"127.0.0.1:1\"]\n";
    for (dumps, pod) in [(false, ""), (true, "pod:\n  core_dumps: true\n")] {
        place.write("config.yaml", &format!("{kafka}{api}{pod}"));
        let ended = crash(running_pod(&place));
        assert_eq!(ended.signal(), Some(6), "{ended:?}");
        assert_eq!(ended.core_dumped(), dumps, "core_dumps: {dumps}");
    }
}

/// The shell has become the program that it was told to be.
fn wait_until_it_is(child: &Child, program: &str) {
    let name = format!("/proc/{}/comm", child.id());
    while fs::read_to_string(&name).unwrap().trim() != program {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
