//! A record whose answer was lost is done again: the same file, and the same answer.

use super::*;

#[tokio::test]
async fn a_download_that_is_done_again_is_completed_without_a_command() {
    let rig = Rig::with(Script::new().file("/f", b"abc")).await;
    let mut session = rig.session().await;
    for (offset, overwrite) in [(-1, true), (-2, false)] {
        let mut task = download("/f", &format!("/f{offset}"));
        task.options.overwrite = overwrite;
        let first = rig.run_record(&mut session, &task, offset).await.unwrap();
        rig.server.forget_commands();
        let again = rig.run_record(&mut session, &task, offset).await.unwrap();
        assert_eq!((again.bytes, first.bytes), (3, 3));
        assert_eq!(again.notes, ["the file was brought by an earlier try"]);
        assert!(rig.server.commands().is_empty() && session.is_sound());
    }
}
