//! A local file system that is full, frozen or missing is like a server that is down.

use super::*;
use crate::breaker::{NO_RETRY_AFTER, OPENS_AFTER};

/// Ten tasks of `a` for the local connection `full`, which is down.
fn with_full_disk(rig: &Rig, retry_count: u32) {
    rig.local_is_down("full", true);
    rig.submit_with("a", 0..10, |job| {
        job.task_mut().local = "full".to_owned();
        job.task_mut().options.retry_count = retry_count;
    });
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_full_disk_are_deferred_and_those_of_others_are_done() {
    let mut rig = Rig::deferring(9, &[("a", 3)]);
    with_full_disk(&rig, 3);
    rig.submit("a", 10..30);
    let answers = rig.answers(30).await;
    let deferred = answers.iter().filter(|answer| answer.deferred.is_some()).count();
    let completed =
        answers.iter().filter(|answer| answer.deferred.is_none() && answer.code.is_none()).count();
    assert_eq!((deferred, completed), (10, 20), "{answers:#?}");
    assert!(answers[..20].iter().all(|answer| answer.deferred.is_none()), "nobody waits for the full disk");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_probed_by_one_task_at_a_time_and_its_tasks_are_done_when_it_has_room() {
    let mut rig = Rig::new(9, &[("a", 3)]);
    with_full_disk(&rig, 3);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.answered(), [], "they wait");
    let state = r#"ftp_pooler_local_breaker_state{connection="full"}"#;
    let is = |rig: &Rig, values: &[&str]| {
        let text = rig.metrics.encode();
        values.iter().any(|value| text.contains(&format!("{state} {value}\n")))
    };
    assert!(is(&rig, &["1", "2"]), "an alert can see it");
    let tries = rig.tries().len();
    assert!(tries < 10 * (OPENS_AFTER as usize + 1) && tries > 10, "{tries} tries");
    rig.local_is_down("full", false);
    let answers = rig.answers(10).await;
    assert!(answers.iter().all(|answer| answer.code.is_none()), "{answers:#?}");
    sleep(Duration::from_secs(2)).await;
    assert!(is(&rig, &["0"]), "and that it is over");
}

#[tokio::test(start_paused = true)]
async fn without_retries_a_task_waits_for_a_full_disk_for_a_minute() {
    let mut rig = Rig::new(9, &[("a", 1)]);
    with_full_disk(&rig, 0);
    let began = Instant::now();
    let answers = rig.answers(10).await;
    assert!(answers.iter().all(|answer| answer.code == Some(Code::StorageFull)), "{answers:#?}");
    assert!(began.elapsed() < NO_RETRY_AFTER + Duration::from_secs(10));
    assert!(rig.tries().len() < 10 + 20);
}

#[tokio::test(start_paused = true)]
async fn no_task_is_answered_while_the_breaker_has_not_opened_yet() {
    for retry_count in [1, 3] {
        let mut rig = Rig::new(99, &[("a", 20)]);
        rig.file_takes(Duration::from_millis(1));
        rig.local_is_down("full", true);
        rig.submit_with("a", 0..200, |job| {
            job.task_mut().local = "full".to_owned();
            job.task_mut().options.retry_count = retry_count;
        });
        sleep(Duration::from_secs(20)).await;
        assert_eq!(rig.answered(), [], "they wait");
        rig.local_is_down("full", false);
        assert!(rig.answers(200).await.iter().all(|answer| answer.code.is_none()));
    }
}
