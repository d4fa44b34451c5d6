//! The matrix of docs/SERVERS.md: what works on which server, as it was seen in a run.
//!
//! `UPDATE_GENERATED=1 cargo test --test ftp_servers matrix -- --ignored` writes its table anew.

use std::collections::VecDeque;
use std::fmt::Write;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use ftp_listing::EntryKind;
use ftp_pooler::config::{DataConnectionMode, ProxyKind, ProxyServer, RenameOver};
use ftp_pooler::failure::{Code, Remedy, TryError};
use ftp_pooler::transfer::TransferError;

use crate::options;
use crate::proxy::{PROXY_PASSWORD, RunningProxy};
use crate::rig::{Again, EVERY, Rig};
use crate::support::ftp_server::{FORBIDDEN, Make, Security, Settings};

type Seen = Pin<Box<dyn Future<Output = String>>>;
type RunRow = fn(Rig) -> Seen;

/// A row of the table: its name, what it needs of the server, and what is done.
struct Row {
    name: &'static str,
    needs: fn(&mut Settings),
    run: RunRow,
}

const OK: &str = "yes";

const ROWS: &[Row] = &[
    Row { name: "download", needs: |_| {}, run: |rig| Box::pin(download(rig)) },
    Row { name: "upload, also over a file", needs: |_| {}, run: |rig| Box::pin(upload(rig)) },
    Row { name: "20 files on one session", needs: |_| {}, run: |rig| Box::pin(row_of_files(rig)) },
    Row { name: "`charset`, a Latin-1 name", needs: |_| {}, run: |rig| Box::pin(latin1(rig)) },
    Row { name: "active mode", needs: |_| {}, run: |rig| Box::pin(active(rig)) },
    Row { name: "SOCKS5", needs: |_| {}, run: |rig| Box::pin(proxied(rig, ProxyKind::Socks5)) },
    Row { name: "HTTP CONNECT", needs: |_| {}, run: |rig| Box::pin(proxied(rig, ProxyKind::Http)) },
    Row { name: "resume a download", needs: |_| {}, run: |rig| Box::pin(resume(rig, Way::Down)) },
    Row { name: "resume an upload", needs: |_| {}, run: |rig| Box::pin(resume(rig, Way::Up)) },
    Row {
        name: "the same, by the pod that takes over",
        needs: |_| {},
        run: |rig| Box::pin(resume(rig, Way::Over)),
    },
    Row {
        name: "both, `AllowStoreRestart off`",
        needs: |s| s.store_restart = false,
        run: |rig| Box::pin(resume(rig, Way::Over)),
    },
    Row { name: "data from another address", needs: |_| {}, run: |rig| Box::pin(from_elsewhere(rig)) },
    Row { name: "`verify: hash`", needs: |_| {}, run: |rig| Box::pin(options::hash(rig)) },
    Row { name: "`preserve_mtime`, both ways", needs: |_| {}, run: |rig| Box::pin(options::mtime(rig)) },
    Row { name: "`after`: delete, move_to", needs: |_| {}, run: |rig| Box::pin(options::after(rig)) },
    Row { name: "missing file", needs: |_| {}, run: |rig| Box::pin(missing(rig)) },
    Row { name: "forbidden file", needs: |_| {}, run: |rig| Box::pin(forbidden(rig)) },
    Row { name: "wrong password", needs: |_| {}, run: |rig| Box::pin(wrong_password(rig)) },
    Row { name: "full server", needs: |s| s.max_clients = Some(1), run: |rig| Box::pin(full(rig)) },
    Row { name: "idle timeout", needs: |s| s.idle = Some(1), run: |rig| Box::pin(idle(rig)) },
];

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn what_works_on_which_server_is_what_the_table_says() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("Pure-FTPd is started by root only: the table is not compared");
        return;
    }
    // Pure-FTPd counts its idle timeout in minutes: that minute passes beside the rest.
    let mut minutes: VecDeque<_> = EVERY
        .iter()
        .filter(|(make, _)| *make == Make::PureFtpd)
        .map(|&(make, security)| {
            let rig = Rig::start(make, Settings { idle: Some(60), ..Settings::new(security) }).unwrap();
            tokio::spawn(idle(rig))
        })
        .collect();
    let mut table = String::from("|");
    for (make, security) in EVERY {
        let _ = write!(table, " | {} {}", make.name(), format!("{security:?}").to_lowercase());
    }
    let _ = write!(table, " |\n|---|{}\n", "---|".repeat(EVERY.len()));
    for row in ROWS {
        let _ = write!(table, "| {} |", row.name);
        for &(make, security) in EVERY {
            let mut settings = Settings::new(security);
            (row.needs)(&mut settings);
            let seen = match Rig::start(make, settings) {
                Some(_) if make == Make::PureFtpd && settings.idle.is_some() => {
                    minutes.pop_front().unwrap().await.unwrap()
                }
                Some(rig) => (row.run)(rig).await,
                None => "—".to_owned(),
            };
            let _ = write!(table, " {seen} |");
        }
        table.push('\n');
    }
    compare(&table);
}

/// Servers of which less is compared, since they are slower to start: each is started once. (Apache `FtpServer`'s implicit
/// TLS sends its greeting now and then before the handshake has ended, which no client can read; ftp-srv's explicit TLS takes a
/// handshake that comes right behind AUTH's reply for a command.)
const FURTHER: &[(Make, Security)] = &[
    (Make::Pyftpdlib, Security::Plain),
    (Make::Pyftpdlib, Security::Explicit),
    (Make::ApacheFtpServer, Security::Plain),
    (Make::ApacheFtpServer, Security::Explicit),
    (Make::FtpSrv, Security::Plain),
    (Make::FtpSrv, Security::Implicit),
];

/// Those rows whose server has no settings of its own, and a listing.
const FURTHER_ROWS: &[(&str, RunRow)] = &[
    ("list", |rig| Box::pin(list(rig))),
    ("download", |rig| Box::pin(download(rig))),
    ("upload, also over a file", |rig| Box::pin(upload(rig))),
    ("20 files on one session", |rig| Box::pin(row_of_files(rig))),
    ("active mode", |rig| Box::pin(active(rig))),
    ("resume a download", |rig| Box::pin(resume(rig, Way::Down))),
    ("resume an upload", |rig| Box::pin(resume(rig, Way::Up))),
    ("`preserve_mtime`, both ways", |rig| Box::pin(options::mtime(rig))),
    ("`after`: delete, move_to", |rig| Box::pin(options::after(rig))),
    ("missing file", |rig| Box::pin(missing(rig))),
    ("wrong password", |rig| Box::pin(wrong_password(rig))),
];

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn what_works_on_further_servers_is_what_their_table_says() {
    let servers: Vec<_> = FURTHER
        .iter()
        .map(|&(make, security)| {
            tokio::task::spawn_blocking(move || Rig::start(make, Settings::new(security)))
        })
        .collect();
    let mut table = String::from("|");
    for (make, security) in FURTHER {
        let _ = write!(table, " | {} {}", make.name(), format!("{security:?}").to_lowercase());
    }
    let _ = write!(table, " |\n|---|{}\n", "---|".repeat(FURTHER.len()));
    let mut seen = Vec::new();
    for server in servers {
        let mut rig = server.await.unwrap().unwrap();
        if rig.name.starts_with("ApacheFtpServer") {
            rig.connection.rename_over = RenameOver::DeleteFirst;
        }
        let mut column = Vec::new();
        for (name, run) in FURTHER_ROWS {
            column.push(run(rig.another()).await);
            eprintln!("{}: {name}: {}", rig.name, column.last().unwrap());
        }
        seen.push(column);
    }
    for (row, (name, _)) in FURTHER_ROWS.iter().enumerate() {
        let cells: Vec<&str> = seen.iter().map(|column| column[row].as_str()).collect();
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    }
    compare_between(&table, "<!-- further servers begin -->\n", "<!-- further servers end -->\n");
}

/// A directory with files of several sizes and names, and a directory in it.
async fn list(rig: Rig) -> String {
    let mut session = rig.session().await;
    rig.make_directory("listed/sub");
    let mut expected = vec![("sub".to_owned(), None)];
    for (name, length) in [("a b.csv", 3_usize), ("empty", 0), ("x", 70_000)] {
        rig.put(&format!("listed/{name}"), &content(length));
        expected.push((name.to_owned(), Some(length as u64)));
    }
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    let directory = rig.download("listed").remote_path;
    let listed = session
        .list(&directory, |entry| match entry {
            Ok(entry) => {
                let size = entry.size.filter(|_| entry.kind == EntryKind::File);
                found.push((entry.name, size));
            }
            Err(line) => unread.push(line.to_string()),
        })
        .await;
    found.sort();
    expected.sort();
    match listed {
        Ok(()) if found == expected && unread.is_empty() => {
            if session.lists_exactly() { "yes, by MLSD" } else { "yes, by LIST" }.to_owned()
        }
        listed => format!("{listed:?}, {found:?}, {unread:?}"),
    }
}

/// The table stands between two marks of docs/SERVERS.md.
fn compare(table: &str) {
    compare_between(table, "<!-- the table begins -->\n", "<!-- the table ends -->\n");
}

fn compare_between(table: &str, begin: &str, end: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SERVERS.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(begin).unwrap();
    let (written, after) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(written, table, "docs/SERVERS.md says something else than what was seen");
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

async fn download(rig: Rig) -> String {
    let (mut session, content) = (rig.session().await, content(300_000));
    rig.put("source", &content);
    match rig.run(&mut session, &rig.download("source")).await {
        Ok(done) if done.bytes == 300_000 && rig.copy() == content => OK.to_owned(),
        other => format!("{other:?}"),
    }
}

async fn upload(rig: Rig) -> String {
    let mut session = rig.session().await;
    for length in [300_000, 5] {
        rig.write_source(&content(length));
        if let Err(stopped) = rig.run(&mut session, &rig.upload("new/dir/file")).await {
            return format!("{stopped:?}");
        }
        if rig.get("new/dir/file") != content(length) {
            return "wrong bytes".to_owned();
        }
    }
    OK.to_owned()
}

async fn row_of_files(rig: Rig) -> String {
    let mut session = rig.session().await;
    for number in 0..10 {
        rig.write_source(&content(1000 + number));
        let name = format!("file-{number}");
        for task in [rig.upload(&name), rig.download(&name)] {
            if let Err(stopped) = rig.run(&mut session, &task).await {
                return format!("{stopped:?}");
            }
        }
        if rig.copy() != content(1000 + number) {
            return "wrong bytes".to_owned();
        }
    }
    match rig.fresh_sessions() {
        0 => OK.to_owned(),
        _ => "yes, after going down to TLS 1.2".to_owned(),
    }
}

/// Five files up and down.
async fn some_files(rig: &Rig) -> String {
    let mut session = rig.session().await;
    for number in 0..5 {
        rig.write_source(&content(100_000 + number));
        for task in [rig.upload("file"), rig.download("file")] {
            if let Err(stopped) = rig.run(&mut session, &task).await {
                return format!("{stopped:?}");
            }
        }
        if rig.copy() != content(100_000 + number) {
            return "wrong bytes".to_owned();
        }
    }
    OK.to_owned()
}

async fn active(mut rig: Rig) -> String {
    rig.connection.network.data = DataConnectionMode::Active { announced: None, ports: None };
    some_files(&rig).await
}

async fn proxied(mut rig: Rig, kind: ProxyKind) -> String {
    let proxy = RunningProxy::start(kind).await;
    let user = Some(("anna".to_owned(), PROXY_PASSWORD.to_owned().into()));
    rig.connection.network.proxy =
        Some(ProxyServer { kind, host: "127.0.0.1".into(), port: proxy.port(), user });
    let seen = some_files(&rig).await;
    assert!(proxy.tunnels() > 10 || seen != OK, "something went past the proxy");
    seen
}

#[derive(Clone, Copy)]
enum Way {
    Down,
    Up,
    /// Up, by another process.
    Over,
}

/// The data connection is cut in the middle of a file, and the next try goes on there.
async fn resume(mut rig: Rig, way: Way) -> String {
    const SIZE: usize = 24 << 20;
    let proxy = RunningProxy::start(ProxyKind::Socks5).await;
    let user = Some(("anna".to_owned(), PROXY_PASSWORD.to_owned().into()));
    let kind = ProxyKind::Socks5;
    rig.connection.network.proxy =
        Some(ProxyServer { kind, host: "127.0.0.1".into(), port: proxy.port(), user });
    let task = match way {
        Way::Down => rig.download("source"),
        Way::Up | Way::Over => rig.upload("target"),
    };
    match way {
        Way::Down => rig.put_aged("source", &content(SIZE)),
        Way::Up | Way::Over => rig.write_aged_source(&content(SIZE)),
    }
    let (mut session, mut again) = (rig.session().await, Again::default());
    proxy.cut_after(12 << 20);
    let error = rig.once_more(&mut session, &task, &mut again).await.expect_err("the cut must be seen");
    assert_ne!(error.remedy, Remedy::GiveUp, "{}: {error}", rig.name);
    if let Way::Over = way {
        rig.kill(std::mem::take(&mut again));
    }
    for _ in 0..2 {
        if !session.is_usable() {
            session = rig.session().await;
        }
        match rig.once_more(&mut session, &task, &mut again).await {
            Err(error) if error.remedy == Remedy::FreshSession => {}
            Err(error) => return format!("{error}"),
            Ok(done) => {
                let there = match way {
                    Way::Down => rig.copy(),
                    Way::Up | Way::Over => rig.get("target"),
                };
                return match done.details.resumed_from {
                    _ if there != content(SIZE) => "wrong bytes".to_owned(),
                    Some(1..) => OK.to_owned(),
                    _ => "from its begin".to_owned(),
                };
            }
        }
    }
    "no fresh session will do".to_owned()
}

/// Control and data connections come from different addresses, as through two NATs.
async fn from_elsewhere(mut rig: Rig) -> String {
    let proxy = RunningProxy::start(ProxyKind::Socks5).await;
    let user = Some(("anna".to_owned(), PROXY_PASSWORD.to_owned().into()));
    let kind = ProxyKind::Socks5;
    rig.connection.network.proxy =
        Some(ProxyServer { kind, host: "127.0.0.1".into(), port: proxy.port(), user });
    proxy.send_data_from(std::net::Ipv4Addr::new(127, 0, 0, 2));
    let mut session = rig.session().await;
    rig.put("source", &content(1000));
    match rig.run(&mut session, &rig.download("source")).await {
        Ok(_) => "taken".to_owned(),
        Err(TransferError::Failed(error)) => {
            let code = error.failure.ftp_code.map_or(String::new(), |code| format!(", {code}"));
            format!("{}{code}", told(&error))
        }
        Err(other) => format!("{other:?}"),
    }
}

async fn latin1(mut rig: Rig) -> String {
    rig.connection.charset = encoding_rs::Encoding::for_label(b"latin1");
    rig.put_bytes(b"caf\xe9", b"coffee");
    let mut session = rig.session().await;
    if let Err(stopped) = rig.run(&mut session, &rig.download("café")).await {
        return format!("{stopped:?}");
    }
    rig.write_source(b"tea");
    if let Err(stopped) = rig.run(&mut session, &rig.upload("thé")).await {
        return format!("{stopped:?}");
    }
    if rig.get_bytes(b"th\xe9") == b"tea" && rig.copy() == b"coffee" {
        OK.to_owned()
    } else {
        "wrong bytes".to_owned()
    }
}

fn told(error: &TryError) -> String {
    format!("`{}`", error.failure.code)
}

async fn missing(rig: Rig) -> String {
    let mut session = rig.session().await;
    let error = rig.fails(&mut session, &rig.download("missing")).await;
    assert!(session.is_usable() && error.remedy == Remedy::GiveUp, "{error}");
    told(&error)
}

async fn forbidden(rig: Rig) -> String {
    let mut session = rig.session().await;
    rig.forbid(FORBIDDEN);
    let error = rig.fails(&mut session, &rig.download(FORBIDDEN)).await;
    assert!(session.is_usable() && error.remedy == Remedy::GiveUp, "{error}");
    told(&error)
}

async fn wrong_password(mut rig: Rig) -> String {
    rig.connection.pass = "not this one".to_owned().into();
    let error = rig.try_session().await.expect_err("must be refused");
    assert_eq!(error.remedy, Remedy::OpenBreaker, "{error}");
    told(&error)
}

async fn full(rig: Rig) -> String {
    // The look at whether it is up may still count as a session.
    let mut first = rig.try_session().await;
    for _ in 0..50 {
        if first.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        first = rig.try_session().await;
    }
    let _first = first.unwrap();
    let error = rig.try_session().await.expect_err("must be refused");
    assert_eq!((error.failure.code, error.remedy), (Code::ServerBusy, Remedy::LowerLimit), "{error}");
    format!("{}, {}", told(&error), error.failure.ftp_code.unwrap_or_default())
}

/// The server ends an idle session, and it is noticed without a command.
async fn idle(rig: Rig) -> String {
    let session = rig.session().await;
    let until = Instant::now() + Duration::from_secs(120);
    while session.is_alive() {
        assert!(Instant::now() < until, "{}: the idle session lives on\n{}", rig.name, rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    OK.to_owned()
}
