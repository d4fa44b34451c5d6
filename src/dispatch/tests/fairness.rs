//! No server hurts another, no connection starves.

use tokio::time::timeout;

use super::*;
use crate::pool::Reservation;
use crate::pool::fake::{FakeLogin, try_error};

#[tokio::test(start_paused = true)]
async fn caps_of_three_and_three_in_a_pod_of_five_hold_without_swapping_sessions() {
    let mut rig = Rig::new(5, &[("a", 3), ("b", 3)]);
    rig.submit("a", 0..400);
    rig.submit("b", 0..400);
    rig.answers(800).await;
    assert_eq!((rig.servers.peak("a"), rig.servers.peak("b"), rig.servers.pod_peak()), (3, 3, 5));
    assert!(rig.servers.logins("a") <= 3 && rig.servers.logins("b") <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_speaks_delays_no_other_connections_tasks() {
    let mut rig = Rig::new(5, &[("dead", 5), ("well", 4)]);
    rig.servers.on_login("dead", FakeLogin::Hang);
    rig.submit("dead", 0..500);
    sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    rig.submit("well", 0..200);
    let answers = rig.answers(200).await;
    assert!(answers.iter().all(|answer| answer.task_id.starts_with("well")));
    let at_best = Duration::from_millis(100) * 200 / 4;
    assert!(began.elapsed() < at_best + Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(rig.servers.peak("dead"), 1, "a server not proven has one session");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_under_load_is_down_to_one_login_at_a_time() {
    let mut rig = Rig::new(50, &[("a", 10)]);
    rig.submit("a", 0..100);
    rig.answers(100).await;
    rig.servers.end_all("a");
    rig.servers.on_login("a", FakeLogin::Hang);
    rig.submit("a", 100..600);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(rig.servers.open("a"), 1);
    rig.servers.on_login("a", FakeLogin::Accept);
    sleep(Duration::from_secs(60)).await;
    assert!(rig.servers.open("a") > 5, "proven again, it has its workers back");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_session_gets_one_after_a_file() {
    let mut rig = Rig::new(5, &[("a", 5), ("b", 5)]);
    rig.submit("a", 0..10_000);
    sleep(Duration::from_secs(5)).await;
    rig.answered();
    let began = Instant::now();
    rig.submit("b", 0..1);
    while rig.answer().await.task_id != "b-0" {}
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_backlogs_share_a_full_pod_and_settle() {
    let mut rig = Rig::new(6, &[("a", 6), ("b", 6)]);
    rig.submit("a", 0..2_000);
    sleep(Duration::from_secs(2)).await;
    rig.submit("b", 0..2_000);
    sleep(Duration::from_secs(10)).await;
    assert_eq!((rig.servers.open("a"), rig.servers.open("b")), (3, 3));
    let logins = rig.servers.logins("a") + rig.servers.logins("b");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(rig.servers.logins("a") + rig.servers.logins("b"), logins, "and nobody logs in any more");
    rig.answers(4_000).await;
    assert_eq!(rig.servers.pod_peak(), 6);
}

#[tokio::test(start_paused = true)]
async fn more_connections_than_sessions_take_turns_of_a_second() {
    let names = ["a", "b", "c", "d", "e"];
    let mut rig = Rig::new(2, &names.map(|name| (name, 2)));
    for name in names {
        rig.submit(name, 0..200);
    }
    sleep(Duration::from_secs(20)).await;
    let tries = rig.tries();
    for name in names {
        let done = tries.iter().filter(|t| t.task_id.starts_with(name)).count();
        assert!((40..150).contains(&done), "{name}: {done}");
    }
    let logins: usize = names.iter().map(|name| rig.servers.logins(name)).sum();
    assert!(logins <= 2 * 21, "{logins} logins in 20 s");
    rig.answers(1_000).await;
    assert_eq!(rig.servers.pod_peak(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_waits_for_room_leaves_when_no_task_is_left_for_it() {
    let mut rig = Rig::new(2, &[("a", 2), ("b", 1)]);
    rig.file_takes(Duration::from_secs(10));
    rig.script("b-0", [Step::Hang]);
    rig.submit("b", 0..1);
    rig.submit("a", 0..2);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((rig.servers.open("a"), rig.workers()), (1, 3), "one worker works, one waits");
    rig.answer().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.workers(), 2, "the other task is taken");
    rig.answer().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.workers(), 1);
}

#[tokio::test(start_paused = true)]
async fn lanes_that_waited_for_room_do_not_storm_a_server_that_died_meanwhile() {
    let mut rig = Rig::new(4, &[("a", 4), ("b", 4)]);
    rig.submit("a", 0..1);
    rig.answer().await;
    rig.servers.end_all("a");
    rig.servers.on_login("a", FakeLogin::Refuse(try_error(Code::ConnectFailed, Remedy::OpenBreaker)));
    rig.file_takes(Duration::from_secs(2));
    rig.submit("b", 0..4);
    sleep(Duration::from_secs(1)).await;
    rig.submit("a", 1..100);
    sleep(Duration::from_millis(1_500)).await;
    let connects = rig.servers.connects("a");
    assert!(connects <= 1 + 4, "{connects}: each worker's one at most");
    sleep(Duration::from_secs(10)).await;
    assert!(rig.servers.connects("a") <= connects + 8, "then spaced");
}

#[tokio::test(start_paused = true)]
async fn a_listing_gets_a_session_of_a_connection_that_is_never_idle() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.submit("a", 0..1_000);
    rig.answers(10).await;
    let began = Instant::now();
    let session = match rig.pool.reserve_for_listing("a").await {
        Ok(Reservation::Idle(session)) => session,
        other => panic!("{other:?}"),
    };
    let waited = began.elapsed();
    assert!((10..12).contains(&waited.as_secs()), "after its patience, at the end of a file: {waited:?}");
    assert_eq!(rig.servers.logins("a"), 1, "the worker's own session, which is warm");
    rig.answered();
    sleep(Duration::from_secs(5)).await;
    assert!(rig.answered().is_empty(), "the only session lists");
    drop(session);
    let began = Instant::now();
    rig.answer().await;
    assert!(began.elapsed() < Duration::from_secs(1), "and goes back to work");
    let again = rig.pool.reserve_for_listing("a");
    assert!(timeout(Duration::from_secs(9), again).await.is_err(), "tasks go first");
    sleep(Duration::from_secs(9)).await;
    assert!(rig.answered().len() > 100, "nobody makes way for one that has given up");
}
