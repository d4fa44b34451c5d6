//! A `pattern-router` process on ports that the system gives, with what it logs.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything in these tests may take before they give up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running router; killed when it is dropped.
pub struct RouterProcess {
    child: Child,
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub directory: tempfile::TempDir,
    log: Arc<Mutex<Vec<String>>>,
}

/// What every test's configuration begins with: pods on this machine, ids ws1 and ws2.
pub fn config(more: &str) -> String {
    let mut text = String::new();
    let given = |key: &str| more.lines().any(|line| line.starts_with(&format!("{key}:")));
    for (key, value) in [
        ("domain", "pool.test"),
        ("host", "127.0.0.1"),
        ("port", "0"),
        ("workers", "1"),
        ("ports", "1024-65535"),
        ("pods", "list"),
        ("addresses", "{ws1: 127.0.0.1, ws2: 127.0.0.1, ws-three: 127.0.0.1}"),
        ("allow_loopback", "true"),
        ("admin_port", "off"),
        ("drain", "1s"),
    ] {
        let skip = given(key) || (key == "addresses" && given("pods"));
        if !skip {
            let _ = writeln!(text, "{key}: {value}");
        }
    }
    text + more
}

impl RouterProcess {
    /// Starts one with these lines beside [`config`]'s.
    pub fn start(more: &str) -> RouterProcess {
        RouterProcess::start_with(more, &[])
    }

    pub fn start_with(more: &str, environment: &[(&str, &str)]) -> RouterProcess {
        let directory = tempfile::tempdir().unwrap();
        RouterProcess::start_in(directory, more, environment)
    }

    pub fn start_in(directory: tempfile::TempDir, more: &str, environment: &[(&str, &str)]) -> RouterProcess {
        let program = Command::new(env!("CARGO_BIN_EXE_pattern-router"));
        RouterProcess::start_program(program, directory, more, environment)
    }

    /// The router's program as the arguments of another one.
    pub fn start_behind(directory: tempfile::TempDir, more: &str, prefix: &[String]) -> RouterProcess {
        let mut program = Command::new(&prefix[0]);
        program.args(&prefix[1..]).arg(env!("CARGO_BIN_EXE_pattern-router"));
        RouterProcess::start_program(program, directory, more, &[])
    }

    pub fn start_program(
        mut program: Command,
        directory: tempfile::TempDir,
        more: &str,
        environment: &[(&str, &str)],
    ) -> RouterProcess {
        let path = directory.path().join("router.yaml");
        std::fs::write(&path, config(more)).unwrap();
        let mut child = program
            .args(["run", "--config"])
            .arg(&path)
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut router =
            RouterProcess { child, address: ([127, 0, 0, 1], 0).into(), admin: None, directory, log };
        router.await_listening();
        router
    }

    fn await_listening(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.log().into_iter().find(|line| line.contains("\"listening\""));
            if let Some(line) = line {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                self.address = line["listen"].as_str().unwrap().parse().unwrap();
                self.admin = line["admin"].as_str().and_then(|admin| admin.parse().ok());
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "no router: {:?}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("router.yaml")
    }

    pub fn rewrite_config(&self, more: &str) {
        std::fs::write(self.config_path(), config(more)).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the router does not end: {:?}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// File descriptors that are sockets.
    pub fn sockets(&self) -> usize {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        entries
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }
}

impl Drop for RouterProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
