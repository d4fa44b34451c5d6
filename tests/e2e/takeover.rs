//! What one worker leaves undone, the next one does; nothing is lost.

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage, sorted};
use crate::support::client::{Answers, download};
use crate::support::files::Sample;
use crate::support::pod::{Pod, PodConfig};
use crate::support::wait::wait_until;

/// Forty files of half a second each.
struct Work {
    stage: Stage,
    files: Vec<Sample>,
    ids: Vec<String>,
}

impl Work {
    fn new(name: &str, partitions: i32) -> Work {
        let stage = Stage::with(name, partitions, &[("anon_max_rate", "400000")]);
        let files: Vec<Sample> =
            (0..40).map(|i| Sample { path: format!("f{i}"), seed: i, len: 200_000 }).collect();
        for file in &files {
            stage.server.put(&file.path, &file.content());
        }
        let ids: Vec<String> = (0..40).map(|i| i.to_string()).collect();
        stage.send(ids.iter().zip(&files).map(|(id, file)| download(id, "remote", &file.path, &file.path)));
        Work { stage, files, ids }
    }

    fn config(&self, pod: &str) -> PodConfig {
        let config = self.stage.config().set("pod.name", json!(pod));
        config.set("pool.max_sessions_per_connection", json!(4))
    }

    /// Each task has one answer, each file is right, and nothing is open.
    fn assert_all_done_once(&self, answers: &mut Answers) {
        answers.read_to_end().assert_all_completed();
        answers.assert_each_once(&self.ids);
        for file in &self.files {
            file.assert_is(self.stage.get_local(&file.path).as_deref());
        }
        assert_eq!(self.stage.kafka.lag(&self.stage.topics), 0);
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_that_is_stopped_finishes_what_it_has_begun_and_the_next_does_the_rest() {
    let work = Work::new("stopped", 1);
    let mut answers = work.stage.answers();
    let first = Pod::start(&work.config("first"));
    answers.wait_for(5, LONG);
    assert_eq!(first.terminate(EXIT).code(), Some(0), "{}", first.log_tail(30));
    answers.read_to_end().assert_all_completed();
    let done = answers.all.len();
    assert!(done < 40, "the first pod was to be stopped in the midst of it");
    assert_eq!(work.stage.kafka.lag(&work.stage.topics), i64::try_from(40 - done).unwrap());
    assert_eq!(work.stage.local_files().len(), done, "what is answered is there, and nothing else");

    let second = Pod::start(&work.config("second"));
    answers.wait_for_ids(&work.ids, LONG);
    assert_eq!(second.terminate(EXIT).code(), Some(0));

    work.assert_all_done_once(&mut answers);
    assert_eq!(work.stage.local_files(), sorted(work.files.iter().map(|f| &f.path)));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_that_is_killed_loses_nothing() {
    let work = Work::new("killed", 2);
    let mut answers = work.stage.answers();
    let first = Pod::start(&work.config("first"));
    answers.wait_for(5, LONG);
    first.kill9();

    let second = Pod::start(&work.config("second"));
    answers.wait_for_ids(&work.ids, LONG);
    assert_eq!(second.terminate(EXIT).code(), Some(0));

    // What the first had answered and not committed was never to be seen.
    work.assert_all_done_once(&mut answers);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn two_pods_share_the_work_and_one_that_leaves_hands_its_share_over() {
    let work = Work::new("shared", 4);
    let mut answers = work.stage.answers();
    let first = Pod::start(&work.config("first"));
    let second = Pod::start(&work.config("second"));
    let assigned = |pod: &Pod| pod.metrics().sum("ftp_pooler_assigned_partitions", &[]);
    wait_until("two partitions each", LONG, || {
        assigned(&first) + assigned(&second) >= 4.0 && assigned(&second) >= 1.0
    });
    assert_eq!(first.terminate(EXIT).code(), Some(0), "{}", first.log_tail(30));

    answers.wait_for_ids(&work.ids, LONG);
    assert_eq!(second.terminate(EXIT).code(), Some(0), "{}", second.log_tail(30));

    work.assert_all_done_once(&mut answers);
}
