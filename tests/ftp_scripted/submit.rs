//! `submit` of a source whose server lists in its own way: which files become tasks, what is said of the others, and
//! the exit code.

use std::process::{Command, Output};

use super::*;

const FEAT_MLST: &str = "211-Features:\r\n MLST type*;size*;modify*;\r\n211 End";
const FEAT_MDTM: &str = "211-Features:\r\n MDTM\r\n SIZE\r\n211 End";

/// What `submit` said and made.
#[derive(Debug)]
pub struct Submitted {
    pub code: Option<i32>,
    /// The sources' paths, in the order of the tasks.
    pub paths: Vec<String>,
    stdout: String,
    pub stderr: String,
}

/// Runs `submit srv:SOURCE local:/in/ --dry-run` with more options; `keys` are those of the connection.
pub async fn submit_with(server: &Server, source: &str, options: &[&str], keys: &str) -> Submitted {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    std::fs::write(place.join("config.yaml"), "kafka:\n  bootstrap_servers: [\"127.0.0.1:1\"]\n").unwrap();
    let (port, base) = (server.address.port(), place.display());
    let connections = format!(
        "[srv]\ntype = ftp\nhost = 127.0.0.1\nport = {port}\nuser = u\npass = s3cret\n{keys}\n\
         [local]\ntype = local\nbase_path = {base}\n"
    );
    std::fs::write(place.join("connections.ini"), connections).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
    command.args(["submit", &format!("srv:{source}"), "local:/in/"]).args(options);
    command.arg("--config").arg(place.join("config.yaml"));
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let path = |line: &str| {
        let task: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(task["source"]["path"].as_str()?.to_owned())
    };
    Submitted {
        code: output.status.code(),
        paths: stdout.lines().filter_map(path).collect(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        stdout,
    }
}

async fn submit(script: Script, source: &str, options: &[&str]) -> Submitted {
    let server = script.start().await;
    submit_with(&server, source, &[options, &["--dry-run"]].concat(), "").await
}

fn sends(text: impl AsRef<[u8]>) -> Act {
    Act::Send(text.as_ref().to_vec(), End::Close("226 done".to_owned()))
}

/// Directories can be entered, and are listed one after another.
fn lists(listings: &[&[u8]]) -> Script {
    let script = Script::new().say("PWD", "257 \"/\"").say("CWD", "250 ok");
    listings.iter().fold(script, |script, listing| script.once("LIST", sends(listing)))
}

const SUB: &[u8] = b"-rw-r--r-- 1 ftp ftp 3 Jan 02  2020 below.csv\r\n";

/// Every file of the listing of /pub becomes a task, and what is in its `directory`.
async fn lists_all(listing: &[u8], expected: &[&str], directory: Option<&str>) {
    let submitted = submit(lists(&[listing, SUB]), "/pub/", &["-r"]).await;
    let below = directory.map(|directory| format!("/pub/{directory}/below.csv"));
    let expected: Vec<_> = expected.iter().map(|path| (*path).to_owned()).chain(below).collect();
    assert_eq!((&submitted.paths, submitted.code), (&expected, Some(0)), "{}", submitted.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_marks_of_acls_lose_no_file() {
    lists_all(include_bytes!("listings/acl.list"), &["/pub/acl.txt", "/pub/newfile.txt"], Some("sub")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b02_a_listing_without_groups_loses_no_file() {
    let expected = ["/pub/csxl20170724.dmp", "/pub/File1", "/pub/welcome.msg"];
    lists_all(include_bytes!("listings/no_group.list"), &expected, Some("log")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_a_listing_of_iis_loses_no_file() {
    let expected = ["/pub/file1.csv", "/pub/logo.gif", "/pub/f1.csv"];
    lists_all(include_bytes!("listings/iis.list"), &expected, Some("images")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b07_blanks_at_the_begin_of_names_stay() {
    lists_all(include_bytes!("listings/names.list"), &["/pub/ lead.csv", "/pub/x.txt"], None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_as400_iso_dates_and_eplf_are_read() {
    let expected = ["/pub/report.csv", "/pub/iso.csv", "/pub/eplf.txt"];
    lists_all(include_bytes!("listings/others.list"), &expected, None).await;
}

/// Case b11: MLSD names with their directory before them.
#[tokio::test(flavor = "multi_thread")]
async fn b11_mlsd_may_give_the_directory_with_each_name() {
    let script = Script::new().say("FEAT", FEAT_MLST).say("CWD", "250 ok");
    let script = script.once("MLSD", sends(include_bytes!("listings/mlsd_prefixed.list")));
    let script = script.once("MLSD", sends("type=file;size=1; /pub/sub/below.csv\r\n"));
    let submitted = submit(script, "/pub/", &["-r"]).await;
    assert_eq!(submitted.paths, ["/pub/top.csv", "/pub/sub/below.csv"], "{}", submitted.stderr);
    assert_eq!(submitted.code, Some(0));
}

/// Case b09: a line that is not understood, in a command that runs by cron.
#[tokio::test(flavor = "multi_thread")]
async fn b09_what_may_be_a_file_and_is_no_task_is_told_and_fails_the_command() {
    let odd = b"-rw-r--r-- 1 ftp ftp 3 Jan 02  2020 a.csv\r\n??? what is this\r\n\
        -rw-r--r-- 1 ftp ftp 3 Jan 02  2020 gr\xfcn.csv\r\ncrw-rw-rw- 1 root root 1, 3 Jan 02 2020 null\r\n";
    let submitted = submit(lists(&[odd]), "/pub/", &["--include", "*.csv", "--skip-existing"]).await;
    assert_eq!((submitted.paths.as_slice(), submitted.code), (["/pub/a.csv".to_owned()].as_slice(), Some(1)));
    let told = &submitted.stderr;
    assert!(told.contains("not understood: ??? what is this") && told.contains("charset"), "{told}");
    assert!(told.contains("passed over: null: no file"), "{told}");
    assert!(told.contains("2 of those passed over may be files"), "{told}");
    // the same as JSON, where nothing else is to be sent
    let server = lists(&[odd]).start().await;
    let submitted = submit_with(&server, "/pub/", &["--include", "b*", "--output", "json"], "").await;
    assert_eq!(submitted.code, Some(1), "{submitted:?}");
    let summary: serde_json::Value = serde_json::from_str(&submitted.stdout).unwrap();
    let passed = &summary["passed_over"];
    assert_eq!((passed["count"].as_u64(), passed["may_be_files"].as_u64()), (Some(3), Some(2)), "{passed}");
    let reasons: Vec<_> =
        passed["entries"].as_array().unwrap().iter().map(|entry| &entry["reason"]).collect();
    assert_eq!(reasons, ["not_understood", "not_in_charset", "no_file"]);
    // a device alone is no reason to fail
    let device = b"crw-rw-rw- 1 root root 1, 3 Jan 02 2020 null\r\n-rw-r--r-- 1 f f 3 Jan 02  2020 a\r\n";
    assert_eq!(submit(lists(&[device]), "/pub/", &[]).await.code, Some(0));
}

/// Cases b12 (PWD without quotes, refused, of Windows) and b18 (z/OS).
#[tokio::test(flavor = "multi_thread")]
async fn b12_the_working_directory_needs_to_be_known_for_relative_paths_alone() {
    for pwd in ["257 /", "502 PWD: not implemented"] {
        let script = Script::new().say("PWD", pwd).say("CWD /pub", "250 ok").once("LIST", sends(SUB));
        assert_eq!(submit(script, "/pub/", &[]).await.paths, ["/pub/below.csv"], "{pwd}");
        let script = Script::new().say("PWD", pwd).on("LIST pub", sends(SUB));
        assert_eq!(submit(script, "pub/", &[]).await.paths, ["pub/below.csv"], "{pwd}: by its path");
    }
    // Windows' and z/OS' own: a path is relative to it, and not put behind it with a slash
    let script = Script::new().say("PWD", "257 \"\\\"").say("CWD pub", "250 ok");
    let script = script.once("LIST", sends(SUB));
    assert_eq!(submit(script, "pub/", &[]).await.paths, ["pub/below.csv"]);
    let script = Script::new().say("PWD", "257 \"'USER1.'\"").say("CWD", "250 ok");
    let script =
        script.once("LIST", sends("VOL001 3390   2020/01/03  1   15  VB   32756 32760  PO  JCL\r\n")).once(
            "LIST",
            sends(" Name     VV.MM   Created       Changed      Size  Init   Mod   Id\r\nPAYROLL\r\n"),
        );
    let server = script.start().await;
    let submitted = submit_with(&server, "", &["-r", "--dry-run"], "").await;
    assert_eq!(submitted.paths, ["JCL/PAYROLL"], "{}", submitted.stderr);
    assert!(server.commands().contains(&"CWD JCL".to_owned()), "{:?}", server.commands());
    assert!(server.commands().contains(&"LIST".to_owned()), "{:?}", server.commands());
}

/// Case b13: SIZE answers for a directory.
#[tokio::test(flavor = "multi_thread")]
async fn b13_a_directory_that_has_a_size_is_a_directory() {
    let script = lists(&[SUB]).say("SIZE /pub", "213 4096");
    assert_eq!(submit(script, "/pub", &["-r"]).await.paths, ["/pub/below.csv"]);
    let script =
        Script::new().say("SIZE /pub/a", "213 5").say("CWD", "550 not a directory").say("PWD", "257 \"/\"");
    assert_eq!(submit(script, "/pub/a", &[]).await.paths, ["/pub/a"]);
    // a symlink to a directory, on a server that has a size for directories
    let links = b"lrwxrwxrwx 1 u g 3 Jan 02  2020 d -> sub\r\nlrwxrwxrwx 1 u g 1 Jan 02  2020 f -> x\r\n";
    let script = Script::new().say("SIZE", "213 4096").say("CWD /pub/f", "550 no directory");
    let script = script.say("PWD", "257 \"/\"").say("CWD", "250 ok").once("LIST", sends(links));
    let submitted = submit(script, "/pub/", &["-r"]).await;
    assert_eq!((submitted.paths.as_slice(), submitted.code), (["/pub/f".to_owned()].as_slice(), Some(0)));
    assert!(
        submitted.stderr.contains("passed over: d: a symlink that does not lead to a file"),
        "{}",
        submitted.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lists_names_alone_is_asked_what_each_is() {
    let script = Script::new()
        .say("SIZE /pub/a.csv", "213 5")
        .say("SIZE", "550 not a plain file")
        .say("CWD /pub/a.csv", "550 no directory")
        .say("PWD", "257 \"/\"")
        .say("CWD", "250 ok")
        .once("LIST", sends("a.csv\r\nsub\r\n"))
        .once("LIST", sends(SUB));
    assert_eq!(submit(script, "/pub/", &["-r"]).await.paths, ["/pub/a.csv", "/pub/sub/below.csv"]);
}

/// Case b14: an empty directory that is said as 550, and one that is forbidden.
#[tokio::test(flavor = "multi_thread")]
async fn b14_one_directory_that_is_refused_costs_no_other_one() {
    let feat = || Script::new().say("FEAT", FEAT_MLST).say("CWD /pub/lost+found", "550 Permission denied.");
    let script = feat().say("CWD", "250 ok").once(
        "MLSD",
        sends("type=file;size=3; top.csv\r\ntype=dir; lost+found\r\ntype=dir; empty\r\ntype=dir; sub\r\n"),
    );
    let script = script.once("MLSD", Act::Say("550 No files found.".into()));
    let script = script.once("MLSD", sends("type=file;size=1; below.csv\r\n"));
    let submitted = submit(script, "/pub/", &["-r"]).await;
    assert_eq!(submitted.paths, ["/pub/top.csv", "/pub/sub/below.csv"], "{}", submitted.stderr);
    assert_eq!(submitted.code, Some(1));
    assert!(submitted.stderr.contains("/pub/lost+found"), "{}", submitted.stderr);
    // an empty directory alone is no fault
    let script = Script::new().say("FEAT", FEAT_MLST).say("CWD", "250 ok").say("MLSD", "550 No files found.");
    assert_eq!(submit(script, "/pub/", &["-r"]).await.code, Some(0));
    let script =
        Script::new().say("FEAT", FEAT_MLST).say("CWD", "250 ok").say("MLSD", "550 Permission denied.");
    let refused = submit(script, "/pub/", &["-r"]).await;
    assert!(refused.code != Some(0) && refused.stderr.contains("/pub"), "{refused:?}");
}

/// Case b18: a quoted prefix of z/OS is not joined with slashes.
#[tokio::test(flavor = "multi_thread")]
async fn b18_data_sets_and_members_are_named_as_zos_has_them() {
    let script = Script::new().say("PWD", "257 \"'USER1.'\"").say("CWD", "250 ok").say("SIZE", "550 no");
    let script =
        script.once("LIST", sends("VOL001 3390   2020/01/03  1   15  VB   32756 32760  PO  JCL\r\n")).once(
            "LIST",
            sends(" Name     VV.MM   Created       Changed      Size  Init   Mod   Id\r\nPAYROLL\r\n"),
        );
    let server = script.start().await;
    let submitted = submit_with(&server, "'USER1.'", &["-r", "--dry-run"], "").await;
    assert_eq!(submitted.paths, ["'USER1.JCL(PAYROLL)'"], "{}", submitted.stderr);
    assert!(server.commands().contains(&"CWD 'USER1.JCL'".to_owned()), "{:?}", server.commands());
}

/// A line of ls, by a clock that is so many hours ahead of UTC.
fn line_of(name: &str, at: jiff::Timestamp, hours: i64) -> String {
    let local = at + jiff::SignedDuration::from_hours(hours);
    format!("-rw-r--r-- 1 ftp ftp 3 {} {name}\r\n", local.strftime("%b %e %H:%M"))
}

/// Case b15: LIST in the server's local time.
#[tokio::test(flavor = "multi_thread")]
async fn b15_time_filters_ask_where_the_listing_does_not_tell() {
    let now = jiff::Timestamp::now();
    let before = |minutes: i64| now - jiff::SignedDuration::from_mins(minutes);
    let mdtm = |at: jiff::Timestamp| format!("213 {}", at.strftime("%Y%m%d%H%M%S"));
    let (fresh, old, older) = (before(1), before(60 * 2), before(60 * 24 * 9));
    let listing = [
        line_of("being-written.csv", fresh, -8),
        line_of("old.csv", old, -8),
        line_of("older.csv", older, -8),
    ]
    .concat();
    // MDTM of the first teaches the clock's offset, so that the second need not be asked
    let script = lists(&[listing.as_bytes()]).say("FEAT", FEAT_MDTM);
    let server = script.say("MDTM /pub/being-written.csv", &mdtm(fresh)).start().await;
    let chosen = submit_with(&server, "/pub/", &["--older-than", "5m", "--dry-run"], "").await;
    assert_eq!(chosen.paths, ["/pub/older.csv", "/pub/old.csv"], "{}", chosen.stderr);
    assert_eq!(chosen.code, Some(0));
    let asked: Vec<_> = server.commands().into_iter().filter(|line| line.starts_with("MDTM")).collect();
    assert_eq!(asked, ["MDTM /pub/being-written.csv"]);
    // a server without MDTM: what is not known is told, and nothing guessed
    let reported = submit(lists(&[listing.as_bytes()]), "/pub/", &["--older-than", "5m"]).await;
    assert_eq!(
        (reported.paths.as_slice(), reported.code),
        (["/pub/older.csv".to_owned()].as_slice(), Some(1))
    );
    assert!(reported.stderr.contains("being-written.csv: when it was changed"), "{}", reported.stderr);
    // unless its offset is configured
    let server = lists(&[listing.as_bytes()]).start().await;
    let options = ["--older-than", "5m", "--dry-run"];
    let configured = submit_with(&server, "/pub/", &options, "time_offset = -08:00").await;
    assert_eq!(configured.paths, ["/pub/old.csv", "/pub/older.csv"], "{}", configured.stderr);
    assert_eq!(configured.code, Some(0));
    // without a filter the times are nobody's question
    assert_eq!(submit(lists(&[listing.as_bytes()]), "/pub/", &[]).await.paths.len(), 3);
}
