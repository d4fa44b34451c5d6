//! What is reported of the tasks in flight and of the connections.

use super::*;
use crate::insight::{TransferList, TransferQuery};
use crate::pool::fake::{FakeLogin, connection, try_error};

fn longest(limit: usize, offset: usize) -> TransferQuery {
    TransferQuery { limit, offset, connection: None }
}

fn ids(transfers: &TransferList) -> Vec<&str> {
    transfers.transfers.iter().map(|transfer| &*transfer.task_id).collect()
}

#[tokio::test(start_paused = true)]
async fn a_task_in_flight_is_shown_with_its_phase_and_bytes_until_it_is_answered() {
    let mut rig = Rig::new(5, &[("a", 1), ("hangs", 1)]);
    rig.file_takes(Duration::from_secs(100));
    rig.servers.on_login("hangs", FakeLogin::Hang);
    rig.submit("hangs", 0..1);
    sleep(Duration::from_secs(1)).await;
    rig.submit("a", 0..2);
    sleep(Duration::from_secs(4)).await;

    let shown = rig.dispatcher.transfers(&longest(9, 0));
    assert_eq!((shown.total, ids(&shown)), (2, vec!["hangs-0", "a-0"]), "what waits is not in flight");
    let [login, transfer] = &shown.transfers[..] else { unreachable!() };
    assert_eq!((login.phase, login.bytes, login.size), ("login", 0, None));
    assert_eq!((transfer.phase, transfer.bytes, transfer.size), ("transfer", 3, Some(7)));
    assert!((0.6..0.9).contains(&transfer.bytes_per_second), "{transfer:?}");
    assert_eq!((transfer.attempt, transfer.operation, &*transfer.connection), (1, "download", "a"));
    assert!(transfer.since > login.since);

    let of_a = TransferQuery { connection: Some("a".to_owned()), ..longest(9, 0) };
    assert_eq!(ids(&rig.dispatcher.transfers(&of_a)), ["a-0"]);
    let of_nobody = TransferQuery { connection: Some("b".to_owned()), ..longest(9, 0) };
    assert_eq!(rig.dispatcher.transfers(&of_nobody), TransferList::default());

    rig.answers(2).await;
    let shown = rig.dispatcher.transfers(&longest(9, 0));
    assert!(!ids(&shown).contains(&"a-0"), "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn of_ten_thousand_in_flight_the_longest_are_shown_and_all_are_counted() {
    let connections = [("a", 4_000), ("b", 4_000), ("c", 4_000)];
    let rig = Rig::new(12_000, &connections);
    rig.file_takes(Duration::from_secs(10_000));
    rig.submit("b", 0..3);
    sleep(Duration::from_secs(5)).await;
    for (name, _) in connections {
        rig.submit(name, 100..3_433);
    }
    sleep(Duration::from_secs(60)).await;

    let shown = rig.dispatcher.transfers(&longest(50, 0));
    assert_eq!((shown.total, shown.transfers.len()), (10_002, 50));
    let mut first = ids(&shown)[..3].to_vec();
    first.sort_unstable();
    assert_eq!(first, ["b-0", "b-1", "b-2"]);
    assert!(shown.transfers.is_sorted_by_key(|transfer| transfer.since), "the longest first");
    let last = rig.dispatcher.transfers(&longest(50, 10_000));
    assert_eq!((last.total, last.transfers.len()), (10_002, 2));
}

#[tokio::test(start_paused = true)]
async fn a_connection_tells_its_servers_last_error_even_when_it_is_well_again() {
    let mut rig = Rig::new(5, &[("a", 3)]);
    let configured = connection("a", 3);
    let told = |rig: &Rig| rig.dispatcher.connection(&configured).unwrap();
    let before = told(&rig);
    assert_eq!((&*before.server, before.tls, before.breaker), ("ftp.example.com:21", "off", "closed"));
    assert_eq!((before.last_error, before.breaker_until, before.limit), (None, None, 3));

    rig.servers.on_login("a", FakeLogin::Refuse(try_error(Code::ConnectFailed, Remedy::OpenBreaker)));
    rig.submit_with("a", 0..1, |job| job.task_mut().options.retry_count = 100);
    sleep(Duration::from_secs(5)).await;
    let (mut broken, mut looks) = (told(&rig), 0);
    while broken.breaker_until.is_none() && looks < 1_000 {
        sleep(Duration::from_millis(50)).await;
        (broken, looks) = (told(&rig), looks + 1);
    }
    assert_eq!(broken.breaker, "open");
    assert!(broken.breaker_until.is_some_and(|until| until > Timestamp::now()), "{broken:?}");
    let error = broken.last_error.expect("an error");
    assert_eq!((error.code, &*error.message), ("connect_failed", "a fake connect_failed"));

    rig.servers.on_login("a", FakeLogin::Accept);
    rig.answers(1).await;
    let well = told(&rig);
    assert_eq!((well.breaker, well.breaker_until), ("closed", None));
    assert!(well.last_error.is_some_and(|last| last.at >= error.at));
    let nobody = connection("nobody", 1);
    assert!(rig.dispatcher.connection(&nobody).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_among_the_last_ones_with_what_to_do() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.script("a-1", [Step::Fail(Code::SourceNotFound, Remedy::GiveUp)]);
    rig.submit("a", 0..3);
    rig.answers(3).await;
    let last = rig.failures.last(9);
    let [failed] = &last[..] else { panic!("{last:?}") };
    assert_eq!((failed.task_id.as_deref(), failed.connection.as_deref()), (Some("a-1"), Some("a")));
    assert_eq!((failed.code, failed.attempts, failed.operation), ("source_not_found", 1, Some("download")));
    assert_eq!(failed.advice, Code::SourceNotFound.advice());
    assert!(failed.remote_path.is_some() && failed.local_path.is_some());
}
