//! File systems of a test's own, to be filled, frozen and remounted. They need root's right to mount: without it a test is skipped, and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system on a directory, for as long as this lives.
#[derive(Debug)]
pub struct Mounted {
    base: PathBuf,
    /// Where a disk that is a file lies.
    image: Option<TempDir>,
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
        Mounted::ext4_with(base, size, &[])
    }

    /// The same without a journal: what is written goes to its place at once, and a lost block is nobody's but its file's.
    pub fn ext4_without_journal(base: &Path, size: &str) -> Option<Mounted> {
        Mounted::ext4_with(base, size, &["-O", "^has_journal"])
    }

    fn ext4_with(base: &Path, size: &str, options: &[&str]) -> Option<Mounted> {
        let image = TempDir::new().unwrap();
        let file = image.path().join("disk");
        let options = [&["-q", "-F"], options].concat();
        if !succeeds("truncate", &["-s", size], &file) || !succeeds("mkfs.ext4", &options, &file) {
            eprintln!("skipped: no ext4 file system can be made here");
            return None;
        }
        let file = file.to_str().unwrap().to_owned();
        Mounted::by(base, &["-o", "loop", &file], Some(image))
    }

    /// From now on the disk has no blocks beyond `size` (`14M`): whoever reads or writes one gets EIO.
    pub fn lose_blocks_beyond(&self, size: &str) -> bool {
        let disk = self.image.as_ref().expect("a disk that is a file").path().join("disk");
        let found = Command::new("losetup").args(["--noheadings", "-O", "NAME", "-j"]).arg(&disk).output();
        let device = found.map(|found| String::from_utf8_lossy(&found.stdout).trim().to_owned());
        let Ok(device) = device else { return false };
        succeeds("sync", &["-f"], &self.base)
            && succeeds("truncate", &["-s", size], &disk)
            && succeeds("losetup", &["-c"], Path::new(&device))
    }

    fn by(base: &Path, args: &[&str], image: Option<TempDir>) -> Option<Mounted> {
        if !succeeds("mount", args, base) {
            eprintln!("skipped: no right to mount ({})", args.join(" "));
            return None;
        }
        Some(Mounted { base: base.to_path_buf(), image, is_frozen: false.into() })
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
