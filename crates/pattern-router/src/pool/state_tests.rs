use proptest::prelude::*;

use super::*;

const BOUNDS: PoolBounds = PoolBounds { soft: 2, hard: 4, idle: Duration::from_secs(4) };
const WIDE: PoolBounds = PoolBounds { soft: 2, hard: 16, idle: Duration::from_secs(4) };
type Pool = PodConnections<u32, u32>;

#[test]
fn below_the_limit_one_is_opened_above_it_one_waits() {
    let (mut pool, now) = (Pool::default(), Instant::now());
    assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Open);
    assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Open);
    assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Wait);
    assert!(pool.wait(7, now));
    assert_eq!(pool.release(1, now, Duration::ZERO, &BOUNDS), Handover::Connection(7, 1));
    assert_eq!(pool.release(1, now, Duration::ZERO, &BOUNDS), Handover::Kept);
    assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Reuse(1));
}

#[test]
fn a_silent_pod_gets_more_and_more_connections_up_to_the_hard_bound() {
    let now = Instant::now();
    let mut pool = Pool::default();
    for _ in 0..2 {
        pool.acquire(now, &WIDE);
    }
    for waiter in 0..30 {
        pool.wait(waiter, now);
    }
    assert_eq!(pool.grow(now, &WIDE), [], "nobody has waited long enough");
    let mut granted = Vec::new();
    for look in 0..6 {
        granted.push(pool.grow(now + SILENCE + GROWTH_INTERVAL * look, &WIDE).len());
    }
    assert_eq!(granted, [1, 2, 4, 7, 0, 0]);
    assert_eq!(pool.open(), WIDE.hard);
}

/// Requests that always wait, before a pod that answers `rate(lent)` times a second with so many connections.
fn under_load(rate: impl Fn(f64) -> f64, milliseconds: u32) -> (Pool, f64) {
    let (mut pool, mut now) = (Pool::default(), Instant::now());
    let (mut lent, mut due, mut waiter, mut sum) = (0u32, 0f64, 0, 0f64);
    while pool.acquire(now, &WIDE) == Acquired::Open {
        lent += 1;
    }
    for _ in 0..milliseconds {
        while pool.waiting() < 100 {
            pool.wait(waiter, now);
            waiter += 1;
        }
        now += Duration::from_millis(1);
        due += rate(f64::from(lent)) / 1e3;
        let took = Duration::from_secs_f64(f64::from(lent) / rate(f64::from(lent)));
        while due >= 1.0 && lent > 0 {
            due -= 1.0;
            if pool.release(1, now, took, &WIDE) == Handover::Kept {
                lent -= 1;
            }
        }
        lent += u32::try_from(pool.grow(now, &WIDE).len()).unwrap();
        sum += f64::from(lent);
    }
    (pool, sum / f64::from(milliseconds))
}

#[test]
fn a_pod_that_sleeps_gets_every_connection_and_one_that_lacks_cpu_hardly_more_than_usual() {
    // 20 ms an answer, however many are asked for at once.
    let (_, lent) = under_load(|lent| lent * 50.0, 10_000);
    assert!(lent > 14.0, "{lent} on average");
    // 200 answers a second, however many wait for them: each takes 10 ms and more.
    let (_, lent) = under_load(|_| 200.0, 20_000);
    assert!(lent < 3.0, "{lent} on average");
    // The same with 400: what is tried in vain is tried ever more seldom.
    let (_, lent) = under_load(|_| 400.0, 20_000);
    assert!(lent < 2.5, "{lent} on average");
    // 2,000 a second: fast enough for the soft bound.
    let (pool, lent) = under_load(|_| 2_000.0, 2_000);
    assert!(pool.limit(&WIDE) == WIDE.soft && lent < 2.1, "{lent} on average");
}

/// A pod of a machine that others use: it works for some milliseconds, and waits for much longer ones.
#[test]
fn a_pod_that_waits_for_its_turn_is_no_slow_pod() {
    let (mut pool, start) = (Pool::default(), Instant::now());
    let (mut lent, mut waiter, mut sum) = (0u32, 0, 0u64);
    while pool.acquire(start, &WIDE) == Acquired::Open {
        lent += 1;
    }
    let mut sent: Vec<u32> = (0..lent).map(|_| 0).collect();
    for millisecond in 0..20_000u32 {
        let now = start + Duration::from_millis(u64::from(millisecond));
        while pool.waiting() < 100 {
            pool.wait(waiter, now);
            waiter += 1;
        }
        if millisecond % 33 < 3 {
            for _ in 0..20 {
                let took = millisecond - sent.remove(0);
                match pool.release(1, now, Duration::from_millis(u64::from(took)), &WIDE) {
                    Handover::Kept => lent -= 1,
                    _ => sent.push(millisecond),
                }
            }
        }
        for _ in pool.grow(now, &WIDE) {
            lent += 1;
            sent.push(millisecond);
        }
        sum += u64::from(lent);
    }
    let average = f64::from(u32::try_from(sum).unwrap()) / 20_000.0;
    assert!(average < 4.0, "{average} on average");
}

#[test]
fn long_polls_that_hold_every_connection_keep_nobody_waiting() {
    let (mut pool, now) = (Pool::default(), Instant::now());
    while pool.acquire(now, &WIDE) == Acquired::Open {}
    let (mut granted, mut at) = (0, now);
    for waiter in 0..14 {
        pool.wait(waiter, at);
        for _ in 0..1_000 {
            at += GROWTH_INTERVAL;
            granted += pool.grow(at, &WIDE).len();
        }
        assert_eq!(
            granted,
            usize::try_from(waiter).unwrap() + 1,
            "none of them ever ends, and each has its connection"
        );
    }
}

#[test]
fn a_limit_that_rose_in_a_pause_of_the_pod_falls_again() {
    let now = Instant::now();
    let (mut pool, mut at) = (Pool::default(), now + SILENCE);
    while pool.acquire(now, &WIDE) == Acquired::Open {}
    for waiter in 0..4_000 {
        pool.wait(waiter, now);
    }
    while pool.limit(&WIDE) < WIDE.hard {
        at += GROWTH_INTERVAL;
        pool.grow(at, &WIDE);
    }
    for _ in 0..1_000 {
        at += Duration::from_millis(1);
        pool.release(1, at, Duration::from_millis(1), &WIDE);
        pool.grow(at, &WIDE);
    }
    assert_eq!(pool.limit(&WIDE), WIDE.soft);
}

#[test]
fn old_connections_are_not_used() {
    let (mut pool, now) = (Pool::default(), Instant::now());
    for connection in 0..2 {
        pool.acquire(now, &BOUNDS);
        pool.release(connection, now, Duration::ZERO, &BOUNDS);
    }
    pool.acquire(now, &BOUNDS);
    pool.acquire(now, &BOUNDS);
    pool.release(1, now + Duration::from_secs(1), Duration::ZERO, &BOUNDS);
    assert_eq!(pool.expire(now + Duration::from_secs(3), &BOUNDS), Vec::<u32>::new());
    assert_eq!(pool.acquire(now + Duration::from_secs(6), &BOUNDS), Acquired::Open);
    assert_eq!((pool.idle(), pool.open()), (0, 2));
}

#[test]
fn how_long_connects_are_refused_is_told() {
    let (mut pool, now) = (Pool::default(), Instant::now());
    assert_eq!(pool.note_connect(true, now), Duration::ZERO);
    assert_eq!(pool.note_connect(true, now + Duration::from_secs(2)), Duration::from_secs(2));
    pool.note_connect(false, now);
    assert_eq!(pool.note_connect(true, now + Duration::from_secs(3)), Duration::ZERO);
}

#[test]
fn a_websocket_gets_no_place_above_the_hard_bound() {
    let (mut pool, now) = (Pool::default(), Instant::now());
    for _ in 0..BOUNDS.hard {
        assert_eq!(pool.take_slot_within(&BOUNDS), Some(None));
        pool.detach(now, &BOUNDS);
    }
    assert_eq!(pool.take_slot_within(&BOUNDS), None);
    assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Wait);
    pool.close_stream(now, &BOUNDS);
    assert_eq!(pool.take_slot_within(&BOUNDS), Some(None));
}

#[derive(Debug, Clone)]
enum Step {
    Acquire,
    Release,
    Close,
    Detach,
    CloseStream,
    Grow,
    Expire,
    Discard,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Acquire),
        3 => Just(Step::Release),
        1 => Just(Step::Close),
        1 => Just(Step::Detach),
        1 => Just(Step::CloseStream),
        1 => Just(Step::Grow),
        1 => Just(Step::Expire),
        1 => Just(Step::Discard),
        2 => (0u64..3000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Against a model that only counts: lent connections, and the queue in order.
    #[test]
    fn bounds_hold_nobody_is_forgotten_and_the_queue_is_fair(steps in prop::collection::vec(step(), 1..200)) {
        let (mut pool, mut now) = (Pool::default(), Instant::now());
        let (mut lent, mut streams, mut next, mut queue) = (0usize, 0usize, 0u32, VecDeque::new());
        for step in steps {
            match step {
                Step::Acquire => match pool.acquire(now, &BOUNDS) {
                    Acquired::Reuse(_) | Acquired::Open => lent += 1,
                    Acquired::Wait => { pool.wait(next, now); queue.push_back(next); next += 1; }
                },
                Step::Release if lent > 0 => match pool.release(0, now, Duration::ZERO, &BOUNDS) {
                    Handover::Connection(waiter, _) => prop_assert_eq!(Some(waiter), queue.pop_front()),
                    Handover::Kept => lent -= 1,
                    Handover::Surplus(_) => prop_assert!(false, "the bounds did not change"),
                },
                Step::Close if lent > 0 => match pool.close(now, &BOUNDS) {
                    Some((waiter, _)) => prop_assert_eq!(Some(waiter), queue.pop_front()),
                    None => lent -= 1,
                },
                Step::Detach if lent > 0 => {
                    streams += 1;
                    match pool.detach(now, &BOUNDS) {
                        Some((waiter, _)) => prop_assert_eq!(Some(waiter), queue.pop_front()),
                        None => lent -= 1,
                    }
                }
                Step::CloseStream if streams > 0 => {
                    streams -= 1;
                    if let Some((waiter, _)) = pool.close_stream(now, &BOUNDS) {
                        prop_assert_eq!(Some(waiter), queue.pop_front());
                        lent += 1;
                    }
                }
                Step::Grow => for (waiter, _) in pool.grow(now, &BOUNDS) {
                    prop_assert_eq!(Some(waiter), queue.pop_front());
                    lent += 1;
                },
                Step::Expire => { pool.expire(now, &BOUNDS); }
                Step::Discard => { pool.discard_idle(); }
                Step::Pass(ms) => now += Duration::from_millis(ms),
                Step::Release | Step::Close | Step::Detach | Step::CloseStream => {}
            }
            prop_assert_eq!(pool.open(), lent + pool.idle());
            prop_assert!(pool.open() + pool.streams() <= BOUNDS.hard);
            prop_assert_eq!(pool.waiting(), queue.len());
            prop_assert!(queue.is_empty() || lent >= pool.limit(&BOUNDS), "someone waits below the limit");
            prop_assert!(queue.is_empty() || lent + streams > 0, "someone waits for nothing");
        }
    }
}
