//! A task cancelled at any moment leaves nothing of ours behind, once the file system has answered.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use super::super::CHUNK;
use super::*;

#[tokio::test]
async fn a_file_dropped_while_it_is_written_leaves_nothing() {
    for place in Place::each() {
        for chunks in 0..5 {
            let mut file = place.begin("/x", true).await.unwrap();
            file.write(&pattern(chunks * CHUNK + 1)).await.unwrap();
            drop(file);
            assert_eq!(place.files().await, Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn a_file_discarded_is_gone_when_that_returns() {
    for place in Place::each() {
        let mut file = place.begin("/x", true).await.unwrap();
        file.write(&pattern(3 * CHUNK)).await.unwrap();
        file.discard().await;
        assert_eq!(files_under(&place.base), Vec::<String>::new());
        place.begin("/x", true).await.unwrap().discard().await;
    }
}

#[test]
fn a_file_dropped_outside_of_a_runtime_leaves_nothing() {
    for place in Place::each() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let file = runtime.block_on(async {
            let mut file = place.begin("/x", true).await.unwrap();
            file.write(&pattern(3 * CHUNK)).await.unwrap();
            file
        });
        drop(runtime);
        drop(file);
        assert_eq!(files_under(&place.base), Vec::<String>::new());
    }
}

/// Polls a future once, and drops it.
fn cancel_after_one_poll(future: impl Future) -> bool {
    let mut future = pin!(future);
    matches!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

#[tokio::test]
async fn a_publish_dropped_before_its_rename_publishes_nothing() {
    for place in Place::each() {
        for size in [1, 3 * CHUNK] {
            let mut file = place.begin("/x", true).await.unwrap();
            file.write(&pattern(size)).await.unwrap();
            let (go, may_go) = mpsc::channel::<()>();
            let (asked, is_asked) = mpsc::channel();
            {
                let mut publish = pin!(file.finalize(FinalFileMetadata::default(), move || {
                    asked.send(()).unwrap();
                    may_go.recv().is_ok()
                }));
                // Until the blocking thread stands right before the rename.
                while is_asked.try_recv().is_err() {
                    let step = tokio::time::timeout(Duration::from_millis(1), publish.as_mut()).await;
                    assert!(step.is_err());
                }
            }
            drop(go);
            assert_eq!(place.files().await, Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn a_publish_dropped_at_its_begin_publishes_all_or_nothing() {
    for place in Place::each() {
        for round in 0..50 {
            let mut file = place.begin("/x", true).await.unwrap();
            file.write(&pattern(round)).await.unwrap();
            cancel_after_one_poll(file.finalize(FinalFileMetadata::default(), || true));
            let files = place.files().await;
            assert!(files.is_empty() || files == ["x"], "{files:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_cancelled_at_random_moments_leave_whole_files_or_none() {
    let bytes = Arc::new(pattern(4 * CHUNK + 17));
    for place in Place::each() {
        let place = Arc::new(place);
        let tasks: Vec<_> = (0..200_u64)
            .map(|number| {
                let (place, bytes) = (Arc::clone(&place), Arc::clone(&bytes));
                tokio::spawn(async move {
                    let path = format!("/d/{}", number % 20);
                    let moment = Duration::from_micros(number * 97 % 15_000);
                    let _ = tokio::time::timeout(moment, place.download(&path, &bytes, true)).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for name in place.files().await {
            assert!(!name.contains(".ftp-pooler-"), "{name}");
            assert!(place.read(&name) == *bytes, "{name} is not whole");
        }
    }
}

#[tokio::test]
async fn a_read_that_was_cancelled_loses_no_byte() {
    let bytes = pattern(7 * CHUNK + 5);
    for place in Place::each() {
        std::fs::write(place.base.join("x"), &bytes).unwrap();
        let mut source = place.storage.open_source(&place.storage.resolve("/x").unwrap()).await.unwrap();
        let mut read = Vec::new();
        loop {
            {
                let mut soon_cancelled = pin!(source.read());
                match soon_cancelled.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(chunk) => read.extend_from_slice(chunk.unwrap()),
                    Poll::Pending => {}
                }
            }
            match source.read().await.unwrap() {
                [] => break,
                chunk => read.extend_from_slice(chunk),
            }
        }
        assert!(read == bytes);
    }
}
