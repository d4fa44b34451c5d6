//! The rates of all clients: a bucket for each address (IPv6: its /64) and name.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::name::PodName;
use crate::rate::RateBucket;

/// How many buckets are kept; further clients share one.
const MAX_BUCKETS: usize = 100_000;

#[derive(Debug, Default)]
pub struct RateTable {
    buckets: Mutex<HashMap<(IpAddr, PodName), Arc<RateBucket>>>,
    overflow: Arc<RateBucket>,
}

impl RateTable {
    /// The bucket of a client and name. `now` in nanoseconds of the router's clock.
    pub fn bucket(&self, client: IpAddr, name: &PodName, now: u64) -> Arc<RateBucket> {
        let mut buckets = self.buckets.lock();
        let key = (network_of(client), name.clone());
        if let Some(bucket) = buckets.get(&key) {
            return Arc::clone(bucket);
        }
        if buckets.len() >= MAX_BUCKETS {
            buckets.retain(|_, bucket| !bucket.is_full(now) || Arc::strong_count(bucket) > 1);
        }
        if buckets.len() >= MAX_BUCKETS {
            return Arc::clone(&self.overflow);
        }
        Arc::clone(buckets.entry(key).or_default())
    }

    /// Drops buckets that are full again.
    pub fn sweep(&self, now: u64) {
        self.buckets.lock().retain(|_, bucket| !bucket.is_full(now) || Arc::strong_count(bucket) > 1);
    }

    pub fn len(&self) -> usize {
        self.buckets.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An IPv6 client can use a whole /64 (RFC 6177).
pub fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_one_network_share_a_bucket_and_full_ones_are_forgotten() {
        let (table, name) = (RateTable::default(), PodName { port: 80, id: "a".into() });
        let limit = crate::rate::RateLimit::new(1, 1).unwrap();
        let first = table.bucket("2001:db8::1".parse().unwrap(), &name, 0);
        first.take(&limit, 5).unwrap();
        let second = table.bucket("2001:db8::2".parse().unwrap(), &name, 0);
        assert!(second.take(&limit, 6).is_err());
        table.bucket("2001:db8:0:1::2".parse().unwrap(), &name, 0).take(&limit, 6).unwrap();
        drop((first, second));
        assert_eq!(table.len(), 2);
        table.sweep(10_000_000_000);
        assert!(table.is_empty());
    }
}
