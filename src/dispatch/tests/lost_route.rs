//! The route to a server that is lost and found again.

use super::*;
use crate::failure::Failure;
use crate::record::{Origin, RetryState};

fn outage() -> Failure {
    Failure::new(Code::ConnectFailed, "tunnel plant: it is down")
}

/// Deferred, and due after this.
fn due_in(job: &mut SubmittedTask, left: Duration) {
    let wall = Timestamp::now();
    job.record.retry = Some(Box::new(RetryState {
        group: "group".into(),
        not_before: wall + left,
        attempts: 0,
        origin: Origin { topic: "ftp-tasks".into(), partition: 7, offset: 70 },
        origin_ms: None,
        since: wall,
        begun: None,
    }));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_while_the_route_is_lost_and_all_at_once_when_it_is_found() {
    let mut rig = Rig::new(5, &[("a", 2), ("b", 2)]);
    rig.dispatcher.route_lost("a", &outage());
    rig.submit("a", 0..5);
    rig.submit("b", 0..1);
    assert_eq!(rig.answer().await.task_id, "b-0", "other servers' tasks go on");
    sleep(Duration::from_secs(300)).await;
    assert_eq!((rig.answered(), rig.servers.logins("a")), (vec![], 0));
    assert!(rig.dispatcher.route_restored("a"));
    assert!(!rig.dispatcher.route_restored("a"), "it is there already");
    assert!(!rig.dispatcher.route_restored("nobody"));
    let began = Instant::now();
    let answers = rig.answers(5).await;
    assert!(answers.iter().all(|answer| (answer.attempts, answer.code) == (1, None)), "{answers:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn tasks_that_wait_too_long_for_the_route_are_deferred_and_have_cost_no_attempt() {
    let mut rig = Rig::deferring(5, &[("a", 2)]);
    rig.dispatcher.route_lost("a", &outage());
    rig.submit("a", 0..3);
    for answer in rig.answers(3).await {
        assert_eq!(answer.deferred.expect("deferred").attempts, 0);
    }
    assert_eq!(rig.servers.logins("a"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deferred_task_that_is_read_early_is_tried_where_the_route_was_found_and_waits_elsewhere() {
    let mut rig = Rig::deferring(5, &[("a", 2), ("b", 2)]);
    rig.dispatcher.route_lost("a", &outage());
    rig.dispatcher.route_restored("a");
    let left = Duration::from_secs(20);
    let began = Instant::now();
    rig.submit_with("b", 0..1, |job| due_in(job, left));
    rig.submit_with("a", 0..1, |job| due_in(job, left));
    // deferred after the route was found: it is not in a hurry
    rig.submit_with("a", 1..2, |job| due_in(job, Duration::from_secs(31)));
    assert_eq!(rig.answer().await.task_id, "a-0");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let second = rig.answer().await;
    // by another clock than that of this test's, which stands still meanwhile
    assert!(began.elapsed() + Duration::from_secs(5) >= left, "{:?}: {second:?}", began.elapsed());
    assert_eq!((second.task_id.as_str(), rig.answer().await.task_id.as_str()), ("b-0", "a-1"));
}
