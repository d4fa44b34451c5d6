//! A result says which file it is about, where its paths have room.

use ftp_pooler::outcome::{Completed, MIN_MESSAGE_BYTES, MovedFile, TransferDetails};
use serde_json::json;

use super::documents::{assert_valid, validator};
use super::encode::{TOPIC_BYTES, all_details, completed, message, outcome, record, record_size};

#[test]
fn paths_that_have_no_room_are_left_out_and_the_result_says_so() {
    let file =
        MovedFile { source: format!("remote:/{}", "ü".repeat(2_000)), destination: "local:/in/ä".into() };
    let details = TransferDetails { file: Some(Box::new(file)), ..all_details() };
    let outcome = outcome(record(None), Some("6b1f"), Ok(Completed { details, ..completed(&[]) }));
    let whole = message(&outcome.encode(TOPIC_BYTES));
    assert!(whole["source"].as_str().unwrap().starts_with("remote:/üü"), "paths may be long: {whole}");
    assert_valid(&validator("result"), &whole);
    let cut = outcome.encode(MIN_MESSAGE_BYTES);
    assert!(cut.truncated && record_size(&cut) <= MIN_MESSAGE_BYTES);
    let cut = message(&cut);
    assert!(cut.get("source").is_none() && cut["connection"] == json!("remote \"ftp\""), "{cut}");
    assert_valid(&validator("result"), &cut);
}
