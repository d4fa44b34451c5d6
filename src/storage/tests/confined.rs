//! Nothing outside `base_path` is read or written, whatever stands beneath it.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn not_allowed<T: std::fmt::Debug>(outcome: Result<T, StorageError>, path: &str) {
    match outcome {
        Err(StorageError::PathNotAllowed(text)) => assert!(text.contains(path), "{text}"),
        other => panic!("{path}: {other:?}"),
    }
}

#[tokio::test]
async fn a_symlink_that_leads_out_is_refused() {
    for place in Place::each() {
        std::fs::create_dir(place.base.join("d")).unwrap();
        symlink(&place.outside, place.base.join("absolute")).unwrap();
        symlink("../outside", place.base.join("relative")).unwrap();
        symlink("../../outside", place.base.join("d/deep")).unwrap();
        symlink("relative", place.base.join("chain")).unwrap();
        symlink("/proc/self/root", place.base.join("magic")).unwrap();
        for dir in ["absolute", "relative", "d/deep", "chain", "magic"] {
            for below in ["secret", "new", "new/dir/file"] {
                let path = format!("/{dir}/{below}");
                not_allowed(place.begin(&path, true).await, &path);
            }
            let path = format!("/{dir}/secret");
            not_allowed(place.upload(&path).await, &path);
        }
        place.nothing_outside_was_touched();
    }
}

#[tokio::test]
async fn a_source_that_is_a_symlink_is_followed_beneath_base_path_only() {
    for place in Place::each() {
        std::fs::write(place.base.join("file"), "inside").unwrap();
        symlink("file", place.base.join("in")).unwrap();
        symlink("../outside/secret", place.base.join("out")).unwrap();
        symlink("circle", place.base.join("circle")).unwrap();
        assert_eq!(place.upload("/in").await.unwrap(), b"inside");
        not_allowed(place.upload("/out").await, "/out");
        not_allowed(place.upload("/circle").await, "/circle");
    }
}

#[tokio::test]
async fn a_symlinked_directory_that_stays_beneath_is_a_directory() {
    for place in Place::each() {
        std::fs::create_dir_all(place.base.join("real/sub")).unwrap();
        symlink("real", place.base.join("link")).unwrap();
        symlink("../real", place.base.join("real/up")).unwrap();
        place.download("/link/new/x", b"1", false).await.unwrap();
        place.download("/real/up/sub/y", b"2", false).await.unwrap();
        assert_eq!(place.read("real/new/x"), b"1");
        assert_eq!(place.read("real/sub/y"), b"2");
    }
}

#[tokio::test]
async fn a_symlink_that_leads_nowhere_is_no_directory_to_write_in() {
    for place in Place::each() {
        symlink("missing", place.base.join("link")).unwrap();
        not_allowed(place.download("/link/x", b"1", true).await, "/link/x");
        assert_eq!(place.files().await, ["link"]);
    }
}

/// Swaps `base/d` between a directory and a symlink that leads out, until told to stop.
fn flip(base: &Path, outside: PathBuf, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    let (door, aside, link) = (base.join("d"), base.join("d.aside"), base.join("d.link"));
    std::fs::create_dir(&door).unwrap();
    std::thread::spawn(move || {
        let mut flips = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            symlink(&outside, &link).unwrap();
            std::fs::rename(&door, &aside).unwrap();
            // A worker may have recreated the directory meanwhile: then it is not replaced this time.
            let swapped = std::fs::rename(&link, &door).is_ok();
            if swapped {
                std::thread::yield_now();
                std::fs::remove_file(&door).unwrap();
            } else {
                std::fs::remove_file(&link).unwrap();
            }
            if std::fs::rename(&aside, &door).is_err() {
                std::fs::remove_dir_all(&aside).unwrap();
            }
            flips += 1;
            if flips.is_multiple_of(8) {
                // On a busy machine nothing would be published ever: now and then the door stands open.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        flips
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_turns_into_a_way_out_again_and_again_lets_nothing_out() {
    for place in Place::each() {
        let stop = Arc::new(AtomicBool::new(false));
        let flipper = flip(&place.base, place.outside.clone(), Arc::clone(&stop));
        let (mut published, mut refused) = (0, 0);
        for number in 0..3_000 {
            let path = if number % 3 == 0 { "/d/new/x".to_owned() } else { format!("/d/{number}") };
            match place.download(&path, b"x", number % 2 == 0).await {
                Ok(()) => published += 1,
                Err(_) => refused += 1,
            }
            match place.upload("/d/secret").await {
                Ok(bytes) => panic!("read from outside: {bytes:?}"),
                Err(StorageError::SourceNotFound(_) | StorageError::PathNotAllowed(_)) => {}
                Err(StorageError::Io(text)) => assert!(text.contains("temporarily"), "{text}"),
                Err(other) => panic!("{other}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        let flips = flipper.join().unwrap();
        eprintln!(
            "{:?}: {flips} flips, {published} published, {refused} refused",
            place.storage.check().unwrap().confinement
        );
        assert!(flips > 0 && published > 0);
        place.nothing_outside_was_touched();
        let left = place.files().await;
        assert!(left.iter().all(|name| !name.contains(".ftp-pooler-")), "{left:?}");
    }
}
