//! Checks every second whether the local connections can be used, even while there is no task, and reports what is
//! wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::health::PodHealth;
use crate::storage::LocalStorage;
use crate::transfer::LocalStorages;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A file system that has not answered for this long is reported.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// Local connections that a note names; it counts the others.
const MAX_NAMED: usize = 5;

/// Until `stop`. A `base_path` that was replaced is reopened by the check itself.
pub(super) async fn watch(storages: LocalStorages, health: Arc<PodHealth>, stop: CancellationToken) {
    let mut checks = interval(CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut found = BTreeMap::new();
    while stop.run_until_cancelled(checks.tick()).await.is_some() {
        found = check_all(&storages, &found).await;
        health.note("local connections", note(&found));
    }
}

/// The problems, by local connection name. Takes no longer than it takes to report a hung file system.
async fn check_all(storages: &LocalStorages, before: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut running = JoinSet::new();
    let mut found = BTreeMap::new();
    for (name, storage) in storages.all() {
        match storage.longest_call() {
            // Another call would only hang as well.
            Some((what, time)) if time > HANGS_AFTER => {
                let seconds = time.as_secs();
                found.insert(name, format!("the file system has not answered for {seconds} s: {what}"));
            }
            Some((_, time)) if time > CHECK_INTERVAL => {
                found.extend(before.get(&name).map(|known| (name, known.clone())));
            }
            _ => drop(running.spawn(async move { (name, check_one(&storage).await) })),
        }
    }
    while let Some(checked) = running.join_next().await {
        if let Ok((name, Some(wrong))) = checked {
            found.insert(name, wrong);
        }
    }
    found
}

async fn check_one(storage: &LocalStorage) -> Option<String> {
    let checked = tokio::time::timeout(CHECK_INTERVAL, storage.condition()).await;
    checked.ok()?.err().map(|error| error.to_string())
}

fn note(found: &BTreeMap<String, String>) -> Option<String> {
    let named: Vec<_> =
        found.iter().take(MAX_NAMED).map(|(name, wrong)| format!("{name}: {wrong}")).collect();
    let more = found.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let what = "tasks wait for local connections that cannot be used";
    (!named.is_empty()).then(|| format!("{what}: {}{more}", named.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::LocalConnection;

    #[tokio::test]
    async fn a_base_path_that_is_moved_away_is_told_of_until_there_is_one_again() {
        let scratch = tempfile::tempdir().unwrap();
        let base_path = scratch.path().join("base");
        fs::create_dir(&base_path).unwrap();
        let connection = LocalConnection { name: "local".to_owned(), base_path: base_path.clone() };
        let storage = LocalStorage::open(&connection).unwrap();
        let storages = LocalStorages::from(BTreeMap::from([("local".to_owned(), storage)]));
        let nothing = BTreeMap::new();
        assert_eq!(note(&check_all(&storages, &nothing).await), None);

        fs::rename(&base_path, scratch.path().join("elsewhere")).unwrap();
        let told = note(&check_all(&storages, &nothing).await).unwrap();
        assert!(told.contains("local") && told.contains("does not exist"), "{told}");

        fs::create_dir(&base_path).unwrap();
        assert_eq!(note(&check_all(&storages, &nothing).await), None);
    }

    #[test]
    fn a_note_names_the_first_few() {
        let found = (0..9).map(|n| (format!("disk-{n}"), "it is full".to_owned())).collect();
        let told = note(&found).unwrap();
        assert!(told.contains("disk-4: it is full; and 4 more"), "{told}");
    }
}
