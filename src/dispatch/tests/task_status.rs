//! Where a task is, and what it waits for, at each place that it can be.

use super::*;
use crate::dispatch::{TaskStatus, WaitReason};
use crate::pool::fake::{FakeLogin, try_error};
use crate::record::Origin;

fn origin(offset: i64) -> Origin {
    Origin { topic: "ftp-tasks".into(), partition: 0, offset }
}

/// Submits the task `<connection>-<offset>` at this offset.
fn submit(rig: &Rig, connection: &str, offset: usize, change: impl Fn(&mut SubmittedTask)) {
    rig.submit_with(connection, offset..offset + 1, |job| {
        job.record.origin = origin(i64::try_from(offset).unwrap());
        change(job);
    });
}

fn of(rig: &Rig, offset: i64) -> TaskStatus {
    rig.dispatcher.task_status(&origin(offset)).expect("it is in the dispatcher")
}

#[tokio::test(start_paused = true)]
async fn a_task_is_in_transfer_or_waits_for_a_session_or_behind_its_destinations_first() {
    let rig = Rig::new(5, &[("a", 1)]);
    rig.file_takes(Duration::from_secs(100));
    let same = |job: &mut SubmittedTask| job.task_mut().local_path = "/same".to_owned();
    submit(&rig, "a", 0, same);
    submit(&rig, "a", 1, |_| {});
    submit(&rig, "a", 2, |_| {});
    submit(&rig, "a", 3, same);
    sleep(Duration::from_secs(10)).await;

    let running = of(&rig, 0);
    assert_eq!((&*running.task_id, &*running.connection, running.attempts), ("a-0", "a", 1));
    assert!(matches!(running.wait_reason, WaitReason::Transfer { since } if since >= Duration::from_secs(9)));
    assert_eq!(of(&rig, 2).wait_reason, WaitReason::Session { ahead: 1, sessions: 1 });
    assert_eq!(of(&rig, 3).wait_reason, WaitReason::DestinationOrder { behind: Some("a-0".into()) });
    assert!(of(&rig, 3).wait_reason.to_string().contains("\"a-0\""));
    assert_eq!(rig.dispatcher.task_status(&origin(9)), None);
}

#[tokio::test(start_paused = true)]
async fn a_task_waits_for_a_login_a_breaker_or_its_next_try() {
    let mut rig = Rig::new(5, &[("hangs", 1), ("dead", 1), ("a", 1)]);
    rig.servers.on_login("hangs", FakeLogin::Hang);
    rig.servers.on_login("dead", FakeLogin::Refuse(try_error(Code::ConnectFailed, Remedy::OpenBreaker)));
    rig.script("a-9", [Step::Fail(Code::Timeout, Remedy::Wait)]);
    submit(&rig, "hangs", 1, |_| {});
    for offset in 2..6 {
        submit(&rig, "dead", offset, |job| job.task_mut().options.retry_count = 100);
    }
    sleep(Duration::from_secs(10)).await;
    assert!(
        matches!(of(&rig, 1).wait_reason, WaitReason::Login { since } if since >= Duration::from_secs(9))
    );
    let told = of(&rig, 5).wait_reason;
    assert_eq!(told.as_str(), "breaker");
    assert!(told.to_string().contains("connect_failed"), "{told}");

    submit(&rig, "a", 9, |_| {});
    sleep(Duration::from_millis(150)).await;
    let next = rig.dispatcher.task_status(&origin(9));
    assert!(next.is_none_or(|found| matches!(
        found.wait_reason,
        WaitReason::Retry { .. } | WaitReason::Transfer { .. }
    )));
    while rig.answer().await.task_id != "a-9" {}
    assert_eq!(rig.dispatcher.task_status(&origin(9)), None, "its answer is on its way");
}
