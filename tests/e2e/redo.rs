//! A record that is done again, and a pod that slept: one answer, and the same file.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage, sorted};
use crate::support::client::{Answer, Answers, download, upload, with};
use crate::support::files::Sample;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::wait::wait_until;

const REJOINS: &str = "group_rejoined";

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn tasks_whose_answers_were_lost_are_answered_as_they_were() {
    let stage = Stage::new("redo");
    stage.server.put("f", b"content");
    stage.put_local("g", b"other content");
    let tasks = |overwrite: bool| {
        let options = json!({"overwrite": overwrite});
        let name = |kind: &str| format!("{kind}-{overwrite}");
        [
            with(download(&name("down"), "remote", "f", &format!("in/{overwrite}")), options.clone()),
            with(upload(&name("up"), "g", "remote", &format!("g-{overwrite}")), options),
        ]
    };
    stage.send(tasks(true).into_iter().chain(tasks(false)));
    let run = || {
        let mut answers = stage.answers();
        let seen = answers.read_to_end().all.len();
        let pod = Pod::start(&stage.config());
        answers.wait_for(seen + 4, LONG);
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
        answers.read_to_end().all.split_off(seen)
    };
    let first = run();
    let files = (stage.local_files(), stage.remote_files());

    stage.kafka.forget_commits(&stage.topics);
    let again = run();
    let said = |answers: &[Answer]| -> Vec<(String, Value, Value)> {
        let of = |answer: &Answer| {
            let id = answer.task_id().unwrap_or_default().to_owned();
            (id, answer.json["status"].clone(), answer.json["bytes_transferred"].clone())
        };
        let mut said: Vec<_> = answers.iter().map(of).collect();
        said.sort_by(|one, other| one.0.cmp(&other.0));
        said
    };
    assert_eq!(said(&first), said(&again));
    assert!(first.iter().all(Answer::is_completed), "{first:#?}");
    assert_eq!((stage.local_files(), stage.remote_files()), files);
}

/// Forty files of half a second each, and pods that answer each once.
struct Work {
    stage: Stage,
    files: Vec<Sample>,
    ids: Vec<String>,
    answers: Answers,
}

impl Work {
    fn new(name: &str) -> Work {
        let stage = Stage::with(name, 2, &[("anon_max_rate", "400000")]);
        let sample = |i: u64| Sample { path: format!("f{i}"), seed: i, len: 200_000 };
        let files: Vec<Sample> = (0..40).map(sample).collect();
        for file in &files {
            stage.server.put(&file.path, &file.content());
        }
        let ids: Vec<String> = (0..40).map(|i| i.to_string()).collect();
        stage.send(ids.iter().zip(&files).map(|(id, file)| download(id, "remote", &file.path, &file.path)));
        let answers = stage.answers();
        Work { stage, files, ids, answers }
    }

    fn pod(&self, name: &str) -> Pod {
        Pod::start(&self.config(name))
    }

    fn config(&self, pod: &str) -> PodConfig {
        let config = self.stage.config().set("pod.name", json!(pod));
        config.set("pool.max_sessions_per_connection", json!(4)).set("kafka.delivery", json!("exactly_once"))
    }

    fn all_is_answered_once_and_whole(&mut self) {
        self.answers.wait_for_ids(&self.ids, LONG);
        self.answers.read_to_end().assert_all_completed();
        self.answers.assert_each_once(&self.ids);
        for file in &self.files {
            file.assert_is(self.stage.get_local(&file.path).as_deref());
        }
        wait_until("no temp file stands", LONG, || {
            self.stage.local_files() == sorted(self.files.iter().map(|file| &file.path))
        });
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_that_slept_past_its_session_answers_nothing_twice_and_works_again() {
    let mut work = Work::new("zombie");
    let zombie = work.pod("zombie");
    work.answers.wait_for(5, LONG);
    zombie.signal(Signal::STOP);
    let other = work.pod("other");
    work.answers.wait_for_ids(&work.ids, LONG);
    zombie.signal(Signal::CONT);
    wait_until("it notices", LONG, || !zombie.events(REJOINS).is_empty());
    work.all_is_answered_once_and_whole();

    // The other leaves: who slept has it all to itself.
    assert_eq!(other.terminate(EXIT).code(), Some(0), "{}", other.log_tail(30));
    work.stage.send([download("late", "remote", "f0", "f0")]);
    work.ids.push("late".to_owned());
    work.all_is_answered_once_and_whole();
    assert_eq!(zombie.terminate(EXIT).code(), Some(0), "{}", zombie.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_that_slept_and_was_not_missed_goes_on() {
    let mut work = Work::new("nap");
    let pod = work.pod("pod");
    work.answers.wait_for(5, LONG);
    pod.signal(Signal::STOP);
    sleep(Duration::from_millis(4_500)); // more than a standstill, less than the session of six seconds
    pod.signal(Signal::CONT);
    work.all_is_answered_once_and_whole();
    assert_eq!(pod.events(REJOINS).len(), 1);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_a_killed_pod_left_half_done_is_done_and_its_temp_files_go() {
    let mut work = Work::new("remains");
    let first = work.pod("first");
    work.answers.wait_for(5, LONG);
    wait_until("a temp file stands", LONG, || {
        work.stage.local_files().iter().any(|file| file.to_string_lossy().contains(".ftp-pooler-"))
    });
    first.kill9();
    let second = work.pod("second");
    work.all_is_answered_once_and_whole();
    assert_eq!(second.terminate(EXIT).code(), Some(0), "{}", second.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_a_killed_pod_left_on_the_server_goes() {
    let stage = Stage::with("remote-remains", 2, &[("anon_max_rate", "400000")]);
    let ids: Vec<String> = (0..24).map(|i| i.to_string()).collect();
    stage.put_local("f", &vec![7; 200_000]);
    stage.server.put("out/.here", b"");
    stage.send(ids.iter().map(|id| upload(id, "f", "remote", &format!("out/{id}"))));
    let config = |pod: &str| {
        let config = stage.config().set("pod.name", json!(pod));
        config.set("pool.max_sessions_per_connection", json!(4)).set("kafka.delivery", json!("exactly_once"))
    };
    let has_temp = || stage.remote_files().iter().any(|file| file.to_string_lossy().contains(".ftp-pooler-"));
    let mut answers = stage.answers();
    let first = Pod::start(&config("first"));
    answers.wait_for(3, LONG);
    wait_until("a temp file stands", LONG, has_temp);
    first.kill9();
    assert!(has_temp(), "the server keeps what it has");
    let second = Pod::start(&config("second"));
    answers.wait_for_ids(&ids, LONG);
    wait_until("no temp file stands on the server", LONG, || !has_temp());
    assert_eq!(second.terminate(EXIT).code(), Some(0), "{}", second.log_tail(30));
    answers.read_to_end().assert_each_once(&ids);
    assert!(ids.iter().all(|id| stage.server.get(&format!("out/{id}")).is_some_and(|c| c.len() == 200_000)));
}
