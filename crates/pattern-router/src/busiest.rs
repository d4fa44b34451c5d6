//! The names with the most requests, for the status page: exact for those that are looked up often enough to stay.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::name::PodName;

/// How many names are counted; the least busy are evicted.
const MAX_NAMES: usize = 1024;

/// Requests by name since the process started.
#[derive(Debug, Default)]
pub struct BusiestNames(Mutex<HashMap<PodName, u64>>);

impl BusiestNames {
    /// Adds a number of requests. Called once for many requests, so that the cost of each is negligible.
    pub fn add(&self, name: &PodName, requests: u64) {
        let mut names = self.0.lock();
        if let Some(count) = names.get_mut(name) {
            *count += requests;
            return;
        }
        if names.len() >= MAX_NAMES {
            let mut counts: Vec<u64> = names.values().copied().collect();
            counts.sort_unstable();
            let median = counts.get(counts.len() / 2).copied().unwrap_or_default();
            names.retain(|_, count| *count > median);
        }
        names.insert(name.clone(), requests);
    }

    /// The busiest first.
    pub fn top(&self, limit: usize) -> Vec<(PodName, u64)> {
        let mut all: Vec<_> = self.0.lock().iter().map(|(name, count)| (name.clone(), *count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.id.cmp(&b.0.id)).then(a.0.port.cmp(&b.0.port)));
        all.truncate(limit);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_stay_and_memory_is_bounded() {
        let names = BusiestNames::default();
        let name = |id: usize| PodName { port: 80, id: format!("ws{id}") };
        names.add(&name(7), 1_000_000);
        for id in 0..10_000 {
            names.add(&name(id), 1);
        }
        assert_eq!(names.top(1), [(name(7), 1_000_001)]);
        assert!(names.0.lock().len() <= MAX_NAMES);
    }
}
