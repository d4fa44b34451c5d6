//! Tries that hang in a call into their file system: who gets their sessions.

use super::*;
use crate::breaker::NO_RETRY_AFTER;

const MINUTE: Duration = Duration::from_secs(60);

/// Tasks of the local connection `frozen`, whose calls take a minute and fail then, as often as they are tried.
fn submit_frozen(rig: &Rig, connection: &str, numbers: std::ops::Range<usize>) {
    for number in numbers.clone() {
        rig.script(&format!("{connection}-{number}"), vec![Step::HangLocally(MINUTE); 9_999]);
    }
    rig.submit_with(connection, numbers, |job| job.task_mut().local = "frozen".to_owned());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_file_system_holds_half_of_a_servers_sessions_at_most_while_others_wait() {
    let mut rig = Rig::new(9, &[("a", 4)]);
    submit_frozen(&rig, "a", 0..20);
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    rig.submit("a", 20..60);
    let answers = rig.answers(40).await;
    assert!(answers.iter().all(|answer| answer.code.is_none()));
    assert!(begin.elapsed() < Duration::from_secs(10), "they waited for {:?}", begin.elapsed());
    let frozen = rig.tries().iter().filter(|t| t.task_id[2..].parse::<usize>().unwrap() < 20).count();
    assert!(frozen <= 6, "{frozen} tries hang one after the other");
}

#[tokio::test(start_paused = true)]
async fn the_only_session_is_given_back_too() {
    let mut rig = Rig::new(9, &[("a", 1)]);
    submit_frozen(&rig, "a", 0..1);
    rig.submit("a", 1..9);
    let answers = rig.answers(8).await;
    assert!(answers.iter().all(|answer| answer.code.is_none()));
    assert!(rig.tries_of("a-0").len() < 9);
}

#[tokio::test(start_paused = true)]
async fn tries_that_hang_make_room_for_another_server_in_a_full_pod() {
    let mut rig = Rig::new(2, &[("a", 2), ("b", 2)]);
    submit_frozen(&rig, "a", 0..2);
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    rig.submit("b", 0..1);
    assert_eq!(rig.answer().await.task_id, "b-0");
    assert!(begin.elapsed() < Duration::from_secs(10), "it waited for {:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_is_waited_for_while_nobody_else_needs_the_session() {
    let mut rig = Rig::new(9, &[("a", 1)]);
    rig.script("a-0", [Step::HangLocally(Duration::from_secs(59))]);
    rig.submit("a", 0..3);
    let answers = rig.answers(3).await;
    assert!(answers.iter().all(|answer| answer.code.is_none()));
    assert_eq!(rig.tries_of("a-0").len(), 2, "its call ended by itself, and it was tried again");
}

#[tokio::test(start_paused = true)]
async fn a_try_that_gives_its_session_back_costs_nothing_and_its_task_is_answered_at_last() {
    let mut rig = Rig::new(9, &[("a", 1)]);
    rig.script("a-0", [Step::HangLocally(MINUTE), Step::Done]);
    rig.submit_with("a", 0..1, |job| job.task_mut().local = "slow".to_owned());
    rig.submit("a", 1..2);
    let answers = rig.answers(2).await;
    assert!(answers.iter().all(|answer| answer.code.is_none() && answer.attempts == 1));

    // One that may not be tried again is answered, though its file system never is.
    submit_frozen(&rig, "a", 2..3);
    rig.submit_with("a", 3..4, |job| {
        let task = job.task_mut();
        (task.local, task.options.retry_count) = ("frozen".to_owned(), 0);
    });
    rig.script("a-3", vec![Step::HangLocally(MINUTE); 9_999]);
    let begin = Instant::now();
    let answer = rig.answer_of("a-3").await;
    assert_eq!(answer.code, Some(Code::Timeout));
    assert!(begin.elapsed() < 4 * NO_RETRY_AFTER);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_frozen_file_system() {
    let rig = Rig::new(9, &[("a", 4)]);
    submit_frozen(&rig, "a", 0..4);
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let drained = rig.dispatcher.drain(begin + MINUTE).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
    assert_eq!(drained.cancelled, 0);
}
