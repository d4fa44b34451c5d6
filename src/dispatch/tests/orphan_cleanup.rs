//! What is to be tidied up on servers is done beside the tasks, and without them.

use super::*;
use crate::pool::fake::{FakeLogin, try_error};

#[tokio::test(start_paused = true)]
async fn a_server_without_tasks_is_tidied_up_with_one_session() {
    let rig = Rig::new(5, &[("a", 4)]);
    rig.litter(40);
    sleep(EXPIRY_INTERVAL * 5).await;
    assert_eq!((rig.litter_left(), rig.servers.peak("a"), rig.workers()), (0, 1, 0));
    assert_eq!(rig.tries(), []);
}

#[tokio::test(start_paused = true)]
async fn a_lane_tidies_up_when_its_tasks_are_done_and_not_before() {
    let mut rig = Rig::new(5, &[("a", 1)]);
    rig.submit("a", 0..20);
    sleep(Duration::from_millis(50)).await;
    rig.litter(3);
    rig.answers(20).await;
    assert_eq!(rig.litter_left(), 3);
    sleep(EXPIRY_INTERVAL).await;
    assert_eq!((rig.litter_left(), rig.servers.logins("a")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lets_nobody_in_is_not_asked_again_and_again_for_the_sake_of_litter() {
    let rig = Rig::new(5, &[("a", 4)]);
    rig.servers.on_login("a", FakeLogin::Refuse(try_error(Code::AuthFailed, Remedy::OpenBreaker)));
    rig.litter(1);
    sleep(EXPIRY_INTERVAL * 120).await;
    assert_eq!((rig.servers.connects("a"), rig.litter_left()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_login_for_the_sake_of_litter_tells_nothing_of_settings_that_hold_since() {
    let mut rig = Rig::new(5, &[("a", 4)]);
    rig.servers.on_login("a", FakeLogin::Refuse(try_error(Code::AuthFailed, Remedy::OpenBreaker)));
    rig.litter(1);
    while rig.servers.connects("a") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    rig.servers.on_login("a", FakeLogin::Accept); // for the next one: this one is refused already
    rig.change("a");
    sleep(Duration::from_millis(50)).await;
    rig.submit("a", 0..1);
    assert_eq!(rig.answer().await.code, None, "the new password has been tried");
}

#[tokio::test(start_paused = true)]
async fn who_tidies_up_does_not_hold_up_a_stop() {
    let rig = Rig::new(5, &[("a", 4)]);
    rig.litter(100_000);
    sleep(EXPIRY_INTERVAL * 2).await;
    let began = Instant::now();
    rig.dispatcher.drain(began + Duration::from_secs(10)).await;
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
}
