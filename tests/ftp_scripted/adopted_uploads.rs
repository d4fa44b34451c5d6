//! An upload goes on in the pod that takes its task over, with what a killed one has left on the server.

use std::time::SystemTime;

use ftp_pooler::offsets::{Offsets, TopicPartition};

use super::*;

const TEMP: &str = "/out/.ftp-pooler-";

const SIZE: usize = 8 << 20;
const HALF: usize = 4 << 20;

/// A server and a source that has been there for some time.
async fn rig(script: Script) -> Rig {
    let rig = Rig::with(script).await;
    write(&rig, &some_bytes(SIZE));
    rig
}

fn write(rig: &Rig, content: &[u8]) {
    rig.local("f", content);
    let file = std::fs::File::options().write(true).open(rig.directory.path().join("f")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

fn rests(rig: &Rig) -> Vec<String> {
    rig.server.commands().into_iter().filter(|line| line.starts_with("REST")).collect()
}

/// Temp files on the server.
fn temps(rig: &Rig) -> Vec<String> {
    rig.server.paths().into_iter().filter(|path| path.starts_with(TEMP)).collect()
}

/// What a pod leaves that is killed when it has sent so many bytes: its temp file's path.
async fn killed_at(rig: &Rig, offset: i64, bytes: usize) -> String {
    let before = temps(rig);
    rig.server.next("STOR", Act::Take(bytes, End::Vanish));
    let storages = BTreeMap::from([("local".to_owned(), rig.storage.clone())]);
    let another = TransferExecutor::new(storages, names(), Metrics::default());
    let (mut kept, record) = (ResumeState::default(), record(offset, Lease::default()));
    let mut session = rig.session().await;
    failed(another.run_again(&mut session, &upload("/f", "/out/f"), &record, &mut kept, &rig.cancel).await);
    std::mem::forget(kept);
    let left = temps(rig).into_iter().find(|temp| !before.contains(temp)).unwrap();
    assert_eq!(rig.server.content(&left).unwrap().len(), bytes);
    rig.server.forget_commands();
    left
}

async fn taken_over(rig: &Rig, offset: i64) -> TransferredFile {
    let mut session = rig.session().await;
    let done = rig.run_record(&mut session, &upload("/f", "/out/f"), offset).await.unwrap();
    assert!(session.is_usable());
    while rig.transfer.clean_up(&mut session).await {}
    assert_eq!(rig.server.paths(), ["/out/f"], "something is left");
    done
}

#[tokio::test]
async fn the_next_owner_goes_on_under_a_name_of_its_own() {
    for cuts in [false, true] {
        let script = if cuts { Script::new().cuts() } else { Script::new() };
        let rig = rig(script).await;
        let left = killed_at(&rig, 3, HALF + 17).await;
        let done = taken_over(&rig, 3).await;
        assert_eq!(done.details.resumed_from, Some(HALF as u64 + 17));
        assert_eq!(done.details.verified_by, Some("size"));
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
        let commands = rig.server.commands();
        let renamed = commands.iter().position(|line| *line == format!("RNFR {left}")).unwrap();
        let begun = commands.iter().position(|line| *line == format!("REST {}", HALF + 17)).unwrap();
        assert!(renamed < begun && !commands.iter().any(|line| *line == format!("STOR {left}")));
    }
}

#[tokio::test]
async fn a_file_that_was_there_wholly_is_verified_and_named() {
    let rig = rig(Script::new()).await;
    killed_at(&rig, 3, SIZE).await;
    let done = taken_over(&rig, 3).await;
    assert_eq!(done.details.resumed_from, Some(SIZE as u64));
    assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
}

#[tokio::test]
async fn the_hash_covers_the_file_from_its_first_byte() {
    let mut hashes = Vec::new();
    for is_left in [false, true] {
        let mut rig = rig(Script::new()).await;
        rig.transfer = rig.transfer.hashing(Some(ftp_pooler::digest::Algorithm::Sha256));
        if is_left {
            killed_at(&rig, 3, HALF).await;
        }
        let done = taken_over(&rig, 3).await;
        assert_eq!(done.details.resumed_from.is_some(), is_left);
        hashes.push(done.details.hashes);
    }
    assert!(!hashes[0].is_empty());
    assert_eq!(hashes[0], hashes[1]);
}

#[tokio::test]
async fn another_source_is_sent_from_its_begin_and_what_was_sent_of_the_old_one_is_removed() {
    let reversed: Vec<u8> = some_bytes(SIZE).into_iter().rev().collect();
    for (what, content) in [("other bytes", reversed), ("longer", some_bytes(SIZE + 1))] {
        let rig = rig(Script::new()).await;
        killed_at(&rig, 3, HALF).await;
        // With the same time, as `cp -p` or `touch -d` make it.
        write(&rig, &content);
        let done = taken_over(&rig, 3).await;
        assert_eq!(done.details.resumed_from, None, "{what}");
        assert!(rig.server.content("/out/f").unwrap() == content, "{what}");
        assert!(rests(&rig).is_empty(), "{what}");
    }
}

#[tokio::test]
async fn what_is_another_records_or_tells_of_no_source_is_not_taken() {
    let rig = rig(Script::new()).await;
    let others = killed_at(&rig, 4, HALF).await;
    let mut session = rig.session().await;
    let done = rig.run_record(&mut session, &upload("/f", "/out/f"), 3).await.unwrap();
    assert_eq!(done.details.resumed_from, None);
    assert_eq!(rig.server.paths(), [others, text("/out/f")], "it is for its own record's owner");

    let rig = self::rig(Script::new()).await;
    // A moment ago: it may change again without a trace.
    rig.local("f", &some_bytes(SIZE));
    killed_at(&rig, 3, HALF).await;
    assert_eq!(taken_over(&rig, 3).await.details.resumed_from, None);
    assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
}

#[tokio::test]
async fn a_part_of_no_use_is_removed() {
    for size in [HALF - 1, SIZE + 1] {
        let rig = rig(Script::new()).await;
        let left = killed_at(&rig, 3, HALF).await;
        rig.server.put(&left, &some_bytes(size));
        assert_eq!(taken_over(&rig, 3).await.details.resumed_from, None, "{size}");
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE) && rests(&rig).is_empty());
    }
}

#[tokio::test]
async fn of_two_parts_the_larger_one_is_taken() {
    for sizes in [[HALF, HALF + 5], [HALF + 5, HALF]] {
        let rig = rig(Script::new()).await;
        for size in sizes {
            let another = rig.server.paths();
            // The second one does not see the first.
            rig.server.next("LIST", say("550 no"));
            rig.server.next("LIST", say("550 no"));
            killed_at(&rig, 3, size).await;
            assert_eq!(rig.server.paths().len(), another.len() + 1);
            rig.server.behave();
        }
        assert_eq!(taken_over(&rig, 3).await.details.resumed_from, Some(HALF as u64 + 5));
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
    }
}

#[tokio::test]
async fn where_anything_is_refused_the_file_is_sent_from_its_begin_in_the_same_try() {
    for (command, reply) in [
        (format!("RNFR {TEMP}"), "550 No such file"),
        (format!("RNFR {TEMP}"), "502 Not implemented"),
        (text("RNTO"), "550 File exists"),
        (text("SIZE"), "550 Could not get file size."),
        (text("SIZE"), "502 Not implemented"),
        (text("REST"), "502 Not implemented"),
        (text("LIST"), "550 No"),
        (text("LIST"), "502 Not implemented"),
    ] {
        let rig = rig(Script::new()).await;
        let left = killed_at(&rig, 3, HALF).await;
        for _ in 0..2 {
            rig.server.next(&command, say(reply)); // with -a and without
        }
        if command.starts_with("RN") {
            rig.server.behave();
            rig.server.next(&command, say(reply));
        }
        let mut session = rig.session().await;
        let done = rig.run_record(&mut session, &upload("/f", "/out/f"), 3).await;
        let done = done.unwrap_or_else(|error| panic!("{command} {reply}: {error}"));
        assert_eq!(done.details.resumed_from, None, "{command} {reply}");
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE), "{command} {reply}");
        let _ = left;
    }
}

/// Bytes that are always put at the file's end, whatever REST says: what another connection sends late comes behind.
#[tokio::test]
async fn a_server_that_does_anything_else_behind_rest_gets_the_file_from_its_begin() {
    for stored in [&b"abcb"[..], b"b"] {
        let rig = rig(Script::new()).await;
        killed_at(&rig, 3, HALF).await;
        // The second SIZE of the file that it is tried with.
        rig.server.nth("SIZE", 2, say(&format!("213 {}", stored.len())));
        let done = taken_over(&rig, 3).await;
        assert_eq!(done.details.resumed_from, None);
        assert_eq!(rests(&rig), ["REST 1"]);
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
    }
}

/// Where the server cuts the file, and an earlier connection writes on behind that, there is a gap: so what went on
/// once is gone on with by nobody.
#[tokio::test]
async fn what_went_on_once_is_taken_over_again_only_where_the_server_leaves_no_gaps() {
    for cuts in [false, true] {
        let script = if cuts { Script::new().cuts() } else { Script::new() };
        let rig = rig(script).await;
        killed_at(&rig, 3, HALF).await;
        // STOR of three bytes, and of one of them again; then the file's.
        rig.server.nth("STOR", 2, Act::Take(1 << 20, End::Vanish));
        let storages = BTreeMap::from([("local".to_owned(), rig.storage.clone())]);
        let second = TransferExecutor::new(storages, names(), Metrics::default());
        let (mut kept, record) = (ResumeState::default(), record(3, Lease::default()));
        let task = upload("/f", "/out/f");
        let mut session = rig.session().await;
        failed(second.run_again(&mut session, &task, &record, &mut kept, &rig.cancel).await);
        std::mem::forget(kept);
        // The scripted server forgets what was there before.
        let [temp] = &temps(&rig)[..] else { panic!("{:?}", temps(&rig)) };
        rig.server.put(temp, &some_bytes(SIZE)[..HALF + (1 << 20)]);
        rig.server.forget_commands();
        let done = taken_over(&rig, 3).await;
        let from = if cuts { None } else { Some(HALF as u64 + (1 << 20)) };
        assert_eq!(done.details.resumed_from, from, "{cuts}");
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
    }
}

#[tokio::test]
async fn what_cannot_be_taken_now_is_there_for_the_next_try() {
    for command in ["RNFR", "SIZE", "STOR"] {
        let rig = rig(Script::new()).await;
        killed_at(&rig, 3, HALF).await;
        rig.server.next(command, Act::Close);
        let (errors, done) = rig.try_again_at(&upload("/f", "/out/f"), 3, 2).await;
        assert_eq!(errors.len(), 1, "{command}");
        assert_eq!(done.unwrap().details.resumed_from, Some(HALF as u64), "{command}: {errors:?}");
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(SIZE));
    }
}

#[tokio::test]
async fn a_lease_that_ends_before_the_rename_leaves_the_part_to_its_owner() {
    let rig = rig(Script::new()).await;
    let left = killed_at(&rig, 3, HALF).await;
    let lease = rig.lease.clone();
    rig.server.next("SIZE", Act::Hang);
    let mut session = rig.session().await;
    let task = upload("/f", "/out/f");
    let (ended, ()) = tokio::join!(rig.run_record(&mut session, &task, 3), async {
        until("SIZE was sent", || rig.server.verbs().contains(&text("SIZE"))).await;
        lease.end();
    });
    assert_eq!(ended, Err(TransferError::LeaseEnded));
    assert_eq!(rig.server.paths(), [left]);
}

#[tokio::test]
async fn a_directory_is_listed_once_in_an_assignment_and_for_large_files_only() {
    let rig = rig(Script::new()).await;
    let mut session = rig.session().await;
    let lists = |rig: &Rig| rig.server.verbs().iter().filter(|verb| *verb == "LIST").count();
    rig.local("small", b"abc");
    rig.run(&mut session, &upload("/small", "/out/small")).await.unwrap();
    assert_eq!(lists(&rig), 0);
    for name in ["/out/a", "/out/b"] {
        rig.run(&mut session, &upload("/f", name)).await.unwrap();
        assert_eq!(lists(&rig), 1);
    }
    let rig = Rig { lease: Lease::default(), ..rig };
    rig.run(&mut session, &upload("/f", "/out/c")).await.unwrap();
    assert_eq!(lists(&rig), 1, "a moment ago it was looked into");
}

/// A process that stood still does not know it. It must not send what it has read since, where its record's next owner
/// may be going on with the same file.
#[tokio::test]
async fn a_process_that_stood_still_sends_nothing_that_it_reads_afterwards() {
    let script = Script::new().on("STOR", Act::Take(1000, End::Dawdle(text("226 done"))));
    let mut rig = Rig::with(script).await;
    rig.connection.timeouts = SessionTimeouts::all(Duration::from_secs(5));
    let size = 64_u64 << 20;
    rig.local("f", &some_bytes(usize::try_from(size).unwrap()));
    // Nobody beats: before the server takes more bytes, it has stood still.
    let offsets = Offsets::default();
    offsets.set_session_timeout(Duration::from_millis(450), false);
    let at = TopicPartition { topic: "ftp-tasks".into(), partition: 0 };
    let mut session = rig.session().await;
    offsets.beat();
    offsets.assign(at.clone(), None, None);
    let lease = offsets.begin(&at, 7).unwrap();
    let metrics = Metrics::new(["remote-ftp"]);
    let storages = BTreeMap::from([("local".to_owned(), rig.storage.clone())]);
    let transfer = TransferExecutor::new(storages, names(), metrics.clone());
    let record = record(7, lease.clone());
    let ended = transfer.run(&mut session, &upload("/f", "/out/f"), &record, &rig.cancel).await;
    assert_eq!(ended, Err(TransferError::LeaseEnded));
    assert!(!lease.is_live());
    let metrics = metrics.encode();
    let bytes = metrics
        .lines()
        .find(|line| line.starts_with("ftp_pooler_transferred_bytes") && line.contains("upload"));
    let sent: u64 = bytes.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap();
    assert!(sent > 0 && sent < size, "{sent}");
}
