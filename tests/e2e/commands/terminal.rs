//! On a terminal there is a bar and a picture; in a pipe there is neither.

use serde_json::json;

use super::Shell;
use crate::stage::{LONG, Stage};
use crate::support::pod::Pod;
use crate::support::pty::OnTerminal;
use crate::support::wait::wait_until;

/// The escape that a bar or a picture cannot do without: the cursor moves, or a line is cleared.
const ESCAPE: char = '\x1b';

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_bar_is_drawn_on_a_terminal_and_not_in_a_pipe() {
    let stage = Stage::with("bar", 1, &[("anon_max_rate", "20000")]);
    for number in 0..12 {
        stage.server.put(&format!("pub/{number}"), &[b'x'; 10_000]);
    }
    let config = stage.config().set("pool.max_sessions_per_connection", json!(1));
    let _pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let args = ["submit", "remote:pub/", "local:/in/", "--wait", "--timeout", "2m"];
    let (status, seen) = OnTerminal::start(shell.command(&args)).end();
    assert!(status.success(), "{seen}");
    // Drawn more than once, with files, bytes, and the time left; the summary comes after it.
    assert!(seen.contains(ESCAPE), "{seen:?}");
    assert!(
        seen.contains("/12 files") && seen.contains("of 117.19 KiB") && seen.contains("left"),
        "{seen:?}"
    );
    assert!(seen.contains("completed  12"), "{seen:?}");
    // The spinner's last state was cleared, like all that was drawn: the line that it stood in was taken for others.
    if let Some(at) = seen.rfind("listing:") {
        assert!(seen[at..].contains("\x1b[2K"), "{seen:?}");
    }

    let piped = shell.run(&args);
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert!(piped.stdout.contains("completed  12"), "{piped:?}");
    for text in [&piped.stdout, &piped.stderr] {
        assert!(!text.contains(ESCAPE) && !text.contains('█') && !text.contains('\r'), "{text:?}");
    }
}

#[test]
#[ignore = "needs Kafka: make test"]
fn watch_draws_its_picture_anew_on_a_terminal() {
    let stage = Stage::new("watch-terminal");
    let shell = Shell::new(&stage.config());
    // Fewer rows than the picture has lines, and one is the cursor's.
    let watch = OnTerminal::with_rows(shell.command(&["watch", "--every", "200ms"]), 5);
    wait_until("a second picture", LONG, || watch.seen().matches("average").count() >= 2);
    assert!(watch.seen().contains("\x1b[4A\r\x1b[J"), "{:?}", watch.seen());
    assert!(!watch.seen().contains("bytes"), "the row that does not fit: {:?}", watch.seen());
    let pid = rustix::process::Pid::from_raw(i32::try_from(watch.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let (status, seen) = watch.end();
    assert_eq!(status.code(), Some(0), "{seen:?}");
}
