//! Arbitrary records. For `make fuzz`, and for the tests, which replay its corpus.

use std::path::PathBuf;
use std::sync::Arc;

use super::{MAX_PATH_BYTES, MAX_TASK_ID_BYTES, decode};
use crate::config::{ConfiguredConnections, FtpConnection, LocalConnection};
use crate::failure::MAX_MESSAGE_BYTES;

/// Any payload is a valid task, or a failure that says why not.
///
/// # Panics
/// If the result is neither.
pub fn record(payload: &[u8]) {
    let connections = connections();
    match decode(Some(payload), &connections) {
        Ok(task) => {
            assert!((1..=MAX_TASK_ID_BYTES).contains(&task.task_id.len()));
            assert!(
                connections.ftp.contains_key(&task.remote) && connections.local.contains_key(&task.local)
            );
            for path in [&task.remote_path, &task.local_path] {
                assert!(!path.is_empty() && path.len() <= MAX_PATH_BYTES && !path.contains('\0'));
                assert!(path.split('/').all(|part| part != ".."));
            }
            assert!(task.options.retry_count <= super::MAX_RETRY_COUNT);
        }
        Err(rejected) => {
            assert!(rejected.failure.message.len() <= MAX_MESSAGE_BYTES);
            assert!(rejected.task_id.is_none_or(|id| (1..=MAX_TASK_ID_BYTES).contains(&id.len())));
        }
    }
}

fn connections() -> ConfiguredConnections {
    let mut connections = ConfiguredConnections::default();
    let ftp = FtpConnection { name: "remote-ftp".to_owned(), ..FtpConnection::default() };
    connections.ftp.insert(ftp.name.clone(), Arc::new(ftp));
    let local = LocalConnection { name: "local".to_owned(), base_path: PathBuf::from("/data/storage") };
    connections.local.insert(local.name.clone(), Arc::new(local));
    connections
}

#[cfg(test)]
#[test]
fn the_corpus_finds_nothing() {
    assert!(crate::corpus::each("task", record) > 0);
}
