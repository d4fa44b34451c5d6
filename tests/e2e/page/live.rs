//! The page beside a pod at work: what happens there is seen here.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;

use super::browser::Browser;
use super::{on_port, open};
use crate::stage::{EXIT, Stage};
use crate::support::client::{download, upload, with};
use crate::support::pod::Pod;
use crate::support::ports::free_port;
use crate::support::vsftpd::PASSWORD;

/// Nobody listens there.
fn dead() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn figures_move_while_tasks_run_and_a_dead_server_turns_red() {
    let stage = Stage::with("page-live", 2, &[("anon_max_rate", "300000")]);
    stage.server.put("large.bin", &vec![7; 4_000_000]);
    stage.put_local("up.bin", &vec![7; 2_000_000]);
    let pod = Pod::start(&stage.config().ftp("gone", dead(), &[]));
    let browser = Browser::start();
    let b = &browser;
    open(b, &pod);
    b.wait("the figures", "document.getElementById('contact').textContent === 'live'");
    assert_eq!(b.text("#pod"), "pod-0");
    let about = b.text("#about");
    assert!(about.contains(env!("CARGO_PKG_VERSION")) && about.contains(&stage.topics.group), "{about}");
    b.wait("how long it is up", "/ up \\d+ s$/.test(document.getElementById('about').textContent)");
    assert_eq!((b.text("#health").as_str(), b.text("#ready").as_str()), ("healthy", "ready"));
    assert_eq!(b.text("#transfer-rows"), "");

    stage.send((0..3).map(|n| download(&format!("slow-{n}"), "remote", "large.bin", &format!("l{n}.bin"))));
    stage.send([upload("sent", "up.bin", "remote", "up.bin")]);
    let gone = |n| {
        with(download(&format!("gone-{n}"), "gone", "a.bin", &format!("g{n}.bin")), json!({"retry_count": 0}))
    };
    stage.send((0..6).map(gone));

    let some = |condition: &str| {
        format!("[...document.querySelectorAll('#transfer-rows progress')].some((bar) => {condition})")
    };
    b.wait("a transfer to show progress", &some("bar.value > 0 && bar.value < 1"));
    b.eval(&some("(window.before = bar.value) > 0 && (window.file = bar.getAttribute('aria-label'))"));
    b.wait("and to move on", &some("bar.getAttribute('aria-label') === file && bar.value > before"));
    b.wait(
        "bytes a second",
        "Number.parseFloat(document.querySelector('#now > div:nth-child(2) dd').textContent) > 0",
    );
    b.wait(
        "upload to be told from download",
        "document.querySelector('#transfer-rows').textContent.includes('upload')",
    );

    b.wait(
        "the dead server's connection to open its breaker",
        "document.querySelector('tbody.open th')?.textContent.startsWith('gone')",
    );
    let row = b.text("tbody.open");
    assert!(row.contains("down") && row.contains("connect_failed"), "in words, with its error: {row}");
    let colour = b.eval(
        "getComputedStyle(document.querySelector('tbody.open .state')).color.match(/\\d+/g).map(Number)",
    );
    let [red, green, blue] = [0, 1, 2].map(|n| colour[n].as_u64().unwrap());
    assert!(red > 2 * green && red > 2 * blue, "red: {colour}");
    assert!(
        b.text("#n-connections").contains("1 down")
            && b.eval("document.title").as_str().unwrap().contains("1 down")
    );
    assert!(!b.text("#connection-table tbody.closed").contains("gone"), "and the other one is well");

    b.wait("the failures", "document.querySelector('#failure-rows')?.textContent.includes('gone-')");
    let failure = b.text("#failure-rows tr");
    assert!(failure.contains("connect_failed") || failure.contains("connection_unavailable"), "{failure}");
    assert!(failure.lines().count() >= 5, "with advice: {failure}");

    b.wait("all to be answered", "document.querySelector('#now > div:nth-child(7) dd').textContent === '10'");
    b.wait("nothing in flight", "document.getElementById('n-transfers').textContent === '0'");
    assert_eq!(b.eval("document.querySelectorAll('#partition-rows tr').length >= 2"), json!(true));
    b.wait("the hour to be drawn", "document.querySelector('#bytes-chart path.line') !== null");

    b.eval("document.getElementById('config').open = true");
    b.wait("the configuration", "document.getElementById('yaml').textContent.includes('consumer_group')");
    assert!(!b.eval("document.documentElement.textContent").as_str().unwrap().contains(PASSWORD));
    assert_eq!(b.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn a_configuration_that_is_not_taken_over_is_told_until_it_is_mended() {
    let stage = Stage::new("page-refused");
    let config = stage.config().set("reload.every", json!("200ms"));
    let pod = Pod::start(&config);
    let browser = Browser::start();
    let b = &browser;
    open(b, &pod);
    b.wait("the figures", "document.getElementById('contact').textContent === 'live'");
    pod.rewrite_connections(&config.connections().replace("host", "hots"));
    b.wait(
        "the mistake",
        "/Configuration rejected.*hots/s.test(document.getElementById('reasons').textContent)",
    );
    assert_eq!((b.text("#health").as_str(), b.text("#ready").as_str()), ("healthy", "ready"));
    pod.rewrite(&config);
    b.wait("it to go away", "document.getElementById('reasons').hidden");
    assert_eq!(b.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn a_pod_that_is_gone_leaves_grey_figures_and_the_page_finds_the_next_one() {
    let stage = Stage::new("page-gone");
    let config = on_port(stage.config(), free_port());
    let pod = Pod::start(&config);
    let browser = Browser::start();
    let b = &browser;
    open(b, &pod);
    b.wait("the figures", "document.getElementById('contact').textContent === 'live'");
    pod.kill9();
    b.wait(
        "that it is gone",
        "/^no answer since \\d\\d:\\d\\d:\\d\\d/.test(document.getElementById('contact').textContent)",
    );
    assert!(
        b.eval("document.getElementById('figures').className").as_str().unwrap().contains("old"),
        "old figures are grey"
    );
    assert!(b.text("#news").starts_with("No answer since"), "{}", b.text("#news"));
    assert_eq!(super::reading::ask(b, "faint"), [""; 0], "and legible");

    let next = Pod::start(&config);
    b.wait("the page to come back by itself", "document.getElementById('contact').textContent === 'live'");
    assert!(!b.eval("document.getElementById('figures').className").as_str().unwrap().contains("old"));
    assert_eq!(b.complaints(), [""; 0]);
    next.terminate(EXIT);
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn a_pod_with_a_token_asks_for_it() {
    const TOKEN: &str = "s3same-0pen.which-nobody_guesses";
    let stage = Stage::new("page-token");
    let pod = Pod::start(&stage.config().set("api.token", json!(TOKEN)));
    let browser = Browser::start();
    let b = &browser;
    open(b, &pod);
    b.wait("the form", "document.activeElement.id === 'token'");
    assert_eq!(
        (b.text("#pod").as_str(), b.text("#figures").as_str()),
        ("FTP Pooler", ""),
        "no figure is shown"
    );
    assert_eq!(super::reading::ask(b, "faint"), [""; 0]);

    b.type_text("größer als alle");
    b.press("Enter");
    b.wait(
        "what a token is made of",
        "document.getElementById('gate-error').textContent.includes('letters, digits')",
    );
    b.eval("document.getElementById('token').value = ''");

    b.type_text("not-this-one");
    b.press("Enter");
    b.wait("the refusal", "document.getElementById('gate-error').textContent.includes('rejected')");
    b.type_text(TOKEN);
    b.press("Enter");
    b.wait("the figures", "document.getElementById('contact').textContent === 'live'");
    assert_eq!((b.text("#pod").as_str(), b.text("#gate").as_str()), ("pod-0", ""));
    assert_eq!(b.eval("document.activeElement.id"), json!("main"), "the focus is not lost with the form");
    b.eval("document.getElementById('config').open = true");
    b.wait("the configuration", "document.getElementById('yaml').textContent.includes('consumer_group')");
    assert!(!b.text("body").contains(TOKEN), "the page never shows it");

    b.eval("location.reload()");
    b.wait("a reload to need no form", "document.getElementById('pod').textContent === 'pod-0'");
    b.wait("the way to forget it", "document.getElementById('forget') !== null");
    b.eval("document.getElementById('forget').click()");
    b.wait("the form after it was forgotten", "document.activeElement.id === 'token'");
    assert!(!pod.log().contains("not-this-one") && !pod.log().contains(TOKEN), "nothing of it is logged");
    assert_eq!(b.complaints(), [""; 0]);
}
