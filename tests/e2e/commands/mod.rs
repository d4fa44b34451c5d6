//! The commands that send tasks and look at the pool, against a real Kafka, a real server and a running pod.

mod batch;
mod check;
mod failures;
mod full_server;
mod look;
mod offsets;
mod pool_view;
mod submit;
mod terminal;
mod topic_creation;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::pod::{PodConfig, binary};
use crate::support::scratch::Scratch;

/// A user's shell: the product's commands with a pod's configuration.
#[derive(Debug)]
struct Shell {
    scratch: Scratch,
    config: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Shell {
    fn new(config: &PodConfig) -> Shell {
        let scratch = Scratch::new("shell");
        let config = config.write(scratch.path());
        Shell { scratch, config }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FTP_POOLER")) {
            command.env_remove(key);
        }
        command.args(args).arg("--config").arg(&self.config).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// Writes tasks to a file; returns its path.
    fn lines<T: ToString>(&self, name: &str, tasks: impl IntoIterator<Item = T>) -> String {
        let lines: Vec<String> = tasks.into_iter().map(|task| task.to_string()).collect();
        let path = self.scratch.path().join(name);
        std::fs::write(&path, lines.join("\n")).unwrap();
        path.display().to_string()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
