#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use tokio::time::sleep;

use super::fake::{FakeLogin, FakeServers, connection, limits, try_error};
use super::manager::CLOSE_BOUND;
use super::*;
use crate::failure::{Code, Remedy};

fn pool(cap: usize, connections: &[(&str, usize)]) -> (SessionPool<FakeServers>, FakeServers) {
    let servers = FakeServers::default();
    let connections = connections.iter().map(|(name, cap)| connection(name, *cap));
    (SessionPool::new(&limits(cap), connections, servers.clone(), &Metrics::default()), servers)
}

async fn get(pool: &SessionPool<FakeServers>, connection: &str) -> LeasedSession<FakeServers> {
    match pool.reserve(connection).await.unwrap() {
        Reservation::Idle(session) => session,
        Reservation::MayOpen(permit) => permit.open().await.unwrap(),
    }
}

async fn is_kept_waiting(pool: &SessionPool<FakeServers>, connection: &str) -> bool {
    timeout(Duration::from_secs(60), pool.reserve(connection)).await.is_err()
}

/// Until the closings that were spawned are through.
async fn let_tasks_run() {
    sleep(CLOSE_BOUND * 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_sound_session_is_used_again_the_newest_first() {
    let (pool, servers) = pool(5, &[("a", 5)]);
    let (first, second) = (get(&pool, "a").await, get(&pool, "a").await);
    drop(first);
    drop(second);
    assert_eq!(get(&pool, "a").await.number, 2);
    assert_eq!(servers.logins("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_in_doubt_is_never_used_again() {
    let (pool, servers) = pool(5, &[("a", 1)]);
    let mut session = get(&pool, "a").await;
    session.sound = false;
    drop(session);
    assert_eq!(get(&pool, "a").await.number, 2);
    get(&pool, "a").await.throw_away();
    let mut session = get(&pool, "a").await;
    assert_eq!((session.number, servers.peak("a")), (3, 1));
    session.sound = false;
    drop(session);
    let_tasks_run().await;
    assert_eq!(servers.open("a"), 0, "and it is closed though nobody asks for one");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_too_old_is_not_used_again() {
    let (pool, servers) = pool(5, &[("a", 1)]);
    let mut session = get(&pool, "a").await;
    session.expired = true;
    assert!(!session.is_reusable(), "the lane gives it no further file");
    drop(session);
    assert_eq!(get(&pool, "a").await.number, 2);
    let_tasks_run().await;
    assert_eq!(servers.open("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_server_ended_is_passed_over() {
    let (pool, servers) = pool(3, &[("a", 3)]);
    let sessions = [get(&pool, "a").await, get(&pool, "a").await];
    drop(sessions);
    servers.end_all("a");
    assert_eq!(get(&pool, "a").await.number, 3);
    let_tasks_run().await;
    assert_eq!((servers.open("a"), pool.open_sessions()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_permit_comes_back_when_the_socket_is_closed_and_not_before() {
    let (pool, servers) = pool(1, &[("a", 1), ("b", 1)]);
    servers.goodbye_takes(Duration::from_secs(2));
    get(&pool, "a").await.throw_away();
    let began = Instant::now();
    drop(get(&pool, "b").await);
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(servers.pod_peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_hangs_is_cut_off() {
    let (pool, servers) = pool(1, &[("a", 1)]);
    servers.goodbye_takes(Duration::from_secs(3_600));
    get(&pool, "a").await.throw_away();
    assert_eq!(get(&pool, "a").await.number, 2);
    assert_eq!(servers.peak("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_login_gives_its_room_back() {
    let (pool, servers) = pool(1, &[("a", 1), ("b", 1)]);
    servers.on_login("a", FakeLogin::Hang);
    assert!(timeout(Duration::from_secs(1), get(&pool, "a")).await.is_err());
    assert_eq!(servers.open("a"), 0);
    get(&pool, "b").await;
    assert_eq!(servers.pod_peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_login_gives_its_room_back_and_says_why() {
    let (pool, servers) = pool(1, &[("a", 1)]);
    let error = try_error(Code::AuthFailed, Remedy::OpenBreaker);
    servers.on_login("a", FakeLogin::Refuse(error.clone()));
    let Reservation::MayOpen(permit) = pool.reserve("a").await.unwrap() else { panic!() };
    assert_eq!(permit.open().await.unwrap_err(), error);
    assert_eq!((pool.open_sessions(), pool.limit("a")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_full_lowers_the_limit() {
    let (pool, servers) = pool(9, &[("a", 9)]);
    let held = [get(&pool, "a").await, get(&pool, "a").await];
    servers.on_login("a", FakeLogin::Refuse(try_error(Code::ServerBusy, Remedy::LowerLimit)));
    let Reservation::MayOpen(permit) = pool.reserve("a").await.unwrap() else { panic!() };
    permit.open().await.unwrap_err();
    assert_eq!(pool.limit("a"), 2);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn room_that_is_not_used_goes_to_the_next() {
    let (pool, _) = pool(1, &[("a", 1), ("b", 1)]);
    let permit = pool.reserve("a").await.unwrap();
    assert!(is_kept_waiting(&pool, "b").await);
    drop(permit);
    get(&pool, "b").await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_takes_nothing_along() {
    let (pool, _) = pool(1, &[("a", 1), ("b", 1)]);
    let held = get(&pool, "a").await;
    let mut leaver = Box::pin(pool.reserve("b"));
    assert!(timeout(Duration::from_millis(1), &mut leaver).await.is_err());
    let mut stayer = Box::pin(pool.reserve("b"));
    assert!(timeout(Duration::from_millis(1), &mut stayer).await.is_err());
    held.throw_away();
    let_tasks_run().await; // the leaver has its grant now, and drops it unseen
    drop(leaver);
    assert!(matches!(stayer.await, Ok(Reservation::MayOpen(_))));
}

#[tokio::test(start_paused = true)]
async fn a_full_pod_closes_the_longest_idle_session_before_it_opens_another() {
    let (pool, servers) = pool(3, &[("a", 2), ("b", 1), ("c", 1)]);
    servers.goodbye_takes(Duration::from_secs(1));
    let (first, second) = (get(&pool, "a").await, get(&pool, "a").await);
    drop(second);
    sleep(Duration::from_secs(1)).await;
    drop(get(&pool, "b").await);
    sleep(Duration::from_secs(1)).await;
    drop(first);
    get(&pool, "c").await;
    assert_eq!((servers.open("a"), servers.open("b"), servers.pod_peak()), (1, 1, 3));
    assert_eq!(get(&pool, "a").await.number, 1, "the second had been idle for longest");
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_have_an_idle_time_of_its_own_or_none() {
    let servers = FakeServers::default();
    let of = |name: &str, idle_timeout: Option<u64>| {
        let connection = connection(name, 2);
        let idle_timeout = idle_timeout.map(Duration::from_secs);
        Arc::new(FtpConnection { idle_timeout, ..(*connection).clone() })
    };
    let connections = [of("shorter", Some(30)), of("for-ever", Some(0)), of("the-pods", None)];
    let pool = SessionPool::new(&limits(5), connections, servers.clone(), &Metrics::default());
    for name in ["shorter", "for-ever", "the-pods"] {
        drop(get(&pool, name).await);
    }
    sleep(Duration::from_secs(60)).await;
    let open = |servers: &FakeServers| ["shorter", "for-ever", "the-pods"].map(|name| servers.open(name));
    assert_eq!(open(&servers), [0, 1, 1]);
    sleep(Duration::from_secs(86_400)).await;
    assert_eq!(open(&servers), [0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_closed_after_its_time() {
    let (pool, servers) = pool(3, &[("a", 2)]);
    let session = get(&pool, "a").await;
    sleep(Duration::from_secs(400)).await;
    drop(session);
    sleep(Duration::from_secs(290)).await;
    assert_eq!(servers.open("a"), 1, "it was in use before, not idle");
    sleep(Duration::from_secs(15)).await;
    assert_eq!((servers.open("a"), pool.open_sessions()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_the_session_that_comes_back() {
    let (pool, servers) = pool(5, &[("a", 1)]);
    let held = get(&pool, "a").await;
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, "a").await.number }
    });
    sleep(Duration::from_secs(1)).await;
    drop(held);
    assert_eq!(waiter.await.unwrap(), 1);
    assert_eq!(servers.logins("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_promised_to_another_connection_is_closed_for_it() {
    let (pool, servers) = pool(2, &[("a", 2), ("b", 2)]);
    let (mut first, mut second) = (get(&pool, "a").await, get(&pool, "a").await);
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, "b").await.number }
    });
    sleep(Duration::from_millis(1)).await;
    assert!(first.must_yield());
    assert!(!second.must_yield());
    drop(first);
    waiter.await.unwrap();
    assert_eq!((servers.open("a"), servers.pod_peak()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_all_and_waits_for_it() {
    let (pool, servers) = pool(5, &[("a", 5)]);
    servers.goodbye_takes(Duration::from_secs(1));
    let (held, idle) = (get(&pool, "a").await, get(&pool, "a").await);
    drop(idle);
    let shutdown = tokio::spawn({
        let pool = pool.clone();
        async move { pool.shutdown(Duration::from_secs(10)).await }
    });
    sleep(Duration::from_secs(2)).await;
    assert_eq!(servers.open("a"), 1);
    drop(held);
    assert_eq!(shutdown.await.unwrap(), 0);
    assert_eq!(servers.open("a"), 0);
    assert_eq!(pool.reserve("a").await.unwrap_err(), ReserveError::Closed);
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_ever() {
    let (pool, _) = pool(5, &[("a", 5)]);
    let _held = get(&pool, "a").await;
    assert_eq!(pool.shutdown(Duration::from_secs(1)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_connection_is_an_error() {
    let (pool, _) = pool(1, &[]);
    assert_eq!(pool.reserve("x").await.unwrap_err(), ReserveError::UnknownConnection);
}

fn named(name: &str, user: &str, max_sessions: usize) -> Arc<FtpConnection> {
    let connection = FtpConnection { user: user.to_owned(), ..(*connection(name, max_sessions)).clone() };
    Arc::new(connection)
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_changed_connection_are_replaced_as_they_become_idle() {
    let (pool, servers) = pool(5, &[("a", 5), ("b", 5)]);
    let (mut busy, returning, idle) = (get(&pool, "a").await, get(&pool, "a").await, get(&pool, "a").await);
    let other = get(&pool, "b").await;
    drop(idle);
    pool.replace(named("a", "new", 5));
    let_tasks_run().await;
    assert_eq!((servers.open("a"), servers.open("b")), (2, 1), "the idle one is closed, nobody else's is");
    assert!(busy.is_outdated() && busy.is_reusable() && busy.must_yield() && !other.is_outdated());
    drop(busy);
    drop(returning);
    let_tasks_run().await;
    assert_eq!(servers.open("a"), 0);
    let new = get(&pool, "a").await;
    assert_eq!((new.user.as_str(), new.is_outdated()), ("new", false));
    assert_eq!(
        *new.server_profile.lock().unwrap(),
        [new.number],
        "what the others found out is not known to it"
    );
    let number = new.number;
    drop(new);
    assert_eq!(get(&pool, "a").await.number, number, "and it is pooled");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_a_change_overtakes_is_used_once() {
    let (pool, _) = pool(5, &[("a", 5)]);
    let Reservation::MayOpen(permit) = pool.reserve("a").await.unwrap() else { panic!("nothing is idle") };
    let version = permit.version();
    let login = tokio::spawn(permit.open());
    tokio::task::yield_now().await;
    pool.replace(named("a", "new", 5));
    let session = login.await.unwrap().unwrap();
    assert_eq!(session.user, "user");
    assert!(version.is_outdated() && session.is_outdated());
    drop(session);
    let_tasks_run().await;
    assert_eq!((pool.open_sessions(), get(&pool, "a").await.user.as_str()), (0, "new"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_goes_on_to_wait_through_a_change_and_gets_the_new_settings() {
    let (pool, _) = pool(1, &[("a", 1)]);
    let held = get(&pool, "a").await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, "a").await }
    });
    tokio::task::yield_now().await;
    pool.replace(named("a", "new", 1));
    drop(held);
    assert_eq!(waiting.await.unwrap().user, "new");
}

#[tokio::test(start_paused = true)]
async fn limits_change_without_a_login() {
    let (pool, servers) = pool(9, &[("a", 1)]);
    let first = get(&pool, "a").await;
    assert!(is_kept_waiting(&pool, "a").await);
    pool.set_limits(&named("a", "user", 3));
    let more = [get(&pool, "a").await, get(&pool, "a").await];
    assert!(is_kept_waiting(&pool, "a").await);
    pool.set_limits(&named("a", "user", 1));
    drop(more);
    let_tasks_run().await;
    assert_eq!((servers.open("a"), servers.logins("a"), first.is_outdated()), (1, 3, false));
    drop(first);
    assert_eq!(get(&pool, "a").await.number, 1);
    assert_eq!(pool.limit("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_connection_lets_nobody_in_and_may_come_back() {
    let (pool, servers) = pool(2, &[("a", 1)]);
    let held = get(&pool, "a").await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.reserve("a").await }
    });
    tokio::task::yield_now().await;
    pool.remove("a");
    assert!(waiting.await.unwrap().is_err(), "nobody waits for what is gone");
    assert_eq!(pool.reserve("a").await.unwrap_err(), ReserveError::UnknownConnection);
    assert!(pool.is_known("a") && held.is_outdated());
    pool.add(named("a", "new", 2));
    assert_eq!(get(&pool, "a").await.user, "new");
    drop(held);
    let_tasks_run().await;
    assert_eq!(servers.open("a"), 1, "the old one is closed");
    pool.remove("a");
    let_tasks_run().await;
    assert!(!pool.is_known("a") && servers.open("a") == 0);
}

/// Lanes of three connections on real threads, with every kind of end a session can have.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn caps_hold_on_many_threads_and_all_lanes_finish() {
    let (pool, servers) = pool(5, &[("a", 3), ("b", 3), ("c", 4)]);
    let lanes = (0..24_usize).map(|lane| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for turn in 0..40 {
                let name = ["a", "b", "c"][lane % 3];
                if (lane + turn) % 11 == 0 {
                    let _ = timeout(Duration::from_micros(50), get(&pool, name)).await;
                    continue;
                }
                let mut session = get(&pool, name).await;
                tokio::task::yield_now().await;
                session.sound = (lane * 7 + turn) % 9 != 0;
                let _ = session.must_yield();
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        timeout(Duration::from_secs(60), lane).await.expect("a lane hangs").unwrap();
    }
    assert!(servers.pod_peak() <= 5);
    for (name, cap) in [("a", 3), ("b", 3), ("c", 4)] {
        assert!(servers.peak(name) <= cap);
    }
    assert_eq!(pool.shutdown(Duration::from_secs(10)).await, 0);
    assert_eq!(servers.open("a") + servers.open("b") + servers.open("c"), 0);
}
