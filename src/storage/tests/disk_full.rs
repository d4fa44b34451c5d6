//! A full, or read-only, file system. Needs one of its own: root's right to mount a tmpfs, else skipped.

use super::super::CHUNK;
use super::mounted::Mounted;
use super::*;

#[tokio::test]
async fn a_disk_that_fills_up_is_storage_full_and_nothing_is_left() {
    for place in Place::each() {
        let Some(_mounted) = Mounted::tmpfs(&place.base, "size=1m") else { return };
        let place = reopened(place);
        std::fs::write(place.base.join("old"), "old").unwrap();
        // Small: found out by publish. Large: by a write in the middle, told by the next one.
        std::fs::write(place.base.join("filler"), vec![0; 900 * 1024]).unwrap();
        let error = place.download("/old", &pattern(200 * 1024), true).await.unwrap_err();
        assert!(matches!(&error, StorageError::Full(text) if text.contains("/old")), "{error}");
        std::fs::remove_file(place.base.join("filler")).unwrap();

        let mut file = place.begin("/d/large", true).await.unwrap();
        let mut written = 0;
        let error = loop {
            match file.write(&pattern(CHUNK)).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 16);
        };
        assert!(matches!(error, StorageError::Full(_)), "{error}");
        assert!(file.finalize(FinalFileMetadata::default(), || true).await.is_err());
        assert_eq!(place.files().await, ["old"]);
        assert_eq!(place.read("old"), b"old");

        // With room again, the same task succeeds.
        place.download("/d/large", &pattern(CHUNK), true).await.unwrap();
    }
}

#[tokio::test]
async fn a_read_only_file_system_is_unavailable_before_a_byte_is_fetched() {
    for place in Place::each() {
        let Some(_mounted) = Mounted::tmpfs(&place.base, "ro") else { return };
        let place = reopened(place);
        for path in ["/x", "/new/x"] {
            let error = place.begin(path, true).await.unwrap_err();
            assert!(matches!(error, StorageError::Unavailable(_)), "{error}");
        }
        let check = place.storage.check().unwrap();
        assert!(matches!(check.writable, Err(StorageError::Unavailable(_))));
    }
}

#[tokio::test]
async fn a_file_that_cannot_fit_is_refused_with_its_first_bytes() {
    for place in Place::each() {
        let Some(_mounted) = Mounted::tmpfs(&place.base, "size=1m") else { return };
        let place = reopened(place);
        let mut file = place.begin("/large", true).await.unwrap();
        file.expect(30 << 20);
        let mut written = 0;
        let error = loop {
            match file.write(&pattern(CHUNK)).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        let says = |text: &str| text.contains("31457280 bytes") && text.contains("local connection local (/");
        assert!(matches!(&error, StorageError::Full(text) if says(text)), "{error}");
        assert!(written <= 2, "told one call late at most, not when the disk is full");
        drop(file);
        assert!(place.files().await.is_empty());
    }
}

#[tokio::test]
async fn a_file_system_that_is_mounted_over_base_path_gets_the_files() {
    for place in Place::each() {
        place.download("/below", b"1", true).await.unwrap();
        {
            let Some(_mounted) = Mounted::tmpfs(&place.base, "size=1m") else { return };
            place.download("/above", b"2", true).await.unwrap();
            assert!(place.base.join("above").exists() && !place.base.join("below").exists());
        }
        assert!(place.base.join("below").exists() && !place.base.join("above").exists());
        place.download("/below-again", b"3", true).await.unwrap();
        assert!(place.base.join("below-again").exists());
    }
}

#[tokio::test]
async fn a_file_system_without_room_for_another_file_is_full() {
    for place in Place::each() {
        let Some(_mounted) = Mounted::tmpfs(&place.base, "nr_inodes=4") else { return };
        let place = reopened(place);
        for name in ["a", "b", "c"] {
            std::fs::write(place.base.join(name), name).unwrap();
        }
        let error = place.download("/d", b"new", true).await.unwrap_err();
        assert!(matches!(error, StorageError::Full(_)), "{error}");
        assert!(matches!(place.storage.condition().await, Err(StorageError::Full(_))));
        assert_eq!(place.files().await, ["a", "b", "c"]);
        std::fs::remove_file(place.base.join("a")).unwrap();
        place.download("/d", b"new", true).await.unwrap();
        assert_eq!(place.read("d"), b"new");
    }
}

#[tokio::test]
async fn a_file_system_that_becomes_read_only_in_the_middle_is_unavailable_until_it_is_not() {
    for place in Place::each() {
        let Some(mounted) = Mounted::tmpfs(&place.base, "size=8m") else { return };
        let place = reopened(place);
        let mut file = place.begin("/x", true).await.unwrap();
        drop(place.storage.clone());
        assert!(mounted.remount("ro"));
        let write = file.write(&pattern(2 * CHUNK)).await;
        let error = match write {
            Err(error) => error,
            Ok(()) => file.finalize(FinalFileMetadata::default(), || true).await.unwrap_err(),
        };
        assert!(matches!(error, StorageError::Unavailable(_)), "{error}");
        let told = place.storage.condition().await.unwrap_err();
        assert!(matches!(&told, StorageError::Unavailable(text) if text.contains("Read-only")), "{told}");
        assert!(mounted.remount("rw"));
        place.storage.condition().await.unwrap();
        place.download("/x", b"new", true).await.unwrap();
        assert_eq!(place.files().await, ["x"]);
    }
}

#[tokio::test]
async fn without_extended_attributes_files_are_made_all_the_same_and_remember_nothing() {
    for place in Place::each() {
        let Some(_mounted) = Mounted::of(&place.base, "ramfs", "mode=755") else { return };
        let place = reopened(place);
        assert!(!place.storage.remembers());
        place.download("/x", &pattern(CHUNK + 1), true).await.unwrap();
        place.download("/x", b"new", true).await.unwrap();
        assert_eq!(place.read("x"), b"new");
        let exists = place.download("/x", b"newer", false).await.unwrap_err();
        assert!(matches!(exists, StorageError::DestinationExists(_)), "{exists}");
    }
}
