//! Connections come, change and go: each task is answered once, and none with what holds no more.

use std::path::PathBuf;

use super::*;
use crate::failure::Remedy;
use crate::pool::fake::{FakeLogin, connection, try_error};
use crate::task::Operation;

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

    /// These local connections lie there now, and no others.
    fn lie(&self, at: &[(&str, &str)]) {
        self.lie_anew(&["local"], at);
    }

    /// The same, where these are what has changed.
    fn lie_anew(&self, changed: &[&str], at: &[(&str, &str)]) {
        self.has_files(at);
        self.told(changed, at);
    }

    /// The dispatcher is told so.
    fn told(&self, changed: &[&str], at: &[(&str, &str)]) {
        let roots = at.iter().map(|(name, path)| ((*name).to_owned(), PathBuf::from(path))).collect();
        let moved = changed.iter().map(|name| (*name).to_owned()).collect();
        self.dispatcher.reconfigure(&Reconfiguration { moved, roots, ..Reconfiguration::default() });
    }

    /// All tries, each with what it worked in.
    fn worked_in(&self) -> Vec<(String, Option<String>)> {
        self.tries().into_iter().map(|one| (one.task_id, one.files)).collect()
    }

    fn delayed(&self, connection: &str) -> usize {
        self.dispatcher.shared.queues()[connection].counts().delayed
    }

    fn queues(&self) -> usize {
        self.dispatcher.shared.queues().len()
    }
}

fn to(path: &'static str, offset: i64) -> impl Fn(&mut SubmittedTask) {
    move |job| {
        job.task_mut().local_path = path.to_owned();
        job.record.origin.offset = offset;
    }
}

fn works_in(task_id: &str, files: &str) -> (String, Option<String>) {
    (task_id.to_owned(), Some(files.to_owned()))
}

fn refuse(code: Code) -> FakeLogin {
    FakeLogin::Refuse(try_error(code, Remedy::OpenBreaker))
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
    assert_eq!((rig.queues(), rig.workers(), rig.budget.tasks()), (1, 0, 0), "nothing of it is left");
}

#[tokio::test(start_paused = true)]
async fn one_behind_a_task_of_a_removed_connection_is_answered_too() {
    let mut rig = Rig::new(5, &[("a", 2), ("b", 2)]);
    let same = |job: &mut SubmittedTask| job.task_mut().local_path = "/same".to_owned();
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
    assert_eq!(rig.queues(), 2, "it was not forgotten with its old tasks");
}

#[tokio::test(start_paused = true)]
async fn a_changed_connection_begins_with_a_closed_breaker() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    rig.servers.on_login("a", refuse(Code::AuthFailed));
    rig.submit("a", 0..3);
    assert!(rig.answers(3).await.iter().all(|answer| answer.code == Some(Code::AuthFailed)));
    rig.servers.on_login("a", FakeLogin::Accept);
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
    rig.servers.on_login("a", FakeLogin::Accept);
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
    // All lanes of `a` are busy; then one that waits, and one behind it.
    rig.submit("a", 0..3);
    sleep(Duration::from_millis(500)).await;
    rig.submit_with("a", 3..4, to("/same", 10));
    rig.submit_with("b", 0..1, to("/same", 11));
    rig.lie(&[("local", "/elsewhere")]);
    rig.submit_with("b", 1..2, to("/same", 12));
    assert!(rig.answers(6).await.iter().all(|answer| answer.code.is_none()));
    let order: Vec<_> = rig.tries().into_iter().skip(3).map(|one| one.task_id).collect();
    assert_eq!(order, ["a-3", "b-0", "b-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_in_flight_is_tried_again_where_it_was_and_those_behind_it_go_where_its_connection_lies_now() {
    for waits_for_its_next_try in [false, true] {
        let mut rig = Rig::new(9, &[("a", 3)]);
        rig.lie(&[("local", "/old")]);
        rig.script("a-0", vec![Step::Break(Code::Timeout, Remedy::Wait); 3]);
        rig.submit_with("a", 0..1, to("/x", 10));
        rig.submit_with("a", 1..2, to("/x", 11));
        while rig.tries().is_empty() || (waits_for_its_next_try && rig.delayed("a") == 0) {
            sleep(Duration::from_millis(1)).await;
        }
        rig.lie(&[("local", "/new")]);
        assert!(rig.answers(2).await.iter().all(|answer| answer.code.is_none()));
        let mut tries = rig.worked_in();
        tries.sort();
        assert_eq!(tries.pop(), Some(works_in("a-1", "/new")));
        assert_eq!(tries, vec![works_in("a-0", "/old"); 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_in_flight_is_tried_again_where_it_was_although_its_local_connection_is_gone() {
    let mut rig = Rig::new(9, &[("a", 1)]);
    rig.lie(&[("local", "/old")]);
    rig.script("a-0", [Step::Break(Code::Timeout, Remedy::FreshSession)]);
    rig.submit("a", 0..2);
    while rig.tries().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    rig.lie(&[]);
    rig.answers(2).await;
    let nowhere = ("a-1".to_owned(), None);
    assert_eq!(rig.worked_in(), [works_in("a-0", "/old"), works_in("a-0", "/old"), nowhere]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_logging_in_works_where_its_place_is() {
    let mut rig = Rig::new(9, &[("a", 2)]);
    rig.lie(&[("local", "/old")]);
    rig.submit_with("a", 0..1, to("/x", 10));
    rig.submit_with("a", 1..2, to("/x", 11));
    sleep(Duration::from_millis(5)).await;
    assert_eq!((rig.servers.connects("a"), rig.tries().len()), (1, 0), "its login is under way");
    rig.lie(&[("local", "/new")]);
    rig.answers(2).await;
    let mut tries = rig.worked_in();
    tries.sort();
    assert_eq!(tries, [works_in("a-0", "/old"), works_in("a-1", "/new")]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_while_the_change_is_taken_over_works_where_its_place_is() {
    let mut rig = Rig::new(9, &[("a", 2)]);
    rig.lie(&[("local", "/old")]);
    rig.has_files(&[("local", "/new")]);
    rig.submit_with("a", 0..1, to("/x", 10));
    while rig.tries().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    rig.told(&["local"], &[("local", "/new")]);
    rig.submit_with("a", 1..2, to("/x", 11));
    rig.answers(2).await;
    assert_eq!(rig.worked_in(), [works_in("a-0", "/old"), works_in("a-1", "/new")]);
}

/// Where three local connections lie.
type Three = [(&'static str, &'static str); 3];

/// One session, which is busy; then these tasks come, each of its local connection and with the same path, and a
/// fourth one with a path of its own. Meanwhile `local1` changes. What is tried then, and where.
async fn changes_while_they_wait(
    [before, after]: [Three; 2],
    busy_with: &'static str,
    operation: Operation,
    tasks: [&'static str; 3],
) -> Vec<(String, Option<String>)> {
    let mut rig = Rig::new(9, &[("a", 1)]);
    rig.lie_anew(&["local", "local1", "local2"], &before);
    let task = |local: &'static str, path: &'static str, offset: i64| {
        move |job: &mut SubmittedTask| {
            to(path, offset)(job);
            let task = job.task_mut();
            (task.operation, task.local) = (operation, local.to_owned());
            task.remote_path = path.to_owned();
        }
    };
    rig.submit_with("a", 0..1, task("local", busy_with, 0));
    while rig.tries().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    for (n, local) in (1..).zip(tasks) {
        rig.submit_with("a", n..n + 1, task(local, "/f", n.try_into().unwrap()));
    }
    rig.submit_with("a", 4..5, task("local2", "/g", 4));
    rig.lie_anew(&["local1"], &after);
    assert!(rig.answers(5).await.iter().all(|answer| answer.code.is_none()));
    rig.worked_in().split_off(1)
}

#[tokio::test(start_paused = true)]
async fn uploads_keep_their_places_where_the_directories_move_that_they_come_from() {
    let before = [("local", "/own"), ("local1", "/old"), ("local2", "/other")];
    let after = [("local", "/own"), ("local1", "/new"), ("local2", "/other")];
    for busy_with in ["/another", "/f"] {
        let tasks = ["local1", "local2", "local1"];
        let tried = changes_while_they_wait([before, after], busy_with, Operation::Upload, tasks).await;
        let expected = [("a-1", "/new"), ("a-2", "/other"), ("a-3", "/new"), ("a-4", "/other")];
        let expected = expected.map(|(task_id, files)| works_in(task_id, files));
        assert_eq!(tried, expected, "behind one to {busy_with}");
    }
}

#[tokio::test(start_paused = true)]
async fn downloads_keep_their_places_where_their_connection_changes_and_its_directory_does_not() {
    let lie = [("local", "/same"), ("local1", "/same"), ("local2", "/same")];
    for busy_with in ["/another", "/f"] {
        let tasks = ["local1", "local2", "local1"];
        let tried = changes_while_they_wait([lie, lie], busy_with, Operation::Download, tasks).await;
        let expected = ["a-1", "a-2", "a-3", "a-4"].map(|task_id| works_in(task_id, "/same"));
        assert_eq!(tried, expected, "behind one to {busy_with}");
    }
}

#[tokio::test(start_paused = true)]
async fn downloads_that_move_are_in_the_topics_order_with_those_that_are_there_already() {
    let before = [("local", "/own"), ("local1", "/old"), ("local2", "/new")];
    let after = [("local", "/own"), ("local1", "/new"), ("local2", "/new")];
    for tasks in
        [["local1", "local2", "local2"], ["local2", "local1", "local2"], ["local2", "local2", "local1"]]
    {
        let mut tried = changes_while_they_wait([before, after], "/f", Operation::Download, tasks).await;
        tried.retain(|(task_id, _)| task_id != "a-4");
        let expected = ["a-1", "a-2", "a-3"].map(|task_id| works_in(task_id, "/new"));
        assert_eq!(tried, expected, "{tasks:?}");
    }
}
