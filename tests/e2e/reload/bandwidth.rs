//! Limits of bandwidth, and their change while transfers run.

use super::*;

const WAITED: &str = "ftp_pooler_bandwidth_wait_seconds_total";

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_throttled_transfer_has_not_stalled_and_another_limit_holds_for_it_at_once() {
    let stage = Stage::new("reload-bandwidth");
    let bytes = content(3, 600_000);
    stage.server.put("f", &bytes);
    stage.put_local("f", &bytes);
    // At one KiB a second it would take ten minutes; a data connection that is waited for may be silent for a second.
    let limited = |bandwidth| {
        let keys = [
            ("bandwidth", bandwidth),
            ("stall_timeout", "1s"),
            ("min_rate", "16Ki"),
            ("min_rate_window", "2s"),
        ];
        watching(stage.bare_config().ftp("remote", stage.server.addr(), &keys))
    };
    let pod = Pod::start(&limited("1k"));
    stage.send([download("down", "remote", "f", "down"), upload("up", "f", "remote", "up")]);
    let waited = |operation: &str| pod.metrics().sum(WAITED, &["connection=\"remote\"", operation]);
    wait_until("both wait for longer than the server may be silent", LONG, || {
        waited("download") > 3.0 && waited("upload") > 3.0
    });
    let moved = pod.metrics().sum("ftp_pooler_transferred_bytes_total", &["connection=\"remote\""]);
    assert!(moved > 0.0 && moved < 1_200_000.0, "{moved}");

    pod.rewrite(&limited("off"));
    wait_for(&pod, "limits", "remote");
    let mut answers = stage.answers();
    answers.wait_for_ids(&["down", "up"], LONG);
    for id in ["down", "up"] {
        assert!(answers.only(id).is_completed() && answers.only(id).json["attempts"] == 1, "{id}");
    }
    assert_eq!(stage.get_local("down").unwrap(), bytes);
    assert_eq!(stage.server.get("up").unwrap(), bytes);
    assert!(pod.metrics().sum("ftp_pooler_retries_total", &[]) < 1.0);
}
