//! The files that these tests write, and the program that reads them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use ftp_pooler::config::{Config, ConfigSources, FilesInUse};
use tempfile::TempDir;

/// A directory with both files, and a `data` directory for local connections.
pub struct Files {
    dir: TempDir,
}

pub const RIGHT_CONNECTIONS: &str =
    "[remote-ftp]\ntype = ftp\nhost = ftp.example.com\nuser = u\npass = hunter2\n";

impl Files {
    pub fn new(yaml: &str, ini: &str) -> Files {
        let dir = TempDir::new().unwrap();
        let files = Files { dir };
        fs::create_dir(files.data()).unwrap();
        fs::write(files.config(), yaml).unwrap();
        fs::write(files.connections(), ini).unwrap();
        files
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    pub fn connections(&self) -> PathBuf {
        self.dir.path().join("connections.ini")
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn sources(&self, environment: &[(&str, &str)]) -> ConfigSources {
        ConfigSources {
            config: self.config(),
            connections: None,
            environment: environment.iter().map(|(k, v)| (k.into(), v.into())).collect(),
            property: |_, _| None,
            files: FilesInUse::All,
            also_searched: None,
        }
    }

    pub fn load(&self, environment: &[(&str, &str)]) -> Result<Config, String> {
        let sources = self.sources(environment);
        // Mistakes without the directory's name, which differs from run to run.
        let shorten = |text: String| text.replace(&format!("{}/", self.dir.path().display()), "");
        Config::load(&sources).map_err(|errors| shorten(errors.to_string()))
    }

    pub fn check(&self, environment: &[(&str, &str)]) -> Output {
        program()
            .args(["check", "--show-config", "--config"])
            .arg(self.config())
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
    command.env_clear().env("HOSTNAME", "pod-0");
    command
}

pub fn loaded(yaml: &str, ini: &str, environment: &[(&str, &str)]) -> Config {
    Files::new(yaml, ini).load(environment).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

pub fn mistakes(yaml: &str, ini: &str, environment: &[(&str, &str)]) -> String {
    Files::new(yaml, ini).load(environment).expect_err("this configuration is wrong")
}
