//! Tries that fail: what is tried again, when, and what it costs.

use super::*;
use crate::breaker::{NO_RETRY_AFTER, UNAVAILABLE_AFTER};
use crate::dispatch::retry::{BACKOFF_CAP, MAX_UNCOUNTED_REFUSALS, MAX_UNCOUNTED_SESSIONS};
use crate::pool::fake::{FakeLogin, try_error};

fn refuse(code: Code, remedy: Remedy) -> FakeLogin {
    FakeLogin::Refuse(try_error(code, remedy))
}

#[tokio::test(start_paused = true)]
async fn a_task_is_tried_again_exactly_as_often_as_it_asks_for() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    for retry_count in 0..4 {
        let id = format!("a-{retry_count}");
        rig.script(&id, vec![Step::Fail(Code::Timeout, Remedy::Wait); 99]);
        let number = usize::try_from(retry_count).unwrap();
        rig.submit_with("a", number..number + 1, |job| job.task_mut().options.retry_count = retry_count);
        let answer = rig.answer().await;
        assert_eq!((answer.attempts, answer.code), (retry_count + 1, Some(Code::Timeout)));
        assert_eq!(rig.tries_of(&id).len(), number + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_its_next_try_holds_no_session_and_delays_nobody() {
    let mut rig = Rig::new(1, &[("a", 1)]);
    rig.script("a-0", [Step::Fail(Code::Timeout, Remedy::Wait)]);
    rig.submit("a", 0..3);
    let answers = rig.answers(3).await;
    assert!(answers.iter().all(|answer| answer.code.is_none()));
    assert_eq!(answers.iter().find(|answer| answer.task_id == "a-0").unwrap().attempts, 2);
    assert_eq!(rig.servers.logins("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_died_costs_its_task_nothing() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.script(
        "a-0",
        vec![Step::Fail(Code::ProtocolError, Remedy::FreshSession); MAX_UNCOUNTED_SESSIONS as usize],
    );
    rig.submit_with("a", 0..1, |job| job.task_mut().options.retry_count = 0);
    let answer = rig.answer().await;
    assert_eq!((answer.attempts, answer.code), (1, None));
    let sessions: Vec<_> = rig.tries().iter().map(|t| t.session).collect();
    assert_eq!(sessions, [1, 2, 3, 4], "each try has another session");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_always_die_are_a_failure_at_last() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.script("a-0", vec![Step::Break(Code::ProtocolError, Remedy::FreshSession); 99]);
    rig.submit_with("a", 0..1, |job| job.task_mut().options.retry_count = 1);
    let answer = rig.answer().await;
    assert_eq!((answer.attempts, answer.code), (2, Some(Code::ProtocolError)));
    assert!(rig.tries().len() < 10);
}

#[tokio::test(start_paused = true)]
async fn a_full_server_gets_fewer_sessions_and_no_task_fails_for_it() {
    let mut rig = Rig::new(9, &[("a", 9)]);
    rig.submit("a", 0..1);
    rig.answer().await;
    rig.servers.on_login("a", refuse(Code::ServerBusy, Remedy::LowerLimit));
    rig.submit_with("a", 1..50, |job| job.task_mut().options.retry_count = 0);
    let answers = rig.answers(49).await;
    assert!(answers.iter().all(|answer| answer.code.is_none() && answer.attempts == 1));
    assert_eq!(rig.pool.limit("a"), 1);
    assert!(rig.servers.connects("a") <= 9, "{}", rig.servers.connects("a"));
}

#[tokio::test(start_paused = true)]
async fn a_transfer_too_many_lowers_the_limit_too() {
    let mut rig = Rig::new(9, &[("a", 3)]);
    rig.submit("a", 0..9);
    rig.answers(9).await;
    rig.script("a-9", [Step::Fail(Code::ServerBusy, Remedy::LowerLimit)]);
    rig.submit("a", 9..10);
    assert_eq!(rig.answer().await.attempts, 1);
    assert_eq!(rig.pool.limit("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_full_is_server_busy_at_last() {
    let mut rig = Rig::new(9, &[("a", 9)]);
    rig.servers.on_login("a", refuse(Code::ServerBusy, Remedy::LowerLimit));
    rig.submit_with("a", 0..1, |job| job.task_mut().options.retry_count = 1);
    let answer = rig.answer().await;
    assert_eq!((answer.attempts, answer.code), (2, Some(Code::ServerBusy)));
    assert_eq!(rig.servers.connects("a"), MAX_UNCOUNTED_REFUSALS as usize + 2);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_once_for_all_tasks() {
    let mut rig = Rig::new(9, &[("a", 5)]);
    rig.servers.on_login("a", refuse(Code::AuthFailed, Remedy::OpenBreaker));
    rig.submit("a", 0..100);
    let answers = rig.answers(100).await;
    assert!(answers.iter().all(|answer| answer.code == Some(Code::AuthFailed)));
    assert_eq!(answers.iter().map(|answer| answer.attempts).sum::<u32>(), 1);
    sleep(Duration::from_secs(10)).await;
    rig.submit("a", 100..150);
    rig.answers(50).await;
    assert_eq!(rig.servers.connects("a"), 1, "less than half a spacing later");
    rig.servers.on_login("a", FakeLogin::Accept);
    sleep(Duration::from_secs(30)).await;
    rig.submit("a", 150..151);
    assert_eq!(rig.answer().await.code, None);
}

#[tokio::test(start_paused = true)]
async fn each_failed_login_is_charged_to_one_task_and_the_others_wait() {
    let mut rig = Rig::new(9, &[("a", 5)]);
    rig.servers.on_login("a", refuse(Code::ConnectFailed, Remedy::OpenBreaker));
    rig.submit_with("a", 0..100, |job| job.task_mut().options.retry_count = 1);
    sleep(Duration::from_secs(40)).await;
    let connects = rig.servers.connects("a");
    assert!((5..60).contains(&connects), "{connects}: spaced, and not given up");
    let charged: u32 = rig.answered().iter().map(|answer| answer.attempts).sum();
    assert!(charged as usize <= connects);
    assert_eq!(rig.servers.peak("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn where_no_data_connection_succeeds_the_breaker_opens_though_logins_do() {
    let mut rig = Rig::new(9, &[("a", 5)]);
    let broken = vec![Step::Break(Code::ConnectFailed, Remedy::OpenBreaker); 99];
    for n in 0..100 {
        rig.script(&format!("a-{n}"), broken.clone());
    }
    rig.submit_with("a", 0..100, |job| job.task_mut().options.retry_count = 100);
    sleep(Duration::from_secs(60)).await;
    let tries = rig.tries().len();
    assert!((12..100).contains(&tries), "{tries}: spaced, and not given up");
    for n in 0..100 {
        rig.script(&format!("a-{n}"), []);
    }
    assert!(rig.answers(100).await.iter().all(|answer| answer.code.is_none()));
    assert!(rig.servers.peak("a") > 1, "and all workers are back");
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_server_that_comes_back_are_done() {
    let mut rig = Rig::new(9, &[("a", 5)]);
    rig.servers.on_login("a", refuse(Code::ConnectFailed, Remedy::OpenBreaker));
    rig.submit("a", 0..300);
    sleep(Duration::from_secs(120)).await;
    assert!(rig.servers.connects("a") > 20, "it is probed");
    rig.servers.on_login("a", FakeLogin::Accept);
    assert!(rig.answers(300).await.iter().all(|answer| answer.code.is_none()));
}

#[tokio::test(start_paused = true)]
async fn without_retries_no_task_waits_longer_than_a_minute_for_a_dead_server() {
    let mut rig = Rig::new(9, &[("a", 5)]);
    rig.servers.on_login("a", FakeLogin::Hang);
    let began = Instant::now();
    rig.submit_with("a", 0..100, |job| job.task_mut().options.retry_count = 0);
    let answers = rig.answers(100).await;
    assert!(answers.iter().all(|answer| answer.code == Some(Code::Timeout)));
    // One login's time more: the trouble begins when the first one has failed.
    assert!(began.elapsed() < NO_RETRY_AFTER + Duration::from_secs(22), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_task_waits_for_ever_for_a_dead_server() {
    let mut rig = Rig::new(9, &[("a", 5)]);
    rig.servers.on_login("a", FakeLogin::Hang);
    let began = Instant::now();
    rig.submit("a", 0..100);
    let answers = rig.answers(100).await;
    assert!(answers.iter().any(|answer| answer.code == Some(Code::ConnectionUnavailable)));
    assert!(began.elapsed() < UNAVAILABLE_AFTER + BACKOFF_CAP + Duration::from_secs(22));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_transfer_fails_its_task_only() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.script("a-0", [Step::Panic]);
    rig.submit("a", 0..2);
    let answers = rig.answers(2).await;
    assert_eq!((answers[0].code, answers[0].attempts), (Some(Code::Internal), 1));
    assert!(answers[0].message.contains("a bug in the transfer"));
    assert_eq!(answers[1].code, None);
    assert_eq!(rig.tries()[1].session, 2, "the first was thrown away");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_login_fails_its_task_only() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.servers.on_login("a", FakeLogin::Panic);
    rig.submit("a", 0..1);
    assert_eq!(rig.answer().await.code, Some(Code::Internal));
    rig.servers.on_login("a", FakeLogin::Accept);
    rig.submit("a", 1..2);
    assert_eq!(rig.answer().await.code, None);
    assert_eq!((rig.servers.open("a"), rig.pool.open_sessions()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn no_try_begins_after_the_deadline() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.script("a-0", vec![Step::Fail(Code::Timeout, Remedy::Wait); 200]);
    rig.submit_with("a", 0..1, |job| {
        job.task_mut().options.retry_count = 100;
        job.task_mut().options.deadline = Some(Timestamp::now() + Duration::from_millis(500));
    });
    let answer = rig.answer().await;
    assert_eq!(answer.code, Some(Code::DeadlineExceeded));
    assert!(answer.attempts < 100);
    assert!(answer.message.contains("timeout"), "{}", answer.message);
}
