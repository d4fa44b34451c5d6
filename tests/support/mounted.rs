//! File systems of a test's own, to be filled, frozen and remounted. They need root's right to mount: without it a test is skipped, and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system on a directory, for as long as this lives.
#[derive(Debug)]
pub struct Mounted {
    base: PathBuf,
    /// Where a disk that is a file lies.
    _image: Option<TempDir>,
    is_frozen: std::cell::Cell<bool>,
}

fn succeeds(program: &str, args: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(args).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

impl Mounted {
    pub fn tmpfs(base: &Path, options: &str) -> Option<Mounted> {
        Mounted::of(base, "tmpfs", options)
    }

    /// A file system in memory.
    pub fn of(base: &Path, kind: &str, options: &str) -> Option<Mounted> {
        Mounted::by(base, &["-t", kind, "-o", options, kind], None)
    }

    /// An ext4 file system on a disk of `size` (`64M`), which can be frozen.
    pub fn ext4(base: &Path, size: &str) -> Option<Mounted> {
        let image = TempDir::new().unwrap();
        let file = image.path().join("disk");
        if !succeeds("truncate", &["-s", size], &file) || !succeeds("mkfs.ext4", &["-q", "-F"], &file) {
            eprintln!("skipped: no ext4 file system can be made here");
            return None;
        }
        let file = file.to_str().unwrap().to_owned();
        Mounted::by(base, &["-o", "loop", &file], Some(image))
    }

    fn by(base: &Path, args: &[&str], image: Option<TempDir>) -> Option<Mounted> {
        if !succeeds("mount", args, base) {
            eprintln!("skipped: no right to mount ({})", args.join(" "));
            return None;
        }
        Some(Mounted { base: base.to_path_buf(), _image: image, is_frozen: false.into() })
    }

    /// `ro` or `rw`.
    pub fn remount(&self, how: &str) -> bool {
        succeeds("mount", &["-o", &format!("remount,{how}")], &self.base)
    }

    /// Writes hang from now on; until they do not.
    pub fn freeze(&self, freeze: bool) -> bool {
        let done = succeeds("fsfreeze", &[if freeze { "-f" } else { "-u" }], &self.base);
        self.is_frozen.set(freeze && done);
        done
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_frozen.get() {
            self.freeze(false);
        }
        let _ = succeeds("umount", &["-l"], &self.base);
    }
}
