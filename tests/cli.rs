//! The commands that need no server, and what every command does with input that is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

#[path = "cli/completions.rs"]
mod completions;
#[path = "cli/core_dumps.rs"]
mod core_dumps;
#[path = "cli/mistakes.rs"]
mod mistakes;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ftp_pooler::cli;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A configuration whose Kafka is nowhere, and what a test puts beside it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: TempDir::new().unwrap() };
        fs::create_dir(place.path("data")).unwrap();
        fs::write(place.path("config.yaml"), "kafka:\n  bootstrap_servers: [\"127.0.0.1:1\"]\n").unwrap();
        let connections = format!(
            "[remote-ftp]\ntype = ftp\nhost = 127.0.0.1\nport = 1\nuser = u\npass = hunter2\n\
             [local]\ntype = local\nbase_path = {}\n",
            place.path("data").display()
        );
        fs::write(place.path("connections.ini"), connections).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file beneath `base_path`.
    fn put(&self, name: &str, content: &str) {
        let path = self.path("data").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Runs a command with this configuration.
    fn run(&self, args: &[&str]) -> Ran {
        let config = self.path("config.yaml").display().to_string();
        Ran::of(program().args(args).args(["--config", &config]))
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(command: &mut Command) -> Ran {
        Ran::from(command.stdin(Stdio::null()).output().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
    command.env_clear().env("HOSTNAME", "pod-0").env("USER", "alice");
    command
}

fn task(id: &str, connection: &str) -> String {
    json!({
        "task_id": id, "operation": "download",
        "source": {"connection_id": connection, "path": "/a"},
        "destination": {"connection_id": "local", "path": format!("/in/{id}")},
    })
    .to_string()
}

#[test]
fn of_ten_thousand_lines_three_wrong_ones_are_named_and_none_is_sent() {
    let place = Place::new();
    let mut lines = String::new();
    for number in 1..=10_000 {
        let line = match number {
            17 => task("x", "remte-ftp"),
            5_000 => "{\"task_id\": ".to_owned(),
            9_999 => task("", "remote-ftp"),
            _ => task(&format!("t-{number}"), "remote-ftp"),
        };
        writeln!(lines, "{line}").unwrap();
    }
    let file = place.write("tasks.jsonl", &lines);
    let ran = place.run(&["submit", &file, "--output", "json"]);
    assert_eq!(ran.code, 65, "{}", ran.stderr);
    let told: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with(&format!("{file}:17: unknown_connection: ")), "{told:?}");
    assert!(told[0].contains("did you mean \"remote-ftp\"?"), "{told:?}");
    assert!(told[1].starts_with(&format!("{file}:5000: invalid_task: ")), "{told:?}");
    assert!(told[2].starts_with(&format!("{file}:9999: invalid_task: task_id")), "{told:?}");
    assert!(told[3].contains("3 of 10000 tasks are wrong; nothing was sent"), "{told:?}");
    let summary = ran.json();
    assert_eq!((&summary["sent"], &summary["wrong"]), (&json!(0), &json!(3)));
    let lines: Vec<&Value> = summary["mistakes"].as_array().unwrap().iter().map(|m| &m["line"]).collect();
    assert_eq!(lines, [&json!(17), &json!(5_000), &json!(9_999)]);
}

#[test]
fn a_dry_run_prints_the_tasks_and_needs_no_kafka() {
    let place = Place::new();
    place.put("out/a.csv", "one");
    place.put("out/deep/b.csv", "two");
    place.put("out/deep/c.txt", "three");
    let submit = |more: &[&str]| {
        let args = ["submit", "local:/out/", "remote-ftp:/inbox", "--dry-run", "--id-from", "content"];
        let ran = place.run(&[&args[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let tasks: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        tasks
    };
    let tasks = submit(&["--recursive", "--include", "*.csv", "--no-overwrite", "--retry-count", "5"]);
    let paths: Vec<_> = tasks.iter().map(|t| (&t["source"]["path"], &t["destination"]["path"])).collect();
    let expected = [("/out/a.csv", "/inbox/a.csv"), ("/out/deep/b.csv", "/inbox/deep/b.csv")];
    assert_eq!(paths, expected.map(|(a, b)| (json!(a), json!(b))).each_ref().map(|(a, b)| (a, b)));
    assert_eq!(tasks[0]["operation"], "upload");
    assert_eq!(tasks[0]["options"], json!({"overwrite": false, "retry_count": 5}));
    // The same thing has the same id; a file that has changed is another thing.
    assert_eq!(tasks, submit(&["-r", "--include", "*.csv", "--no-overwrite", "--retry-count", "5"]));
    place.put("out/a.csv", "changed");
    let again = submit(&["-r", "--include", "*.csv", "--no-overwrite", "--retry-count", "5"]);
    assert_ne!(tasks[0]["task_id"], again[0]["task_id"]);
    assert_eq!(tasks[1]["task_id"], again[1]["task_id"]);
    // Only the directory itself, without --recursive.
    assert_eq!(submit(&[]).len(), 1);
    assert_eq!(submit(&["-r", "--exclude", "deep/"]).len(), 1);
    assert_eq!(submit(&["-r", "--newer-than", "1h", "--max-size", "3"]).len(), 1);
    assert!(submit(&["-r", "--older-than", "1h"]).is_empty());
}

#[test]
fn tasks_wait_in_memory_where_a_pods_image_has_no_temporary_directory() {
    let place = Place::new();
    let config = place.path("config.yaml").display().to_string();
    let dry_run = |lines: usize| {
        let tasks: Vec<String> = (0..lines).map(|n| task(&n.to_string(), "remote-ftp")).collect();
        let file = place.write("tasks.jsonl", &tasks.join("\n"));
        let args = ["submit", &file, "--dry-run", "--config", &config];
        Ran::of(program().env("TMPDIR", "/nonexistent").args(args))
    };
    assert_eq!(dry_run(2).stdout.lines().count(), 2);
    let many = dry_run(80_000);
    assert_eq!(many.code, 1, "{}", many.stderr);
    assert!(many.stderr.contains("/nonexistent"), "{}", many.stderr);
}

#[test]
fn what_a_place_lacks_is_said() {
    let place = Place::new();
    place.put("a", "x");
    for (args, code, told) in [
        (&["submit", "remte-ftp:/pub", "local:/in"][..], 2, "did you mean 'remote-ftp'?"),
        (&["submit", "/pub", "local:/in"], 2, "expected CONNECTION:PATH"),
        (&["submit", "local:/a", "local:/b"], 2, "are both local"),
        (&["submit", "local:/a"], 2, "needs a DESTINATION"),
        (&["submit", "/nowhere/tasks.jsonl"], 2, "No such file"),
        (&["submit", "local:/missing/", "remote-ftp:/in"], 65, "nothing was sent"),
        (&["submit", "remote-ftp:/pub", "local:/in"], 69, "remote-ftp: "),
        (&["submit", "local:/a", "remote-ftp:/in", "--include", "[x"], 2, "--include '[x'"),
        (&["submit", "local:/a", "remote-ftp:/in", "--after", "burn"], 2, "expected keep, delete or move_to"),
        (&["submit", "local:/a", "remote-ftp:/in", "--after", "delete"], 65, "invalid_task"),
        (&["submit", "t.jsonl", "--recursive"], 2, "<DESTINATION>"),
        (&["submit", "t.jsonl", "--timeout", "1m"], 2, "--wait"),
        (&["failures", "--code", "timout"], 2, "did you mean timeout?"),
        (&["failures", "--since", "yesterday"], 2, "expected a duration"),
        (&["failures", "retry"], 2, "--all"),
        (&["topics", "--partitions", "0"], 2, "1..=10000"),
        (&["watch", "--pods", "pod-0"], 2, "expected HOST:PORT"),
        (&["watch", "--every", "1ms"], 2, "100ms or more"),
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(told), "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}

#[test]
fn a_kafka_that_is_not_there_is_said_with_its_address_and_nothing_hangs() {
    let place = Place::new();
    fs::write(
        place.path("config.yaml"),
        "kafka:\n  bootstrap_servers: [\"127.0.0.1:1\"]\n  properties: {socket.timeout.ms: 2000}\n",
    )
    .unwrap();
    let file = place.write("tasks.jsonl", &task("a", "remote-ftp"));
    std::thread::scope(|scope| {
        for args in [
            vec!["submit", &file],
            vec!["lag"],
            vec!["failures"],
            vec!["watch", "--for", "1s"],
            vec!["topics"],
            vec!["failures", "retry", "--all"],
        ] {
            let place = &place;
            scope.spawn(move || {
                let ran = place.run(&args);
                assert_eq!(ran.code, 69, "{args:?}: {ran:?}");
                assert!(ran.stderr.contains("asking 127.0.0.1:1 for "), "{args:?}: {}", ran.stderr);
                assert!(ran.stderr.contains("failed: Connection refused)"), "{args:?}: {}", ran.stderr);
            });
        }
    });
}

#[test]
fn a_wrong_configuration_is_told_as_run_tells_it() {
    let place = Place::new();
    fs::write(place.path("config.yaml"), "kafka: {input_topik: x}\n").unwrap();
    for command in ["lag", "failures", "watch"] {
        let ran = place.run(&[command]);
        assert_eq!(ran.code, 78);
        assert!(ran.stderr.contains("input_topik"), "{}", ran.stderr);
    }
}

#[test]
fn who_only_sends_needs_no_base_path() {
    let place = Place::new();
    fs::remove_dir(place.path("data")).unwrap();
    let file = place.write("tasks.jsonl", &task("a", "remote-ftp"));
    assert_eq!(place.run(&["submit", &file, "--dry-run"]).code, 0);
    let listed = place.run(&["submit", "local:/out/", "remote-ftp:/in", "--dry-run"]);
    assert_eq!(listed.code, 69, "{listed:?}");
    assert!(listed.stderr.contains("open base_path"), "{}", listed.stderr);
    assert_eq!(place.run(&["run"]).code, 78);
}

#[test]
fn standard_input_is_read_and_ids_are_given() {
    let place = Place::new();
    let mut without_id: Value = serde_json::from_str(&task("x", "remote-ftp")).unwrap();
    without_id.as_object_mut().unwrap().remove("task_id");
    let config = place.path("config.yaml").display().to_string();
    let submit = |more: &[&str]| {
        let mut child = program()
            .args(["submit", "-", "--dry-run", "--config", &config])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(without_id.to_string().as_bytes()).unwrap();
        Ran::from(child.wait_with_output().unwrap())
    };
    let refused = submit(&[]);
    assert_eq!(refused.code, 65);
    assert!(refused.stderr.contains("-:1: invalid_task: task_id: is missing"), "{}", refused.stderr);
    let id = |ran: &Ran| ran.json()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(id(&submit(&["--id-from", "content"])), id(&submit(&["--id-from", "content"])));
    assert_ne!(id(&submit(&["--id-from", "random"])), id(&submit(&["--id-from", "random"])));
}

#[test]
fn init_writes_both_files_and_never_over_others() {
    let dir = TempDir::new().unwrap();
    let made = dir.path().join("new/config");
    let made_text = made.display().to_string();
    let ran = Ran::of(program().args(["init", &made_text]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mode = |name: &str| fs::metadata(made.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("config.yaml"), mode("connections.ini")), (0o644, 0o600));
    let yaml = fs::read_to_string(made.join("config.yaml")).unwrap();
    assert!(yaml.contains("bootstrap_servers:"));

    fs::write(made.join("connections.ini"), "mine").unwrap();
    fs::remove_file(made.join("config.yaml")).unwrap();
    let refused = Ran::of(program().args(["init", &made_text]));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("connections.ini exists already"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(made.join("connections.ini")).unwrap(), "mine");
    assert!(!made.join("config.yaml").exists(), "both or neither");
    assert_eq!(Ran::of(program().args(["init", &made_text, "--force"])).code, 0);
    assert_ne!(fs::read_to_string(made.join("connections.ini")).unwrap(), "mine");
}

const RCLONE: &str = "[customer-a]\ntype = ftp\nhost = ftp.example.com\nuser = u\n\
    pass = YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ\nexplicit_tls = true\nconcurrency = 3\n\n[remote-ftp]\ntype = ftp\nhost = other\n\
    \n[drive]\ntype = drive\n";

#[test]
fn rclones_remotes_are_added_once_and_the_pool_takes_them() {
    let place = Place::new();
    let conf = place.write("rclone.conf", RCLONE);
    let into = place.path("connections.ini").display().to_string();
    let import = || Ran::of(program().args(["import-rclone", &conf, "--into", &into]));
    let ran = import();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("[drive] is left out"), "{}", ran.stderr);
    assert!(ran.stderr.contains("[remote-ftp] is in"), "{}", ran.stderr);
    assert!(ran.stderr.contains("[customer-a] concurrency = 3: "), "{}", ran.stderr);
    let after = fs::read_to_string(&into).unwrap();
    assert!(after.contains("hunter2") && after.contains("obscured_pass = YWFh"), "{after}");
    assert_eq!(import().code, 0);
    assert_eq!(fs::read_to_string(&into).unwrap(), after);
    // A task may name it now.
    let file = place.write("tasks.jsonl", &task("a", "customer-a"));
    assert_eq!(place.run(&["submit", &file, "--dry-run"]).code, 0);
}

#[test]
fn rclones_remotes_are_printed_and_chosen() {
    let place = Place::new();
    let conf = place.write("rclone.conf", RCLONE);
    let ran = Ran::of(program().args(["import-rclone", &conf, "--only", "customer-a"]));
    assert!(ran.stdout.starts_with("[customer-a]\ntype = ftp\n") && !ran.stdout.contains("[remote-ftp]"));
    let ran = Ran::of(program().env("RCLONE_CONFIG", &conf).args(["import-rclone", "--only", "drive"]));
    assert_eq!(ran.code, 65);
    assert!(ran.stderr.contains("no FTP remote drive"), "{}", ran.stderr);
    let ran = Ran::of(program().args(["import-rclone", "/nowhere/rclone.conf"]));
    assert_eq!(ran.code, 1);
    let broken = place.write("broken.conf", &RCLONE.replace("YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ", "hunter2"));
    let ran = Ran::of(program().args(["import-rclone", &broken]));
    assert_eq!(ran.code, 65, "not all of it is taken over");
    assert!(ran.stdout.contains("[remote-ftp]") && !ran.stdout.contains("[customer-a]"), "{}", ran.stdout);
    let ran = Ran::of(program().args(["import-rclone", &broken, "--only", "remote-ftp"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let encrypted =
        place.write("secret.conf", "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nxx\n");
    let ran = Ran::of(program().args(["import-rclone", &encrypted]));
    assert_eq!(ran.code, 65);
    assert!(ran.stderr.contains("is encrypted"), "{}", ran.stderr);
}

#[test]
fn completions_and_man_pages_are_made_of_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = Ran::of(program().args(["completions", shell]));
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("FTP_POOLER_COMPLETE"), "{shell}: it asks the program");
    }
    let page = Ran::of(program().arg("man"));
    assert!(page.stdout.contains(".TH ftp-pooler 1"), "{}", page.stdout);
    let dir = TempDir::new().unwrap();
    let into = dir.path().display().to_string();
    assert_eq!(Ran::of(program().args(["man", "--into", &into])).code, 0);
    let submit = fs::read_to_string(dir.path().join("ftp-pooler-submit.1")).unwrap();
    assert!(submit.contains("keep") && submit.contains("Exit codes"), "{submit}");
}

#[test]
fn every_command_has_help_with_an_example_or_needs_none() {
    for command in [
        "run",
        "check",
        "health",
        "submit",
        "failures",
        "lag",
        "watch",
        "topics",
        "init",
        "import-rclone",
        "completions",
        "man",
    ] {
        let ran = Ran::of(program().args([command, "--help"]));
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("Examples:"), "{command}: {}", ran.stdout);
    }
}

#[test]
#[cfg(feature = "demo")]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CLI.md");
    let generated = cli::cli_md();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(current == generated, "docs/CLI.md is not current: UPDATE_GENERATED=1 cargo test --test cli");
}
