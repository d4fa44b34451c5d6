//! Connections come, change and go: each task is answered once, and none with what holds no more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::failure::Remedy;
use crate::pool::fake::{Login, connection, try_error};

impl Rig {
    fn add(&self, name: &str) {
        self.pool.add(connection(name, 2));
        let added = vec![name.to_owned()];
        self.dispatcher.reconfigure(&Reconfiguration { added, ..Reconfiguration::default() });
    }

    pub fn change(&self, name: &str) {
        self.pool.replace(connection(name, self.pool.limit(name)));
        let changed = vec![name.to_owned()];
        self.dispatcher.reconfigure(&Reconfiguration { changed, ..Reconfiguration::default() });
    }

    fn remove(&self, name: &str) {
        let removed = vec![name.to_owned()];
        self.dispatcher.reconfigure(&Reconfiguration { removed, ..Reconfiguration::default() });
        self.pool.remove(name);
    }

    fn lines(&self) -> usize {
        self.dispatcher.shared.lines().len()
    }
}

fn refuse(code: Code) -> Login {
    Login::Refuse(try_error(code, Remedy::OpenBreaker))
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_added_gets_its_tasks_done() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    rig.submit("b", 0..1);
    assert_eq!(rig.answer().await.code, Some(Code::UnknownConnection));
    rig.add("b");
    rig.submit("b", 1..2);
    assert_eq!(rig.answer().await.code, None);
}

#[tokio::test(start_paused = true)]
async fn waiting_tasks_of_a_removed_connection_are_answered_once_and_those_in_flight_finish() {
    let mut rig = Rig::new(5, &[("a", 2), ("b", 2)]);
    rig.script("a-1", [Step::Fail(Code::Timeout, Remedy::Wait)]);
    rig.submit("a", 0..10);
    rig.submit("b", 0..2);
    while rig.tries().len() < 4 {
        sleep(Duration::from_millis(1)).await;
    }
    rig.remove("a");
    let answers = rig.answers(12).await;
    let ids: HashSet<_> = answers.iter().map(|answer| answer.task_id.clone()).collect();
    assert_eq!(ids.len(), 12);
    for answer in answers {
        let is_done = answer.task_id == "a-0" || answer.task_id.starts_with('b');
        assert_eq!(answer.code, (!is_done).then_some(Code::UnknownConnection), "{}", answer.task_id);
        let tells_of_its_try = answer.message.contains("a fake timeout");
        assert_eq!(tells_of_its_try, answer.task_id == "a-1", "{}", answer.message);
    }
    rig.submit("a", 20..21);
    assert_eq!(rig.answer().await.code, Some(Code::UnknownConnection));
    sleep(Duration::from_secs(20)).await;
    assert!(rig.answered().is_empty());
    assert_eq!((rig.lines(), rig.lanes(), rig.budget.tasks()), (1, 0, 0), "nothing of it is left");
}

#[tokio::test(start_paused = true)]
async fn one_behind_a_task_of_a_removed_connection_is_answered_too() {
    let mut rig = Rig::new(5, &[("a", 2), ("b", 2)]);
    let same = |job: &mut Job| job.task_mut().local_path = "/same".to_owned();
    rig.submit_with("b", 0..1, same);
    rig.submit_with("a", 0..2, same);
    rig.submit_with("b", 1..2, same);
    rig.remove("a");
    let answers = rig.answers(4).await;
    let told: Vec<_> = answers.iter().map(|answer| (answer.task_id.as_str(), answer.code)).collect();
    let unknown = Some(Code::UnknownConnection);
    assert_eq!(told, [("b-0", None), ("a-0", unknown), ("a-1", unknown), ("b-1", None)]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_comes_back_is_as_new() {
    let mut rig = Rig::new(5, &[("a", 1), ("b", 1)]);
    rig.script("a-0", [Step::Undo(Duration::ZERO)]);
    rig.submit("a", 0..3);
    sleep(Duration::from_secs(1)).await;
    rig.remove("a");
    assert!(rig.answers(2).await.iter().all(|answer| answer.code == Some(Code::UnknownConnection)));
    rig.add("a");
    rig.submit("a", 3..5);
    assert!(rig.answers(2).await.iter().all(|answer| answer.code.is_none()));
    assert_eq!(rig.lines(), 2, "it was not forgotten with its old tasks");
}

#[tokio::test(start_paused = true)]
async fn a_changed_connection_begins_with_a_closed_breaker() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    rig.servers.on_login("a", refuse(Code::AuthFailed));
    rig.submit("a", 0..3);
    assert!(rig.answers(3).await.iter().all(|answer| answer.code == Some(Code::AuthFailed)));
    rig.servers.on_login("a", Login::Accept);
    rig.submit("a", 3..4);
    assert_eq!(rig.answer().await.code, Some(Code::AuthFailed), "the breaker is open");
    rig.change("a");
    rig.submit("a", 4..5);
    assert_eq!(rig.answer().await.code, None);
}

#[tokio::test(start_paused = true)]
async fn a_login_with_outdated_settings_tells_nothing_of_the_new_ones_and_costs_the_task_nothing() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    rig.servers.on_login("a", refuse(Code::AuthFailed));
    rig.submit_with("a", 0..1, |job| job.task_mut().options.retry_count = 0);
    sleep(Duration::from_millis(5)).await; // the login is under way, and refused already
    rig.servers.on_login("a", Login::Accept);
    rig.change("a");
    let answer = rig.answer().await;
    assert_eq!((answer.code, answer.attempts), (None, 1));
    assert_eq!(rig.servers.connects("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn tasks_in_flight_finish_on_the_old_session_and_the_next_gets_a_new_one() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.submit("a", 0..3);
    while rig.tries().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    rig.change("a");
    assert!(rig.answers(3).await.iter().all(|answer| answer.code.is_none()));
    let sessions: Vec<_> = rig.tries().iter().map(|one| one.session).collect();
    assert_eq!(sessions[..2], [1, 2]);
    assert_eq!(rig.servers.peak("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_its_next_try_is_tried_with_the_new_settings_at_once() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.script("a-0", vec![Step::Fail(Code::StorageFull, Remedy::Wait); 3]);
    rig.submit_with("a", 0..1, |job| job.task_mut().options.retry_count = 5);
    while rig.tries().len() < 3 {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(150)).await;
    let changed = Instant::now();
    rig.change("a");
    assert_eq!(rig.answer().await.code, None);
    assert!(rig.tries()[3].at - changed < Duration::from_millis(200), "{:?}", rig.tries());
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_local_connection_that_moves_keep_their_order_with_those_that_come_later() {
    let mut rig = Rig::new(9, &[("a", 3), ("b", 3)]);
    rig.file_takes(Duration::from_secs(1));
    let to = |path: &'static str, offset: i64| {
        move |job: &mut Job| {
            job.task_mut().local_path = path.to_owned();
            job.record.origin.offset = offset;
        }
    };
    // All lanes of `a` are busy; then one that waits, and one behind it.
    rig.submit("a", 0..3);
    sleep(Duration::from_millis(500)).await;
    rig.submit_with("a", 3..4, to("/same", 10));
    rig.submit_with("b", 0..1, to("/same", 11));
    rig.dispatcher.reconfigure(&Reconfiguration {
        moved: BTreeSet::from(["local".to_owned()]),
        roots: HashMap::from([("local".to_owned(), PathBuf::from("/elsewhere"))]),
        ..Reconfiguration::default()
    });
    rig.submit_with("b", 1..2, to("/same", 12));
    assert!(rig.answers(6).await.iter().all(|answer| answer.code.is_none()));
    let order: Vec<_> = rig.tries().into_iter().skip(3).map(|one| one.task_id).collect();
    assert_eq!(order, ["a-3", "b-0", "b-1"]);
}
