//! The pictures of the README, taken of a pod at work. `UPDATE_GENERATED=1 cargo test --test e2e -- --ignored
//! page::picture` writes them anew, which takes some minutes; without it they are only taken and weighed.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

use super::browser::{Browser, SETTLED};
use super::open;
use crate::stage::Stage;
use crate::support::client::{download, upload};
use crate::support::pod::Pod;
use crate::support::ports::free_port;
use crate::support::vsftpd::Vsftpd;

/// A README is read on slow links, too.
const MAX_BYTES: usize = 250_000;
/// Of the chart's line: 10 s each.
const STEPS: usize = 18;
const WIDTH: u32 = 1280;
const HEIGHT: u32 = 1240;

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn the_pictures_show_a_pod_at_work() {
    let is_kept = std::env::var_os("UPDATE_GENERATED").is_some();
    let stage = Stage::with("picture", 4, &[("anon_max_rate", "700000")]);
    let slow = Vsftpd::with(&[("anon_max_rate", "350000")]);
    // It takes fewer sessions than it was thought to.
    let few = Vsftpd::with(&[("anon_max_rate", "500000"), ("max_clients", "3")]);
    for n in 0..6_usize {
        stage.server.put(&format!("archive/2026/scene-{n:04}.tif"), &vec![1; 4_000_000 * (n + 1)]);
        slow.put(&format!("outgoing/orders-{n:05}.csv"), &vec![2; 150_000 + 90_000 * n]);
        few.put(&format!("tiles/{n}/overview.png"), &vec![3; 900_000 + 300_000 * n]);
        stage.put_local(&format!("invoices/INV-{n:06}.xml"), &vec![4; 200_000 + 50_000 * n]);
    }
    let sessions = |n: &'static str| [("max_sessions", n)];
    let config = stage
        .bare_config()
        .set("pod.name", json!("ftp-pooler-0"))
        .set("retry.delay", json!("20s"))
        .ftp("archive", stage.server.addr(), &sessions("6"))
        .ftp("invoices", slow.addr(), &sessions("4"))
        .ftp("map-tiles", few.addr(), &sessions("8"))
        .ftp("orders-eu", slow.addr(), &sessions("5"))
        .ftp("customs", (Ipv4Addr::LOCALHOST, free_port()).into(), &[]);
    let pod = Pod::start(&config);
    let browser = Browser::start();
    open(&browser, &pod);
    stage.send(work(if is_kept { 1_400 } else { 60 }));

    let b = &browser;
    b.view(WIDTH, HEIGHT);
    b.wait("transfers", "document.querySelectorAll('#transfer-rows progress[value]').length >= 10");
    b.wait("a failure", "document.querySelectorAll('#failure-rows tr').length > 0");
    let drawn = "document.querySelector('#bytes-chart path.line').getAttribute('d').split('L').length";
    for steps in (2..=if is_kept { STEPS } else { 2 }).step_by(4) {
        b.wait("a young hour", &format!("{drawn} >= {steps}"));
    }
    for (scheme, file) in [("light", "docs/page.png"), ("dark", "docs/page-dark.png")] {
        b.scheme(scheme);
        b.eval(SETTLED);
        b.wait(
            "the server that is away to be seen",
            "document.querySelector('tbody.open')?.innerText.includes('Next try')",
        );
        let picture = b.screenshot();
        assert!(picture.len() < MAX_BYTES, "{file} has {} bytes", picture.len());
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if is_kept {
            fs::write(place, picture).expect("the picture is written");
        } else {
            let kept = fs::metadata(place).expect("the README has its picture").len();
            assert!(kept < MAX_BYTES as u64, "{file} has {kept} bytes");
        }
    }
}

/// A day's mixture, of which nothing goes wrong but what has to.
fn work(rounds: usize) -> Vec<Value> {
    let round = |n: usize| {
        let of = n % 6;
        let mut tasks = vec![
            upload(
                &id("inv", n),
                &format!("invoices/INV-{of:06}.xml"),
                "invoices",
                &format!("in/INV-{:06}.xml", n % 60),
            ),
            download(
                &id("ord", n),
                "orders-eu",
                &format!("outgoing/orders-{of:05}.csv"),
                &format!("orders/{}.csv", n % 60),
            ),
            download(
                &id("map", n),
                "map-tiles",
                &format!("tiles/{of}/overview.png"),
                &format!("tiles/{}.png", n % 60),
            ),
        ];
        if n.is_multiple_of(6) {
            let scene = n / 6 % 6;
            tasks.push(download(
                &id("sat", n),
                "archive",
                &format!("archive/2026/scene-{scene:04}.tif"),
                &format!("scenes/{}.tif", n % 60),
            ));
        }
        if n % 20 == 5 {
            tasks.push(download(
                &id("ord", 9_000 + n),
                "orders-eu",
                &format!("outgoing/orders-{:05}.csv", 90 + n),
                "orders/none.csv",
            ));
        }
        if n % 50 == 1 {
            let remote = format!("declarations/{n}.xml");
            tasks.push(download(&id("cus", n), "customs", &remote, &format!("customs/{n}.xml")));
        }
        tasks
    };
    (0..rounds).flat_map(round).collect()
}

/// As producers make them.
fn id(what: &str, n: usize) -> String {
    format!("{what}-20260131-{n:06}")
}
