//! Tasks with one destination run one after the other.

use proptest::prelude::*;

use super::*;
use crate::lease::Lease;
use crate::pool::fake::FakeLogin;
use crate::task::Operation;
use crate::transfer::LocalFiles;

fn to(path: &str) -> impl Fn(&mut SubmittedTask) {
    let path = path.to_owned();
    move |job| job.task_mut().local_path.clone_from(&path)
}

fn order_of(rig: &Rig) -> Vec<String> {
    rig.tries().into_iter().map(|t| t.task_id).collect()
}

#[tokio::test(start_paused = true)]
async fn tasks_with_one_destination_run_one_after_the_other_in_the_topics_order() {
    let mut rig = Rig::new(9, &[("a", 4), ("b", 4)]);
    for n in 0..10 {
        rig.submit_with(if n % 3 == 0 { "b" } else { "a" }, n..n + 1, to("/same"));
    }
    let answers = rig.answers(10).await;
    let numbers: Vec<_> =
        answers.iter().map(|answer| answer.task_id[2..].parse::<usize>().unwrap()).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    for pair in rig.tries().windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(100), "a file takes 100 ms");
    }
}

#[tokio::test(start_paused = true)]
async fn other_destinations_and_other_partitions_do_not_wait() {
    let mut rig = Rig::new(9, &[("a", 4)]);
    rig.script("a-0", [Step::Hang]);
    rig.submit_with("a", 0..2, to("/same"));
    rig.submit_with("a", 2..3, to("/another"));
    rig.submit_with("a", 3..4, |job| {
        to("/same")(job);
        job.record.origin.partition = 1;
    });
    let mut done: Vec<_> = rig.answers(2).await.into_iter().map(|answer| answer.task_id).collect();
    done.sort();
    assert_eq!(done, ["a-2", "a-3"]);
    assert_eq!(rig.answered(), [], "a-1 waits for a-0");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_tried_again_keeps_its_place() {
    let mut rig = Rig::new(9, &[("a", 4)]);
    rig.script("a-0", [Step::Fail(Code::Timeout, Remedy::Wait), Step::Break(Code::Timeout, Remedy::Wait)]);
    rig.submit_with("a", 0..2, to("/same"));
    rig.answers(2).await;
    assert_eq!(order_of(&rig), ["a-0", "a-0", "a-0", "a-1"]);
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_task_the_next_one_begins() {
    let mut rig = Rig::new(9, &[("a", 1)]);
    rig.script("a-0", [Step::Panic]);
    rig.submit_with("a", 0..1, to("/same"));
    rig.submit_with("a", 1..2, |job| {
        to("/same")(job);
        job.task_mut().options.deadline = Some(Timestamp::now() + Duration::from_millis(50));
    });
    rig.submit_with("a", 2..3, to("/same"));
    std::thread::sleep(Duration::from_millis(60)); // deadlines are of the wall's clock
    let codes: Vec<_> = rig.answers(3).await.into_iter().map(|answer| answer.code).collect();
    assert_eq!(codes, [Some(Code::Internal), Some(Code::DeadlineExceeded), None]);
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_tasks_is_refused_as_a_whole() {
    let mut rig = Rig::new(9, &[("a", 4)]);
    rig.servers.on_login(
        "a",
        FakeLogin::Refuse(crate::pool::fake::try_error(Code::AuthFailed, Remedy::OpenBreaker)),
    );
    rig.submit_with("a", 0..500, to("/same"));
    let began = Instant::now();
    rig.answers(500).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(rig.servers.connects("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn those_behind_a_task_leave_with_their_partition() {
    let mut rig = Rig::new(9, &[("a", 4)]);
    let (leaving, staying) = (Lease::new(1), Lease::new(2));
    rig.script("a-0", [Step::Hang]);
    rig.submit_with("a", 0..5, |job| {
        to("/same")(job);
        job.record.lease = leaving.clone();
    });
    sleep(Duration::from_secs(1)).await;
    leaving.close();
    assert_eq!(rig.dispatcher.withdraw().len(), 4);
    leaving.end();
    rig.submit_with("a", 5..6, |job| {
        to("/same")(job);
        job.record.lease = staying.clone();
    });
    assert_eq!(rig.answer().await.task_id, "a-5");
    sleep(UNDO_BOUND + TICK).await;
    assert_eq!((rig.budget.tasks(), rig.dispatcher.shared.order.behind().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_counts_those_behind_others() {
    let rig = Rig::new(9, &[("a", 4)]);
    rig.submit_with("a", 0..5, to("/same"));
    sleep(Duration::from_millis(10)).await;
    let left = rig.dispatcher.drain(Instant::now() + Duration::from_secs(5)).await;
    assert_eq!(left, DrainResult { waiting: 4, cancelled: 0 });
    rig.submit_with("a", 5..6, to("/same"));
    assert_eq!(rig.budget.tasks(), 1, "the one answer that nobody has taken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_destination_is_the_same_however_it_is_written(
        names in prop::collection::vec("[a-c]{1,2}", 1..4),
        noise in prop::collection::vec(prop::sample::select(vec!["/", "//", "/./"]), 4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new(1, &[("a", 1)]);
            let root = crate::dispatch::destination_order::LocalRoot { path: "/data/storage".into(), files: LocalFiles::default() };
            let roots = ("local".to_owned(), root);
            let resolve = |root: &std::path::Path, path: &str| {
                Some(root.join(path.trim_start_matches('/')).components().collect())
            };
            let order = DestinationOrder::new([roots].into(), resolve);
            let destination = |operation, path: String| {
                let mut job = rig.job("a", "a-0");
                let task = job.task_mut();
                task.operation = operation;
                (task.local_path, task.remote_path) = (path.clone(), path);
                order.key(&job.record, &job.task)
            };
            let noisy: String = noise.iter().zip(&names).flat_map(|(noise, name)| [*noise, name]).collect();
            let plain = format!("/{}", names.join("/"));
            for operation in [Operation::Download, Operation::Upload] {
                prop_assert_eq!(destination(operation, plain.clone()), destination(operation, noisy.clone()));
                prop_assert_ne!(destination(operation, plain.clone()), destination(operation, format!("{plain}x")));
            }
            Ok(())
        })?;
    }
}
