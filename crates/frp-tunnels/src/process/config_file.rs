//! A configuration that holds secrets and lies on no disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::fs::MemfdFlags;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::NamedTempFile;

/// Where a child finds its standard input: reopened each time, so frpc can read it again at a reload.
const STANDARD_INPUT: &str = "/proc/self/fd/0";

/// In-memory file systems, if memfd is unavailable.
const MEMORY_DIRECTORIES: [&str; 2] = ["/dev/shm", "/run"];

/// A file in memory that one child reads. Rewritten only while it is not being read: before a start and a reload.
#[derive(Debug)]
pub enum ConfigFile {
    Memory(File),
    /// Mode 0600, in an in-memory file system if there is one; removed when dropped.
    Named(NamedTempFile),
}

impl ConfigFile {
    pub fn new(content: &SecretString) -> io::Result<Self> {
        let memory = rustix::fs::memfd_create("frp-config", MemfdFlags::CLOEXEC).map(File::from);
        let file = match memory {
            // its mode is 0777 at first; only its own user can reach it, and need not execute it
            Ok(file) => {
                file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
                Self::Memory(file)
            }
            Err(_) => Self::Named(named()?),
        };
        file.write(content)?;
        Ok(file)
    }

    /// Replaces the whole content.
    pub fn write(&self, content: &SecretString) -> io::Result<()> {
        let file = match self {
            Self::Memory(file) => file,
            Self::Named(file) => file.as_file(),
        };
        file.set_len(0)?;
        file.write_all_at(content.expose_secret().as_bytes(), 0)
    }

    /// The path for the child's `-c`, and the standard input that it goes with.
    pub(super) fn for_child(&self) -> io::Result<(PathBuf, Stdio)> {
        match self {
            Self::Memory(file) => Ok((PathBuf::from(STANDARD_INPUT), Stdio::from(file.try_clone()?))),
            Self::Named(file) => Ok((file.path().to_owned(), Stdio::null())),
        }
    }
}

fn named() -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("frp-").suffix(".json");
    let in_memory = MEMORY_DIRECTORIES.iter().find_map(|directory| builder.tempfile_in(directory).ok());
    in_memory.map_or_else(|| builder.tempfile(), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_again_leaves_nothing_of_the_old() {
        let file = ConfigFile::new(&"a long first text".into()).unwrap();
        file.write(&"short".into()).unwrap();
        let ConfigFile::Memory(memory) = &file else { return };
        let mut content = vec![0; 64];
        let length = memory.read_at(&mut content, 0).unwrap();
        assert_eq!(&content[..length], b"short");
    }

    #[test]
    fn the_named_file_is_for_its_owner_only_and_removed() {
        let file = named().unwrap();
        let path = file.path().to_owned();
        assert_eq!(file.as_file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }
}
