//! A file system that does not answer, one whose disk fails, and one with very many files.

use std::sync::Arc;
use std::time::Instant;

use super::super::CallWatch;
use super::mounted::Mounted;
use super::*;

#[tokio::test]
async fn a_frozen_file_system_is_a_timeout_that_can_be_seen_coming_and_its_file_is_whole_afterwards() {
    for place in Place::each() {
        let Some(mounted) = Mounted::ext4(&place.base, "32M") else { return };
        let place = reopened_with(place, Duration::from_millis(300));
        if !mounted.freeze(true) {
            eprintln!("skipped: no right to freeze a file system");
            return;
        }
        let watch = Arc::new(CallWatch::default());
        let watched = place.storage.watched_by(&watch);
        let target = watched.resolve("/x").unwrap();
        let DownloadStart::Now(mut file) = watched.create(&target, place.owner(), true).await.unwrap() else {
            panic!("it was never made")
        };
        file.write(b"first").await.unwrap();
        let publishing = tokio::spawn(file.finalize(FinalFileMetadata::default(), || true));
        while watch.hanging_for(tokio::time::Instant::now()) < Duration::from_millis(100) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let error = publishing.await.unwrap().unwrap_err();
        assert!(
            matches!(&error, StorageError::TimedOut(text) if text.contains("local connection")),
            "{error}"
        );
        assert_eq!(watch.hanging_for(tokio::time::Instant::now()), Duration::ZERO, "nobody waits any more");
        let (what, _) = place.storage.longest_call().unwrap();
        assert_eq!(what, "rename \"/x\"");
        assert!(!place.storage.settled(Duration::from_millis(50)).await);

        assert!(mounted.freeze(false));
        assert!(place.storage.settled(LONG).await);
        assert_eq!(place.storage.longest_call(), None);
        // What was abandoned is not published.
        assert_eq!(files_under(&place.base).iter().filter(|name| *name != "lost+found").count(), 0);
        drop(watched);
        reopened(place).download("/x", b"second", true).await.unwrap();
    }
}

/// `make million`.
#[tokio::test]
#[ignore = "takes a minute: make million"]
async fn a_directory_with_a_million_files_is_listed_and_written_to() {
    const FILES: usize = 1_000_000;
    let place = Place::by(Place::each()[0].storage.check().unwrap().confinement);
    let directory = place.base.join("many");
    std::fs::create_dir(&directory).unwrap();
    for number in 0..FILES {
        std::fs::File::create(directory.join(format!("file-{number:07}"))).unwrap();
    }
    let begin = Instant::now();
    let listed = place.storage.list("many").await.unwrap();
    let listing = begin.elapsed();
    assert_eq!(listed.len(), FILES);
    let begin = Instant::now();
    for number in 0..1_000 {
        place.download(&format!("/many/new-{number}"), &pattern(100), true).await.unwrap();
    }
    let writing = begin.elapsed();
    let begin = Instant::now();
    place.upload("/many/file-0500000").await.unwrap();
    let reading = begin.elapsed();
    let begin = Instant::now();
    super::orphan_cleaning::sweep(&place).await;
    let sweeping = begin.elapsed();
    eprintln!(
        "million: {FILES} files listed in {} ms, swept in {} ms; a new one in {} us, one opened in {} us",
        listing.as_millis(),
        sweeping.as_millis(),
        writing.as_micros() / 1_000,
        reading.as_micros()
    );
}
