//! What is in a server's directory: by MLSD, by LIST, and from servers that do neither well.

use ftp_listing::EntryKind;
use ftp_pooler::ftp::ListedEntry;

use super::*;

const FEAT_MLST: &str = "211-Features:\r\n MLST type*;size*;modify*;\r\n211 End";

/// The entries of a directory, and the lines that were not understood.
async fn listed(session: &mut Session, directory: &str) -> Result<(Vec<ListedEntry>, Vec<String>), TryError> {
    let (mut entries, mut strange) = (Vec::new(), Vec::new());
    let listing = session.list(directory, |entry| match entry {
        Ok(entry) => entries.push(entry),
        Err(unread) => strange.push(unread.to_string()),
    });
    tokio::time::timeout(PATIENCE, listing).await.expect("the listing hangs")?;
    Ok((entries, strange))
}

fn names(entries: &[ListedEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

fn sends(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec(), End::Close("226 done".to_owned()))
}

#[tokio::test]
async fn mlsd_is_asked_where_the_server_has_it_and_bad_lines_are_told() {
    let lines = "type=cdir; .\r\ntype=pdir; ..\r\ntype=file;size=3;modify=20240102030405; a b\r\n\
        type=dir; sub\r\ntype=file;size=1; ../../etc/passwd\r\n\r\nwhat is this\r\n type=file; odd";
    let rig = Rig::with(Script::new().say("FEAT", FEAT_MLST).on("MLSD", sends(lines))).await;
    let mut session = rig.session().await;
    assert!(session.lists_exactly());
    let (entries, strange) = listed(&mut session, "/pub").await.unwrap();
    assert_eq!(names(&entries), ["a b", "sub", "type=file; odd"]);
    assert_eq!((entries[0].size, entries[1].kind), (Some(3), EntryKind::Directory));
    assert_eq!(strange.len(), 2, "{strange:?}");
    assert!(strange[0].contains("passwd") && strange[1].contains("what is this"), "{strange:?}");
    assert!(rig.server.commands().contains(&"MLSD /pub".to_owned()));
    assert!(session.is_usable());
}

#[tokio::test]
async fn without_mlsd_the_directory_is_entered_and_listed() {
    let lines =
        "total 8\r\n-rw-r--r-- 1 ftp ftp 1234 Jan 02 2020 a\r\ndrwxr-xr-x 2 ftp ftp 4096 Jan 02 2020 sub\r\n";
    let script =
        Script::new().say("PWD", "257 \"/home/u\" is current").say("CWD", "250 ok").on("LIST", sends(lines));
    let rig = Rig::with(script).await;
    let mut session = rig.session().await;
    for _ in 0..2 {
        let (entries, strange) = listed(&mut session, "pub").await.unwrap();
        assert_eq!(names(&entries), ["a", "sub"]);
        assert!(strange.is_empty(), "{strange:?}");
    }
    let commands = rig.server.commands();
    // Relative to where the login led, also the second time, after the first CWD.
    assert_eq!(commands.iter().filter(|line| *line == "CWD /home/u/pub").count(), 2, "{commands:?}");
    assert_eq!(commands.iter().filter(|line| *line == "PWD").count(), 1, "{commands:?}");
}

#[tokio::test]
async fn a_server_that_offers_mlsd_and_has_none_is_asked_for_list() {
    let script = Script::new().say("FEAT", FEAT_MLST).say("MLSD", "502 Not implemented");
    let script = script.say("PWD", "257 \"/\"").say("CWD", "250 ok");
    let rig = Rig::with(script.on("LIST", sends("-rw-r--r-- 1 u g 1 Jan 02 2020 a\r\n"))).await;
    let (entries, _) = listed(&mut rig.session().await, "/pub").await.unwrap();
    assert_eq!(names(&entries), ["a"]);
}

#[tokio::test]
async fn an_empty_directory_is_empty_and_a_missing_one_an_error() {
    let script = Script::new()
        .say("PWD", "257 \"/\"")
        .say("CWD /there", "250 ok")
        .say("CWD", "550 No such directory.");
    let rig = Rig::with(script.say("LIST", "450 No files found.")).await;
    let mut session = rig.session().await;
    assert_eq!(listed(&mut session, "/there").await.unwrap().0, []);
    let error = listed(&mut session, "/missing").await.unwrap_err();
    assert_eq!(error.failure.code, Code::SourceNotFound);
    assert!(error.failure.message.contains("/missing"), "{error}");
    assert!(session.is_usable());

    let rig = Rig::with(Script::new().say("FEAT", FEAT_MLST).say("MLSD", "550 /missing: not there")).await;
    let error = listed(&mut rig.session().await, "/missing").await.unwrap_err();
    assert_eq!(error.failure.code, Code::SourceNotFound);
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_an_error_and_no_shorter_directory() {
    let half = b"type=file;size=1; a\r\ntype=file;size=1; b".to_vec();
    for end in
        [End::Vanish, End::Stall, End::Reset("426 broken".to_owned()), End::Close("451 disk".to_owned())]
    {
        let script = Script::new().say("FEAT", FEAT_MLST).on("MLSD", Act::Send(half.clone(), end.clone()));
        let rig = Rig::with(script).await;
        let mut session = rig.session().await;
        assert!(listed(&mut session, "/pub").await.is_err(), "{end:?}");
    }
}

#[tokio::test]
async fn a_line_without_end_is_told_and_costs_no_memory() {
    let mut lines = vec![b'x'; 3 << 20];
    lines.extend_from_slice(b"\r\ntype=file;size=1; after\r\n");
    let script = Script::new().say("FEAT", FEAT_MLST);
    let rig = Rig::with(script.on("MLSD", Act::Send(lines, End::Close("226 done".to_owned())))).await;
    let (entries, strange) = listed(&mut rig.session().await, "/pub").await.unwrap();
    assert_eq!(names(&entries), ["after"]);
    assert_eq!(strange.len(), 1);
    assert!(strange[0].contains("a line of more than"), "{strange:?}");
}

#[tokio::test]
async fn a_name_that_is_no_utf8_is_told_unless_the_connection_has_its_charset() {
    let lines = b"type=file;size=1; gr\xfc\xdfe.csv\r\n".to_vec();
    let script = Script::new().say("FEAT", FEAT_MLST);
    let mut rig = Rig::with(script.on("MLSD", Act::Send(lines, End::Close("226 done".to_owned())))).await;
    let (entries, strange) = listed(&mut rig.session().await, "/pub").await.unwrap();
    assert!(entries.is_empty() && strange[0].contains("charset"), "{strange:?}");
    rig.connection.charset = Some(encoding_rs::WINDOWS_1252);
    let (entries, _) = listed(&mut rig.session().await, "/pub").await.unwrap();
    assert_eq!(names(&entries), ["grüße.csv"]);
}
