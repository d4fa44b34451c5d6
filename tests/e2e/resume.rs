//! Large files go on where they broke off: in the same pod, and in the one that takes the task over.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{download, upload};
use crate::support::files::Sample;
use crate::support::pod::Pod;
use crate::support::wait::wait_until;

/// Some seconds at the server's pace.
const LENGTH: usize = 24 << 20;
const PACE: &str = "4000000";
/// Of it so much has to be there before anything breaks.
const ENOUGH: u64 = 6 << 20;

struct Large {
    stage: Stage,
    file: Sample,
}

impl Large {
    fn new(name: &str) -> Large {
        let stage = Stage::with(name, 1, &[("anon_max_rate", PACE)]);
        Large { stage, file: Sample { path: "large".to_owned(), seed: 1, len: LENGTH } }
    }

    fn at_server(self) -> Large {
        self.stage.server.put("large", &self.file.content());
        age(&self.stage.server.root().join("large"));
        self
    }

    fn here(self) -> Large {
        self.stage.put_local("large", &self.file.content());
        age(&self.stage.base().join("large"));
        self
    }

    /// Temp files, here and on the server.
    fn temps(&self) -> usize {
        let files = self.stage.local_files().into_iter().chain(self.stage.remote_files());
        files.filter(|path| path.to_string_lossy().contains(".ftp-pooler-")).count()
    }

    /// Waits until a temp file here, or on the server, has enough of it.
    fn wait_for_a_part(&self, is_download: bool) {
        self.wait_for(is_download, ENOUGH);
    }

    fn wait_for(&self, is_download: bool, enough: u64) {
        let root = if is_download { self.stage.base() } else { self.stage.server.root().to_owned() };
        wait_until("a part is there", LONG, || {
            let files = if is_download { self.stage.local_files() } else { self.stage.remote_files() };
            let temps = files.iter().filter(|path| path.to_string_lossy().contains(".ftp-pooler-"));
            temps.filter_map(|path| root.join(path).metadata().ok()).any(|there| there.len() >= enough)
        });
    }
}

/// One that was changed a moment ago may change again within its second.
fn age(path: &Path) {
    let there = File::options().write(true).open(path).unwrap();
    there.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

fn resumed_from(answer: &serde_json::Value) -> u64 {
    let from = answer["resumed_from"].as_u64();
    from.unwrap_or_else(|| panic!("begun anew: {answer}"))
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn the_pod_that_takes_a_task_over_goes_on_from_what_a_killed_one_left() {
    for is_download in [true, false] {
        let large = Large::new(if is_download { "resume-killed-down" } else { "resume-killed-up" });
        let (large, task) = if is_download {
            (large.at_server(), download("large", "remote", "large", "copy"))
        } else {
            (large.here(), upload("large", "large", "remote", "copy"))
        };
        let stage = &large.stage;
        let mut answers = stage.answers();
        stage.send([task]);
        let first = Pod::start(&stage.config().set("pod.name", json!("first")));
        large.wait_for_a_part(is_download);
        first.kill9();

        let second = Pod::start(&stage.config().set("pod.name", json!("second")));
        answers.wait_for(1, LONG).assert_all_completed();
        assert!(resumed_from(&answers.all[0].json) >= ENOUGH);
        let copy = if is_download { stage.get_local("copy") } else { stage.server.get("copy") };
        large.file.assert_is(copy.as_deref());
        wait_until("what the first one left is gone", LONG, || large.temps() == 0);
        assert_eq!(second.terminate(EXIT).code(), Some(0));
        assert_eq!(large.temps(), 0);
    }
}

/// Pods that are killed one after the other do not begin at the beginning each time.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn an_upload_goes_on_from_pod_to_pod() {
    let large = Large::new("resume-killed-often").here();
    let stage = &large.stage;
    let mut answers = stage.answers();
    stage.send([upload("large", "large", "remote", "copy")]);
    for (name, enough) in [("first", ENOUGH), ("second", 2 * ENOUGH)] {
        let pod = Pod::start(&stage.config().set("pod.name", json!(name)));
        large.wait_for(false, enough);
        pod.kill9();
    }
    let last = Pod::start(&stage.config().set("pod.name", json!("last")));
    answers.wait_for(1, LONG).assert_all_completed();
    assert!(resumed_from(&answers.all[0].json) >= 2 * ENOUGH);
    large.file.assert_is(stage.server.get("copy").as_deref());
    assert_eq!(last.terminate(EXIT).code(), Some(0));
    assert_eq!(large.temps(), 0);
}

/// A pod that is frozen, not dead, has its data connection open into the very file that the next one goes on with.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_frozen_pod_that_wakes_does_no_harm_to_the_file_that_another_has_gone_on_with() {
    // vsftpd's lock would keep the next one from the file.
    let stage = Stage::with("resume-frozen", 1, &[("anon_max_rate", PACE), ("lock_upload_files", "NO")]);
    let large = Large { stage, file: Sample { path: "large".to_owned(), seed: 1, len: LENGTH } }.here();
    let stage = &large.stage;
    let mut answers = stage.answers();
    stage.send([upload("large", "large", "remote", "copy")]);
    let frozen = Pod::start(&stage.config().set("pod.name", json!("frozen")));
    large.wait_for_a_part(false);
    frozen.signal(Signal::STOP);

    let second = Pod::start(&stage.config().set("pod.name", json!("second")));
    answers.wait_for(1, LONG).assert_all_completed();
    assert!(resumed_from(&answers.all[0].json) >= ENOUGH);
    large.file.assert_is(stage.server.get("copy").as_deref());

    // What it would read now is another file's content.
    stage.put_local("large", &vec![255; LENGTH]);
    frozen.signal(Signal::CONT);
    let events = || frozen.events("process_suspended");
    wait_until("it has noticed", LONG, || !frozen.is_running() || !events().is_empty());
    wait_until("its session at the server is over", LONG, || stage.server.sessions_now() <= 1);
    for pod in [frozen, second] {
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(20));
    }
    large.file.assert_is(stage.server.get("copy").as_deref());
    assert_eq!(answers.read_to_end().all.len(), 1);
    assert_eq!(large.temps(), 0);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_download_and_an_upload_go_on_when_their_server_is_back() {
    for is_download in [true, false] {
        let mut large = Large::new("resume-server");
        let task = if is_download {
            large = large.at_server();
            download("large", "remote", "large", "copy")
        } else {
            large = large.here();
            upload("large", "large", "remote", "copy")
        };
        let stage = &large.stage;
        let mut answers = stage.answers();
        let pod = Pod::start(&stage.config());
        stage.send([task]);
        large.wait_for_a_part(is_download);
        stage.server.kill();
        stage.server.restart();

        answers.wait_for(1, LONG).assert_all_completed();
        assert!(resumed_from(&answers.all[0].json) >= ENOUGH);
        let copy = if is_download { stage.get_local("copy") } else { stage.server.get("copy") };
        large.file.assert_is(copy.as_deref());
        assert_eq!(pod.terminate(EXIT).code(), Some(0));
        assert_eq!(large.temps(), 0);
    }
}
