//! A directory for one test's data and logs; gone after a success, kept after a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// A fresh directory. Files lie on a real file system (cargo's target directory), not in memory.
///
/// When the test panics, it stays where it is, and its path is printed: the logs in it tell why.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes `target/tmp/e2e/<name>-<random>-<process>`.
    ///
    /// # Panics
    /// Where the directory cannot be made.
    pub fn new(name: &str) -> Self {
        static SWEEP: Once = Once::new();
        let all = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("e2e");
        SWEEP.call_once(|| sweep(&all));
        let path = all.join(format!("{}-{}", unique(name), std::process::id()));
        fs::create_dir_all(&path).expect("a directory for the test");
        Scratch { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it.
    ///
    /// # Panics
    /// Where the directory cannot be made.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.path.join(name);
        fs::create_dir_all(&dir).expect("a directory for the test");
        dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("FTP_POOLER_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what earlier runs have left: what their failed tests kept, and the shared broker's data, which no
/// drop removes since it lives as long as its process.
fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.rsplit('-').next());
        let lives = owner.is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !lives {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A name that no other test, process or run has.
pub fn unique(name: &str) -> String {
    format!("{name}-{:08x}", rand::random::<u32>())
}
