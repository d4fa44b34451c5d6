//! Tasks that cannot go on for now are sent to the retry topic; what must not be, is not.

use std::sync::atomic::Ordering;

use super::*;
use crate::breaker::{NO_RETRY_AFTER, UNAVAILABLE_AFTER};
use crate::dispatch::deferral::PATIENCE;
use crate::offsets::TopicPartition;
use crate::pool::fake::{FakeLogin, try_error};
use crate::record::RetryState;

fn dead(connections: &[(&str, usize)]) -> Rig {
    let rig = Rig::deferring(9, connections);
    rig.servers.on_login("a", FakeLogin::Refuse(try_error(Code::ConnectFailed, Remedy::OpenBreaker)));
    rig
}

fn retry_since(since: Timestamp) -> RetryState {
    let origin = Origin { topic: "ftp-tasks".into(), partition: 7, offset: 70 };
    RetryState {
        group: "group".into(),
        not_before: since,
        attempts: 2,
        origin,
        origin_ms: Some(7),
        since,
        begun: Some(since),
    }
}

fn comes_back(job: &mut SubmittedTask, since: Timestamp) {
    job.record.retry = Some(Box::new(retry_since(since)));
}

#[tokio::test(start_paused = true)]
async fn the_tasks_of_a_server_that_is_away_wait_here_for_a_moment_and_then_elsewhere() {
    let mut rig = dead(&[("a", 5)]);
    let began = Instant::now();
    rig.submit("a", 0..200);
    let answers = rig.answers(200).await;
    assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
    let wall = Timestamp::now();
    for answer in answers {
        let retry = answer.deferred.expect("deferred");
        assert_eq!((retry.attempts, &*retry.origin.topic), (answer.attempts, "ftp-tasks"));
        assert!(retry.not_before > wall + Duration::from_secs(25) && retry.since <= wall);
    }
    assert_eq!(rig.budget.tasks(), 0);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.answered(), [], "each of them once");
}

#[tokio::test(start_paused = true)]
async fn a_deferred_task_keeps_its_attempts_its_origin_and_its_first_time() {
    let mut rig = dead(&[("a", 5)]);
    let since = Timestamp::now() - Duration::from_secs(600);
    rig.submit_with("a", 0..1, |job| comes_back(job, since));
    let retry = rig.answer().await.deferred.expect("deferred");
    assert_eq!((retry.origin.partition, retry.origin.offset, retry.origin_ms), (7, 70, Some(7)));
    assert_eq!(retry.attempts, 2, "it has outlived one breaker: no login costs it anything");
    assert_eq!(retry.since.as_millisecond(), since.as_millisecond());
    assert!(retry.begun.is_some_and(|begun| begun.duration_since(since).as_secs().abs() < 60));
}

#[tokio::test(start_paused = true)]
async fn deferral_ends_at_its_limit() {
    let mut rig = dead(&[("a", 5)]);
    let since = Timestamp::now() - rig.deferral.limit;
    rig.submit_with("a", 0..1, |job| comes_back(job, since));
    let answer = rig.answer().await;
    assert_eq!(answer.code, Some(Code::ConnectionUnavailable));
    assert!(answer.message.contains("connect_failed"), "{}", answer.message);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_back_to_a_server_that_is_well_is_done() {
    let mut rig = Rig::deferring(9, &[("a", 5)]);
    let since = Timestamp::now() - Duration::from_secs(3_600);
    rig.submit_with("a", 0..1, |job| comes_back(job, since));
    let answer = rig.answer().await;
    assert_eq!((answer.code, answer.attempts), (None, 3));
    assert!(answer.duration >= Duration::from_secs(3_600), "from the begin of its first try");
}

#[tokio::test(start_paused = true)]
async fn what_has_no_retries_is_answered_within_a_minute() {
    let mut rig = dead(&[("a", 5)]);
    let began = Instant::now();
    rig.submit_with("a", 0..100, |job| job.task_mut().options.retry_count = 0);
    let answers = rig.answers(100).await;
    assert!(answers.iter().all(|answer| answer.code == Some(Code::ConnectFailed)));
    assert!(began.elapsed() < NO_RETRY_AFTER + Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn what_asks_not_to_be_deferred_waits_in_the_pod() {
    let mut rig = dead(&[("a", 5)]);
    let began = Instant::now();
    rig.submit_with("a", 0..20, |job| job.task_mut().options.defer = false);
    let answers = rig.answers(20).await;
    assert!(answers.iter().all(|answer| answer.code == Some(Code::ConnectionUnavailable)));
    assert!(began.elapsed() > UNAVAILABLE_AFTER);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_everybodys_answer_at_once() {
    let mut rig = Rig::deferring(9, &[("a", 5)]);
    rig.servers.on_login("a", FakeLogin::Refuse(try_error(Code::AuthFailed, Remedy::OpenBreaker)));
    let began = Instant::now();
    rig.submit("a", 0..100);
    assert!(rig.answers(100).await.iter().all(|answer| answer.code == Some(Code::AuthFailed)));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_must_wait_for_long_waits_elsewhere() {
    let mut rig = Rig::deferring(9, &[("a", 5)]);
    rig.script("a-0", vec![Step::Fail(Code::StorageFull, Remedy::Wait); 100]);
    rig.submit_with("a", 0..1, |job| job.task_mut().options.retry_count = 100);
    let answer = rig.answer().await;
    assert!(answer.deferred.is_some_and(|retry| retry.attempts >= 5), "the fifth backoff may be of 16 s");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_not_deferred_past_its_deadline() {
    let mut rig = dead(&[("a", 5)]);
    rig.submit_with("a", 0..1, |job| {
        job.task_mut().options.deadline = Some(Timestamp::now() + Duration::from_secs(20));
        job.task_mut().options.retry_count = 100;
    });
    let answer = rig.answer().await;
    assert_eq!(answer.deferred, None);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_leaves_room_for_the_other_connections() {
    let budget = TaskBudget::new(100, usize::MAX);
    let mut rig = Rig::with_budget(budget, 9, &[("a", 1), ("b", 1)]);
    rig.deferral.is_possible.store(true, Ordering::Relaxed);
    rig.servers.on_login("a", FakeLogin::Hang);
    sleep(TICK).await;
    rig.submit("a", 0..90);
    let deferred = rig.answered();
    assert!((35..=45).contains(&deferred.len()), "{}: about half is kept", deferred.len());
    assert!(deferred.iter().all(|answer| answer.deferred.is_some() && answer.attempts == 0));
    assert!(!rig.budget.is_full());
    rig.submit("b", 0..1);
    assert_eq!(rig.answer().await.task_id, "b-0");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_hides_nobody_stays() {
    let mut rig = Rig::with_budget(TaskBudget::new(100, usize::MAX), 9, &[("a", 1)]);
    rig.deferral.is_possible.store(true, Ordering::Relaxed);
    sleep(TICK).await;
    rig.submit("a", 0..90);
    assert_eq!(rig.answered(), []);
}

#[tokio::test(start_paused = true)]
async fn a_deferred_task_gives_up_its_place_and_one_that_stays_keeps_it() {
    let mut rig = dead(&[("a", 5), ("b", 5)]);
    let same = |job: &mut SubmittedTask| job.task_mut().local_path = "/same".to_owned();
    rig.submit_with("a", 0..1, same);
    rig.submit_with("b", 0..1, same);
    let answers = rig.answers(2).await;
    assert_eq!((&*answers[0].task_id, answers[0].deferred.is_some()), ("a-0", true));
    assert_eq!((&*answers[1].task_id, answers[1].code), ("b-0", None));

    rig.submit_with("a", 1..2, |job| {
        same(job);
        job.task_mut().options.defer = false;
    });
    rig.submit_with("b", 1..2, same);
    let answers = rig.answers(2).await;
    assert_eq!(answers[0].code, Some(Code::ConnectionUnavailable));
    assert_eq!((&*answers[1].task_id, answers[1].code), ("b-1", None));
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_tasks_with_one_destination_is_deferred_as_a_whole() {
    let mut rig = dead(&[("a", 5)]);
    rig.submit_with("a", 0..300, |job| job.task_mut().local_path = "/same".to_owned());
    let began = Instant::now();
    let answers = rig.answers(300).await;
    assert!(answers.iter().all(|answer| answer.deferred.is_some()));
    assert!(began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
}

fn at_offset(offset: i64) -> impl Fn(&mut SubmittedTask) {
    move |job| job.record.origin.offset = offset
}

fn stuck_at(offset: i64) -> Vec<(TopicPartition, i64)> {
    vec![(TopicPartition { topic: "ftp-tasks".into(), partition: 0 }, offset)]
}

#[tokio::test(start_paused = true)]
async fn what_holds_up_a_partition_leaves_it_before_its_patience_is_over() {
    let mut rig = dead(&[("a", 5), ("b", 1)]);
    for n in 0..50 {
        rig.submit_with("a", n..n + 1, at_offset(i64::try_from(n).unwrap()));
    }
    sleep(Duration::from_secs(1)).await; // the first login has failed
    rig.dispatcher.unblock(&stuck_at(77));
    assert_eq!(rig.answered(), [], "it is not what is waited for");
    rig.dispatcher.unblock(&stuck_at(0));
    let answers = rig.answered();
    assert_eq!(answers.len(), 50, "all of the dead server's, since the next would be stuck at once");
    assert!(answers.iter().all(|answer| answer.deferred.is_some()));
}

#[tokio::test(start_paused = true)]
async fn of_a_server_that_is_well_only_the_task_in_the_way_leaves() {
    let mut rig = Rig::deferring(9, &[("a", 1), ("b", 1)]);
    rig.file_takes(Duration::from_secs(60));
    rig.script("a-1", [Step::Fail(Code::Timeout, Remedy::Wait)]);
    for n in 0..50 {
        rig.submit_with("a", n..n + 1, at_offset(i64::try_from(n).unwrap()));
    }
    sleep(Duration::from_secs(1)).await;
    rig.dispatcher.unblock(&stuck_at(0));
    assert_eq!(rig.answered(), [], "it is in flight: nothing else would move the low-water mark");
    rig.dispatcher.unblock(&stuck_at(3));
    let left: Vec<_> = rig.answered().into_iter().map(|answer| answer.task_id).collect();
    assert_eq!(left, ["a-3"]);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_deferred_is_not_even_where_it_is_in_the_way() {
    let mut rig = dead(&[("a", 5), ("b", 1)]);
    rig.submit_with("a", 0..1, |job| job.task_mut().options.retry_count = 0);
    sleep(Duration::from_secs(1)).await;
    rig.dispatcher.unblock(&stuck_at(0));
    assert!(rig.answered().iter().all(|answer| answer.deferred.is_none()));
}
