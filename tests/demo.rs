//! `ftp-pooler demo`, as a newcomer runs it: nothing set up, everything in one process.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the answer")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Far more than a demo takes; past it something hangs.
const DEADLINE: Duration = Duration::from_secs(120);

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
    command.arg("demo").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its output, once it has ended by itself.
fn output_of(mut command: Command) -> Output {
    let child = command.spawn().unwrap();
    let id = child.id();
    let (ended, has_ended) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
    has_ended.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        kill(id, "KILL");
        panic!("the demo hangs")
    })
}

fn kill(id: u32, signal: &str) {
    Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().unwrap();
}

/// A demo that is ended with its test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a running demo, up to the first for which `is_wanted` holds.
fn read_until(lines: &mpsc::Receiver<String>, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let deadline = Instant::now() + DEADLINE;
    let mut read = Vec::new();
    while !read.last().is_some_and(|line: &String| is_wanted(line)) {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else {
            panic!("the line did not come; there were: {read:#?}")
        };
        read.push(line);
    }
    read
}

fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

#[test]
fn files_move_both_ways_and_every_failure_is_on_purpose() {
    let output = output_of(demo(&["--files", "60"]));
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert_eq!(complained, "", "a demo that goes well has nothing to complain of");
    for wanted in [
        "downloads       36 files",
        "uploads         24 files",
        "together        60 files",
        "at most at once, as the server counted them (8 allowed)",
        "destination_exists     2  on purpose",
        "source_not_found       2  on purpose",
        "invalid_task           4  on purpose",
        "at_least_once",
        "Every record was answered once and rightly, and every file is right to the byte.",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in\n{said}");
    }
    assert!(!said.contains("NOT on purpose"), "{said}");
    assert!(!said.contains(['\u{1b}', '\r']), "a pipe gets plain lines: {said:?}");
    let addresses: Vec<_> = said.lines().rev().take(2).collect();
    assert!(
        addresses[0].ends_with("/metrics") && addresses[1].ends_with("(also /health, /ready, /metrics)"),
        "the page comes first: {said}"
    );
}

#[test]
fn a_demo_that_keeps_running_takes_a_task_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a demo");
    let arguments = ["--files", "10", "--keep-running", "--dir", root.to_str().unwrap()];
    let mut running = Running(demo(&arguments).spawn().unwrap());
    let lines = lines_of(&mut running.0);
    let said = read_until(&lines, |line| line.contains("Answers show here"));
    let command = said.iter().find(|line| line.contains("demo send")).unwrap();
    let bootstrap = command.split("--bootstrap ").nth(1).unwrap().split(' ').next().unwrap();
    let task = command.split('\'').nth(1).unwrap();

    std::fs::write(root.join("storage/hello.txt"), "hello").unwrap();
    let sent = output_of(demo(&["send", "--bootstrap", bootstrap, task]));
    assert!(sent.status.success(), "{sent:?}");
    let answer = read_until(&lines, |line| line.starts_with("ftp-results: ")).pop().unwrap();
    assert!(answer.contains(r#""task_id":"mine-1""#), "{answer}");
    assert_eq!(std::fs::read_to_string(root.join("ftp-server/inbox/hello.txt")).unwrap(), "hello");

    // The other commands, as they are printed. (`watch` would go on.)
    let printed = |what: &str| {
        let line = said.iter().find(|line| line.contains(what) && line.contains(" --config ")).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = output_of(shell);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    };
    // Its broker cannot look up offsets by time: the failures are found all the same.
    let (code, found, told) = printed(" failures ");
    assert_eq!(code, Some(0), "{told}");
    assert!(found.contains("unknown_connection"), "{found}\n{told}");
    assert!(told.contains("ftp-failures is read from its beginning"), "{told}");
    let (code, done, told) = printed(" submit ");
    assert!(code == Some(0) && done.contains("failed     0"), "{done}\n{told}");
    assert_eq!(std::fs::read_to_string(root.join("storage/copy/inbox/hello.txt")).unwrap(), "hello");

    kill(running.0.id(), "INT");
    let mut complained = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
    assert!(running.0.wait().unwrap().success(), "{complained}");
    assert!(root.join("config/connections.ini").exists(), "what --dir names is kept");
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), "").unwrap();
    let output = output_of(demo(&["--dir", dir.path().to_str().unwrap()]));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not empty"));
    assert!(!output_of(demo(&["--files", "0"])).status.success());
}

#[test]
fn a_task_for_a_demo_that_is_not_there_says_so() {
    let output = output_of(demo(&["send", "--bootstrap", "127.0.0.1:1", "{}"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("is `ftp-pooler demo --keep-running` still running")
    );
}
