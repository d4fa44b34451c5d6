//! The sweep for temp files of the dead: it removes what they left, and never what the living or the sleeping need.

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answers, Outgoing, download, upload};
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::wait::wait_until;

/// Of each file: two seconds of one session's time.
const SIZE: usize = 200_000;

/// Slow uploads into one directory, half of them for each of two partitions.
struct Uploads {
    stage: Stage,
    ids: Vec<String>,
    answers: Answers,
}

impl Uploads {
    fn new(name: &str, count: usize) -> Uploads {
        let stage = Stage::with(name, 2, &[("anon_max_rate", "100000")]);
        stage.put_local("f", &vec![7; SIZE]);
        stage.server.put("out/.here", b"");
        let ids: Vec<String> = (0..count).map(|i| i.to_string()).collect();
        let task = |(i, id): (i32, &String)| on(i % 2, upload(id, "f", "remote", &format!("out/{id}")));
        stage.send((0..).zip(&ids).map(task));
        let answers = stage.answers();
        Uploads { stage, ids, answers }
    }

    fn config(&self, pod: &str) -> PodConfig {
        let config = self.stage.config().set("pod.name", json!(pod)).set("sweep.every", json!("1s"));
        config.set("pool.max_sessions_per_connection", json!(4)).set("kafka.delivery", json!("exactly_once"))
    }

    fn temp_files(&self) -> usize {
        let all = [self.stage.remote_files(), self.stage.local_files()].concat();
        all.iter().filter(|path| path.to_string_lossy().contains(".ftp-pooler-")).count()
    }

    fn all_is_answered_once_and_swept(&mut self) {
        self.answers.wait_for_ids(&self.ids, LONG);
        self.answers.read_to_end().assert_all_completed();
        self.answers.assert_each_once(&self.ids);
        wait_until("no temp file stands", LONG, || self.temp_files() == 0);
    }
}

fn on(partition: i32, task: Value) -> Outgoing {
    Outgoing { partition: Some(partition), ..Outgoing::from(task) }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_that_slept_amid_uploads_puts_nothing_over_what_came_meanwhile() {
    let mut work = Uploads::new("sleeping-uploads", 16);
    let zombie = Pod::start(&work.config("zombie"));
    wait_until("uploads are under way", LONG, || work.temp_files() >= 2);
    zombie.signal(Signal::STOP);
    let other = Pod::start(&work.config("other"));
    // What the sleeper has begun is done by the other, and its files are swept while it sleeps.
    work.all_is_answered_once_and_swept();
    for id in &work.ids {
        assert_eq!(work.stage.server.get(&format!("out/{id}")).map(|content| content.len()), Some(SIZE));
        work.stage.server.put(&format!("out/{id}"), b"newer");
    }
    zombie.signal(Signal::CONT);
    let rejoins = "group_rejoined";
    wait_until("it notices", LONG, || !zombie.events(rejoins).is_empty());
    wait_until("it is idle", LONG, || {
        zombie.metrics().sum("ftp_pooler_tasks_in_flight", &[]) == 0.0 && zombie.is_ready()
    });
    assert_eq!(other.terminate(EXIT).code(), Some(0), "{}", other.log_tail(30));
    assert_eq!(zombie.terminate(EXIT).code(), Some(0), "{}", zombie.log_tail(30));
    work.all_is_answered_once_and_swept();
    for id in &work.ids {
        assert_eq!(work.stage.server.get(&format!("out/{id}")).as_deref(), Some(&b"newer"[..]), "{id}");
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_a_living_pod_is_at_is_left_alone_however_often_others_look() {
    let mut work = Uploads::new("living", 0);
    work.stage.server.put("large", &vec![7; 8 * SIZE]);
    work.stage.put_local("large", &vec![7; 8 * SIZE]);
    let looks = |work: &Uploads| work.stage.server.count("\"LIST -a out\"");
    // Without a retry topic there are two partitions, one for each.
    let pods = ["one", "other"].map(|pod| Pod::start(&work.config(pod).set("retry.enabled", json!(false))));
    let has_its_share = |pod: &Pod| pod.metrics().sum("ftp_pooler_assigned_partitions", &[]) >= 1.0;
    wait_until("both have a partition of tasks", LONG, || pods.iter().all(has_its_share));
    // One pod is at large files, here and there; the other has small ones in the same directories now and then.
    for i in 0..4 {
        let (up, down) = (format!("up-{i}"), format!("down-{i}"));
        work.stage.send([
            on(0, upload(&up, "large", "remote", &format!("out/{up}"))),
            on(0, download(&down, "remote", "large", &format!("in/{down}"))),
        ]);
        work.ids.extend([up, down]);
    }
    wait_until("large files are under way", LONG, || work.temp_files() >= 2);
    let mut small = 0..;
    wait_until("some looks", LONG, || {
        let id = format!("small-{}", small.next().unwrap_or(0));
        work.stage.send([on(1, upload(&id, "f", "remote", &format!("out/{id}")))]);
        work.answers.wait_for_ids(std::slice::from_ref(&id), LONG);
        work.ids.push(id);
        looks(&work) >= 4
    });
    assert!(work.temp_files() > 0, "the large files took less time than the looks");
    work.all_is_answered_once_and_swept();
    for pod in pods {
        for answered in [pod.events("task_completed"), pod.events("task_failed")].concat() {
            assert_eq!(answered["attempts"], 1, "a try met trouble: {answered}\n{}", pod.log());
        }
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_a_done_record_has_left_is_found_without_a_task() {
    let mut work = Uploads::new("done", 4);
    let pod = Pod::start(&work.config("pod"));
    work.all_is_answered_once_and_swept();
    // As if another pod had died after its record was done: the same name but for the process and the try.
    let seen = work.stage.server.log();
    let name = seen.split(&[' ', '/', '"'][..]).find(|word| word.starts_with(".ftp-pooler-")).unwrap();
    let foreign = format!(".ftp-pooler-{}", "0123456789abcdef0123456789abcdef-01234567-0001.tmp");
    work.stage.server.put(&format!("out/{foreign}"), b"part");
    drop(pod);
    let next = Pod::start(&work.config("next"));
    work.stage.server.put(&format!("out/{name}"), b"part");
    work.stage.send([upload("one more", "f", "remote", "out/one-more")]);
    wait_until("the temp file goes", LONG, || work.stage.server.get(&format!("out/{name}")).is_none());
    assert!(work.stage.server.get(&format!("out/{foreign}")).is_some(), "nobody knows whose this is");
    assert_eq!(next.terminate(EXIT).code(), Some(0), "{}", next.log_tail(30));
}
