//! Drain, withdrawal and leases that end.

use super::*;
use crate::lease::Lease;
use crate::pool::fake::FakeLogin;

#[tokio::test(start_paused = true)]
async fn a_drain_lets_what_is_in_flight_finish_and_begins_nothing() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    rig.file_takes(Duration::from_secs(3));
    rig.submit("a", 0..10);
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let left = rig.dispatcher.drain(Instant::now() + Duration::from_secs(10)).await;
    assert_eq!((left.cancelled, left.waiting + rig.answered().len()), (0, 10));
    assert!(began.elapsed() < Duration::from_secs(4), "it does not wait for the deadline");
    rig.submit("a", 10..11);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.answered(), []);
    assert_eq!(rig.budget.tasks(), 0);
    assert_eq!(rig.pool.shutdown(Duration::from_secs(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_off_what_is_in_flight_at_its_deadline() {
    let mut rig = Rig::new(5, &[("a", 1), ("b", 1)]);
    rig.script("a-0", [Step::Hang]);
    rig.servers.on_login("b", FakeLogin::Hang);
    rig.submit("a", 0..2);
    rig.submit("b", 0..1);
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let left = rig.dispatcher.drain(Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(left, DrainResult { waiting: 1, cancelled: 2 });
    assert!(began.elapsed() < Duration::from_secs(10) + CUT_OFF_BOUND);
    assert_eq!(rig.answered(), [], "what is cut off has no answer");
    assert_eq!((rig.budget.tasks(), rig.workers()), (0, 0));
    assert_eq!(rig.pool.shutdown(Duration::from_secs(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_once_where_tasks_only_wait() {
    let rig = Rig::new(5, &[("a", 1), ("b", 1)]);
    rig.servers
        .on_login("a", FakeLogin::Refuse(crate::pool::fake::try_error(Code::ConnectFailed, Remedy::Wait)));
    rig.script("b-0", vec![Step::Fail(Code::Timeout, Remedy::Wait); 9]);
    rig.submit("a", 0..100);
    rig.submit_with("b", 0..1, |job| job.task_mut().options.retry_count = 9);
    sleep(Duration::from_secs(20)).await;
    let began = Instant::now();
    rig.dispatcher.drain(Instant::now() + Duration::from_secs(10)).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(rig.workers(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_waiting_tasks_of_a_leaving_partition_are_withdrawn_and_told() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.file_takes(Duration::from_secs(3));
    let lease = Lease::default();
    rig.submit("a", 0..1);
    rig.submit_with("a", 1..50, |job| job.record.lease = lease.clone());
    rig.submit("a", 50..51);
    sleep(Duration::from_secs(1)).await;
    lease.close();
    assert_eq!(rig.dispatcher.withdraw().len(), 49);
    assert_eq!(rig.dispatcher.withdraw(), [], "each is told once");
    assert_eq!(rig.budget.tasks(), 2);
    let answers = rig.answers(2).await;
    assert_eq!((&*answers[0].task_id, &*answers[1].task_id), ("a-0", "a-50"));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_goes_on_while_its_partition_leaves_and_is_not_tried_again() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    rig.script("a-1", [Step::Fail(Code::Timeout, Remedy::Wait)]);
    let lease = Lease::default();
    rig.submit_with("a", 0..2, |job| job.record.lease = lease.clone());
    sleep(Duration::from_millis(50)).await;
    lease.close();
    sleep(Duration::from_secs(9)).await;
    assert_eq!(rig.answer().await.task_id, "a-0");
    assert_eq!((rig.dispatcher.withdraw().len(), rig.tries_of("a-1").len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_under_an_ended_lease_is_not_told() {
    let rig = Rig::new(5, &[("a", 1)]);
    let lease = Lease::default();
    rig.submit_with("a", 0..10, |job| job.record.lease = lease.clone());
    lease.end();
    assert_eq!((rig.dispatcher.withdraw().len(), rig.budget.tasks()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_is_cut_off_has_time_to_undo_what_it_began_but_not_for_ever() {
    let mut rig = Rig::new(5, &[("a", 3)]);
    rig.script("a-0", [Step::Undo(UNDO_BOUND / 2)]);
    rig.script("a-1", [Step::Undo(UNDO_BOUND / 2)]);
    rig.script("a-2", [Step::Undo(UNDO_BOUND * 99)]);
    let lease = Lease::default();
    rig.submit_with("a", 0..1, |job| job.record.lease = lease.clone());
    rig.submit("a", 1..3);
    sleep(Duration::from_secs(1)).await;
    lease.end();
    sleep(UNDO_BOUND).await;
    assert_eq!(rig.undone(), 1);
    let left = rig.dispatcher.drain(Instant::now()).await;
    assert_eq!((left.cancelled, rig.undone(), rig.workers()), (2, 2, 0));
    assert_eq!(rig.answered(), []);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_under_an_ended_lease_is_cut_off_without_an_answer() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    let lease = Lease::default();
    rig.script("a-0", [Step::Hang]);
    rig.submit_with("a", 0..2, |job| job.record.lease = lease.clone());
    rig.submit("a", 2..3);
    sleep(Duration::from_secs(1)).await;
    lease.end();
    assert_eq!(
        rig.answer().await.task_id,
        "a-2",
        "the ended one in the queue is passed over, withdrawn or not"
    );
    assert_eq!(rig.answered(), []);
    assert_eq!(rig.tries().iter().map(|t| t.session).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rig.budget.tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_login_under_an_ended_lease_is_cut_off() {
    let mut rig = Rig::new(1, &[("a", 1), ("b", 1)]);
    let lease = Lease::default();
    rig.servers.on_login("a", FakeLogin::Hang);
    rig.submit_with("a", 0..1, |job| job.record.lease = lease.clone());
    sleep(Duration::from_secs(1)).await;
    rig.submit("b", 0..1);
    lease.end();
    let began = Instant::now();
    assert_eq!(rig.answer().await.task_id, "b-0");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_under_an_ended_lease() {
    let mut rig = Rig::new(1, &[("a", 1)]);
    let lease = Lease::default();
    rig.servers.on_login(
        "a",
        FakeLogin::Refuse(crate::pool::fake::try_error(Code::AuthFailed, Remedy::OpenBreaker)),
    );
    rig.submit("a", 0..1);
    rig.submit_with("a", 1..5, |job| job.record.lease = lease.clone());
    lease.end();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.answered().iter().map(|answer| &*answer.task_id).collect::<Vec<_>>(), ["a-0"]);
    assert_eq!(rig.budget.tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropped_it_stops() {
    let rig = Rig::new(5, &[("a", 1)]);
    let shared = Arc::downgrade(&rig.dispatcher.shared);
    drop(rig);
    sleep(TICK * 3).await;
    assert_eq!(shared.strong_count(), 0);
}
