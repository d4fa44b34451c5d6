//! How the page reads: in both schemes, on a phone, by keyboard, by a screen reader, and with very much on it.

use serde_json::{Value, json};

use super::Fed;
use super::browser::{Browser, PHONE, SETTLED};

/// Of what a script gave.
fn lines(value: &Value) -> Vec<String> {
    let lines = value.as_array().into_iter().flatten();
    lines.map(|line| line.as_str().unwrap_or_default().to_owned()).collect()
}

pub fn ask(browser: &Browser, what: &str) -> Vec<String> {
    lines(&browser.eval(&format!("reading.{what}()")))
}

/// A page with everything on it: broken connections, a halted partition, a draining pod.
fn full(name: &str) -> Fed {
    let page = Fed::new(name);
    page.browser.eval("feed.history()");
    page.browser.eval("feed.pool(1, 8, 12)");
    page.show(1, 30, 20);
    page
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn every_text_is_legible_in_light_and_dark() {
    let page = full("page-contrast");
    let b = &page.browser;
    for scheme in ["light", "dark"] {
        b.scheme(scheme);
        b.eval(SETTLED);
        assert!(b.eval("reading.texts()").as_u64() > Some(300), "little is looked at");
        assert_eq!(ask(b, "faint"), [""; 0], "{scheme}");
    }
    let grounds = ["light", "dark"].map(|scheme| {
        b.scheme(scheme);
        b.eval("getComputedStyle(document.body).backgroundColor")
    });
    assert_ne!(grounds[0], grounds[1], "dark is another ground");
    assert_eq!(b.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn a_phone_shows_all_without_scrolling_sideways() {
    let page = full("page-phone");
    let b = &page.browser;
    for width in [320, PHONE, 600, 768, 1024] {
        b.view(width, 740);
        b.eval(SETTLED);
        let widths = b.eval("[document.documentElement.scrollWidth, innerWidth]");
        assert_eq!(widths[0], widths[1], "at {width}");
    }
    b.view(PHONE, 740);
    b.eval(SETTLED);
    assert_eq!(ask(b, "outside"), [""; 0], "runs out of a phone");
    assert!(b.eval("reading.texts()").as_u64() > Some(300), "and nothing is left out for it");
    let label = "getComputedStyle(document.querySelector('#connections td[data-label]'), '::before').content";
    assert_eq!(b.eval(label), json!("\"State\""), "where there is no head, each figure has its name");
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn the_keyboard_reaches_all_in_reading_order() {
    let page = full("page-keyboard");
    let b = &page.browser;
    let all = lines(&b.eval("reading.focusable().map(reading.name)"));
    assert!(all.len() > 25, "{all:?}");
    let mut reached = Vec::new();
    for _ in 0..all.len() {
        b.press("Tab");
        reached.push(b.eval("reading.name(document.activeElement)").as_str().unwrap().to_owned());
        let outline = b.eval("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(outline, json!("solid"), "{reached:?}: where the focus is, is seen");
    }
    assert_eq!(reached, all);
    assert!(reached[0].contains("Skip to the figures"), "{reached:?}");

    b.eval("document.activeElement.blur(); document.querySelector('.skip').focus()");
    b.press("Enter");
    b.wait("the skip link to lead to the figures", "document.activeElement.id === 'main'");

    let read = "document.querySelector('#bytes-chart .plot').getAttribute('aria-valuetext')";
    b.eval("document.querySelector('#bytes-chart .plot').focus()");
    let newest = b.eval(read);
    b.press("ArrowLeft");
    assert_ne!(b.eval(read), newest, "arrow keys read the chart");
    assert!(b.text("#bytes-chart .when").starts_with("at 11:59:50"), "{}", b.text("#bytes-chart"));

    b.eval("document.querySelector('#more-transfers button').focus()");
    b.press("Enter");
    b.wait("the rest of the transfers", "document.querySelectorAll('#transfer-rows tr').length === 20");
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn a_screen_reader_finds_its_way_and_is_not_talked_to_each_second() {
    let page = full("page-reader");
    let b = &page.browser;
    let nodes = b.accessible();
    let named =
        |role: &'static str| nodes.iter().filter(move |(r, _)| r == role).map(|(_, name)| name.as_str());
    for landmark in ["banner", "main", "contentinfo"] {
        assert_eq!(named(landmark).count(), 1, "{landmark}");
    }
    assert_eq!(named("navigation").collect::<Vec<_>>(), ["Sections", "The same as JSON"]);
    assert_eq!(named("table").count(), 9, "a table is one still where it is shown as cards");
    for role in ["table", "region", "progressbar", "slider", "searchbox", "button", "link", "heading"] {
        assert!(named(role).count() > 0, "no {role}: {nodes:?}");
        assert!(named(role).all(|name| !name.is_empty()), "a {role} without a name");
    }
    assert!(named("columnheader").count() > 30 && named("rowheader").count() > 30);
    b.view(PHONE, 740);
    b.eval(SETTLED);
    let small = b.accessible();
    assert_eq!(small.iter().filter(|(role, _)| role == "table").count(), 9, "on a phone as well");
    assert!(small.iter().filter(|(role, _)| role == "rowheader").count() > 30);

    let twice = "[...document.querySelectorAll('[id]')].map((n) => n.id).filter((id, n, all) => all.indexOf(id) !== n)";
    assert_eq!(b.eval(twice), json!([]), "an id stands once");
    assert_eq!(
        b.eval("document.querySelectorAll('table:not(:has(caption)), th:not([scope])').length"),
        json!(0)
    );
    let levels = b.eval("[...document.querySelectorAll('h1, h2, h3')].map((n) => n.tagName).join('')");
    assert!(levels.as_str().unwrap().starts_with("H1H2H2"), "{levels}");

    let news = "document.getElementById('news').textContent";
    b.eval(
        "window.said = 0; new MutationObserver(() => said++).observe(document.getElementById('news'), \
            {childList: true, characterData: true, subtree: true})",
    );
    let before = b.eval(news);
    assert!(before.as_str().unwrap().contains("Connection server-007 is down."), "{before}");
    for tick in 2..6 {
        page.show(tick, 30, 20);
    }
    assert_eq!((b.eval("said"), b.eval(news)), (json!(0), before), "nothing has happened, nothing is said");
    page.show(6, 48, 20);
    b.wait(
        "a change to be told",
        "said > 0 && document.getElementById('news').textContent.includes('server-047')",
    );
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn a_stream_that_ends_is_taken_up_and_one_that_falls_silent_is_told_of() {
    let page = full("page-stream");
    let b = &page.browser;
    let contact = "document.getElementById('contact').textContent";
    b.eval("window.saw = []; new MutationObserver(() => saw.push(document.getElementById('contact').textContent)) \
            .observe(document.getElementById('contact'), {childList: true})");
    b.eval("feed.close()");
    b.wait("the next stream", "feed.push('nothing', {}) > 0");
    page.show(2, 3, 3);
    assert_eq!(
        (b.eval(contact), b.eval("saw")),
        (json!("live"), json!([])),
        "each stream ends some time: no news"
    );

    b.wait("silence to be noticed", &format!("/^no answer since .* fallen silent/.test({contact})"));
    assert!(b.eval("document.getElementById('figures').className").as_str().unwrap().contains("old"));
    b.wait("another stream", "feed.push('nothing', {}) > 0");
    page.show(3, 3, 3);
    assert_eq!(b.eval(contact), json!("live"));

    b.eval("feed.push('snapshot', {status: {}})");
    b.wait("nonsense to be told of", &format!("/^no answer since .* cannot read/.test({contact})"));
    b.wait("another stream", "feed.push('nothing', {}) > 0");
    page.show(4, 3, 3);
    assert_eq!((b.eval(contact), b.complaints()), (json!("live"), vec![]));
}

/// The API's document, to which its own tests hold the pod.
const DOCUMENT: &str = include_str!("../../../src/sidecar/openapi.json");

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn what_these_tests_feed_is_what_a_pod_would_say() {
    let page = full("page-feed");
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    for (event, schema) in [("snapshot", "Snapshot"), ("history", "History"), ("pool", "Pool")] {
        let schema = json!({
            "$ref": format!("#/components/schemas/{schema}"), "components": document["components"],
        });
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        let fed = page.browser.eval(&format!("feed.last[{}]", json!(event)));
        let flaws: Vec<_> =
            validator.iter_errors(&fed).map(|flaw| format!("{}: {flaw}", flaw.instance_path())).collect();
        assert!(flaws.is_empty(), "{event}: {flaws:#?}");
    }
}

/// What changes on the page between two looks: elements that came, and records of whatever else.
const WATCH: &str = "window.came = 0; window.changes = 0; window.long = 0;
    new PerformanceObserver((list) => { long += list.getEntries().length; }).observe({ entryTypes: ['longtask'] });
    new MutationObserver((records) => records.forEach((record) => {
      changes += 1;
      came += [...record.addedNodes].filter((node) => node.nodeType === 1).length;
    })).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true })";

/// Snapshots that the full page is shown.
const SECONDS: u64 = 10;

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn ten_thousand_transfers_and_200_connections_stay_quick() {
    let page = Fed::new("page-many");
    let b = &page.browser;
    page.show(0, 200, 10_000);
    b.eval("feed.snapshot(1, 200, 10000, 10000)");
    b.wait("a snapshot that lists all of them", "shownAt() === 1");
    assert_eq!(b.text("#n-transfers"), "10,000");
    assert!(b.text("#more-transfers").contains("and 9,988 more"), "{}", b.text("#more-transfers"));
    b.eval("document.querySelectorAll('.rest button').forEach((button) => button.click())");
    b.wait("as much as the page ever shows", "document.querySelectorAll('#transfer-rows tr').length === 50");
    assert!(b.text("#more-transfers").contains("and 9,950 more"), "{}", b.text("#more-transfers"));
    assert_eq!(
        b.eval("document.querySelectorAll('#connection-table > tbody tr:first-child th').length"),
        json!(200)
    );
    let size = b.eval("document.querySelectorAll('*').length").as_u64().unwrap();
    assert!(size < 8_000, "{size} elements");

    b.eval("window.rows = [...document.querySelectorAll('tbody tr')]");
    b.eval(WATCH);
    for tick in 2..2 + SECONDS {
        page.show(u32::try_from(tick).unwrap(), 200, 10_000);
    }
    let [came, changes, long] = ["came", "changes", "long"].map(|what| b.eval(what).as_u64().unwrap());
    eprintln!("{size} elements; a second: {} changes; {long} long tasks in all", changes / SECONDS);
    assert_eq!(came, 0, "no row is made anew");
    assert_eq!(b.eval("rows.every((row) => row.isConnected)"), json!(true), "and none is replaced");
    assert!(changes / SECONDS < 1_500, "{changes} changes in {SECONDS} s: what stays is written again");
    let now = b.eval("document.querySelectorAll('*').length").as_u64().unwrap();
    assert_eq!(now, size, "and the page does not grow");

    b.eval("(filter => { filter.value = 'server-01'; filter.dispatchEvent(new Event('input')); })(document.getElementById('filter'))");
    assert_eq!(
        b.eval("document.querySelectorAll('#connection-table > tbody tr:first-child th').length"),
        json!(10)
    );
    assert_eq!(b.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn all_pods_are_shown_with_those_in_trouble_first_and_what_they_are_granted() {
    let page = full("page-pods");
    let b = &page.browser;
    b.wait("the pods", "document.querySelectorAll('#pod-table > tbody').length === 8");
    assert_eq!(b.text("#n-pods"), "7, 2 gone");
    let gone = b.text("#pod-table > tbody.open");
    assert!(
        gone.contains("pod-1") && gone.contains("gone") && gone.contains("last heard of 1 s ago"),
        "{gone}"
    );
    assert_eq!(b.eval("document.querySelector('#pod-table a[href]').href"), json!("http://10.0.0.1:8080/"));
    assert!(
        !b.text("#pod-table > tbody:first-of-type a").is_empty(),
        "this pod's own name is there, without a link"
    );
    let shared = b.text("#pooled-rows tr:has(.wraps:not(:empty))");
    assert!(shared.contains("pod-0 3 of 4 · pod-2 0 of 3"), "{shared}");
    assert_eq!(b.text("#pool-note"), "", "grants are live");

    b.eval("feed.pool(2, 8, 12, {state: 'over', reason: 'no report comes through'}, 'nothing was read')");
    b.wait("what is wrong", "!document.getElementById('pool-note').hidden");
    let note = b.text("#pool-note");
    assert!(
        note.contains("not known: nothing was read.") && note.contains("not granted: no report"),
        "{note}"
    );
    b.eval("feed.pool(3, 8, 12, {state: 'needs_transactions', reason: 'kafka.delivery is at_least_once'})");
    b.wait(
        "why there are no grants",
        "/^kafka.delivery is at_least_once/.test(document.getElementById('pool-note').textContent)",
    );
    assert_eq!(b.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn two_hundred_connections_on_a_phone_are_a_list_of_the_broken_ones() {
    let page = Fed::new("page-scale");
    let b = &page.browser;
    b.view(320, 740);
    page.show(1, 200, 10);
    let names = |what: &str| {
        let all =
            "[...document.querySelectorAll('#connection-table > tbody:not([hidden]) th .clip:first-child')]";
        lines(&b.eval(&format!("{all}.filter((n) => n.checkVisibility()).map((n) => n.textContent){what}")))
    };
    let broken = names("");
    assert_eq!(broken.len(), 10, "five are down, five are trying, and no other is in the way: {broken:?}");
    assert_eq!(broken[0], "server-007");
    assert!(b.text("#more-connections").contains("and 190 more"), "{}", b.text("#more-connections"));
    let height =
        b.eval("document.getElementById('connections').getBoundingClientRect().height").as_f64().unwrap();
    assert!(height < 4_000.0, "{height} pixels");
    assert!(b.text("#connection-table tbody.open").contains("892"), "what is deferred is shown");

    b.eval("document.querySelector('#more-connections button').focus()");
    b.press("Enter");
    b.wait(
        "all of them",
        "document.querySelectorAll('#connection-table > tbody tr:first-child th').length === 200",
    );

    let choose = |order: &str| {
        b.eval(&format!("(s => {{ s.value = '{order}'; s.dispatchEvent(new Event('change')); }})(document.getElementById('sort'))"));
    };
    choose("name");
    assert_eq!(names(".slice(0, 2)"), ["server-000", "server-001"]);
    choose("waiting");
    assert_eq!(names(".slice(0, 1)"), ["server-199"]);
    choose("deferred");
    assert_eq!(names(".slice(0, 1)"), ["server-007"]);
    b.view(1280, 900);
    page.show(2, 200, 10);
    assert_eq!(names(".slice(0, 1)"), ["server-007"], "the order stays");
    assert_eq!(b.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn a_long_name_takes_its_room_and_no_more() {
    let page = Fed::new("page-long");
    let b = &page.browser;
    b.eval(&format!("feed.prefix = '{}'", "a-partner-with-a-very-long-name-".repeat(3)));
    page.show(1, 14, 10);
    let fits =
        "(t => t.scrollWidth <= t.parentElement.clientWidth)(document.getElementById('connection-table'))";
    b.view(1500, 900);
    b.eval(SETTLED);
    assert_eq!(b.eval(fits), json!(true), "no figure is pushed out of the table");
    let clipped = "(n => [n.scrollWidth > n.clientWidth, n.title.length, getComputedStyle(n).textOverflow])(document.querySelector('#connection-table th .clip'))";
    let clipped = b.eval(clipped);
    assert_eq!((&clipped[0], &clipped[2]), (&json!(true), &json!("ellipsis")), "{clipped}");
    assert!(clipped[1].as_u64() > Some(96), "its title has the whole: {clipped}");
    b.view(320, 740);
    b.eval(SETTLED);
    assert_eq!(ask(b, "outside"), [""; 0], "on a phone all of it is shown");
}

#[test]
#[ignore = "needs Kafka, vsftpd and Chromium: make test"]
fn feeds_open_batches_and_open_failures_are_shown_with_what_their_numbers_mean() {
    let page = full("page-batches");
    let b = &page.browser;
    b.wait("the batches", "document.querySelectorAll('#batch-rows tr').length === 6");
    assert_eq!(
        (b.text("#n-batches").as_str(), b.text("#more-batches").contains("and 54 more")),
        ("60", true)
    );
    let first = b.text("#batch-rows tr");
    assert!(first.contains("alice@ops") && first.contains("local:/in/") && first.contains("40 %"), "{first}");
    assert!(b.text("#batch-rows tr:nth-child(2)").contains("at most 598"), "some answers may not be counted");
    let failures = b.text("#open-failures");
    assert!(
        failures.starts_with("12 open over all pods: 15 failed since 2026-01-31 11:45:00, 3 sent again."),
        "{failures}"
    );
    let failing = b.text("#feed-table > tbody:first-of-type");
    assert!(
        failing.contains("orders-1") && failing.contains("failing") && failing.contains("550"),
        "{failing}"
    );
    assert!(b.text("#feed-table").contains("by alice") && b.text("#feed-table").contains("100 of 120"));
    assert_eq!(b.text("#n-feeds"), "3, 1 failing");
    let partitions = b.text("#partition-rows");
    let reasons = ["paused: the pod has all the tasks that it may", "waits until its next task is due"];
    assert!(reasons.iter().all(|reason| partitions.contains(reason)), "{partitions}");

    b.eval("feed.push('pool', {...feed.last.pool, batches: {total: 0, batches: []}, feeds: []})");
    b.wait("no section without a batch", "document.getElementById('batches').hidden");
    assert_eq!(b.text("#feeds"), "", "nor without a feed");
    assert_eq!(b.complaints(), [""; 0]);
}
