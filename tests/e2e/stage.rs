//! What almost every test sets up: topics, an FTP server, a local directory, and a pod that knows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::client::{Answers, Outgoing, send};
use crate::support::files::list;
use crate::support::kafka::{Kafka, Topics};
use crate::support::pod::PodConfig;
use crate::support::scratch::Scratch;
use crate::support::vsftpd::Vsftpd;

/// For what takes a moment on a quiet machine: only there so that a failure ends.
pub const LONG: Duration = Duration::from_secs(120);
/// For a pod to be gone after SIGTERM: its drain, its last commit, and a margin for a busy machine.
pub const EXIT: Duration = Duration::from_secs(30);

/// One test's surroundings. The connection `remote` is [`Stage::server`], `local` is [`Stage::base`].
#[derive(Debug)]
pub struct Stage {
    pub kafka: &'static Kafka,
    pub topics: Topics,
    pub server: Vsftpd,
    scratch: Scratch,
}

impl Stage {
    /// A vsftpd without limits, and topics of one partition.
    pub fn new(name: &str) -> Stage {
        Stage::with(name, 1, &[])
    }

    /// `settings` are vsftpd's.
    pub fn with(name: &str, partitions: i32, settings: &[(&str, &str)]) -> Stage {
        let kafka = Kafka::shared();
        let stage = Stage {
            kafka,
            topics: kafka.topics(name, partitions),
            server: Vsftpd::with(settings),
            scratch: Scratch::new(name),
        };
        stage.scratch.dir("base");
        stage
    }

    /// The local connection's `base_path`.
    pub fn base(&self) -> PathBuf {
        self.scratch.path().join("base")
    }

    /// A directory beside `base_path`, where nothing may be written.
    pub fn outside(&self) -> PathBuf {
        self.scratch.dir("outside")
    }

    /// A pod with the connections `remote` and `local`.
    pub fn config(&self) -> PodConfig {
        self.bare_config().ftp("remote", self.server.addr(), &[])
    }

    /// A pod with the connection `local` alone.
    pub fn bare_config(&self) -> PodConfig {
        PodConfig::new(self.kafka, &self.topics).local("local", &self.base())
    }

    pub fn send<T: Into<Outgoing>>(&self, tasks: impl IntoIterator<Item = T>) {
        send(self.kafka, &self.topics.tasks, tasks);
    }

    pub fn answers(&self) -> Answers {
        Answers::of(self.kafka, &self.topics)
    }

    /// Puts a file beneath `base_path`, its directories included.
    pub fn put_local(&self, relative: &str, content: &[u8]) {
        let path = self.base().join(relative);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("directories");
        fs::write(path, content).expect("a local file");
    }

    pub fn get_local(&self, relative: &str) -> Option<Vec<u8>> {
        fs::read(self.base().join(relative)).ok()
    }

    /// Every file beneath `base_path`.
    pub fn local_files(&self) -> Vec<PathBuf> {
        list(&self.base())
    }

    /// Every file at the server.
    pub fn remote_files(&self) -> Vec<PathBuf> {
        list(self.server.root())
    }
}

/// The given relative paths as [`list`] gives them.
pub fn sorted<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = paths.into_iter().map(|p| p.as_ref().to_owned()).collect();
    paths.sort();
    paths
}
