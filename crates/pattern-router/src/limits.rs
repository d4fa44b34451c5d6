//! Limits of clients' connections: in total, and per client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::rates::network_of;

/// Counts of open connections.
#[derive(Debug, Default, Clone)]
pub struct ConnectionLimits(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    Total,
    PerClient,
}

/// A connection's slot in the counts.
#[derive(Debug)]
pub struct ConnectionPlace {
    limits: ConnectionLimits,
    client: Option<IpAddr>,
}

impl ConnectionLimits {
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Takes a slot, if fewer than `total` are in use.
    pub fn enter(&self, total: usize) -> Result<ConnectionPlace, LimitReached> {
        if self.0.open.fetch_add(1, Ordering::Relaxed) >= total {
            self.0.open.fetch_sub(1, Ordering::Relaxed);
            return Err(LimitReached::Total);
        }
        Ok(ConnectionPlace { limits: self.clone(), client: None })
    }
}

impl ConnectionPlace {
    /// Counts the connection for this client, which may have `limit` of them.
    pub fn of_client(&mut self, client: IpAddr, limit: usize) -> Result<(), LimitReached> {
        let client = network_of(client);
        let mut clients = self.limits.0.clients.lock();
        let count = clients.entry(client).or_default();
        if *count >= limit {
            return Err(LimitReached::PerClient);
        }
        *count += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.limits.0.open.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut clients = self.limits.0.clients.lock();
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let limits = ConnectionLimits::default();
        let client = "10.0.0.1".parse().unwrap();
        let mut first = limits.enter(2).unwrap();
        first.of_client(client, 1).unwrap();
        let mut second = limits.enter(2).unwrap();
        assert_eq!(second.of_client(client, 1), Err(LimitReached::PerClient));
        assert_eq!(limits.enter(2).unwrap_err(), LimitReached::Total);
        drop(first);
        second.of_client(client, 1).unwrap();
        assert_eq!(limits.open(), 1);
        drop(second);
        assert!(limits.0.clients.lock().is_empty());
    }
}
