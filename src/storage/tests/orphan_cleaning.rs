//! Temp files of the dead are removed, and nothing else is.

use tokio_util::sync::CancellationToken;

use super::*;

/// Sweeps until nothing is due.
pub(super) async fn sweep(place: &Place) {
    let stop = CancellationToken::new();
    stop.cancel();
    place.storage.clone().sweep(place.names.clone(), stop).await;
}

#[tokio::test]
async fn the_next_owner_of_a_record_removes_its_last_owners_temp_file() {
    for place in Place::each() {
        for directory in ["", "d/"] {
            std::fs::create_dir_all(place.base.join(directory)).unwrap();
            let (dead, others) = (owner(7).temp, owner(8).temp);
            for name in [dead.as_str(), others.as_str(), ".ftp-pooler-notes", "file"] {
                std::fs::write(place.base.join(directory).join(name), "part").unwrap();
            }
            let mine = FileOwner::of(&record(7), &place.names);
            let target = place.storage.resolve(&format!("/{directory}x")).unwrap();
            let DownloadStart::Now(mut file) = place.storage.create(&target, mine, true).await.unwrap()
            else {
                panic!()
            };
            file.write(&pattern(3 * CHUNK)).await.unwrap();
            sweep(&place).await;
            file.finalize(FinalFileMetadata::default(), || true).await.unwrap();

            assert!(!place.base.join(directory).join(dead.as_str()).exists());
            for name in [others.as_str(), ".ftp-pooler-notes", "file", "x"] {
                assert!(place.base.join(directory).join(name).exists(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_not_there_or_leads_out_is_left_alone() {
    for place in Place::each() {
        let dead = owner(7).temp;
        std::fs::write(place.outside.join(dead.as_str()), "part").unwrap();
        std::os::unix::fs::symlink(&place.outside, place.base.join("out")).unwrap();
        for path in ["/new/x", "/out/x"] {
            let target = place.storage.resolve(path).unwrap();
            let mine = FileOwner::of(&record(7), &place.names);
            let _ = place.storage.create(&target, mine, true).await;
        }
        sweep(&place).await;
        assert!(place.outside.join(dead.as_str()).exists());
        assert!(!place.base.join("new").exists());
    }
}
