//! What is in a directory, as `submit` sees it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::super::LocalEntry;
use super::*;

#[tokio::test]
async fn files_and_directories_are_told_apart_and_what_no_task_can_read_is_not_a_file() {
    for place in Place::each() {
        let base = &place.base;
        std::fs::create_dir(base.join("d")).unwrap();
        std::fs::write(base.join("a"), b"abc").unwrap();
        std::fs::write(base.join("d/b"), b"b").unwrap();
        std::fs::write(base.join(OsStr::from_bytes(b"z\xff")), b"z").unwrap();
        std::fs::write(base.join(".ftp-pooler-0123456789abcdef0123456789abcdef-01234567-0001.tmp"), b"t")
            .unwrap();
        symlink("a", base.join("link")).unwrap();
        symlink("d", base.join("link-d")).unwrap();
        symlink("/etc/passwd", base.join("out")).unwrap();
        let found = place.storage.list("").await.unwrap();
        let kinds: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, listed)| {
                let kind = match listed {
                    LocalEntry::File { bytes: 3, .. } => "three bytes",
                    LocalEntry::File { .. } => "file",
                    LocalEntry::Directory => "directory",
                    LocalEntry::Other => "other",
                    LocalEntry::NotUtf8 => "not utf-8",
                };
                (name.as_str(), kind)
            })
            .collect();
        let expected = [
            ("a", "three bytes"),
            ("d", "directory"),
            ("link", "three bytes"),
            ("link-d", "other"),
            ("out", "other"),
            ("z\u{fffd}", "not utf-8"),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(place.storage.list("d").await.unwrap().len(), 1);
        assert!(matches!(place.storage.list("missing").await, Err(StorageError::SourceNotFound(_))));
        assert!(place.storage.list("..").await.is_err());
        let look = |path: &str| place.storage.resolve(path).unwrap();
        assert_eq!(place.storage.entry(&look("d")).await.unwrap(), Some(LocalEntry::Directory));
        assert_eq!(place.storage.entry(&look("missing")).await.unwrap(), None);
    }
}
