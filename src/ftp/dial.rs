//! A name's addresses, tried concurrently so that one that does not answer costs little (RFC 8305).
//!
//! The next address is tried when the previous one has failed, or has not answered for [`ATTEMPT_DELAY`]; the first one
//! to answer is used, and the others are closed. It is remembered, and the next session tries it first.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::fault::Fault;

/// Of a name's addresses only the first few are tried.
const ADDRESSES_TRIED: usize = 8;
/// How long an address has before the next one is tried as well (RFC 8305, 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The same for the address that answered last time: a busy server should not get two connections.
const KNOWN_DELAY: Duration = Duration::from_secs(2);
/// How many names are remembered for a connection: its server's and its proxy's, and those that a reload brings.
const MAX_NAMES: usize = 16;

/// The address at which each name was last reached.
#[derive(Debug, Default)]
pub(super) struct ReachedAddresses(Mutex<HashMap<String, IpAddr>>);

impl ReachedAddresses {
    pub fn remember(&self, name: &str, address: IpAddr) {
        let mut reached = self.lock();
        if reached.get(name) != Some(&address) {
            if reached.len() >= MAX_NAMES {
                reached.clear();
            }
            reached.insert(name.to_owned(), address);
        }
    }

    /// A name's addresses in the order in which they are tried.
    pub fn plan(&self, name: &str, addresses: impl IntoIterator<Item = SocketAddr>) -> ConnectPlan {
        let known = self.lock().get(name).copied();
        ConnectPlan::new(addresses, known)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which addresses are tried, and how long to wait for the first one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConnectPlan {
    pub addresses: Vec<SocketAddr>,
    first_delay: Duration,
}

impl ConnectPlan {
    /// The `known` address first; then the two families in turn, in the resolver's order (RFC 8305, 4).
    fn new(addresses: impl IntoIterator<Item = SocketAddr>, known: Option<IpAddr>) -> ConnectPlan {
        let mut rest: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            if !rest.contains(&address) {
                rest.push(address);
            }
        }
        let known = known.and_then(|known| rest.iter().position(|address| address.ip() == known));
        let first_delay = if known.is_some() { KNOWN_DELAY } else { ATTEMPT_DELAY };
        let mut ordered = Vec::new();
        if !rest.is_empty() {
            ordered.push(rest.remove(known.unwrap_or(0)));
        }
        while let Some(last) = ordered.last() {
            let other_family = rest.iter().position(|address| address.is_ipv4() != last.is_ipv4());
            if rest.is_empty() || ordered.len() >= ADDRESSES_TRIED {
                break;
            }
            ordered.push(rest.remove(other_family.unwrap_or(0)));
        }
        ConnectPlan { addresses: ordered, first_delay }
    }

    /// The first connection to succeed. `failed` receives the faults of the others, even if this is cancelled.
    pub async fn connect<T, F>(
        &self,
        connect: impl Fn(SocketAddr) -> F,
        failed: &mut Vec<(SocketAddr, Fault)>,
    ) -> Option<(SocketAddr, T)>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let mut attempts = JoinSet::new(); // aborts the remaining attempts when dropped
        let mut waiting = self.addresses.iter().copied();
        let mut delay = self.first_delay;
        let mut next_at = Instant::now();
        loop {
            let is_more = waiting.len() > 0;
            tokio::select! {
                biased;
                Some(ended) = attempts.join_next() => match ended {
                    Ok((address, Ok(connected))) => return Some((address, connected)),
                    Ok((address, Err(fault))) => {
                        failed.push((address, fault));
                        next_at = Instant::now();
                    }
                    Err(_) => next_at = Instant::now(), // it panicked: its address counts as dead
                },
                () = sleep_until(next_at), if is_more => {
                    if let Some(address) = waiting.next() {
                        let attempt = connect(address);
                        attempts.spawn(async move { (address, attempt.await) });
                    }
                    next_at = Instant::now() + delay;
                    delay = ATTEMPT_DELAY;
                }
                else => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 21)).collect()
    }

    fn refused(address: SocketAddr) -> Fault {
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        Fault::Broken { what: format!("connecting to {address}"), error }
    }

    /// Connects as `dead` and `refusing` addresses and all others do; with the time that took.
    async fn race(
        plan: &ConnectPlan,
        dead: &[&str],
        refusing: &[&str],
    ) -> (Option<SocketAddr>, usize, Duration) {
        let (dead, refusing) = (addresses(dead), addresses(refusing));
        let begin = Instant::now();
        let mut failed = Vec::new();
        let connect = |address| {
            let (is_dead, is_refusing) = (dead.contains(&address), refusing.contains(&address));
            async move {
                if is_dead {
                    std::future::pending::<()>().await;
                }
                if is_refusing { Err(refused(address)) } else { Ok(()) }
            }
        };
        let connected = plan.connect(connect, &mut failed).await;
        (connected.map(|(address, ())| address), failed.len(), begin.elapsed())
    }

    #[test]
    fn the_families_take_turns_in_the_resolvers_order_and_the_known_address_comes_first() {
        let all = addresses(&["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.1"]);
        let reached = ReachedAddresses::default();
        let plan = reached.plan("server", all.clone());
        assert_eq!(plan.addresses, addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"]));
        assert_eq!(plan.first_delay, ATTEMPT_DELAY);

        reached.remember("server", "192.0.2.2".parse().unwrap());
        let plan = reached.plan("server", all.clone());
        assert_eq!(plan.addresses, addresses(&["192.0.2.2", "2001:db8::1", "192.0.2.1", "2001:db8::2"]));
        assert_eq!(plan.first_delay, KNOWN_DELAY);

        // An address that the name no longer has is not tried.
        reached.remember("server", "192.0.2.99".parse().unwrap());
        assert_eq!(reached.plan("server", all.clone()), ReachedAddresses::default().plan("server", all));
    }

    #[test]
    fn a_name_with_many_addresses_has_the_first_few_tried() {
        let many = (0..100).map(|n| SocketAddr::new(IpAddr::from([192, 0, 2, n]), 21));
        let plan = ReachedAddresses::default().plan("server", many);
        assert_eq!(plan.addresses.len(), ADDRESSES_TRIED);
        assert!(ReachedAddresses::default().plan("server", Vec::new()).addresses.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_first_address_costs_a_quarter_of_a_second_and_a_refusing_one_nothing() {
        let all = addresses(&["2001:db8::1", "192.0.2.1"]);
        let plan = ConnectPlan::new(all.clone(), None);
        assert_eq!(race(&plan, &["2001:db8::1"], &[]).await, (Some(all[1]), 0, ATTEMPT_DELAY));
        let (reached, failed, took) = race(&plan, &[], &["2001:db8::1"]).await;
        assert_eq!((reached, failed, took), (Some(all[1]), 1, Duration::ZERO));
        assert_eq!(race(&plan, &[], &["2001:db8::1", "192.0.2.1"]).await.1, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_known_address_has_more_time_and_the_others_are_tried_all_the_same() {
        let all = addresses(&["2001:db8::1", "192.0.2.1"]);
        let plan = ConnectPlan::new(all.clone(), Some(all[1].ip()));
        assert_eq!(race(&plan, &["2001:db8::1"], &[]).await, (Some(all[1]), 0, Duration::ZERO));
        assert_eq!(race(&plan, &["192.0.2.1"], &[]).await, (Some(all[0]), 0, KNOWN_DELAY));
    }
}
