//! The page at `/`, in a real browser with a real pod behind it.

mod browser;
mod live;
mod picture;
mod reading;

use serde_json::json;

use self::browser::Browser;
use crate::stage::Stage;
use crate::support::pod::{Pod, PodConfig};

/// Puts a stream that the test feeds in the place of the pod's: for what no pod here could have, such as 10,000
/// transfers.
const FEED: &str = include_str!("feed.js");
const READING: &str = include_str!("reading.js");

/// A pod with no work, its page open in a browser, and the stream in the test's hands.
struct Fed {
    browser: Browser,
    _pod: Pod,
    _stage: Stage,
}

impl Fed {
    fn new(name: &str) -> Fed {
        let stage = Stage::new(name);
        let pod = Pod::start(&stage.config());
        let browser = Browser::start();
        browser.before_each_page(FEED);
        open(&browser, &pod);
        browser.wait("the stream to be asked for", "window.feed && feed.push('nothing', {}) > 0");
        Fed { browser, _pod: pod, _stage: stage }
    }

    /// Shows the `tick`th second of so many connections and transfers, and waits until it is drawn.
    fn show(&self, tick: u32, connections: u32, transfers: u32) {
        self.browser.eval(&format!("feed.snapshot({tick}, {connections}, {transfers})"));
        self.browser.wait("the snapshot to be shown", &format!("shownAt() === {tick}"));
    }
}

/// Opens the page in a desktop's window.
fn open(browser: &Browser, pod: &Pod) {
    browser.view(1280, 900);
    browser.before_each_page(READING);
    let address = pod.addr("api").expect("the pod has told where it listens");
    browser.open(&format!("http://{address}/"));
}

/// A pod whose port is known before it begins, so that it can come back on it.
fn on_port(config: PodConfig, port: u16) -> PodConfig {
    config.set("api.port", json!(port))
}
