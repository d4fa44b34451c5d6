//! A file is there whole, or not at all.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use bytes::BufMut;
use tokio::io::AsyncReadExt;

use super::super::CHUNK;
use super::*;

#[tokio::test]
async fn files_of_all_sizes_arrive_as_they_were() {
    for place in Place::each() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * 1024 * 1024 + 7] {
            let bytes = pattern(size);
            place.download("/in/file", &bytes, true).await.unwrap();
            assert!(place.read("in/file") == bytes, "{size} bytes");
        }
        assert_eq!(place.files().await, ["in/file"]);
    }
}

#[tokio::test]
async fn the_network_is_read_straight_into_the_file() {
    let bytes = pattern(5 * CHUNK + 3);
    for place in Place::each() {
        let mut network = bytes.as_slice();
        let mut file = place.begin("/x", true).await.unwrap();
        while network.read_buf(&mut file.room().await.unwrap()).await.unwrap() > 0 {}
        assert_eq!(file.len(), bytes.len() as u64);
        file.finalize(FinalFileMetadata::default(), || true).await.unwrap();
        assert!(place.read("x") == bytes);
    }
}

#[tokio::test]
async fn a_file_of_known_size_takes_no_more_memory_than_it_needs_and_may_turn_out_larger() {
    for (expected, room) in [(0, 1), (10, 11), (CHUNK, CHUNK), (5 * CHUNK, CHUNK)] {
        let bytes = pattern(CHUNK + 3);
        let mut network = bytes.as_slice();
        let [place, ..] = &Place::each()[..] else { panic!("no place") };
        let mut file = place.begin("/x", true).await.unwrap();
        file.expect(expected as u64);
        assert_eq!(file.room().await.unwrap().chunk_mut().len(), room, "{expected} bytes are expected");
        while network.read_buf(&mut file.room().await.unwrap()).await.unwrap() > 0 {}
        file.finalize(FinalFileMetadata::default(), || true).await.unwrap();
        assert!(place.read("x") == bytes);
    }
}

#[tokio::test]
async fn any_name_that_linux_allows_is_a_name() {
    let long = "n".repeat(255);
    let wide = "ä".repeat(127);
    let names = [
        &long,
        &wide,
        "-rf",
        "a b",
        "[x]*?",
        "50%",
        "#1",
        "new\nline",
        "..x",
        "~",
        "ab\u{301}",
        "日本",
        "\\",
    ];
    for place in Place::each() {
        for name in names {
            let path = format!("/-d [%]/{name}");
            place.download(&path, name.as_bytes(), false).await.unwrap();
            assert_eq!(place.upload(&path).await.unwrap(), name.as_bytes());
        }
        assert_eq!(place.files().await.len(), names.len());
    }
}

#[tokio::test]
async fn a_file_has_the_permissions_that_the_umask_leaves() {
    for place in Place::each() {
        place.download("/ours", b"", true).await.unwrap();
        std::fs::write(place.base.join("theirs"), "").unwrap();
        let mode = |name| std::fs::metadata(place.base.join(name)).unwrap().permissions().mode();
        assert_eq!(mode("ours"), mode("theirs"));
    }
}

#[tokio::test]
async fn a_target_is_replaced_only_if_the_task_says_so() {
    for place in Place::each() {
        std::fs::write(place.base.join("x"), "old").unwrap();
        let error = place.begin("/x", false).await.unwrap_err();
        assert!(matches!(error, StorageError::DestinationExists(_)), "{error}");
        assert_eq!(place.read("x"), b"old");

        let file = place.begin("/y", false).await.unwrap();
        std::fs::write(place.base.join("y"), "another was first").unwrap();
        let error = file.finalize(FinalFileMetadata::default(), || true).await.unwrap_err();
        assert!(matches!(error, StorageError::DestinationExists(_)), "{error}");
        assert_eq!(place.read("y"), b"another was first");

        place.download("/x", b"new", true).await.unwrap();
        assert_eq!(place.read("x"), b"new");
        assert_eq!(place.files().await, ["x", "y"]);
    }
}

#[tokio::test]
async fn a_target_that_is_a_symlink_is_replaced_and_not_written_through() {
    for place in Place::each() {
        symlink(place.outside.join("secret"), place.base.join("link")).unwrap();
        symlink("nowhere", place.base.join("dangling")).unwrap();
        let error = place.begin("/dangling", false).await.unwrap_err();
        assert!(matches!(error, StorageError::DestinationExists(_)), "{error}");
        place.download("/link", b"new", true).await.unwrap();
        place.download("/dangling", b"new", true).await.unwrap();
        assert!(place.base.join("link").symlink_metadata().unwrap().is_file());
        assert_eq!(place.files().await, ["dangling", "link"]);
        place.nothing_outside_was_touched();
    }
}

#[tokio::test]
async fn a_target_that_is_a_directory_or_beneath_a_file_is_refused_at_once() {
    for place in Place::each() {
        std::fs::create_dir(place.base.join("dir")).unwrap();
        std::fs::write(place.base.join("file"), "").unwrap();
        for path in ["/dir", "/file/x", "/file/x/y"] {
            let error = place.begin(path, true).await.unwrap_err();
            assert!(matches!(error, StorageError::PathNotAllowed(_)), "{path}: {error}");
        }
        let file = place.begin("/late", true).await.unwrap();
        std::fs::create_dir(place.base.join("late")).unwrap();
        let error = file.finalize(FinalFileMetadata::default(), || true).await.unwrap_err();
        assert!(
            matches!(&error, StorageError::PathNotAllowed(text) if text.contains("directory")),
            "{error}"
        );
        assert_eq!(place.files().await, ["file"]);
    }
}

#[tokio::test]
async fn a_download_that_fails_before_its_first_bytes_leaves_not_even_a_directory() {
    for place in Place::each() {
        drop(place.begin("/new/dir/x", true).await.unwrap());
        assert!(place.storage.settled(LONG).await);
        assert!(!place.base.join("new").exists());
    }
}

#[tokio::test]
async fn a_lease_that_ended_publishes_nothing() {
    for place in Place::each() {
        std::fs::write(place.base.join("x"), "old").unwrap();
        for size in [3, 3 * CHUNK] {
            let mut file = place.begin("/x", true).await.unwrap();
            file.write(&pattern(size)).await.unwrap();
            assert_eq!(
                file.finalize(FinalFileMetadata::default(), || false).await,
                Err(StorageError::LeaseEnded)
            );
        }
        assert_eq!(place.files().await, ["x"]);
        assert_eq!(place.read("x"), b"old");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_make_the_same_new_directories_at_once() {
    for place in Place::each() {
        let place = Arc::new(place);
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let place = Arc::clone(&place);
                tokio::spawn(async move {
                    let path = format!("/a/b/c/d{}/{number}", number % 4);
                    place.download(&path, path.as_bytes(), false).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(place.files().await.len(), 64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writers_that_must_not_replace_exactly_one_wins() {
    for place in Place::each() {
        let place = Arc::new(place);
        for round in 0..8 {
            let tasks: Vec<_> = (0..16_u8)
                .map(|writer| {
                    let (place, path) = (Arc::clone(&place), format!("/x{round}"));
                    tokio::spawn(async move { (writer, place.download(&path, &[writer; 9], false).await) })
                })
                .collect();
            let mut winners = Vec::new();
            for task in tasks {
                match task.await.unwrap() {
                    (writer, Ok(())) => winners.push(writer),
                    (_, Err(error)) => {
                        assert!(matches!(error, StorageError::DestinationExists(_)), "{error}");
                    }
                }
            }
            assert_eq!(winners.len(), 1);
            assert_eq!(place.read(&format!("x{round}")), [winners[0]; 9]);
        }
        assert_eq!(place.files().await.len(), 8);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writers_that_may_replace_the_last_one_stands_whole() {
    for place in Place::each() {
        let place = Arc::new(place);
        let tasks: Vec<_> = (0..24_u8)
            .map(|writer| {
                let place = Arc::clone(&place);
                tokio::spawn(async move { place.download("/x", &vec![writer; CHUNK + 5], true).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let bytes = place.read("x");
        assert_eq!(bytes.len(), CHUNK + 5);
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(place.files().await, ["x"]);
    }
}

#[tokio::test]
async fn a_directory_moved_away_during_the_download_does_not_get_the_file() {
    for place in Place::each() {
        std::fs::create_dir(place.base.join("d")).unwrap();
        let mut file = place.begin("/d/x", true).await.unwrap();
        file.write(&pattern(3 * CHUNK)).await.unwrap();
        assert!(!files_under(&place.base).is_empty());
        std::fs::rename(place.base.join("d"), place.base.join("e")).unwrap();
        std::fs::create_dir(place.base.join("d")).unwrap();
        let error = file.finalize(FinalFileMetadata::default(), || true).await.unwrap_err();
        assert!(matches!(error, StorageError::Io(_)), "{error}");
        assert_eq!(place.files().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn base_path_may_be_a_symlink_and_must_be_a_directory() {
    let place = Place::by(Confinement::CapStd);
    let link = place.outside.parent().unwrap().join("link");
    symlink(&place.base, &link).unwrap();
    let open = |base_path: &Path| {
        LocalStorage::open(&LocalConnection { name: "local".into(), base_path: base_path.to_path_buf() })
    };
    let storage = open(&link).unwrap();
    let target = storage.resolve(link.join("x").to_str().unwrap()).unwrap();
    let DownloadStart::Now(file) = storage.create(&target, place.owner(), true).await.unwrap() else {
        panic!()
    };
    file.finalize(FinalFileMetadata::default(), || true).await.unwrap();
    assert_eq!(std::fs::metadata(place.base.join("x")).unwrap().size(), 0);

    for wrong in [place.base.join("x"), place.base.join("missing")] {
        let error = open(&wrong).unwrap_err().to_string();
        assert!(error.contains(wrong.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_check_tells_what_there_is_and_leaves_nothing() {
    for place in Place::each() {
        let check = place.storage.check().unwrap();
        assert_eq!(check.writable, Ok(()));
        assert!(check.free > 0);
        assert_eq!(place.files().await, Vec::<String>::new());
    }
}
