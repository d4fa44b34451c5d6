//! Round trips, counted by a link that lies between two network namespaces: each is one that a user far away
//! waits for, handshakes and acknowledgements included. See `support::link`.

use std::process::Command;
use std::time::Duration;

use ftp_pooler::config::DataConnectionMode;
use ftp_pooler::ftp::Session;
use ftp_pooler::task::Task;
use ftp_pooler::transfer::TransferredFile;

use crate::rig::Rig;
use crate::support::ftp_server::{Make, Security, Settings};
use crate::support::link::{self, Link};

/// Far longer than what a busy machine needs to answer, so that it is what is waited for.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Files in a row.
const FILES: usize = 20;
const KIB: u64 = 4;

/// How often it is counted before it is called too much.
const COUNTS: usize = 3;

/// The most that a file may cost.
#[derive(Debug)]
pub struct Bound {
    pub lone_download: f64,
    pub downloads: f64,
    pub lone_upload: f64,
    pub uploads: f64,
}

const PLAIN: Bound = Bound { lone_download: 4.2, downloads: 3.2, lone_upload: 6.2, uploads: 3.2 };
/// The server connects, which saves asking it for a port.
const ACTIVE: Bound = Bound { lone_download: 3.2, downloads: 2.2, lone_upload: 6.2, uploads: 3.2 };
/// A handshake on each data connection.
const SECURE: Bound = Bound { lone_download: 6.2, downloads: 5.2, lone_upload: 8.2, uploads: 5.2 };

#[test]
#[ignore = "needs FTP servers: make test"]
fn a_row_of_files_costs_the_fewest_round_trips() {
    if link::inside().is_some() {
        return inside();
    }
    let link = match Link::lay(ROUND_TRIP) {
        Ok(link) => link,
        Err(why) => return eprintln!("round trips are not counted here: {why}"),
    };
    let own = std::env::current_exe().unwrap();
    let mut command: Command = link.in_client(&own);
    let name = "round_trips::a_row_of_files_costs_the_fewest_round_trips";
    command.args(["--exact", "--ignored", "--nocapture", name]);
    assert!(command.status().unwrap().success(), "inside the link's namespace");
}

fn inside() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut failed = Vec::new();
    eprintln!("round trips a file: lone download, {FILES} in a row, lone upload, {FILES} in a row");
    for make in [Make::Vsftpd, Make::Proftpd, Make::PureFtpd] {
        for security in [Security::Plain, Security::Explicit, Security::Implicit] {
            let Some(rig) = Rig::start(make, Settings::new(security)) else { continue };
            let bound = if security == Security::Plain { PLAIN } else { SECURE };
            runtime.block_on(count(&rig, "passive", &bound, &mut failed));
        }
        let Some(mut rig) = Rig::start(make, Settings::new(Security::Plain)) else { continue };
        rig.connection.network.data = DataConnectionMode::Active { announced: None, ports: None };
        runtime.block_on(count(&rig, "active", &ACTIVE, &mut failed));
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

pub async fn count(rig: &Rig, data: &str, bound: &Bound, failed: &mut Vec<String>) {
    let content = vec![b'x'; 4 << 10];
    rig.write_source(&content);
    for file in 0..FILES {
        rig.put(&format!("from-{file}"), &content);
    }
    let mut session = rig.session().await;
    // Warm: what is found out about a server is known from now on.
    for _ in 0..2 {
        rig.run(&mut session, &rig.upload("warm")).await.unwrap();
        rig.run(&mut session, &rig.download("warm")).await.unwrap();
    }
    let down: Vec<Task> = (0..FILES).map(|file| rig.download(&format!("from-{file}"))).collect();
    let up: Vec<Task> = (0..FILES).map(|file| rig.upload(&format!("to-{file}"))).collect();
    let counted = [
        (
            "a lone download",
            fewest(rig, &mut session, &down[..1], bound.lone_download).await,
            bound.lone_download,
        ),
        ("a row of downloads", fewest(rig, &mut session, &down, bound.downloads).await, bound.downloads),
        ("a lone upload", fewest(rig, &mut session, &up[..1], bound.lone_upload).await, bound.lone_upload),
        ("a row of uploads", fewest(rig, &mut session, &up, bound.uploads).await, bound.uploads),
    ];
    for file in 0..FILES {
        assert_eq!(rig.get(&format!("to-{file}")), content, "{}", rig.name);
    }
    assert!(session.is_usable(), "{}", rig.name);
    assert!(!rig.known.rejects_pipelining(), "{}: the server objects\n{}", rig.name, rig.log());
    session.close().await;
    let name = format!("{}, {data}", rig.name);
    eprintln!("{name}: {}", counted.map(|(_, trips, _)| format!("{trips:.2}")).join("  "));
    for (what, trips, most) in counted {
        if trips > most {
            failed.push(format!("{name}: {what} costs {trips:.2} round trips a file, more than {most}"));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
async fn row(rig: &Rig, session: &mut Session, tasks: Vec<Task>) -> f64 {
    let (files, before) = (tasks.len(), link::round_trips());
    let ended = rig.run_row(session, tasks).await;
    let whole = |ended: &Result<TransferredFile, _>| ended.as_ref().is_ok_and(|done| done.bytes == KIB << 10);
    assert!(ended.iter().all(whole), "{}: {ended:#?}\n{}", rig.name, rig.log());
    (link::round_trips() - before) as f64 / files as f64
}

/// Counted again where it is more than the bound: a machine with more to do than it can sends two segments where one
/// would do, and each may cost a trip.
async fn fewest(rig: &Rig, session: &mut Session, tasks: &[Task], bound: f64) -> f64 {
    let mut fewest = f64::INFINITY;
    for _ in 0..COUNTS {
        if tasks.len() == 1 {
            // Nothing before it asks ahead for a lone file: a port that was asked for is not used any more.
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        fewest = fewest.min(row(rig, session, tasks.to_vec()).await);
        if fewest <= bound {
            break;
        }
    }
    fewest
}
