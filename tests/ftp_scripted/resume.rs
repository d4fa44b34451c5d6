//! A transfer that broke off goes on where it was, if its source is provably the same; else it begins anew.

use std::io::Write;

use super::*;

const SIZE: usize = 8 << 20;
const HALF: usize = 4 << 20;
const MODIFIED: &str = "20250115103000";
const LATER: &str = "20250115103001";

/// The data connection breaks in the middle of the first RETR.
fn breaks_once() -> Script {
    let half = some_bytes(SIZE)[..HALF].to_vec();
    breaks_with(Act::Send(half, End::Close(text("426 Broken"))))
}

fn breaks_with(act: Act) -> Script {
    Script::new().file("/f", &some_bytes(SIZE)).modified("/f", MODIFIED).once("RETR", act)
}

fn rests(rig: &Rig) -> Vec<String> {
    rig.server.commands().into_iter().filter(|line| line.starts_with("REST")).collect()
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off_however_that_was() {
    let half = || some_bytes(SIZE)[..HALF].to_vec();
    for end in [
        End::Close(text("426 Broken")),
        End::Close(text("451 Failure reading local file.")),
        End::Reset(text("426 Broken")),
        End::Stall,
        End::Vanish,
    ] {
        let rig = Rig::with(breaks_with(Act::Send(half(), end.clone()))).await;
        let (errors, done) = rig.try_again(&download("/f", "/sub/f"), 2).await;
        let done = done.unwrap_or_else(|| panic!("{end:?}: {errors:?}"));
        assert_eq!(done.bytes, SIZE as u64, "{end:?}");
        assert!(rig.content("sub/f") == some_bytes(SIZE), "{end:?}");
        let from = done.details.resumed_from.unwrap();
        // What a reset throws away has to come again.
        assert!((1 << 20..=HALF as u64).contains(&from), "{end:?}: {from}");
        assert_eq!(rests(&rig), [format!("REST {from}")], "{end:?}");
        assert_eq!(files(&rig.directory.path().join("sub")), ["f"], "{end:?}");
    }
}

#[tokio::test]
async fn a_file_whose_end_was_not_heard_of_costs_one_more_byte() {
    let rig = Rig::with(breaks_with(Act::Send(some_bytes(SIZE), End::Vanish))).await;
    let (_, done) = rig.try_again(&download("/f", "/f"), 2).await;
    assert_eq!(done.unwrap().details.resumed_from, Some(SIZE as u64 - 1));
    assert!(rig.content("f") == some_bytes(SIZE));
}

#[tokio::test]
async fn a_far_server_is_asked_for_the_time_in_the_burst_that_asks_for_the_file() {
    let rig = Rig::with(breaks_once().say("FEAT", "211-Features\r\n MDTM\r\n211 End")).await;
    let known = Arc::new(ServerProfile::high_latency());
    let (task, mut kept, record) =
        (download("/f", "/f"), ResumeState::default(), record(7, rig.lease.clone()));
    let mut session = rig.hasty(&known).await;
    rig.server.forget_commands();
    failed(rig.transfer.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await);
    assert_eq!(rig.server.verbs()[..4], ["EPSV", "SIZE", "MDTM", "RETR"]);
    let mut session = rig.hasty(&known).await;
    let done = rig.transfer.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await.unwrap();
    assert_eq!(done.details.resumed_from, Some(HALF as u64));
    assert!(rig.content("f") == some_bytes(SIZE));
}

#[tokio::test]
async fn a_source_that_has_changed_comes_from_its_begin() {
    let other: Vec<u8> = some_bytes(SIZE).into_iter().rev().collect();
    for (size, time) in [(SIZE, LATER), (SIZE - 1, MODIFIED), (SIZE + 1, LATER)] {
        let rig = Rig::with(breaks_once()).await;
        let task = download("/f", "/f");
        let (mut kept, record) = (ResumeState::default(), record(7, rig.lease.clone()));
        let mut session = rig.session().await;
        let run = rig.transfer.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await;
        assert_eq!(failed(run).failure.ftp_code, Some(426));
        let mut new = other.clone();
        new.resize(size, 1);
        rig.server.put("/f", &new);
        rig.server.modify("/f", time);
        let done =
            rig.transfer.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await.unwrap();
        assert_eq!(done.details.resumed_from, None, "{size} {time}");
        assert!(rig.content("f") == new, "{size} {time}");
        assert!(rests(&rig).is_empty());
    }
}

#[tokio::test]
async fn without_a_time_of_change_nothing_proves_that_the_source_is_the_same() {
    let half = some_bytes(SIZE)[..HALF].to_vec();
    let script = Script::new().file("/f", &some_bytes(SIZE));
    let rig = Rig::with(script.once("RETR", Act::Send(half, End::Close(text("426 Broken"))))).await;
    let (_, done) = rig.try_again(&download("/f", "/f"), 2).await;
    assert_eq!(done.unwrap().details.resumed_from, None);
    assert!(rig.content("f") == some_bytes(SIZE) && rests(&rig).is_empty());
}

#[tokio::test]
async fn a_file_that_changed_a_moment_ago_comes_from_its_begin() {
    // In the server's view; however long this takes here.
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(1);
    let now = now.strftime("%Y%m%d%H%M%S").to_string();
    let half = some_bytes(SIZE)[..HALF].to_vec();
    let script = Script::new().file("/f", &some_bytes(SIZE)).modified("/f", &now);
    let rig = Rig::with(script.once("RETR", Act::Send(half, End::Close(text("426 Broken"))))).await;
    let (_, done) = rig.try_again(&download("/f", "/f"), 2).await;
    assert_eq!(done.unwrap().details.resumed_from, None);
}

#[tokio::test]
async fn neither_a_task_nor_a_connection_goes_on_that_does_not_want_to() {
    for by_task in [true, false] {
        let mut rig = Rig::with(breaks_once()).await;
        let mut task = download("/f", "/f");
        if by_task {
            task.options.resume = false;
        } else {
            rig.connection.resume = false;
        }
        let (_, done) = rig.try_again(&task, 2).await;
        assert_eq!(done.unwrap().details.resumed_from, None);
        assert!(!rig.server.verbs().contains(&text("MDTM")) && rests(&rig).is_empty());
    }
}

#[tokio::test]
async fn a_server_that_refuses_rest_sends_the_file_from_its_begin_at_once() {
    for (command, reply) in [
        ("REST", "502 REST not implemented"),
        ("REST", "500 Unknown command"),
        ("REST", "501 No"),
        ("REST", "200 ok, I guess"),
    ] {
        let mut rig = Rig::with(breaks_once().say(command, reply)).await;
        rig.connection.timeouts = SessionTimeouts::all(Duration::from_secs(2));
        let (errors, done) = rig.try_again(&download("/f", "/f"), 3).await;
        let done = done.unwrap_or_else(|| panic!("{reply}: {errors:?}"));
        assert!(rig.content("f") == some_bytes(SIZE), "{reply}");
        assert_eq!(done.details.resumed_from, None);
    }
}

#[tokio::test]
async fn a_server_that_ignores_rest_is_found_out_by_the_size_and_asked_for_the_whole_file() {
    let whole = Act::Send(some_bytes(SIZE), End::Close(text("226 Done")));
    let rig = Rig::with(breaks_once().once("RETR", whole)).await;
    let (errors, done) = rig.try_again(&download("/f", "/f"), 3).await;
    assert_eq!(errors[1].failure.code, Code::IntegrityMismatch, "{errors:?}");
    assert_eq!(done.unwrap().details.resumed_from, None);
    assert!(rig.content("f") == some_bytes(SIZE));
    assert_eq!(rests(&rig).len(), 1);
}

#[tokio::test]
async fn what_is_kept_for_a_try_that_never_comes_is_removed() {
    let half = some_bytes(SIZE)[..HALF].to_vec();
    let script = Script::new().file("/f", &some_bytes(SIZE)).modified("/f", MODIFIED);
    let rig = Rig::with(script.on("RETR", Act::Send(half, End::Close(text("426 Broken"))))).await;
    let (errors, done) = rig.try_again(&download("/f", "/f"), 1).await;
    assert!(done.is_none() && errors.len() == 1);
    assert!(rig.local_files().is_empty(), "{:?}", rig.local_files());
}

/// What a killed pod leaves: its temp file, and nobody who would remove it.
async fn left_by_another(rig: &Rig, offset: i64) -> String {
    let storages = BTreeMap::from([("local".to_owned(), rig.storage.clone())]);
    let another = TransferExecutor::new(storages, names(), Metrics::default());
    let (mut kept, record) = (ResumeState::default(), record(offset, Lease::default()));
    let mut session = rig.session().await;
    let task = download("/f", "/f");
    failed(another.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await);
    std::mem::forget(kept);
    rig.local_files().into_iter().find(|name| name.starts_with(".ftp-pooler-")).unwrap()
}

#[tokio::test]
async fn the_next_owner_of_a_record_goes_on_from_what_the_last_one_left_in_a_file_of_its_own() {
    let rig = Rig::with(breaks_once()).await;
    let left = left_by_another(&rig, 3).await;
    let rig = Rig { lease: Lease::default(), ..rig };
    let mut session = rig.session().await;
    let done = rig.run_record(&mut session, &download("/f", "/f"), 3).await.unwrap();
    assert_eq!(done.details.resumed_from, Some(HALF as u64));
    assert!(rig.content("f") == some_bytes(SIZE));
    // A zombie that wakes writes where it wrote, and the published file is another.
    let zombie = std::fs::OpenOptions::new().append(true).open(rig.directory.path().join(&left));
    zombie.unwrap().write_all(b"more").unwrap();
    assert!(rig.content("f") == some_bytes(SIZE));
}

#[tokio::test]
async fn what_was_left_of_another_record_or_of_another_source_is_not_taken() {
    let rig = Rig::with(breaks_once()).await;
    left_by_another(&rig, 3).await;
    let mut session = rig.session().await;
    let done = rig.run_record(&mut session, &download("/f", "/f"), 4).await.unwrap();
    assert_eq!(done.details.resumed_from, None, "another record");

    let rig = Rig::with(breaks_once().file("/g", &some_bytes(SIZE)).modified("/g", MODIFIED)).await;
    left_by_another(&rig, 3).await;
    let done = rig.run_record(&mut rig.session().await, &download("/g", "/g"), 3).await.unwrap();
    assert_eq!(done.details.resumed_from, None, "another source");

    let rig = Rig::with(breaks_once()).await;
    left_by_another(&rig, 3).await;
    rig.server.modify("/f", LATER);
    let done = rig.run_record(&mut rig.session().await, &download("/f", "/f"), 3).await.unwrap();
    assert_eq!(done.details.resumed_from, None, "the source has changed");
    assert!(rig.content("f") == some_bytes(SIZE));
}

mod uploads {
    use super::*;

    async fn rig(script: Script) -> Rig {
        let rig = Rig::with(script).await;
        rig.local("f", &some_bytes(SIZE));
        rig
    }

    fn takes_half() -> Act {
        Act::Take(HALF, End::Reset(text("426 Broken")))
    }

    #[tokio::test]
    async fn an_upload_goes_on_where_it_broke_off_however_that_was() {
        for end in
            [End::Reset(text("426 Broken")), End::Reset(text("451 Failure writing")), End::Stall, End::Vanish]
        {
            let rig = rig(Script::new().once("STOR", Act::Take(HALF, end.clone()))).await;
            let (errors, done) = rig.try_again(&upload("/f", "/out/f"), 2).await;
            let done = done.unwrap_or_else(|| panic!("{end:?}: {errors:?}"));
            assert_eq!(done.details.resumed_from, Some(HALF as u64), "{end:?}");
            assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE), "{end:?}");
            assert_eq!(rig.server.paths(), ["/out/f"], "{end:?}");
            // What the server does behind REST is tried first.
            assert_eq!(rests(&rig), ["REST 1".to_owned(), format!("REST {HALF}")], "{end:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_store_from_the_middle_gets_the_file_from_its_begin_at_once() {
        for (command, reply) in [
            ("REST", "502 REST not implemented"),
            ("STOR", "451 REST STOR not allowed"),
            ("STOR", "451 f: Append/Restart not permitted, try again"),
            ("STOR", "554 Invalid REST parameter"),
        ] {
            let script = Script::new().once("STOR", takes_half());
            let rig = rig(script.once(command, say(reply))).await;
            let (errors, done) = rig.try_again(&upload("/f", "/out/f"), 2).await;
            let done = done.unwrap_or_else(|| panic!("{reply}: {errors:?}"));
            assert_eq!(done.details.resumed_from, None, "{reply}");
            assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE), "{reply}");
            assert_eq!(rig.server.paths(), ["/out/f"], "{reply}");
        }
    }

    #[tokio::test]
    async fn a_server_that_ignores_rest_is_found_out_by_the_size() {
        let whole = Act::Take(usize::MAX, End::Close(text("226 Done")));
        // Not when it is tried with three bytes: then.
        let rig = rig(Script::new().once("STOR", takes_half()).nth("STOR", 2, whole)).await;
        let (errors, done) = rig.try_again(&upload("/f", "/out/f"), 3).await;
        assert_eq!(errors[1].failure.code, Code::IntegrityMismatch, "{errors:?}");
        assert_eq!(done.unwrap().details.resumed_from, None);
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
        assert_eq!(rests(&rig).len(), 2);
    }

    /// ftp-srv: behind REST the whole file is cut, and a gap of zeros left, so that its size is right.
    #[tokio::test]
    async fn a_server_that_leaves_a_gap_behind_rest_gets_the_file_from_its_begin() {
        for gap in [&b"\0b"[..], b"\0bc", b"bbc"] {
            let content = Act::Send(gap.to_vec(), End::Close(text("226 Done")));
            let rig = rig(Script::new().once("STOR", takes_half()).once("RETR", content)).await;
            let (errors, done) = rig.try_again(&upload("/f", "/out/f"), 2).await;
            assert_eq!(done.unwrap_or_else(|| panic!("{errors:?}")).details.resumed_from, None);
            assert_eq!(rests(&rig), ["REST 1"]);
            assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
            assert_eq!(rig.server.paths(), ["/out/f"]);
        }
    }

    /// `ProFTPD` over TLS 1.3, which refuses a data connection after two to four files.
    #[tokio::test]
    async fn what_was_sent_stays_where_the_session_is_lost_before_it_is_gone_on_with() {
        for command in ["SIZE", "REST", "RETR"] {
            let script = Script::new().once("STOR", takes_half()).once(command, Act::Close);
            let rig = rig(script).await;
            let (errors, done) = rig.try_again(&upload("/f", "/out/f"), 3).await;
            assert_eq!(errors.len(), 2, "{command}: {errors:?}");
            let done = done.unwrap_or_else(|| panic!("{command}: {errors:?}"));
            assert_eq!(done.details.resumed_from, Some(HALF as u64), "{command}");
            assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE), "{command}");
        }
    }

    #[tokio::test]
    async fn a_server_that_has_thrown_the_begin_away_gets_it_again() {
        let rig = rig(Script::new().once("STOR", takes_half()).once("SIZE", say("550 No such file"))).await;
        let (_, done) = rig.try_again(&upload("/f", "/out/f"), 2).await;
        assert_eq!(done.unwrap().details.resumed_from, None);
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
    }

    #[tokio::test]
    async fn a_source_that_has_changed_is_sent_from_its_begin_under_another_name() {
        let rig = rig(Script::new().once("STOR", takes_half())).await;
        let (task, mut kept) = (upload("/f", "/out/f"), ResumeState::default());
        let record = record(7, rig.lease.clone());
        let mut session = rig.session().await;
        failed(rig.transfer.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await);
        let new: Vec<u8> = some_bytes(SIZE).into_iter().rev().collect();
        let path = rig.directory.path().join("f");
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        rig.local("f", &new);
        // With the same time, as `cp -p` or `touch -d` make it.
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        let mut session = rig.session().await;
        let done =
            rig.transfer.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await.unwrap();
        assert_eq!(done.details.resumed_from, None);
        assert!(rig.server.content("/out/f").unwrap() == new);
        while rig.transfer.clean_up(&mut session).await {}
        assert_eq!(rig.server.paths(), ["/out/f"], "what was sent of the old one is removed");
    }

    #[tokio::test]
    async fn what_is_kept_for_a_try_that_never_comes_is_removed_on_an_idle_session() {
        let rig = rig(Script::new().on("STOR", takes_half())).await;
        let (errors, done) = rig.try_again(&upload("/f", "/out/f"), 1).await;
        assert!(done.is_none() && errors.len() == 1);
        let mut session = rig.session().await;
        while rig.transfer.clean_up(&mut session).await {}
        assert!(rig.server.paths().is_empty(), "{:?}", rig.server.paths());
    }
}

#[tokio::test]
async fn what_came_from_another_server_or_went_to_another_directory_is_not_gone_on_with() {
    // The connections' settings change between two tries at a task; size and time are the same everywhere.
    let other: Vec<u8> = some_bytes(SIZE).into_iter().rev().collect();
    for moves in ["server", "directory", "nothing"] {
        let rig = Rig::with(breaks_once()).await;
        let elsewhere = Rig::with(Script::new().file("/f", &other).modified("/f", MODIFIED)).await;
        let storages = BTreeMap::from([("local".to_owned(), rig.storage.clone())]);
        let storages = LocalStorages::from(storages);
        let transfer = TransferExecutor::new(storages.clone(), names(), Metrics::default());
        let (task, mut kept, record) =
            (download("/f", "/f"), ResumeState::default(), record(7, rig.lease.clone()));
        let mut session = rig.session().await;
        failed(transfer.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await);
        assert!(!rig.local_files().is_empty(), "the half is kept");

        let mut session = if moves == "server" { elsewhere.session().await } else { rig.session().await };
        if moves == "directory" {
            let there = Arc::new(elsewhere.storage.clone());
            storages.replace(BTreeMap::from([("local".to_owned(), there)]));
        }
        let done = transfer.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await.unwrap();
        let expected = (moves == "nothing").then_some(HALF as u64);
        assert_eq!(done.details.resumed_from, expected, "{moves}");
        match moves {
            "server" => assert!(rig.content("f") == other),
            "directory" => {
                assert!(elsewhere.content("f") == some_bytes(SIZE));
                assert!(rig.storage.settled(PATIENCE).await);
                assert!(rig.local_files().is_empty(), "{:?}", rig.local_files());
            }
            _ => assert!(rig.content("f") == some_bytes(SIZE)),
        }
    }
}
