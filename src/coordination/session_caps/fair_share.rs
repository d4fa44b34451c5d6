//! How the sessions of one connection are shared between pods: max-min fair by demand, with as few moves as that
//! allows. Pure.
//!
//! Each pod that wants a session gets one if there are enough; the rest is shared evenly. If there are fewer sessions
//! than pods, they move in turn, each after a quantum. A session in use is taken away only for a pod that has none, or
//! after a quantum; an unused one is given to any pod that needs it.

use std::cmp::Reverse;
use std::time::Duration;

/// How long a pod keeps its sessions while another one has none, or fewer.
pub(super) const QUANTUM: Duration = Duration::from_secs(10);

/// One pod's part of a connection, as the coordinator knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// Sessions that it could use.
    pub wants: usize,
    pub granted: usize,
    /// Sessions that it may still have; never less than `granted`.
    pub bound: usize,
    /// When its grant last rose.
    pub raised_at: Duration,
    /// When its grant last fell.
    pub lowered_at: Duration,
    /// Since when it wants one and has none.
    pub waiting_since: Option<Duration>,
}

impl Claim {
    fn is_settled(&self, now: Duration) -> bool {
        now >= self.raised_at + QUANTUM
    }
}

/// What each pod is to be granted from now on, in the order of `claims`. What is raised is free: the sum of the larger
/// one of grant and bound stays within `total`, unless it was above.
pub(super) fn share(total: usize, claims: &[Claim], now: Duration) -> Vec<usize> {
    let held_up = held_up(claims, now);
    let ideal = ideal_shares(total.saturating_sub(held_up), claims, now);
    let mut grants: Vec<usize> = claims.iter().map(|claim| claim.granted).collect();
    take_back(&mut grants, (total, held_up), claims, &ideal, now);
    hand_out(&mut grants, total, claims, &ideal);
    grants
}

/// Sessions that should be released but are not, because of a long transfer. They are not waited for.
fn held_up(claims: &[Claim], now: Duration) -> usize {
    let is_held_up = |claim: &&Claim| now >= claim.lowered_at + QUANTUM;
    claims.iter().filter(is_held_up).map(|claim| claim.bound.saturating_sub(claim.granted)).sum()
}

/// Max-min fair shares: round after round, one for each pod that wants one more.
fn ideal_shares(total: usize, claims: &[Claim], now: Duration) -> Vec<usize> {
    let mut shares = vec![0; claims.len()];
    let mut left = total;
    for round in 1.. {
        let mut candidates: Vec<(usize, &Claim)> =
            claims.iter().enumerate().filter(|(_, claim)| claim.wants >= round).collect();
        if candidates.is_empty() || left == 0 {
            break;
        }
        if candidates.len() > left {
            candidates.sort_by_key(|(n, claim)| (precedence(claim, round, now), *n));
        }
        for (n, _) in candidates.into_iter().take(left) {
            if let Some(share) = shares.get_mut(n) {
                *share += 1;
                left -= 1;
            }
        }
    }
    shares
}

/// The order of precedence if there are not enough. For a pod's only session: pods whose quantum is not over, those
/// that wait, the longest first, then the others, the latest first. For a further one: pods that have it already.
fn precedence(claim: &Claim, round: usize, now: Duration) -> (u8, Duration, Reverse<Duration>) {
    let none = Reverse(Duration::ZERO);
    if round > 1 {
        return (u8::from(claim.granted < round), Duration::ZERO, none);
    }
    if claim.granted == 0 {
        return (1, claim.waiting_since.unwrap_or(now), none);
    }
    (if claim.is_settled(now) { 2 } else { 0 }, Duration::ZERO, Reverse(claim.raised_at))
}

/// Lowers grants as far as sessions are needed that are neither free nor about to be.
fn take_back(
    grants: &mut [usize],
    (total, held_up): (usize, usize),
    claims: &[Claim],
    ideal: &[usize],
    now: Duration,
) {
    let needed: usize =
        claims.iter().zip(ideal).map(|(claim, ideal)| ideal.saturating_sub(claim.granted)).sum();
    let lacks_all = |(claim, ideal): &(&Claim, &usize)| claim.granted == 0 && **ideal > 0;
    let mut without = claims.iter().zip(ideal).filter(lacks_all).count();
    let mut granted: usize = claims.iter().map(|claim| claim.granted).sum();
    let free = total.saturating_sub(granted + held_up);
    let mut missing = needed.saturating_sub(free);
    without = without.saturating_sub(free);
    while missing > 0 || granted > total {
        let is_over = granted > total;
        let may_give = |n: &usize| -> Option<(bool, usize)> {
            let (grant, claim, ideal) = (*grants.get(*n)?, claims.get(*n)?, *ideal.get(*n)?);
            let is_unused = grant > claim.wants;
            let may = is_over || is_unused || claim.is_settled(now) || (without > 0 && grant >= 2);
            (grant > ideal && may).then_some((is_unused, grant))
        };
        let giver = (0..grants.len()).filter_map(|n| Some((may_give(&n)?, n))).max();
        let Some((_, n)) = giver else { break };
        if let Some(grant) = grants.get_mut(n) {
            *grant -= 1;
        }
        granted -= 1;
        missing = missing.saturating_sub(1);
        without = without.saturating_sub(1);
    }
}

/// Raises grants as far as there is something free: first those that have none, the longest waiting first.
fn hand_out(grants: &mut [usize], total: usize, claims: &[Claim], ideal: &[usize]) {
    let taken: usize = claims.iter().map(|claim| claim.bound.max(claim.granted)).sum();
    let mut free = total.saturating_sub(taken);
    loop {
        let needs = |(n, (claim, ideal)): (usize, (&Claim, &usize))| {
            let grant = *grants.get(n)?;
            // A session that it has not released yet costs nothing.
            let cost = usize::from(grant + 1 > claim.bound);
            let order = (grant, claim.waiting_since.unwrap_or(Duration::MAX), n);
            (grant < *ideal && grant >= claim.granted && cost <= free).then_some((order, cost, n))
        };
        let Some((_, cost, n)) = claims.iter().zip(ideal).enumerate().filter_map(needs).min() else { return };
        if let Some(grant) = grants.get_mut(n) {
            *grant += 1;
        }
        free -= cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(100);

    /// Settled: each has had its grant for long.
    fn claims(of: &[(usize, usize)]) -> Vec<Claim> {
        of.iter()
            .map(|(wants, granted)| Claim {
                wants: *wants,
                granted: *granted,
                bound: *granted,
                ..Claim::default()
            })
            .collect()
    }

    #[test]
    fn what_is_free_goes_evenly_to_those_who_want_it() {
        assert_eq!(share(5, &claims(&[(9, 0), (9, 0)]), LATER), [3, 2]);
        assert_eq!(share(5, &claims(&[(1, 0), (9, 0)]), LATER), [1, 4]);
        assert_eq!(share(9, &claims(&[(2, 0), (3, 0)]), LATER), [2, 3]);
        assert_eq!(share(2, &claims(&[(9, 0), (9, 0), (9, 0)]), LATER), [1, 1, 0]);
    }

    #[test]
    fn nothing_is_raised_before_it_is_given_back() {
        assert_eq!(share(5, &claims(&[(9, 5), (9, 0)]), LATER), [3, 0]);
        let mut handing_over = claims(&[(9, 3), (9, 0)]);
        handing_over[0].bound = 5;
        handing_over[0].lowered_at = LATER;
        assert_eq!(share(5, &handing_over, LATER), [3, 0]);
        handing_over[0].bound = 4;
        assert_eq!(share(5, &handing_over, LATER), [3, 1]);
        handing_over[0].bound = 3;
        assert_eq!(share(5, &handing_over, LATER), [3, 2]);
    }

    #[test]
    fn a_grant_that_nobody_else_needs_stays() {
        assert_eq!(share(5, &claims(&[(0, 3), (2, 2)]), LATER), [3, 2]);
        assert_eq!(
            share(5, &claims(&[(0, 3), (4, 2)]), LATER),
            [1, 2],
            "it gives what is needed, and no more"
        );
    }

    #[test]
    fn within_its_quantum_a_pod_gives_only_what_another_has_none_of() {
        let mut young = claims(&[(9, 5), (9, 0)]);
        young[0].raised_at = LATER;
        assert_eq!(share(5, &young, LATER), [4, 0]);
        let mut young = claims(&[(9, 4), (9, 1)]);
        young[0].raised_at = LATER;
        assert_eq!(share(5, &young, LATER), [4, 1]);
        assert_eq!(share(5, &young, LATER + QUANTUM), [3, 1]);
    }

    #[test]
    fn where_there_are_too_few_the_longest_waiting_is_next_after_a_quantum() {
        let mut scarce = claims(&[(1, 1), (1, 1), (1, 0), (1, 0)]);
        let before = |seconds| LATER.saturating_sub(Duration::from_secs(seconds));
        (scarce[0].raised_at, scarce[1].raised_at) = (LATER, before(5));
        (scarce[2].waiting_since, scarce[3].waiting_since) = (Some(before(1)), Some(before(9)));
        assert_eq!(share(2, &scarce, LATER), [1, 1, 0, 0]);
        let after = LATER + Duration::from_secs(5);
        assert_eq!(share(2, &scarce, after), [1, 0, 0, 0]);
        (scarce[1].granted, scarce[1].bound, scarce[1].waiting_since) = (0, 0, Some(after));
        assert_eq!(share(2, &scarce, after), [1, 0, 0, 1]);
    }

    #[test]
    fn a_lower_total_is_taken_back_at_once() {
        let mut young = claims(&[(9, 3), (9, 2)]);
        (young[0].raised_at, young[1].raised_at) = (LATER, LATER);
        assert_eq!(share(2, &young, LATER), [1, 1]);
        assert_eq!(share(0, &young, LATER), [0, 0]);
    }

    #[test]
    fn who_waits_for_a_long_transfer_gets_what_another_can_give_sooner() {
        let mut held_up = claims(&[(9, 2), (9, 2), (9, 0)]);
        (held_up[0].bound, held_up[0].lowered_at) = (3, LATER);
        assert_eq!(share(5, &held_up, LATER), [2, 2, 0], "it is on its way");
        assert_eq!(share(5, &held_up, LATER + QUANTUM).iter().sum::<usize>(), 3, "it is not");
    }
}
