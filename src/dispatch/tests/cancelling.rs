//! Batches that are cancelled while their tasks wait.

use super::*;
use crate::batch::{BATCH_HEADER, BatchNews, CancelledBatch};
use crate::record::Header;

fn in_batch(job: &mut SubmittedTask, id: &str) {
    let value = Some(id.as_bytes().to_vec());
    job.record.headers.push(Header { key: BATCH_HEADER.to_owned(), value });
}

fn cancel(rig: &Rig, id: &str) {
    let news = BatchNews::Cancelled(CancelledBatch { at: "then".to_owned(), by: "alice".to_owned() });
    let (key, value) = news.encode(id);
    rig.batches.take(key.as_bytes(), Some(&value));
}

#[tokio::test(start_paused = true)]
async fn tasks_that_wait_are_answered_and_the_one_in_flight_is_finished() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.submit_with("a", 0..3, |job| in_batch(job, "b1"));
    rig.submit_with("a", 3..4, |job| in_batch(job, "b2"));
    while rig.tries().is_empty() {
        tokio::task::yield_now().await;
        sleep(Duration::from_millis(1)).await;
    }
    cancel(&rig, "b1");
    let mut answers = rig.answers(4).await;
    answers.sort_by(|a, b| a.task_id.cmp(&b.task_id));
    let codes: Vec<Option<Code>> = answers.iter().map(|answer| answer.code).collect();
    assert_eq!(codes, [None, Some(Code::Cancelled), Some(Code::Cancelled), None]);
    assert_eq!(rig.tries().len(), 2, "no try of a cancelled task was begun");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_later_or_is_due_again_is_answered_at_once() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    cancel(&rig, "b1");
    // The server is not even asked: it may be the one that is away.
    rig.submit_with("a", 0..1, |job| in_batch(job, "b1"));
    let answer = rig.answer().await;
    assert_eq!((answer.code, answer.attempts), (Some(Code::Cancelled), 0));
    assert_eq!((rig.tries().len(), rig.servers.logins("a")), (0, 0));
}
