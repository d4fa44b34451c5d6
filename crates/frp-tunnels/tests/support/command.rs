//! The product's own command as a process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, program};

/// A running `frp-tunnels`; killed when dropped.
pub struct Running {
    pub child: Child,
    /// Standard output and standard error so far.
    pub output: Arc<Mutex<String>>,
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frp-tunnels"));
    command.args(arguments).env("FRP_TUNNELS_FRPC", program("frpc")).env("FRP_TUNNELS_FRPS", program("frps"));
    command
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_command(command(arguments))
    }

    pub fn start_command(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let collect = |stream: Box<dyn std::io::Read + Send>| {
            let output = output.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut output = output.lock().unwrap();
                    output.push_str(&line);
                    output.push('\n');
                }
            });
        };
        collect(Box::new(out));
        collect(Box::new(err));
        Self { child, output }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn said(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until it has said this.
    pub async fn says(&self, text: &str) {
        self.says_times(text, 1).await;
    }

    pub async fn says_times(&self, text: &str, times: usize) {
        let begun = Instant::now();
        while self.said().matches(text).count() < times {
            assert!(begun.elapsed() < PATIENCE, "not said: {text}\n{}", self.said());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "does not end\n{}", self.said());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// The processes that it has started.
    pub fn children(&self) -> Vec<i32> {
        children_of(self.pid())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn children_of(parent: i32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok());
    children
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>())
        .collect()
}

/// Runs it to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = command(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// All bytes of /proc/PID/NAME.
pub fn proc_file(pid: i32, name: &str) -> String {
    let mut bytes = Vec::new();
    std::fs::File::open(Path::new("/proc").join(pid.to_string()).join(name))
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
