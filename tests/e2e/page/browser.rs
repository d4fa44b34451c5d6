//! Headless Chromium, as one child process a test, spoken to over its `DevTools` Protocol.
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::stage::LONG;
use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::wait::{try_wait_for, wait_for};

/// Where the browser is: Debian's headless one without its shell script, which would outlive a signal to it.
const PLACES: &[&str] = &[
    "/usr/lib/chromium/chromium-headless-shell",
    "/usr/lib/chromium/chromium",
    "/usr/bin/chromium-headless-shell",
    "/usr/bin/chromium",
    "/usr/bin/google-chrome",
];

/// No sandbox, since tests run as root; nothing that calls home.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--no-zygote",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
];

/// A browser with one tab. The process comes first: it must end before its files go.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    socket: RefCell<WebSocket<TcpStream>>,
    session: String,
    commands: Cell<u64>,
    complaints: RefCell<Vec<String>>,
    _scratch: Scratch,
}

impl Browser {
    /// # Panics
    /// Where there is none, or it does not start.
    pub fn start() -> Browser {
        let scratch = Scratch::new("browser");
        let profile = scratch.dir("profile");
        let mut args: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        args.extend([format!("--user-data-dir={}", profile.display()), "about:blank".to_owned()]);
        let process = Process::start(&binary(), &args, &scratch.path().join("browser.log"), |_| {});
        let (port, path) = wait_for("the browser's port", LONG, || listening(&profile));
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the browser's socket");
        stream.set_read_timeout(Some(LONG)).expect("a deadline");
        stream.set_write_timeout(Some(LONG)).expect("a deadline");
        let address = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = tungstenite::client(address.as_str(), stream).expect("the browser's handshake");
        let mut browser = Browser {
            process,
            socket: RefCell::new(socket),
            session: String::new(),
            commands: Cell::new(0),
            complaints: RefCell::default(),
            _scratch: scratch,
        };
        let tab = browser.command("Target.createTarget", json!({"url": "about:blank"}));
        let attached =
            browser.command("Target.attachToTarget", json!({"targetId": tab["targetId"], "flatten": true}));
        attached["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.command(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// One command, and what it gives.
    ///
    /// # Panics
    /// Where the browser refuses it, or is silent.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "every caller makes it on the spot")]
    pub fn command(&self, method: &str, params: Value) -> Value {
        let id = self.commands.get() + 1;
        self.commands.set(id);
        let mut command = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut socket = self.socket.borrow_mut();
        socket.send(Message::text(command.to_string())).expect("the browser reads");
        loop {
            let message = match socket.read() {
                Ok(message) => message,
                Err(error) => panic!("{method}: {error}\n{}", self.process.log_tail(30)),
            };
            let Ok(text) = message.to_text() else { continue };
            let Ok(mut said) = serde_json::from_str::<Value>(text) else { continue };
            if said["id"] == json!(id) {
                assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                return said["result"].take();
            }
            self.note(&said);
        }
    }

    /// What a user would see in the console: exceptions, and what the policy forbade.
    fn note(&self, event: &Value) {
        let is_complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            // That a pod which is away cannot be reached is no complaint about the page.
            Some("Log.entryAdded") => event["params"]["entry"]["source"] != "network",
            _ => false,
        };
        if is_complaint {
            self.complaints.borrow_mut().push(event["params"].to_string());
        }
    }

    /// What the page complained of so far.
    pub fn complaints(&self) -> Vec<String> {
        self.command("Runtime.evaluate", json!({"expression": "0"}));
        self.complaints.borrow().clone()
    }

    /// Runs this in every page that is opened from now on, before its own scripts.
    pub fn before_each_page(&self, script: &str) {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": script}));
    }

    pub fn open(&self, url: &str) {
        let opened = self.command("Page.navigate", json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    /// The value of an expression, awaited where it is a promise.
    ///
    /// # Panics
    /// Where it throws.
    #[track_caller]
    pub fn eval(&self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut given = self.command("Runtime.evaluate", params);
        assert!(given["exceptionDetails"].is_null(), "{expression}: {}", given["exceptionDetails"]);
        given["result"]["value"].take()
    }

    /// The text of the first element that fits, as it is shown; empty where none is.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let shown = format!(
            "[document.querySelector({})].filter((node) => node?.checkVisibility())",
            json!(selector)
        );
        let text = self.eval(&format!("{shown}.map((node) => node.innerText)[0] ?? ''"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the expression is true; while it throws it is not, as before the page is there.
    ///
    /// # Panics
    /// At the deadline, with what the page shows.
    #[track_caller]
    pub fn wait(&self, what: &str, expression: &str) {
        let condition = format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        let held = try_wait_for(LONG, || self.eval(&condition).as_bool().filter(|holds| *holds));
        assert!(held.is_some(), "waited in vain for: {what}\nthe page shows:\n{}", self.text("body"));
    }

    /// The window's size in CSS pixels.
    pub fn view(&self, width: u32, height: u32) {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.command("Emulation.setDeviceMetricsOverride", params);
    }

    /// `light` or `dark`, as the system's setting.
    pub fn scheme(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.command("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Presses and releases a key: `Tab`, `Enter`, `ArrowLeft`.
    pub fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowLeft" => 37,
            _ => panic!("add {key} here"),
        };
        let mut params = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if key == "Enter" {
            params["text"] = json!("\r");
        }
        self.command("Input.dispatchKeyEvent", params.clone());
        params["type"] = json!("keyUp");
        self.command("Input.dispatchKeyEvent", params);
    }

    /// Types into what has the focus.
    pub fn type_text(&self, text: &str) {
        self.command("Input.insertText", json!({"text": text}));
    }

    /// The window as PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let shot =
            self.command("Page.captureScreenshot", json!({"format": "png", "optimizeForSpeed": false}));
        STANDARD.decode(shot["data"].as_str().expect("a picture")).expect("in base64")
    }

    /// The nodes that a screen reader is told of: role and name.
    pub fn accessible(&self) -> Vec<(String, String)> {
        let tree = self.command("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes
            .iter()
            .filter(|node| node["ignored"] != json!(true))
            .map(|node| (word(&node["role"]), word(&node["name"])))
            .collect()
    }
}

fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("FTP_POOLER_TEST_BROWSER") {
        return named.into();
    }
    let found = PLACES.iter().map(Path::new).find(|place| place.exists());
    found.expect("no Chromium: `make deps` installs one, or FTP_POOLER_TEST_BROWSER names it").to_owned()
}

/// The port and path that it has written down, once it has.
fn listening(profile: &Path) -> Option<(u16, String)> {
    let text = fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
    let (port, path) = text.split_once('\n')?;
    Some((port.parse().ok()?, path.trim().to_owned())).filter(|(_, path)| !path.is_empty())
}

/// Until the page has drawn what it has been told.
pub const SETTLED: &str =
    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))";
/// A phone's width, the narrowest that is common.
pub const PHONE: u32 = 360;
