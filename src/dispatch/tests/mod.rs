#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

mod cancelling;
mod deferring;
mod failing;
mod fairness;
mod hanging;
mod local_outage;
mod lost_route;
mod order;
mod orphan_cleanup;
mod reconfiguring;
mod rig;
mod status;
mod stopping;
mod task_status;

use std::collections::HashSet;

use crate::failure::Code;
use rig::{Rig, Step};
use tokio::time::sleep;

use super::*;
use crate::failure::Remedy;
use crate::task::Verify;

#[tokio::test(start_paused = true)]
async fn a_task_is_done_once_and_answered_with_its_record() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    rig.submit("a", 0..1);
    let answer = rig.answer().await;
    assert_eq!((&*answer.task_id, answer.attempts, answer.code), ("a-0", 1, None));
    assert!(answer.duration >= Duration::from_millis(100), "from the begin of its login");
    sleep(EXPIRY_INTERVAL * 5).await;
    assert_eq!(rig.answered(), []);
    assert_eq!((rig.workers(), rig.pool.open_sessions()), (0, 1), "the worker has left, its session is warm");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_held_until_its_answer_is_let_go() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    rig.submit("a", 0..3);
    sleep(Duration::from_secs(9)).await;
    assert_eq!((rig.budget.tasks(), rig.budget.bytes()), (3, 30), "all are done, none is committed");
    rig.answers(3).await;
    assert_eq!((rig.budget.tasks(), rig.budget.bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_topics_order_is_kept_within_a_connection() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.submit("a", 0..50);
    let answers = rig.answers(50).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.task_id, format!("a-{n}"));
    }
}

#[tokio::test(start_paused = true)]
async fn four_hundred_files_take_no_more_logins_than_the_cap() {
    let mut rig = Rig::new(100, &[("a", 10)]);
    rig.submit("a", 0..200);
    rig.answers(100).await;
    rig.submit("a", 200..400);
    rig.answers(300).await;
    assert_eq!((rig.servers.logins("a"), rig.servers.peak("a")), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn the_other_lanes_start_as_soon_as_the_first_has_logged_in() {
    let mut rig = Rig::new(100, &[("a", 10)]);
    let began = Instant::now();
    rig.submit("a", 0..10);
    rig.answers(10).await;
    assert!(began.elapsed() < Duration::from_millis(150), "two logins and a file: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_file_after_the_other_takes_one_login() {
    let mut rig = Rig::new(100, &[("a", 10)]);
    for n in 0..20 {
        rig.submit("a", n..n + 1);
        rig.answer().await;
    }
    assert_eq!(rig.servers.logins("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_in_doubt_is_not_used_again() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.script("a-0", [Step::Break(Code::ProtocolError, Remedy::GiveUp)]);
    rig.submit("a", 0..3);
    let answers = rig.answers(3).await;
    assert_eq!(answers[0].code, Some(Code::ProtocolError));
    let sessions: Vec<_> = rig.tries().iter().map(|t| t.session).collect();
    assert_eq!((sessions, rig.servers.peak("a")), (vec![1, 2, 2], 1));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_tried_is_answered_without_a_session() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.submit_with("a", 0..1, |job| job.task_mut().options.verify = Verify::Hash);
    rig.submit_with("a", 1..2, |job| job.task_mut().options.deadline = Some(Timestamp::UNIX_EPOCH));
    rig.submit_with("x", 0..1, |_| {});
    let codes: Vec<_> = rig.answers(3).await.iter().map(|answer| (answer.code, answer.attempts)).collect();
    let expected = [Code::Unsupported, Code::DeadlineExceeded, Code::UnknownConnection];
    assert_eq!(codes, expected.map(|code| (Some(code), 0)));
    assert_eq!(rig.servers.connects("a"), 0);
}

#[tokio::test(start_paused = true)]
async fn submit_may_be_called_from_any_thread() {
    let mut rig = Rig::new(5, &[("a", 2)]);
    let (dispatcher, job) = (rig.dispatcher.clone(), rig.job("a", "a-0"));
    std::thread::spawn(move || dispatcher.submit(job)).join().unwrap();
    assert_eq!(rig.answer().await.code, None);
}

/// Every kind of end, on real threads: each task gets one answer, and no cap is passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_task_is_answered_once_whatever_happens() {
    let caps = [("a", 3), ("b", 3), ("c", 1), ("d", 4)];
    let mut rig = Rig::new(5, &caps);
    rig.file_takes(Duration::from_micros(300));
    for (name, _) in caps {
        for n in 0..150 {
            let step = match n % 10 {
                0 => Step::Break(Code::Timeout, Remedy::GiveUp),
                1 => Step::Fail(Code::SourceNotFound, Remedy::GiveUp),
                2 => Step::Break(Code::ProtocolError, Remedy::FreshSession),
                3 if n < 40 => Step::Panic,
                4 if n < 30 => Step::Break(Code::Timeout, Remedy::Wait),
                _ => Step::Done,
            };
            rig.script(&format!("{name}-{n}"), [step]);
        }
    }
    let mut submits = Vec::new();
    for (name, _) in caps {
        let jobs: Vec<_> = (0..150).map(|n| rig.job(name, &format!("{name}-{n}"))).collect();
        let dispatcher = rig.dispatcher.clone();
        submits.push(std::thread::spawn(move || jobs.into_iter().for_each(|job| dispatcher.submit(job))));
    }
    let answers = timeout(Duration::from_secs(60), rig.answers(600)).await.expect("tasks are lost");
    for thread in submits {
        thread.join().unwrap();
    }
    let ids: HashSet<_> = answers.iter().map(|answer| &answer.task_id).collect();
    assert_eq!(ids.len(), 600);
    assert!(rig.servers.pod_peak() <= 5);
    for (name, cap) in caps {
        assert!(rig.servers.peak(name) <= cap);
    }
    assert_eq!(rig.dispatcher.drain(Instant::now() + Duration::from_secs(5)).await, DrainResult::default());
    assert_eq!(rig.pool.shutdown(Duration::from_secs(5)).await, 0);
    assert_eq!(rig.answered(), []);
}
