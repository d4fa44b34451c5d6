//! `submit`: lines and places, and waiting for their answers.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::json;

use super::{Ran, Shell};
use crate::stage::{LONG, Stage, sorted};
use crate::support::client::{Answers, download};
use crate::support::gate::Gate;
use crate::support::pod::Pod;
use crate::support::ports::free_port;
use crate::support::process::Signal;
use crate::support::wait::wait_until;

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_servers_folder_is_submitted_and_there_when_submit_ends() {
    let stage = Stage::with("submit-folder", 2, &[]);
    // vsftpd has no MLSD: these names come out of LIST, and what is a pattern to it is a directory here.
    let names = ["a.csv", "b c.csv", "deep/er/d.csv", "[x]/e.csv", "-odd/f.csv", "umläut/g.csv"];
    for name in names {
        stage.server.put(&format!("pub/{name}"), name.as_bytes());
    }
    stage.server.put("pub/skip.txt", b"x");
    stage.server.put("pub/old/h.csv", b"x");
    symlink("a.csv", stage.server.root().join("pub/link.csv")).unwrap();
    symlink("deep", stage.server.root().join("pub/circle")).unwrap();
    let config = stage.config();
    let pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let place = format!("remote:{}", stage.server.absolute("pub/"));
    let ran = shell.run(&[
        "submit",
        &place,
        "local:/in/",
        "--recursive",
        "--include",
        "*.csv",
        "--exclude",
        "old/",
        "--wait",
        "--timeout",
        "2m",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", pod.log_tail(20));
    let summary = ran.json();
    assert_eq!(summary["sent"], json!(7), "{ran:?}");
    let answers = &summary["answers"];
    let bytes: usize = names.iter().map(|name| name.len()).sum::<usize>() + "a.csv".len();
    assert_eq!(
        (&answers["completed"], &answers["failed"], &answers["open"]),
        (&json!(7), &json!(0), &json!(0))
    );
    assert_eq!(answers["bytes"], json!(bytes));
    assert!(ran.stderr.contains("circle: a symlink that does not lead to a file"), "{}", ran.stderr);
    let expected: Vec<String> = names.iter().chain(&["link.csv"]).map(|name| format!("in/{name}")).collect();
    assert_eq!(stage.local_files(), sorted(&expected));
    assert_eq!(stage.get_local("in/deep/er/d.csv").unwrap(), b"deep/er/d.csv");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_local_tree_goes_up_and_one_file_under_another_name() {
    let stage = Stage::new("submit-up");
    stage.put_local("out/a", b"one");
    stage.put_local("out/b/c", b"two");
    let config = stage.config();
    let _pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let ran = shell.run(&["submit", "local:/out", "remote:in", "-r", "--wait", "--timeout", "2m"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("completed  2 (6 B"), "{}", ran.stdout);
    let ran = shell.run(&["submit", "remote:in/b/c", "local:renamed", "--wait", "--timeout", "2m"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stage.remote_files(), sorted(["in/a", "in/b/c"]));
    assert_eq!(stage.get_local("renamed").unwrap(), b"two");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_is_at_the_destination_already_is_left_out_if_asked_for() {
    let stage = Stage::new("submit-missing");
    for (name, content) in [("pub/a", "one"), ("pub/deep/b", "two"), ("pub/grows", "1")] {
        stage.server.put(name, content.as_bytes());
    }
    let config = stage.config();
    let _pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let submit = |from: &str, to: &str| {
        let ran = shell.run(&["submit", from, to, "-r", "--skip-existing", "--wait", "--timeout", "2m"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    };
    let first = submit("remote:pub", "local:in");
    assert!(first.stdout.contains("completed  3 "), "{first:?}");
    let second = submit("remote:pub", "local:in");
    assert!(second.stderr.contains("3 files skipped: same size at destination"), "{second:?}");
    assert!(second.stderr.contains("no tasks: nothing was sent"), "{second:?}");

    stage.server.put("pub/grows", b"12");
    let third = submit("remote:pub", "local:in");
    assert!(third.stdout.contains("completed  1 "), "{third:?}");
    assert_eq!(stage.get_local("in/grows").unwrap(), b"12");

    // The other way round, and one file under another name.
    assert!(submit("local:in", "remote:back").stdout.contains("completed  3 "));
    assert!(submit("local:in", "remote:back/").stderr.contains("3 files skipped"));
    assert!(submit("local:in/a", "remote:back/").stderr.contains("1 file skipped"));
    assert!(submit("local:in/a", "remote:back/a2").stdout.contains("completed  1 "));
    assert!(submit("local:in/a", "remote:back/a2").stderr.contains("1 file skipped"));
    assert_eq!(stage.answers().wait_for(8, LONG).all.len(), 8);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn failures_are_told_and_make_the_exit_code() {
    let stage = Stage::new("submit-fail");
    stage.server.put("there", b"x");
    let config = stage.config();
    let _pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let tasks = [download("well", "remote", "there", "well"), download("lost", "remote", "missing", "lost")];
    let file = shell.lines("tasks.jsonl", tasks);
    let ran = shell.run(&["submit", &file, "--wait", "--timeout", "2m"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let line = "remote:missing → local:lost: source_not_found: ";
    assert!(
        ran.stderr.lines().any(|told| told.starts_with(line) && told.ends_with("(task lost)")),
        "{}",
        ran.stderr
    );
    let well = stage.answers().wait_for(2, LONG).only("well").json.clone();
    assert_eq!((&well["source"], &well["destination"]), (&json!("remote:there"), &json!("local:well")));
    let table = shell.run(&["failures"]).stdout;
    assert!(table.contains("remote:missing → local:lost"), "{table}");
    assert!(ran.stdout.contains("source_not_found: 1"), "{}", ran.stdout);

    // The ids of another run are not waited for: it has answers, but not to these.
    let again = shell.run(&["submit", &file, "--wait", "--timeout", "2m", "--output", "json"]);
    assert_eq!(again.json()["answers"]["completed"], json!(1), "{again:?}");
    assert_eq!(stage.answers().wait_for(4, LONG).all.len(), 4);
}

fn tasks(stage: &Stage) -> Answers {
    let mut topics = stage.topics.clone();
    topics.results.clone_from(&topics.tasks);
    Answers::of(stage.kafka, &topics)
}

#[test]
#[ignore = "needs Kafka: make test"]
fn of_ten_thousand_lines_three_wrong_ones_are_left_out_if_told_to_keep_going() {
    let stage = Stage::with("submit-keep-going", 3, &[]);
    let shell = Shell::new(&stage.config());
    let line = |number: usize| match number {
        10 | 7_000 => download(&format!("t-{number}"), "unknown", "f", "f").to_string(),
        9_000 => "not a task".to_owned(),
        _ => download(&format!("t-{number}"), "remote", "f", &format!("{number}")).to_string(),
    };
    let file = shell.lines("tasks.jsonl", (1..=10_000).map(line));
    let refused = shell.run(&["submit", &file]);
    assert_eq!(refused.code, Some(65), "{refused:?}");
    assert_eq!(stage.kafka.end_offsets(&stage.topics.tasks).values().sum::<i64>(), 0);

    let ran = shell.run(&["submit", &file, "--keep-going", "--output", "json"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    for place in [":10: unknown_connection", ":7000: unknown_connection", ":9000: invalid_task"] {
        assert!(ran.stderr.contains(place), "{place}: {}", ran.stderr);
    }
    assert_eq!((&ran.json()["sent"], &ran.json()["wrong"]), (&json!(9_997), &json!(3)));
    let mut sent = tasks(&stage);
    sent.wait_for(9_997, LONG).read_to_end();
    let expected: Vec<String> = (1..=10_000)
        .filter(|number| ![10, 7_000, 9_000].contains(number))
        .map(|number| format!("t-{number}"))
        .collect();
    sent.assert_each_once(&expected);
    // Spread over the partitions by destination, as the key says.
    assert!(stage.kafka.end_offsets(&stage.topics.tasks).values().all(|end| *end > 1_000));
    assert_eq!(sent.only("t-1").key.as_deref(), Some(&b"local:1"[..]));
}

fn wait_for_nobody(name: &str) -> (Stage, Shell, String) {
    let stage = Stage::new(name);
    let shell = Shell::new(&stage.config());
    let file = shell.lines("tasks.jsonl", ["a", "b"].map(|id| download(id, "remote", "f", id)));
    (stage, shell, file)
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_wait_that_is_over_says_what_is_open() {
    let (_stage, shell, file) = wait_for_nobody("submit-timeout");
    let ran = shell.run(&["submit", &file, "--wait", "--timeout", "3s", "--output", "json"]);
    assert_eq!(ran.code, Some(75), "{ran:?}");
    assert_eq!(ran.json()["answers"]["open_task_ids"], json!(["a", "b"]));
    assert_eq!(ran.json()["answers"]["open_tasks"][1]["source"], json!("remote:f"));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn ctrl_c_says_what_is_open() {
    let (stage, shell, file) = wait_for_nobody("submit-interrupt");
    let child = shell
        .command(&["submit", &file, "--wait"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("both to be sent", LONG, || {
        stage.kafka.end_offsets(&stage.topics.tasks).values().sum::<i64>() == 2
    });
    std::thread::sleep(Duration::from_millis(500));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stdout.contains("sent       2"), "{ran:?}");
    assert!(ran.stderr.contains("2 tasks still pending"), "{}", ran.stderr);
    assert!(ran.stderr.contains("remote:f → local:b (task b)"), "{}", ran.stderr);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_wait_says_why_nothing_comes_and_no_time_that_it_cannot_know() {
    let (_stage, shell, file) = wait_for_nobody("submit-no-pod");
    let stage = Stage::new("submit-away");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.shut();
    let config = stage.config().ftp("dead", gate.addr(), &[]).set("api.port", json!(free_port()));
    let away = Shell::new(&config);
    let pod = Pod::start(&config);
    let tasks = away.lines("tasks.jsonl", [download("a", "dead", "f", "a")]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ran = shell.run(&["submit", &file, "--wait", "--timeout", "13s"]);
            assert_eq!(ran.code, Some(75), "{ran:?}");
            assert!(ran.stderr.contains("no pod runs: the group"), "{}", ran.stderr);
            assert!(ran.stderr.contains("0/2 files") && ran.stderr.contains("— left"), "{}", ran.stderr);
        });
        let ran = away.run(&["submit", &tasks, "--wait", "--timeout", "25s"]);
        assert_eq!(ran.code, Some(75), "{ran:?}\n{}", pod.log_tail(20));
        assert!(ran.stderr.contains("the server of dead is down"), "{}\n{}", ran.stderr, pod.log_tail(20));
        assert!(!ran.stderr.contains("is a pod running"), "{}", ran.stderr);
    });
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn bytes_within_a_file_are_shown_while_it_is_on_its_way() {
    let stage = Stage::with("submit-bytes", 1, &[("anon_max_rate", "200000")]);
    stage.server.put("large", &vec![b'x'; 3_000_000]);
    let config = stage.config().set("api.port", json!(free_port()));
    let _pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let ran = shell.run(&["submit", "remote:large", "local:large", "--wait", "--timeout", "2m"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // Fifteen seconds at that rate: a line each five.
    let on_its_way = |line: &&str| {
        line.starts_with("0/1 files, ") && !line.contains(" 0 B of") && !line.contains("— left")
    };
    let lines: Vec<&str> = ran.stderr.lines().filter(on_its_way).collect();
    assert!(!lines.is_empty(), "{}", ran.stderr);
    assert!(lines[0].contains("of 2.86 MiB") && lines[0].contains("1 in flight"), "{}", ran.stderr);
}
