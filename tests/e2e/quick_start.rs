//! README's commands, as they are printed, against a real Kafka and a real server.
//!
//! What a reader brings is put in their place: `cargo install` leads to the program that was built, `$EDITOR` fills in
//! brokers, server and directory, and a pod's address is that of the pod.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::download;
use crate::support::files::list;
use crate::support::pod::binary;
use crate::support::process::{Process, Signal};
use crate::support::scratch::Scratch;
use crate::support::vsftpd::{PASSWORD, USER};
use crate::support::wait::wait_until;

/// README's blocks of commands beneath a heading.
fn blocks(heading: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let begin = readme.find(&format!("\n## {heading}")).unwrap_or_else(|| panic!("README has no {heading}"));
    let section = &readme[begin + 1..];
    let section = section.find("\n## ").map_or(section, |end| &section[..end]);
    let blocks = section.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split_once("\n```").unwrap().0.to_owned()).collect()
}

/// A home directory, and a PATH on which the program is.
struct Home {
    scratch: Scratch,
    /// `sed`'s commands for what a reader fills in.
    filled_in: String,
}

impl Home {
    fn new(stage: &Stage) -> Home {
        let scratch = Scratch::new("home");
        let topics = &stage.topics;
        let results = format!("{}-answers", topics.results);
        let filled_in = [
            format!("s/kafka:9092/{}/", stage.kafka.bootstrap()),
            format!("s/consumer_group: .*/consumer_group: {}/", topics.group),
            format!("s/input_topic: .*/input_topic: {}/", topics.tasks),
            format!("s/result_topic: .*/result_topic: {results}/"),
            format!("s/fail_topic: .*/fail_topic: {}/", topics.failures),
            format!("s/retry_topic: .*/retry_topic: {}/", topics.retry),
            "s/^  port: .*/  port: 0/".to_owned(),
            format!("s/^host = .*/host = {}/", stage.server.addr().ip()),
            format!("s/^port = .*/port = {}/", stage.server.addr().port()),
            format!("s/^user = .*/user = {USER}/"),
            format!("s/^pass = .*/pass = {PASSWORD}/"),
            // This server's accounts are not confined: its root is the machine's.
            format!("s|^# path_root =.*|path_root = {}|", stage.server.root().display()),
            format!("s|^base_path = .*|base_path = {}/my-pool/data|", scratch.path().display()),
        ]
        .join(";");
        let home = Home { scratch, filled_in };
        home.program("ftp-pooler", &format!("exec {} \"$@\"", binary().display()));
        home.program("cargo", "test \"$*\" = 'install --path . --locked --no-default-features'");
        home.program("editor", &format!("exec sed -i '{}' \"$@\"", home.filled_in));
        home
    }

    fn program(&self, name: &str, does: &str) {
        let path = self.scratch.dir("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn pool(&self) -> PathBuf {
        self.scratch.path().join("my-pool")
    }

    fn prepare(&self, command: &mut Command) {
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FTP_POOLER")) {
            command.env_remove(key);
        }
        let path = std::env::var("PATH").unwrap();
        let bin = self.scratch.path().join("bin").display().to_string();
        command.env("HOME", self.scratch.path()).env("EDITOR", "editor").env("PATH", format!("{bin}:{path}"));
        command.current_dir(if self.pool().exists() { self.pool() } else { self.scratch.path().into() });
    }

    /// Runs a block, and stops where a command fails. Its output, both streams.
    #[track_caller]
    fn run(&self, block: &str) -> String {
        let mut shell = Command::new("bash");
        shell.args(["-euc", &format!("exec 2>&1\n{block}")]);
        self.prepare(&mut shell);
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}\n{block}\n{said}", output.status);
        said
    }

    /// Starts a block that runs on.
    fn start(&self, block: &str) -> Process {
        let log = self.scratch.path().join("pod.log");
        let block = format!("exec {block} --log-format json");
        Process::start(Path::new("bash"), &["-euc".to_owned(), block], &log, |command| self.prepare(command))
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn the_quick_start_moves_a_folder_there_and_back_as_it_is_printed() {
    let stage = Stage::with("quick-start", 2, &[]);
    for name in ["a.csv", "deep/b c.csv", "deep/ü.csv"] {
        stage.server.put(&format!("pub/{name}"), name.as_bytes());
    }
    stage.server.put("pub/other.txt", b"not asked for");
    let home = Home::new(&stage);
    let blocks = blocks("Quick start");
    let [set_up, run, move_files] = &blocks[..] else { panic!("README's quick start has {blocks:#?}") };

    let said = home.run(set_up);
    // The stage has made the others; what pools share may be there from another test.
    for topic in [format!("{}-answers", stage.topics.results), stage.topics.retry.clone()] {
        let made =
            said.lines().find(|line| line.starts_with(&topic)).is_some_and(|line| line.ends_with("made"));
        assert!(made, "{topic}: {said}");
    }
    assert!(!said.contains("FAIL"), "{said}");
    let pod = home.start(run);
    let said = home.run(move_files);
    assert_eq!(said.matches("completed  3 ").count(), 2, "{said}");
    assert!(said.contains("no open records") && said.contains("no such failures"), "{said}");
    let wanted = ["a.csv", "deep/b c.csv", "deep/ü.csv"].map(PathBuf::from);
    assert_eq!(list(&home.pool().join("data/in")), wanted);
    assert_eq!(list(&stage.server.root().join("inbox")), wanted);
    assert_eq!(stage.server.get("inbox/deep/ü.csv").unwrap(), "deep/ü.csv".as_bytes());

    pod.signal(Signal::INT);
    let ended = pod.wait_exit(EXIT).unwrap_or_else(|| panic!("{}", pod.log_tail(20)));
    assert!(ended.success(), "{}", pod.log_tail(20));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn the_commands_that_readme_shows_do_what_they_say() {
    let stage = Stage::with("readme-commands", 2, &[]);
    stage.server.put("pub/deep/new.csv", b"1;2");
    let home = Home::new(&stage);
    let quick_start = blocks("Quick start");
    home.run(&quick_start[0]);
    let pod = home.start(&quick_start[1]);
    wait_until("the pod to listen", LONG, || pod.log().contains("\"event\":\"listening\""));

    let tasks = download("one", "remote-ftp", "/pub/deep/new.csv", "/one.csv");
    fs::write(home.pool().join("tasks.jsonl"), tasks.to_string()).unwrap();
    let blocks = blocks("Commands");
    let [commands] = &blocks[..] else { panic!("README's commands are {blocks:#?}") };
    // It would go on until Ctrl-C.
    let watch = "ftp-pooler watch ";
    assert!(commands.contains(watch), "{commands}");
    let said = home.run(&commands.replace(watch, &format!("{watch} --for 3s ")));
    assert!(said.contains("sent       1") && said.contains("completed  1 "), "{said}");
    assert!(said.contains("0 tasks sent again"), "{said}");
    // A pod announces itself every five seconds.
    wait_until("the pod's announcement", LONG, || home.run("ftp-pooler watch --for 3s").contains("pods 1/1"));
    wait_until("both tasks", LONG, || home.pool().join("data/one.csv").exists());
    assert_eq!(list(&home.pool().join("data")), ["in/deep/new.csv", "one.csv"].map(PathBuf::from));
    pod.signal(Signal::TERM);
    assert!(pod.wait_exit(EXIT).is_some_and(|ended| ended.success()), "{}", pod.log_tail(20));
}
