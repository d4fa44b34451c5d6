//! A record that is done again after its answer was lost.

use super::*;

impl Place {
    async fn begin_as(&self, owner: FileOwner, overwrite: bool) -> Result<DownloadStart, StorageError> {
        self.storage.create(&self.storage.resolve("/d/x")?, owner, overwrite).await
    }

    async fn download_as(&self, owner: FileOwner, bytes: &[u8], overwrite: bool) -> Result<(), StorageError> {
        let DownloadStart::Now(mut file) = self.begin_as(owner, overwrite).await? else {
            panic!("done before")
        };
        file.write(bytes).await?;
        file.finalize(FinalFileMetadata::default(), || true).await
    }

    /// The size of the file at its place, if this record is known to have made it.
    async fn done_before(&self, owner: FileOwner, overwrite: bool) -> Option<u64> {
        match self.begin_as(owner, overwrite).await.unwrap() {
            DownloadStart::Before { bytes, .. } => Some(bytes),
            DownloadStart::Now(_) => None,
        }
    }
}

#[tokio::test]
async fn a_file_is_known_again_by_the_record_that_made_it() {
    for place in Place::each() {
        for (offset, overwrite) in [(7, false), (8, true)] {
            let _ = std::fs::remove_file(place.base.join("d/x"));
            place.download_as(owner(offset), b"content", overwrite).await.unwrap();
            assert_eq!(place.done_before(owner(offset), overwrite).await, Some(7));
            assert_eq!(place.read("d/x"), b"content");
        }
        assert_eq!(place.files().await, ["d/x"]);
    }
}

#[tokio::test]
async fn another_record_finds_a_file_in_its_way_or_replaces_it() {
    for place in Place::each() {
        place.download_as(owner(7), b"content", true).await.unwrap();
        let error = place.begin_as(owner(8), false).await.unwrap_err();
        assert!(matches!(error, StorageError::DestinationExists(_)), "{error}");
        place.download_as(owner(8), b"other", true).await.unwrap();
        assert_eq!(place.done_before(owner(7), true).await, None, "the older one was replaced");
        assert_eq!(place.done_before(owner(8), false).await, Some(5));
    }
}

#[tokio::test]
async fn an_offset_that_comes_again_in_a_topic_made_anew_is_another_record() {
    for place in Place::each() {
        place.download_as(owner(7), b"content", true).await.unwrap();
        let later = Record { timestamp_ms: Some(1_800_000_000_000), ..record(7) };
        let error = place.begin_as(FileOwner::of(&later, &place.names), false).await.unwrap_err();
        assert!(matches!(error, StorageError::DestinationExists(_)), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_somebody_has_cut_or_put_in_its_place_is_not_known_again() {
    for place in Place::each() {
        place.download_as(owner(7), b"content", true).await.unwrap();
        std::fs::write(place.base.join("d/x"), "cut").unwrap();
        assert_eq!(place.done_before(owner(7), true).await, None);
        std::fs::remove_file(place.base.join("d/x")).unwrap();
        std::fs::write(place.base.join("d/x"), "content").unwrap();
        assert_eq!(place.done_before(owner(7), true).await, None);
    }
}

#[tokio::test]
async fn of_two_owners_of_one_record_the_second_finds_the_file_that_it_wanted_to_make() {
    for place in Place::each() {
        let (DownloadStart::Now(mut zombie), DownloadStart::Now(mut ours)) =
            (place.begin_as(owner(7), false).await.unwrap(), place.begin_as(owner(7), false).await.unwrap())
        else {
            panic!("done before")
        };
        zombie.write(b"content").await.unwrap();
        ours.write(b"content").await.unwrap();
        zombie.finalize(FinalFileMetadata::default(), || true).await.unwrap();
        ours.finalize(FinalFileMetadata::default(), || true).await.unwrap();
        assert_eq!(place.read("d/x"), b"content");
        assert_eq!(place.files().await, ["d/x"]);
    }
}
