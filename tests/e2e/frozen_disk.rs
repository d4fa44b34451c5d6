//! A local connection whose file system does not answer, is read-only for a while, or has bad blocks, beside one that is
//! well.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::stage::{LONG, Stage};
use crate::support::client::{download, upload, with};
use crate::support::mounted::Mounted;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::wait::{try_wait_for, wait_until};

const TASKS: usize = 40;

/// A pod with the local connections `local`, on the stage, and `other`, on a file system of its own.
struct TwoDisks {
    /// Goes first: its directory is the stage's.
    mounted: Mounted,
    stage: Stage,
}

impl TwoDisks {
    fn new(name: &str) -> Option<TwoDisks> {
        TwoDisks::with(name, Mounted::ext4)
    }

    fn with(name: &str, mount: fn(&Path, &str) -> Option<Mounted>) -> Option<TwoDisks> {
        let stage = Stage::new(name);
        stage.server.put("a", &vec![7; 30_000]);
        let other = stage.base().with_file_name("other");
        fs::create_dir(&other).expect("a directory");
        Some(TwoDisks { mounted: mount(&other, "64M")?, stage })
    }

    fn other(&self) -> PathBuf {
        self.stage.base().with_file_name("other")
    }

    fn config(&self) -> PodConfig {
        self.stage.bare_config().local("other", &self.other()).ftp(
            "remote",
            self.stage.server.addr(),
            &[("max_sessions", "4")],
        )
    }
}

/// Downloads to this local connection, from the same server.
fn tasks(local: &str) -> Vec<Value> {
    let task = |n: usize| {
        let mut task = download(&format!("{local}-{n}"), "remote", "a", &format!("in/{n}"));
        task["destination"]["connection_id"] = json!(local);
        with(task, json!({ "retry_count": 3 }))
    };
    (0..TASKS).map(task).collect()
}

/// What the page shows.
fn status(pod: &Pod) -> String {
    pod.get("/api/v1/status").map(|(_, page)| page).unwrap_or_default()
}

fn ids(local: &str) -> Vec<String> {
    (0..TASKS).map(|n| format!("{local}-{n}")).collect()
}

#[test]
#[ignore = "needs Kafka, vsftpd and root: make test"]
fn a_frozen_disk_holds_up_its_own_tasks_alone_and_sigterm_does_not_wait_for_it() {
    let Some(disks) = TwoDisks::new("frozen-disk") else { return };
    let pod = Pod::start(&disks.config().set("shutdown.drain_seconds", json!(5)));
    if !disks.mounted.freeze(true) {
        eprintln!("skipped: no right to freeze a file system");
        return;
    }
    disks.stage.send(tasks("other"));
    wait_until("tasks to hang", LONG, || status(&pod).contains("has not answered for"));
    disks.stage.send(tasks("local"));
    let mut answers = disks.stage.answers();
    answers.wait_for_ids(&ids("local"), LONG);
    assert_eq!(answers.failures().count(), 0, "{}", pod.log_tail(30));

    pod.signal(Signal::TERM);
    // The kernel lets no process end whose thread waits for a frozen file system; all that is ours is over.
    wait_until("the pod to have stopped", LONG, || !pod.events("pod_stopped").is_empty());
    let hangs = pod.events("storage_hangs");
    assert!(hangs.iter().any(|line| line.to_string().contains("local connection other")), "{hangs:?}");
    wait_until("its end to be told", LONG, || !pod.events("pod_failed").is_empty());
    disks.mounted.freeze(false);
    let status = try_wait_for(LONG, || pod.exit_status()).expect("an end");
    assert_eq!(status.code(), Some(74), "{}", pod.log_tail(30));

    let next = Pod::start(&disks.config());
    answers.wait_for_ids(&ids("other"), LONG);
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&[ids("local"), ids("other")].concat());
    next.kill9();
}

#[test]
#[ignore = "needs Kafka, vsftpd and root: make test"]
fn tasks_wait_while_their_disk_is_read_only_and_none_fails() {
    let Some(disks) = TwoDisks::new("read-only-disk") else { return };
    let pod = Pod::start(&disks.config());
    assert!(disks.mounted.remount("ro"));
    wait_until("the page to say so", LONG, || status(&pod).contains("Read-only file system"));
    disks.stage.send(tasks("other"));
    disks.stage.send(tasks("local"));
    let mut answers = disks.stage.answers();
    answers.wait_for_ids(&ids("local"), LONG);
    assert!(disks.mounted.remount("rw"));
    answers.wait_for_ids(&ids("other"), LONG);
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&[ids("local"), ids("other")].concat());
    wait_until("the page to say nothing of it any more", LONG, || {
        !status(&pod).contains("Read-only file system")
    });
}

/// EIO is an answer about one file: from a read, or as late as from fsync, which tells what became of written pages.
#[test]
#[ignore = "needs Kafka, vsftpd and root: make test"]
fn bad_blocks_fail_the_tasks_that_meet_them_and_no_file_is_half_there() {
    let Some(disks) = TwoDisks::with("bad-blocks", Mounted::ext4_without_journal) else { return };
    let (stage, other) = (&disks.stage, disks.other());
    stage.server.put("large", &vec![8; 40_000_000]);
    fs::write(other.join("source"), vec![9; 8_000_000]).expect("a file on the other disk");
    let source = fs::File::open(other.join("source")).expect("that file");
    source.sync_all().expect("its blocks on the disk");
    let pod = Pod::start(&disks.config());
    // The file's blocks begin at 10 MB, as mkfs lays it out.
    if !disks.mounted.lose_blocks_beyond("14M") {
        eprintln!("skipped: no right to shrink a disk");
        return;
    }
    rustix::fs::fadvise(source.as_fd(), 0, None, rustix::fs::Advice::DontNeed).expect("none of it in memory");

    let on_other = |mut task: Value, side: &str, retries: u32| {
        task[side]["connection_id"] = json!("other");
        with(task, json!({ "retry_count": retries }))
    };
    stage.send([
        on_other(upload("read", "source", "remote", "read"), "source", 0),
        on_other(download("write", "remote", "large", "in/large"), "destination", 0),
        on_other(download("well", "remote", "a", "in/a"), "destination", 3),
    ]);
    let mut answers = stage.answers();
    answers.wait_for_ids(&["read", "write", "well"].map(str::to_owned), LONG);
    let failed: Vec<_> =
        answers.failures().map(|answer| (answer.task_id().unwrap_or_default(), answer.code())).collect();
    assert!(
        failed.len() == 2 && failed.iter().all(|(id, code)| *id != "well" && *code == "local_io"),
        "{failed:?}: {}",
        pod.log_tail(30)
    );
    assert!(!other.join("in/large").exists() && !stage.server.root().join("read").exists());
    assert_eq!(fs::read(other.join("in/a")).expect("the third one"), vec![7; 30_000]);
    assert!(pod.is_healthy() && pod.is_ready());
}
