//! An upload's source is a regular file, the same from its first byte to its last.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::SystemTime;

use rustix::fs::{CWD, FileType, Mode};

use super::super::{CHUNK, SourceFile};
use super::*;

async fn to_end(source: &mut SourceFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match source.read().await.unwrap() {
            [] => return bytes,
            chunk => bytes.extend_from_slice(chunk),
        }
    }
}

#[tokio::test]
async fn files_of_all_sizes_are_read_as_they_are() {
    for place in Place::each() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 9] {
            std::fs::write(place.base.join("x"), pattern(size)).unwrap();
            let target = place.storage.resolve("/x").unwrap();
            let mut source = place.storage.open_source(&target).await.unwrap();
            assert_eq!(source.size(), size as u64);
            let bytes = to_end(&mut source).await;
            assert!(bytes == pattern(size), "{size} bytes");
            assert!(source.read().await.unwrap().is_empty());
            assert!(source.still_same().await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_source_tells_when_it_was_changed_last() {
    for place in Place::each() {
        let now = SystemTime::now();
        for at in [now, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH - Duration::from_millis(1500)] {
            File::create(place.base.join("x")).unwrap().set_modified(at).unwrap();
            let source = place.storage.open_source(&place.storage.resolve("/x").unwrap()).await.unwrap();
            assert_eq!(source.modified(), at);
        }
    }
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    for place in Place::each() {
        std::fs::create_dir(place.base.join("dir")).unwrap();
        let _listener = UnixListener::bind(place.base.join("socket")).unwrap();
        let fifo = place.base.join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let mut names = vec!["dir", "socket", "fifo"];
        let device = rustix::fs::makedev(1, 5);
        let zero = place.base.join("zero");
        let made =
            rustix::fs::mknodat(CWD, &zero, FileType::CharacterDevice, Mode::from_raw_mode(0o600), device);
        if made.is_ok() {
            names.push("zero");
        } else {
            eprintln!("skipped for a device: making one needs root");
        }
        for name in names {
            let error = tokio::time::timeout(LONG, place.upload(name)).await.unwrap().unwrap_err();
            let allowed = matches!(&error, StorageError::PathNotAllowed(text) if text.contains("regular"));
            assert!(allowed, "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn a_source_that_is_not_there_is_not_found() {
    for place in Place::each() {
        std::fs::write(place.base.join("file"), "").unwrap();
        for path in ["/missing", "/missing/x", "/file/x"] {
            let error = place.upload(path).await.unwrap_err();
            assert!(matches!(&error, StorageError::SourceNotFound(text) if text.contains(path)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_source_that_shrinks_or_grows_while_it_is_read_has_changed() {
    let size = 6 * CHUNK + 100;
    for place in Place::each() {
        for (to, at_once) in [(2 * CHUNK, true), (CHUNK, true), (size + 1, false), (9 * CHUNK, false)] {
            std::fs::write(place.base.join("x"), pattern(size)).unwrap();
            let mut source = place.storage.open_source(&place.storage.resolve("/x").unwrap()).await.unwrap();
            let mut read = source.read().await.unwrap().len();
            let file = OpenOptions::new().write(true).open(place.base.join("x")).unwrap();
            file.set_len(to as u64).unwrap();
            let error = loop {
                match source.read().await {
                    Ok([]) => panic!("{to}: read to the end, {read} bytes"),
                    Ok(chunk) => read += chunk.len(),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, StorageError::SourceChanged(_)), "{error}");
            assert!(read <= size && (!at_once || read < size));
            assert!(!source.still_same().await.unwrap());
            assert!(source.read().await.is_err());
        }
    }
}

#[tokio::test]
async fn a_source_written_over_in_place_is_not_the_same_any_more() {
    for place in Place::each() {
        std::fs::write(place.base.join("x"), pattern(10)).unwrap();
        let source = place.storage.open_source(&place.storage.resolve("/x").unwrap()).await.unwrap();
        assert!(source.still_same().await.unwrap());
        let mut file = OpenOptions::new().write(true).open(place.base.join("x")).unwrap();
        file.write_all(b"other").unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(2)).unwrap();
        assert!(!source.still_same().await.unwrap());
    }
}

/// Whoever goes on with what was sent of a file relies on it: no byte of another content is handed out.
#[tokio::test]
async fn of_a_source_that_is_changed_in_place_no_new_byte_is_handed_out() {
    let size = 6 * CHUNK + 100;
    for place in Place::each() {
        std::fs::write(place.base.join("x"), pattern(size)).unwrap();
        let path = place.base.join("x");
        let aged = OpenOptions::new().write(true).open(&path).unwrap();
        aged.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        let mut source = place.storage.open_source(&place.storage.resolve("/x").unwrap()).await.unwrap();
        let mut read = source.read().await.unwrap().len();
        std::fs::write(&path, vec![255; size]).unwrap();
        let error = loop {
            match source.read().await {
                Ok([]) => panic!("read to the end, {read} bytes"),
                Ok(chunk) => {
                    assert!(*chunk == pattern(size)[read..read + chunk.len()]);
                    read += chunk.len();
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StorageError::SourceChanged(_)), "{error}");
        assert!(read < size);
    }
}

#[tokio::test]
async fn a_description_is_of_one_content_of_one_file() {
    for place in Place::each() {
        let describe = async || {
            let source = place.storage.open_source(&place.storage.resolve("/x").unwrap()).await.unwrap();
            source.description()
        };
        let write = |bytes: &[u8]| {
            std::fs::write(place.base.join("x"), bytes).unwrap();
            let file = OpenOptions::new().write(true).open(place.base.join("x")).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
        };
        write(b"content");
        let first = describe().await;
        assert_eq!(first, describe().await);
        // Size and time are the same again.
        std::thread::sleep(Duration::from_millis(20));
        write(b"CONTENT");
        let second = describe().await;
        assert_ne!(first, second);
        std::fs::rename(place.base.join("x"), place.base.join("y")).unwrap();
        write(b"CONTENT");
        assert_ne!(second, describe().await);
    }
}

#[tokio::test]
async fn a_source_replaced_by_another_is_read_to_its_own_end() {
    let bytes = pattern(3 * CHUNK);
    for place in Place::each() {
        std::fs::write(place.base.join("x"), &bytes).unwrap();
        let mut source = place.storage.open_source(&place.storage.resolve("/x").unwrap()).await.unwrap();
        place.download("/x", b"another", true).await.unwrap();
        assert!(to_end(&mut source).await == bytes);
        assert!(source.still_same().await.unwrap());
    }
}

#[tokio::test]
async fn a_source_or_directory_that_may_not_be_touched_is_permission_denied() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may touch everything (disk_full tests a read-only file system)");
        return;
    }
    for place in Place::each() {
        std::fs::write(place.base.join("x"), "").unwrap();
        std::fs::set_permissions(place.base.join("x"), PermissionsExt::from_mode(0o000)).unwrap();
        std::fs::create_dir(place.base.join("d")).unwrap();
        std::fs::set_permissions(place.base.join("d"), PermissionsExt::from_mode(0o555)).unwrap();
        assert!(matches!(place.upload("/x").await, Err(StorageError::PermissionDenied(_))));
        assert!(matches!(place.begin("/d/x", true).await, Err(StorageError::PermissionDenied(_))));
    }
}

#[tokio::test]
async fn a_base_path_that_was_removed_says_nothing_about_the_source() {
    for place in Place::each() {
        let target = place.storage.resolve("/dir/x").unwrap();
        std::fs::remove_dir(&place.base).unwrap();
        let error = place.storage.open_source(&target).await.unwrap_err();
        let is_named = |text: &str| text.contains("base_path") && text.contains("local connection local (/");
        assert!(matches!(&error, StorageError::Unavailable(text) if is_named(text)), "{error:?}");
    }
}

#[tokio::test]
async fn whatever_directory_is_at_base_path_is_used_and_no_other() {
    for place in Place::each() {
        for path in ["/x", "/dir/x"] {
            std::fs::remove_dir_all(&place.base).unwrap();
            assert!(place.download(path, b"nowhere", true).await.is_err());
            std::fs::create_dir(&place.base).unwrap();
            place.download(path, b"1", true).await.unwrap();
            assert_eq!(place.upload(path).await.unwrap(), b"1");
        }
        let aside = place.base.with_extension("aside");
        std::fs::rename(&place.base, &aside).unwrap();
        let error = place.download("/y", b"2", true).await.unwrap_err();
        assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
        std::fs::create_dir(&place.base).unwrap();
        place.download("/y", b"2", true).await.unwrap();
        assert!(place.base.join("y").exists() && !aside.join("y").exists());
    }
}
