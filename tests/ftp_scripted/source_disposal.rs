//! A download's source goes once its file is safely there, and not a moment earlier.

use ftp_pooler::outcome::SourceFate;
use ftp_pooler::task::After;

use super::*;

const THEN: &str = "213 20010203040506";
const LATER: &str = "213 20010203040507";

fn source() -> Script {
    Script::new().file("/in/f", b"abc")
}

fn dated() -> Script {
    source().say("MDTM", THEN)
}

fn deleting() -> Task {
    let mut task = download("/in/f", "/f");
    task.options.after = After::Delete;
    task
}

fn moving(to: &str) -> Task {
    let mut task = download("/in/f", "/f");
    task.options.after = After::MoveTo(to.into());
    task
}

#[tokio::test]
async fn a_source_is_deleted_or_moved_when_its_file_is_there() {
    let rig = Rig::with(dated()).await;
    let mut session = rig.session().await;
    rig.server.forget_commands();
    let done = rig.run(&mut session, &deleting()).await.unwrap();
    assert_eq!((done.details.after, done.notes.len()), (Some(SourceFate::Deleted), 0));
    assert_eq!(rig.server.verbs(), ["MDTM", "SIZE", "EPSV", "RETR", "SIZE", "MDTM", "DELE"]);
    assert!(rig.server.paths().is_empty() && rig.content("f") == b"abc");

    rig.server.put("/in/f", b"abc");
    rig.server.forget_commands();
    let done = rig.run(&mut session, &moving("/done/f")).await.unwrap();
    assert_eq!((done.details.after, done.notes.len()), (Some(SourceFate::Moved), 0));
    assert_eq!(rig.server.verbs()[6..], ["RNFR", "RNTO"]);
    assert_eq!(rig.server.paths(), ["/done/f"]);
}

/// Case b19: a file's name is taken, and no path; the other directory is entered between RNFR and RNTO.
#[tokio::test]
async fn b19_a_source_is_moved_to_another_directory_where_paths_are_refused() {
    let script = dated().refuses_paths("550 Permission denied.").directories(&["/in", "/done"]);
    let rig = Rig::with(script).await;
    let mut session = rig.session().await;
    let done = rig.run(&mut session, &moving("/done/f")).await.unwrap();
    assert_eq!(done.details.after, Some(SourceFate::Moved), "{:?}", done.notes);
    assert_eq!(rig.server.paths(), ["/done/f"]);
}

/// The crash between the rename and DELE: here the connection breaks.
#[tokio::test]
async fn a_source_that_could_not_be_taken_away_is_taken_away_by_the_next_try_alone() {
    for task in [deleting(), moving("/done/f")] {
        for overwrite in [true, false] {
            let verb = if task.options.after == After::Delete { "DELE" } else { "RNFR" };
            let rig = Rig::with(dated().once(verb, Act::Close)).await;
            let mut task = task.clone();
            task.options.overwrite = overwrite;
            let mut session = rig.session().await;
            let error = failed(rig.run_record(&mut session, &task, -1).await);
            assert!(
                error.failure.message.starts_with("the file has arrived, but its source was not removed: ")
            );
            assert_eq!((error.failure.code, error.remedy), (Code::ProtocolError, Remedy::Wait));
            assert_eq!(rig.content("f"), b"abc");

            let mut session = rig.session().await;
            rig.server.forget_commands();
            let done = rig.run_record(&mut session, &task, -1).await.unwrap();
            assert_eq!(
                (done.bytes, &*done.notes),
                (3, &["the file was brought by an earlier try".to_owned()][..])
            );
            assert_ne!(done.details.after, Some(SourceFate::Kept));
            assert!(
                !rig.server.verbs().contains(&text("RETR")) && !rig.server.paths().contains(&text("/in/f"))
            );
        }
    }
}

/// The crash between DELE and the answer.
#[tokio::test]
async fn a_redo_that_finds_the_source_gone_gives_the_same_answer() {
    for (task, became) in [(deleting(), SourceFate::Deleted), (moving("/done/f"), SourceFate::Moved)] {
        for overwrite in [true, false] {
            let rig = Rig::with(dated()).await;
            let mut task = task.clone();
            task.options.overwrite = overwrite;
            let mut session = rig.session().await;
            let first = rig.run_record(&mut session, &task, -1).await.unwrap();
            let there = rig.server.paths();
            rig.server.forget_commands();
            let again = rig.run_record(&mut session, &task, -1).await.unwrap();
            assert_eq!((first.bytes, first.details.after), (again.bytes, again.details.after));
            assert_eq!(again.details.after, Some(became));
            assert_eq!(rig.server.paths(), there);
            assert!(rig.server.verbs().iter().all(|verb| verb == "SIZE"), "{:?}", rig.server.verbs());
        }
    }
}

#[tokio::test]
async fn a_source_that_was_changed_since_stays_and_the_result_says_so() {
    let longer = dated().once("SIZE", Act::Say("213 3".into())).say("SIZE", "213 4");
    let newer = source().once("MDTM", Act::Say(THEN.into())).say("MDTM", LATER);
    for (script, why) in [(longer, "another size"), (newer, "another modification time")] {
        for task in [deleting(), moving("/done/f")] {
            let rig = Rig::with(script_like(&script, why)).await;
            let mut session = rig.session().await;
            let done = rig.run(&mut session, &task).await.unwrap();
            assert_eq!(done.details.after, Some(SourceFate::Kept));
            assert!(done.notes[0].starts_with("the source was left: ") && done.notes[0].contains(why));
            assert_eq!(rig.server.paths(), ["/in/f"]);
            assert_eq!(rig.content("f"), b"abc");
        }
    }
}

/// A script is used up by its server.
fn script_like(_: &Script, why: &str) -> Script {
    match why {
        "another size" => dated().once("SIZE", Act::Say("213 3".into())).say("SIZE", "213 4"),
        _ => source().once("MDTM", Act::Say(THEN.into())).say("MDTM", LATER),
    }
}

/// After DELE somebody puts the next file there, under the same name.
#[tokio::test]
async fn a_redo_leaves_a_new_file_at_the_sources_place_alone() {
    let rig = Rig::with(source()).await;
    rig.server.now_on("MDTM", Act::Say(THEN.into()));
    let mut session = rig.session().await;
    rig.run_record(&mut session, &deleting(), -1).await.unwrap();
    rig.server.put("/in/f", b"new");
    rig.server.now_on("MDTM", Act::Say(LATER.into()));
    let again = rig.run_record(&mut session, &deleting(), -1).await.unwrap();
    assert_eq!(again.details.after, Some(SourceFate::Kept));
    assert_eq!((rig.server.content("/in/f").unwrap(), rig.content("f")), (b"new".to_vec(), b"abc".to_vec()));
}

#[tokio::test]
async fn without_mdtm_the_first_try_takes_the_source_away_and_a_redo_leaves_what_it_finds() {
    let rig = Rig::with(source()).await;
    let mut session = rig.session().await;
    let done = rig.run_record(&mut session, &deleting(), -1).await.unwrap();
    assert_eq!(done.details.after, Some(SourceFate::Deleted));
    let again = rig.run_record(&mut session, &deleting(), -1).await.unwrap();
    assert_eq!(again.details.after, Some(SourceFate::Deleted), "it is gone");
    rig.server.put("/in/f", b"xyz");
    let again = rig.run_record(&mut session, &deleting(), -1).await.unwrap();
    assert_eq!(again.details.after, Some(SourceFate::Kept));
    assert_eq!(rig.server.content("/in/f").unwrap(), b"xyz");
}

#[tokio::test]
async fn a_refused_dele_is_a_failure_that_says_that_the_file_is_there() {
    for (reply, code) in [
        ("550 Delete operation failed.", Code::PermissionDenied),
        ("550 Permission denied.", Code::PermissionDenied),
        ("502 DELE not implemented", Code::Unsupported),
    ] {
        let rig = Rig::with(dated().say("DELE", reply)).await;
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &deleting()).await);
        assert_eq!((error.failure.code, error.remedy), (code, Remedy::GiveUp), "{error}");
        assert!(
            error.failure.message.starts_with("the file has arrived, but its source was not removed: DELE")
        );
        assert_eq!(rig.content("f"), b"abc");
        assert_eq!(rig.server.paths(), ["/in/f"]);
        assert!(session.is_usable());
    }
}

/// None of these replies says that the source is gone.
#[tokio::test]
async fn a_refusal_that_proves_nothing_is_not_taken_for_a_source_that_is_gone() {
    for (verb, reply, code) in [
        ("SIZE", "450 Busy", Code::ServerBusy),
        ("SIZE", "550 Permission denied.", Code::PermissionDenied),
        ("MDTM", "451 Try later", Code::ProtocolError),
        ("MDTM", "450 Busy", Code::ServerBusy),
        ("DELE", "450 Busy", Code::ServerBusy),
    ] {
        let rig = Rig::with(source()).await;
        if verb == "DELE" {
            rig.server.now_on("MDTM", Act::Say(THEN.into()));
            rig.server.now_on(verb, Act::Say(reply.into()));
        } else {
            let good = if verb == "SIZE" { "213 3" } else { THEN };
            rig.server.now_on("MDTM", Act::Say(THEN.into()));
            rig.server.now_on(verb, Act::Say(reply.into()));
            rig.server.next(verb, Act::Say(good.into()));
        }
        let mut session = rig.session().await;
        let error = failed(rig.run_record(&mut session, &deleting(), -1).await);
        assert_eq!(error.failure.code, code, "{verb} {reply}: {error}");
        assert!(error.failure.message.starts_with("the file has arrived, but its source was not removed: "));
        assert_eq!((rig.server.paths(), rig.content("f")), (vec![text("/in/f")], b"abc".to_vec()));

        rig.server.behave();
        rig.server.now_on("MDTM", Act::Say(THEN.into()));
        let mut session = rig.session().await;
        let done = rig.run_record(&mut session, &deleting(), -1).await.unwrap();
        assert_eq!(done.details.after, Some(SourceFate::Deleted));
        assert!(rig.server.paths().is_empty());
    }
}

#[tokio::test]
async fn a_source_that_somebody_else_removes_first_is_as_good_as_deleted() {
    let rig = Rig::with(dated().say("DELE", "550 Delete operation failed.")).await;
    rig.server.now_on("MDTM", Act::Say(THEN.into()));
    let mut session = rig.session().await;
    let mut task = deleting();
    task.options.verify = Verify::Size;
    // SIZE: before RETR, before DELE, and after its refusal.
    for reply in ["550 Could not get file size.", "213 3", "213 3"] {
        rig.server.next("SIZE", Act::Say(reply.into()));
    }
    let done = rig.run(&mut session, &task).await.unwrap();
    assert_eq!(done.details.after, Some(SourceFate::Deleted));
    assert_eq!(done.notes, ["the source was gone already"]);
}

#[tokio::test]
async fn the_directories_that_a_source_is_moved_into_are_made() {
    let script = dated().directories(&["/in"]).once("RNTO", Act::Say("550 Rename failed.".into()));
    let rig = Rig::with(script).await;
    let mut session = rig.session().await;
    let done = rig.run(&mut session, &moving("/done/today/f")).await.unwrap();
    assert_eq!(done.details.after, Some(SourceFate::Moved));
    let made: Vec<_> = rig.server.commands().into_iter().filter(|line| line.starts_with("MKD")).collect();
    assert_eq!(made, ["MKD /done/today", "MKD /done", "MKD /done/today"]);
    assert_eq!(rig.server.paths(), ["/done/today/f"]);
}

#[tokio::test]
async fn a_file_that_stands_where_the_source_is_to_go_is_replaced_only_where_the_task_lets_it() {
    let rig = Rig::with(dated().file("/done/f", b"old")).await;
    let mut session = rig.session().await;
    let mut task = moving("/done/f");
    task.options.overwrite = false;
    rig.server.forget_commands();
    let error = failed(rig.run(&mut session, &task).await);
    assert_eq!((error.failure.code, error.remedy), (Code::DestinationExists, Remedy::GiveUp));
    assert!(!rig.server.verbs().contains(&text("RETR")) && rig.local_files().is_empty());
    assert_eq!(rig.server.content("/done/f").unwrap(), b"old");

    task.options.overwrite = true;
    rig.run(&mut session, &task).await.unwrap();
    assert_eq!(rig.server.content("/done/f").unwrap(), b"abc");
    assert_eq!(rig.server.paths(), ["/done/f"]);
}

#[tokio::test]
async fn a_source_is_moved_beneath_path_root() {
    let mut rig = Rig::with(Script::new().file("/home/in/f", b"abc").say("MDTM", THEN)).await;
    rig.connection.path_root = Some("/home".into());
    let mut session = rig.session().await;
    rig.run(&mut session, &moving("/done/f")).await.unwrap();
    assert_eq!(rig.server.paths(), ["/home/done/f"]);
}

#[tokio::test]
async fn a_file_whose_size_is_wrong_leaves_its_source_even_where_nothing_is_verified() {
    let rig = Rig::with(dated().say("SIZE", "213 4")).await;
    let mut session = rig.session().await;
    let mut task = deleting();
    task.options.verify = Verify::None;
    let error = failed(rig.run(&mut session, &task).await);
    assert_eq!(error.failure.code, Code::IntegrityMismatch);
    assert_eq!(rig.server.paths(), ["/in/f"]);
    assert!(rig.local_files().is_empty());
}

#[tokio::test]
async fn nothing_is_taken_away_for_a_task_that_is_not_ours_any_more() {
    for task in [deleting(), moving("/done/f")] {
        let rig = Rig::with(dated()).await;
        // The look before DELE hangs.
        rig.server.now_on("SIZE", Act::Hang);
        rig.server.next("SIZE", Act::Say("213 3".into()));
        let mut session = rig.session().await;
        let stopping = async {
            while rig.server.verbs().iter().filter(|verb| *verb == "SIZE").count() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            rig.cancel.cancel();
        };
        let (ended, ()) = tokio::join!(rig.run(&mut session, &task), stopping);
        assert!(matches!(ended, Err(TransferError::Cancelled)), "{ended:?}");
        assert_eq!(rig.content("f"), b"abc");
        assert_eq!(rig.server.paths(), ["/in/f"]);
    }
}
